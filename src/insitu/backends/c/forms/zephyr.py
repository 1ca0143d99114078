"""A module of Zephyr: ``zephyr/module.yml``, Kconfig, CMake, a sample."""

from __future__ import annotations

from insitu.backends.c.forms.form import Facts, Files, Form, library


def arrange(files: Files, facts: Facts) -> Files:
    """The module; its options begin with the project's name."""
    return library(FORM.name, files, facts, lambda _: {"NAME": facts.name.upper()})


FORM = Form("zephyr", marks=("spec.md", "zephyr"), arrange=arrange)
