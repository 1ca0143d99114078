"""The project as it is: C files with a Makefile, and the network behind a serial port in ``device``."""

from __future__ import annotations

from insitu.backends.c.forms.form import Facts, Files, Form
from insitu.backends.c.templates import RUNTIME, template


def arrange(files: Files, facts: Facts) -> Files:
    """The files with a Makefile and a README."""
    makefile = template("Makefile.in", {"config": " ".join(f"-D{x}" for x in facts.defines)})
    readme = (RUNTIME / "README.md").read_text(encoding="utf-8")
    device = {
        f"device/{p.name}": p.read_text(encoding="utf-8") for p in sorted((RUNTIME / "device").glob("*.[ch]"))
    }
    return {**files, **device, "Makefile": makefile, "README.md": readme}


FORM = Form("plain", marks=("_net.h",), arrange=arrange)
