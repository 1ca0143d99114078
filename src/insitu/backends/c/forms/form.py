"""What a form is: the generated files of a project, laid out for one tool chain.

A form adds no C of its own to what learns. It says where the files lie, and fills in the templates of
``runtime/forms/NAME``: metadata, an example that learns, and a README.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from insitu.backends.c.templates import RUNTIME
from insitu.errors import ConfigError

if TYPE_CHECKING:
    from insitu.run.program import Program

TEMPLATES = RUNTIME / "forms"
Files = Mapping[str, str]
"""Texts by path within the project."""

TEST = ("test.c", "golden.h")
"""The self-test's files."""


@dataclass(frozen=True)
class Facts:
    """What a form may say of the project.

    Attributes:
        name: what its symbols begin with.
        program: what it computes.
        defines: macros that it is compiled with.
    """

    name: str
    program: Program
    defines: tuple[str, ...]


@dataclass(frozen=True)
class Form:
    """A layout of a project.

    Attributes:
        name: as ``--form`` says it.
        marks: how the names of files or folders end, in the project's own folder, by all of which such a project is
            known; another folder is not written to. The first is written first.
        arrange: from the files of the plain project, with its kernels, to those of the form.
        finish: what is done in the written folder with the tools of this machine, and a line to say about it.
    """

    name: str
    marks: tuple[str, ...]
    arrange: Callable[[Files, Facts], Files]
    finish: Callable[[Path], str] | None = None


def filled(form: str, values: Mapping[str, str]) -> dict[str, str]:
    """The templates of a form with each ``@name@`` replaced, also in their paths; ``.in`` ends none."""

    def fill(text: str) -> str:
        return re.sub(r"@(\w+)@", lambda m: values[m[1]], text)

    folder = TEMPLATES / form
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    texts = {p.relative_to(folder).as_posix(): p.read_text(encoding="utf-8") for p in paths}
    return {fill(name.removesuffix(".in")): fill(text) for name, text in texts.items()}


def values_of(facts: Facts, sources: Files) -> dict[str, str]:
    """What templates may ask for: the project's name and title, and the C files of ``sources``."""
    c = sorted(name for name in sources if name.endswith(".c"))
    return {
        "name": facts.name,
        "title": re.sub(r"[^\w .-]", " ", facts.program.name),
        "sources": " ".join(c),
        "source_lines": "\n".join(f"    {name}" for name in c),
    }


def configured(files: Files, facts: Facts) -> dict[str, str]:
    """What learns, without test and build files, and with its macros in a header: a form has no flags to pass."""
    kept = {name: text for name, text in files.items() if name.endswith((".c", ".h")) and name not in TEST}
    guard = "#define INSITU_UPDATES_H\n"
    kept["insitu_updates.h"] = kept["insitu_updates.h"].replace(guard, guard + config(facts), 1)
    return kept


def config(facts: Facts) -> str:
    """The macros, and for programs with real weights that no compiler may join a product and a sum."""
    lines = [f"#ifndef {name}\n#define {name}\n#endif" for name in facts.defines]
    if "INSITU_NO_REAL" not in facts.defines:
        lines.append(CONTRACT)
    return "\n" + "\n".join(lines) + "\n"


CONTRACT = """/* The bits of real weights are those of a product and a sum, never of both in one. */
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=off")
#endif"""


def library(
    form: str, files: Files, facts: Facts, more: Callable[[Files], Mapping[str, str]] = lambda _: {}
) -> dict[str, str]:
    """A library: sources in ``src``, the self-test in ``extras/self_test``, and the templates of the form.

    Args:
        more: from the sources, what its templates ask for beyond :func:`values_of`.

    Raises:
        ConfigError: labels are values and not classes.
    """
    check_classes(form, facts)
    sources = {f"src/{name}": text for name, text in configured(files, facts).items()}
    sources["src/insitu_serial.h"] = (TEMPLATES / "insitu_serial.h").read_text(encoding="utf-8")
    test = {f"extras/self_test/{name}": files[name] for name in TEST}
    test["extras/self_test/Makefile"] = (TEMPLATES / "self_test.mk").read_text(encoding="utf-8")
    return {**sources, **test, **filled(form, {**values_of(facts, sources), **more(sources)})}


def check_classes(form: str, facts: Facts) -> None:
    """The examples of forms learn classes.

    Raises:
        ConfigError: labels of the program are values.
    """
    label = facts.program.given.get("label")
    if label is not None and label.unit is not None:
        raise ConfigError(
            f"--form {form}: its example learns class indices, and the labels of {facts.program.name} are values; "
            "use --form plain"
        )
