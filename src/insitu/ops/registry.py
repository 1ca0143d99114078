"""Imports every op module, so that :data:`insitu.step.ir.OPS` is complete, and prints the op table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING, fields
from typing import Any

from insitu.ops import (
    batch,
    call,
    conv,
    coupling,
    hebbian,
    hsic,
    integer_losses,
    loss,
    matmul,
    norm,
    overlay,
    pointwise,
    pool,
    quant,
    random,
    similarity,
    sketch,
    tables,
    update,
    zeroth,
)
from insitu.step.attrs import Attrs, hints, meanings, spelled
from insitu.step.ir import OPS, Hole, OpRecord, over_batch, writes_nothing

__all__ = ["MODULES", "op_table"]

MODULES = (
    matmul,
    conv,
    pointwise,
    coupling,
    pool,
    norm,
    loss,
    random,
    quant,
    tables,
    integer_losses,
    similarity,
    sketch,
    hsic,
    batch,
    overlay,
    hebbian,
    zeroth,
    call,
    update,
)


def op_table() -> str:
    """The op table of the docs, in Markdown, from the records, and the attributes of every op."""
    lines = [
        "| op | meaning | level | traits | adjoint | writes | in place of |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for kind in sorted(OPS):
        r = OPS[kind]
        adjoint = "–" if isinstance(r.adjoint, Hole) else "yes"
        writes = "–" if r.writes is writes_nothing else "yes"
        inplace = "view" if r.alias else ", ".join(f"operand {i}" for i in r.inplace) or "–"
        lines.append(f"| `{kind}` | {r.doc} | {r.level} | {_traits(r)} | {adjoint} | {writes} | {inplace} |")
    return "\n".join([*lines, "", *_attribute_table()]) + "\n"


def _traits(r: OpRecord[Any]) -> str:
    """The traits of an op, and what else its record declares of it."""
    more = {
        "loop nest": r.loops is not None,
        "trigger": r.trigger,
        "takes another matrix": r.error_below is not None,
        "mixes samples": r.mixes_samples is over_batch,
        f"with {r.fuses}": r.fuses is not None,
        "deferred": r.deferred is not None,
    }
    return ", ".join([*r.traits, *(name for name, holds in more.items() if holds)]) or "–"


def _attribute_table() -> Iterator[str]:
    """What each op is told beside its operands; ops with the same attributes share their rows."""
    yield "An attribute without a default must be given; one at its default is not printed.\n"
    yield "| op | attribute | type | default | meaning |"
    yield "| --- | --- | --- | --- | --- |"
    for declared, kinds in _by_attributes().items():
        meant, types = meanings(declared), hints(declared)
        ops = ", ".join(f"`{kind}`" for kind in kinds)
        for f in fields(declared):
            default = "–" if f.default is MISSING else "none" if f.default is None else f"`{f.default}`"
            yield f"| {ops} | `{f.name}` | {spelled(types[f.name])} | {default} | {meant[f.name]} |"
            ops = ""


def _by_attributes() -> dict[type[Attrs], list[str]]:
    """The kinds of ops by the class of their attributes."""
    found: dict[type[Attrs], list[str]] = {}
    for kind in sorted(OPS):
        found.setdefault(OPS[kind].attrs, []).append(kind)
    return found
