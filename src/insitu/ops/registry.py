"""Imports every op module, so that :data:`insitu.step.ir.OPS` is complete, and prints the op table."""

from __future__ import annotations

from insitu.ops import (
    batch,
    call,
    conv,
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
    state,
    tables,
    zeroth,
)
from insitu.step.ir import OPS, Hole

__all__ = ["MODULES", "op_table"]

MODULES = (
    matmul,
    conv,
    pointwise,
    pool,
    norm,
    loss,
    random,
    quant,
    tables,
    integer_losses,
    similarity,
    hsic,
    batch,
    overlay,
    hebbian,
    zeroth,
    call,
    state,
)


def op_table() -> str:
    """The op table of the docs, in Markdown, from the records."""
    lines = ["| op | meaning | adjoint | writes | in place of |", "| --- | --- | --- | --- | --- |"]
    for kind in sorted(OPS):
        r = OPS[kind]
        adjoint = "–" if isinstance(r.adjoint, Hole) else "yes"
        writes = "yes" if r.writes(8, {}) else "–"
        inplace = "view" if r.alias else ", ".join(f"operand {i}" for i in r.inplace) or "–"
        lines.append(f"| `{kind}` | {r.doc} | {adjoint} | {writes} | {inplace} |")
    return "\n".join(lines) + "\n"
