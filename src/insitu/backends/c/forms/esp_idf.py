"""A component of ESP-IDF: ``idf_component.yml``, CMake, an example."""

from __future__ import annotations

from insitu.backends.c.forms.form import Facts, Files, Form, library


def arrange(files: Files, facts: Facts) -> Files:
    """The component."""
    return library(FORM.name, files, facts)


FORM = Form("esp-idf", marks=("spec.md", "idf_component.yml"), arrange=arrange)
