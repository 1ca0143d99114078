"""A CMSIS-Pack: a package description, sources as a component, the example as a template of user code."""

from __future__ import annotations

from insitu.backends.c.forms.form import Facts, Files, Form, library


def arrange(files: Files, facts: Facts) -> Files:
    """The pack's folder."""

    def listed(sources: Files) -> dict[str, str]:
        lines = (f'        <file category="{KINDS[n[-2:]]}" name="{n}"/>' for n in sorted(sources))
        return {"files": "\n".join(lines)}

    return library(FORM.name, files, facts, listed)


KINDS = {".c": "sourceC", ".h": "header"}
"""Categories of files."""


FORM = Form("cmsis-pack", marks=("spec.md", ".pdsc"), arrange=arrange)
