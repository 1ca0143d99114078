"""A user C module of MicroPython, for ports that are built with it."""

from __future__ import annotations

from insitu.backends.c.forms.form import Facts, Files, Form, library


def arrange(files: Files, facts: Facts) -> Files:
    """The module; its Python name is the project's."""
    return library(FORM.name, files, facts)


FORM = Form("micropython", marks=("spec.md", "micropython.mk"), arrange=arrange)
