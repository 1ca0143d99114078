"""One header: its declarations, and with ``INSITU_IMPLEMENTATION`` all code behind them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from insitu.backends.c.forms.form import (
    TEMPLATES,
    TEST,
    Facts,
    Files,
    Form,
    check_classes,
    config,
    configured,
    filled,
    values_of,
)

_INCLUDE = re.compile(r'^#include "(?:\.\./)?([\w.]+)"$')
_GUARD = re.compile(r"^#ifndef \w+_H$")
_MACRO = re.compile(r"^#define (\w+)", re.MULTILINE)
_UNDEFINED = re.compile(r"^#undef (\w+)", re.MULTILINE)
_OWN = re.compile(r"^(?:static|INSITU_APART|INSITU_INLINE)\b[^;={}()]*?\b(\w+)(?=\(|\[| = )", re.MULTILINE)
_ENUM = re.compile(r"^enum \{(.*)\};", re.MULTILINE)
_TYPE = re.compile(r"^\} (\w+);", re.MULTILINE)
_TOKEN = re.compile(r'"(?:\\.|[^"\\])*"|/\*.*?\*/|(?<![.\w>])[A-Za-z_]\w*\b', re.DOTALL)


def arrange(files: Files, facts: Facts) -> Files:
    """``insitu.h``, the self-test, and a program that learns from its standard input."""
    check_classes(FORM.name, facts)
    sources = {name.rpartition("/")[2]: text for name, text in configured(files, facts).items()}
    sources["insitu_updates.h"] = files["insitu_updates.h"]
    header = filled(FORM.name, values_of(facts, sources) | joined(sources, config(facts)))
    header["insitu_serial.h"] = (TEMPLATES / "insitu_serial.h").read_text(encoding="utf-8")
    made = {**header, **{name: files[name] for name in TEST}}
    made["test.c"] = "#define INSITU_IMPLEMENTATION\n" + made["test.c"]
    return {name: text.replace('"insitu_net.h"', f'"{facts.name}.h"') for name, text in made.items()}


def joined(sources: Files, first: str) -> dict[str, str]:
    """The two halves of the header: what a caller sees, and the code; ``first`` stands before the code."""
    writer = Joined(sources)
    declared = "\n".join(writer.included("insitu_net.h", conditional=False))
    bodies = [writer.own(name) for name in sorted(sources) if name.endswith(".c")]
    return {"declared": declared, "config": first, "code": "\n".join(bodies)}


@dataclass
class Joined:
    """Texts with their own headers in place of the lines that include them.

    A header that is included under no condition stands where it is first asked for; one under a condition, of a
    processor's extension, wherever it is asked for, behind its own guard.
    """

    sources: Files
    there: set[str] = field(default_factory=set)

    def text(self, name: str) -> str:
        lines, depth = [], 0
        for line in self.sources[name].splitlines():
            found = _INCLUDE.match(line)
            if found is not None:
                lines += self.included(found[1], conditional=depth > 0)
                continue
            if line.startswith("#if") and not _GUARD.match(line):
                depth += 1
            elif line.startswith("#endif") and depth:
                depth -= 1
            if not line.startswith("/* SPDX-License-Identifier: Apache-2.0 */"):
                lines.append(line)
        return "\n".join(lines)

    def included(self, name: str, conditional: bool) -> list[str]:
        if name not in self.sources:  # forms for hosts, which no project has
            return [f"#error {name} is not in a project"]
        if name in self.there:
            return []
        if not conditional:
            self.there.add(name)
        return [self.text(name)]

    def own(self, name: str) -> str:
        """A C file: what is its own is named after it, and its macros end with it."""
        text = self.sources[name]
        stem = name.removesuffix(".c").removeprefix("insitu_")
        names = {n for n in _OWN.findall(text) if not n.startswith("insitu_")}
        names |= {n for listed in _ENUM.findall(text) for n in re.findall(r"(\w+) =", listed)}
        names |= {n for n in _TYPE.findall(text) if not n.startswith("insitu_")}

        def rename(found: re.Match[str]) -> str:
            return f"insitu_{stem}_{found[0]}" if found[0] in names else found[0]

        macros = [m for m in _MACRO.findall(text) if m not in _UNDEFINED.findall(text)]
        body = _TOKEN.sub(rename, self.text(name))
        return "\n".join([f"/* --- {name} */", body, *(f"#undef {m}" for m in sorted(set(macros)))])


FORM = Form("single-header", marks=("spec.md", "example.c"), arrange=arrange)
