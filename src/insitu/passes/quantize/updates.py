"""Updates: of a stored word, or of a real copy."""

from __future__ import annotations

from typing import Any

from insitu.numbers.formats import Fixed, Float, Quantized
from insitu.ops.state import Optimizer
from insitu.ops.stored import Latent, Stored
from insitu.passes.quantize.core import Quantizer, lowers
from insitu.passes.quantize.units import Now
from insitu.step.ir import Init, Op, Role, Value


@lowers("update")
def _update(q: Quantizer, op: Op) -> None:
    v, g = op.inputs[0], q.of(op.inputs[1])
    optimizer: Optimizer = op.attrs["optimizer"]
    if v not in q.moves:
        raise q.refuse(f"%{v.name} learns but is read by nothing that has an integer form")
    w = q.moves[v]
    if g.exponent is not None and (g.exponent.shape or g.sign < 0):
        raise q.refuse("its gradient has an exponent per sample, so the samples cannot be added")
    move = _latent(q, v, g, optimizer) if isinstance(w.format, Float) else _stored(q, v, w, g, optimizer)
    states = []
    for suffix, shape, fmt in move.states(v.shape):
        name = f"{v.name}.{suffix}"
        made = q.residents.get(name) or Value(name, shape, fmt, Role.STATE, op.where, Init("zeros"), 1.0)
        q.residents[name] = made
        q.names.add(name)
        states.append(made)
    operands = [w, g.value, *([g.exponent] if g.exponent is not None else []), *states]
    attrs: dict[str, Any] = {"optimizer": move}
    if g.exponent is not None:
        attrs["exponents"] = 1
    q.emit("update", *operands, **attrs)


def _latent(q: Quantizer, v: Value, g: Now, optimizer: Optimizer) -> Latent:
    read = q.reads[v]
    assert read is not None and read.unit is not None
    bound = (
        read.unit
        * 2.0 ** max(read.channels, default=0)
        * read.format.reach
        * (1.0 if read.format.reach > 1 else 1.5)
    )
    return Latent(optimizer, g.unit, bound, half=q.precision.master == "f16")


def _stored(q: Quantizer, v: Value, w: Value, g: Now, optimizer: Optimizer) -> Stored:
    p = q.policy()
    if optimizer.kind != "sgd" or optimizer.weight_decay:
        what = "weight decay" if optimizer.kind == "sgd" else f"optimizer {optimizer.kind}"
        raise q.refuse(
            f"{what} needs more per weight than the stored word; use sgd without decay, or a -latent precision"
        )
    assert isinstance(w.format, Quantized) and w.unit is not None
    matrix = len(v.shape) > 1
    how = p.update if matrix or p.update in ("stochastic", "threshold", "integer-sgd") else "stochastic"
    if how != "stochastic" and w.format.reach > 1 and not isinstance(w.format, Fixed):
        raise q.refuse(
            f"words of {w.format} are not evenly spaced; use a -latent precision for powers of two"
        )
    if isinstance(w.format, Quantized) and w.format.step is None:
        raise q.refuse(
            f"words of {w.format} are not evenly spaced; use a -latent precision for powers of two"
        )
    return Stored(
        kind=how,
        format=w.format,
        ratio=g.unit / w.unit,
        stream=f"{v.name}.update",
        step_bits=p.step_bits,
        slices=p.slices if how == "rotating" else 1,
        window=p.window if how == "rotating" else 1,
        evidence=p.evidence,
        gamma=p.gamma,
        flip=p.flip,
        kappa=p.kappa,
        decay=p.decay if how == "integer-sgd" and matrix else None,
        channels=w.channels,
        generator=p.generator,
    )
