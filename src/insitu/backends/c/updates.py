"""Weight updates in C: the generated list of methods that the kernels dispatch on, and the fields of ``insitu_move``.

A method's kernel is ``kernels/update_<name>.c``; ``insitu_updates.h`` names its hooks, so that only the methods of a
program are compiled, and a method from outside needs nothing but its own file.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from insitu.ops.update import Optimized
from insitu.ops.updates import METHODS, BoundUpdate, MasterUpdate, WeightUpdate
from insitu.step.ir import Step

HOOKS = ("begin", "tensor", "row", "change", "sums")
"""Functions that a method may have; ``kernels/internal.h`` says what each does."""

Method = type[WeightUpdate] | type[MasterUpdate]


def known() -> list[Method]:
    """Every method that has a kernel of its own, those from outside last."""
    methods: list[Method] = [MasterUpdate, *METHODS.values()]
    return [m for m in methods if m.c_hooks]


def used(steps: Iterable[Step]) -> list[Method]:
    """The methods of some steps that have a kernel of their own, in the order of :func:`known`."""
    learning = (op.attrs for step in steps for op in step.ops)
    updates = [attrs.optimizer for attrs in learning if isinstance(attrs, Optimized)]
    mine = {o.method.kernel for o in updates if isinstance(o, BoundUpdate)}
    mine |= {o.kernel for o in updates if isinstance(o, MasterUpdate)}
    return [m for m in known() if m.kernel in mine]


def header(methods: Iterable[Method]) -> str:
    """``insitu_updates.h`` of some methods."""
    methods = list(methods)
    lines = [
        "/* SPDX-License-Identifier: Apache-2.0 */",
        "/* Generated: the methods by which weights move, beside plain rounding, with their hooks and fields. */",
        "#ifndef INSITU_UPDATES_H",
        "#define INSITU_UPDATES_H",
        "",
        _list("INSITU_UPDATE_METHODS", [f"X({m.kernel.upper()})" for m in methods]),
    ]
    for hook in HOOKS:
        entries = [f"X({m.kernel.upper()}, insitu_{m.kernel}_{hook})" for m in methods if hook in m.c_hooks]
        lines.append(_list(f"INSITU_UPDATE_{hook.upper()}", entries))
    fields = [f" \\\n    struct {{ {m.c_struct} }} {m.kernel};" for m in methods if m.c_struct]
    return "\n".join([*lines, "#define INSITU_UPDATE_FIELDS" + "".join(fields), "", "#endif", ""])


def _list(name: str, entries: list[str]) -> str:
    return f"#define {name}(X)" + "".join(f" \\\n    {entry}" for entry in entries)


def sources() -> list[Path]:
    """Kernels of methods from outside."""
    return [m.c_source for m in METHODS.values() if m.c_source is not None]
