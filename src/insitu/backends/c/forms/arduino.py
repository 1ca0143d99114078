"""A library of Arduino's: ``library.properties``, sources in ``src``, a sketch."""

from __future__ import annotations

from insitu.backends.c.forms.form import Facts, Files, Form, library


def arrange(files: Files, facts: Facts) -> Files:
    """The library."""
    return library(FORM.name, files, facts)


FORM = Form("arduino", marks=("spec.md", "library.properties"), arrange=arrange)
