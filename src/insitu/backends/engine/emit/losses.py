"""Errors of losses: a violated margin, softmax."""

from __future__ import annotations

from typing import Any

from insitu.backends.engine.actions import Action
from insitu.backends.engine.emit.emitter import Emitter
from insitu.backends.engine.forms import Planes
from insitu.backends.engine.isa import TABLE, To
from insitu.backends.engine.microcode import Loop, Nest
from insitu.errors import ConfigError
from insitu.step.ir import Op


def _scored(em: Emitter, op: Op) -> Planes:
    if em.scored is not op.inputs[0]:
        raise ConfigError(
            f"{op.kind} at {op.where} needs scores that the score unit has not seen last; use another rule"
        )
    return em.planes(op.inputs[0])[0]


def violated(em: Emitter, action: Action) -> None:
    op = action.first
    n = _scored(em, op).count
    em.code.act("TRIG", slot=em.slots[op])
    em.run(
        Nest(
            name=f"error at {op.where.layer}",
            round=[],
            rounds=[Loop(n, d=1)],
            control={"emit": 1, "to": To.BYTE},
            starts={"d": em.grid(op.outputs[0])[1]},
        )
    )


def softmax_error(em: Emitter, action: Action) -> None:
    op = action.first
    planes, table = _scored(em, op), tuple(op.attrs.table)
    if op.attrs.one != 128 or len(table) > TABLE or em.table not in ((), table) or not em.build.softmax:
        raise ConfigError(
            f"{op.kind} at {op.where} does not fit the engine's unit (one table of at most {TABLE} entries, errors of "
            "2**-7, and an engine with softmax); use --loss hinge or --precision edge-latent-free-8"
        )
    em.table = table
    starts = {"p": em.place(op.inputs[0]).start, "d": em.grid(op.outputs[0])[1]}
    classes = [Loop(planes.count, p=1, d=1)]
    em.code.prepare(
        Nest(f"error at {op.where.layer}", classes, [], {}, starts, constants={"HIOFF": planes.pitch})
    )
    em.code.act("SOFTMAX")


def margin(loss: Any) -> int:
    a = loss.attrs
    if len(loss.inputs) != 2 or a.every or a.shares or not 0 <= a.margin < 1 << 11:
        raise ConfigError(
            f"{loss.kind} at {loss.where} has a margin that grows with the layer, or several violators; the engine has "
            "one margin below 2048 and one violator: use the rule's defaults"
        )
    return int(a.margin)
