"""A WebAssembly module without a C library, and a page that learns what is drawn on it."""

from __future__ import annotations

import json
import shutil
from math import isqrt
from pathlib import Path

from insitu.backends.c.forms.form import Facts, Files, Form, library
from insitu.backends.c.toolchain import checked


def arrange(files: Files, facts: Facts) -> Files:
    """The library, the module's own functions, its JavaScript and the page."""
    p = facts.program
    size = p.inference.inputs[0].size
    side = isqrt(size) if isqrt(size) ** 2 == size else 0
    classes = p.inference.outputs[0].size // p.inference.batch
    names = list(p.classes) or [str(i) for i in range(classes)]
    flags = "" if "INSITU_NO_REAL" in facts.defines else "-ffp-contract=off"
    page = {"side": str(side), "names": json.dumps(names).replace("<", "\\u003c"), "flags": flags}
    return library(FORM.name, files, facts, lambda _: page)


def finish(folder: Path) -> str:
    """Builds the module where clang and wasm-ld are there."""
    if not (shutil.which("clang") and shutil.which("wasm-ld") and shutil.which("make")):
        return "'make' in it builds the module: install clang, lld and make first (Debian's packages)"
    checked(["make", "-s", "-C", str(folder)], f"the WebAssembly module of {folder}")
    return f"the module is built: open {folder / 'index.html'} in a browser"


FORM = Form("wasm", marks=("spec.md", "network.js"), arrange=arrange, finish=finish)
