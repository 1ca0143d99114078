"""A library of PlatformIO: ``library.json``, sources in ``src``, a project that uses it."""

from __future__ import annotations

from insitu.backends.c.forms.form import Facts, Files, Form, library


def arrange(files: Files, facts: Facts) -> Files:
    """The library."""
    return library(FORM.name, files, facts)


FORM = Form("platformio", marks=("spec.md", "library.json"), arrange=arrange)
