"""Binds the policy's update to every weight: of a stored word, or of a master copy."""

from __future__ import annotations

from typing import Any

from insitu.errors import ConfigError
from insitu.numbers.formats import Fixed, Float, Quantized
from insitu.numbers.lfsr import REGISTERS
from insitu.ops.optimizers import Optimizer
from insitu.ops.updates import BoundUpdate, MasterUpdate, Stochastic, WeightUpdate
from insitu.passes.quantize.products import deferred_steps
from insitu.passes.quantize.units import LoweredValue
from insitu.passes.quantize.walk import Quantizer, lowers
from insitu.step.ir import Format, Init, Op, Phase, Role, Shape, Value


@lowers("update")
def _update(q: Quantizer, op: Op) -> None:
    v, g = op.inputs[0], q.of(op.inputs[1])
    optimizer: Optimizer = op.attrs.optimizer
    if v not in q.moves:
        raise q.refuse(f"%{v.name} learns but is read by nothing that has an integer form")
    w = q.moves[v]
    if g.exponent is not None and (g.exponent.shape or g.sign < 0):
        raise q.refuse("its gradient has an exponent per sample, so the samples cannot be added")
    steps = 1 if isinstance(w.format, Float) else _steps(q)
    move = _master(q, v, g, optimizer) if isinstance(w.format, Float) else _bound(q, v, w, g, optimizer)
    if steps > 1:
        _defer(q, v, w, g, move, steps)
        return
    states = [_state(q, v.name, *state) for state in move.states(v.shape)]
    if isinstance(move, BoundUpdate) and move.registers:
        of, _, suffix = REGISTERS.partition(".")
        states.append(_state(q, of, suffix, (2,), Fixed(False, 32, 0)))
    operands = [w, g.value, *([g.exponent] if g.exponent is not None else []), *states]
    attrs: dict[str, Any] = {"optimizer": move}
    if g.exponent is not None:
        attrs["exponents"] = 1
    q.emit("update", *operands, **attrs)


def _master(q: Quantizer, v: Value, g: LoweredValue, optimizer: Optimizer) -> MasterUpdate:
    read = q.reads[v]
    assert read is not None and read.unit is not None
    widest = read.unit * 2.0 ** max(read.channels, default=0)
    bound = widest * read.format.max_abs * (1.0 if read.format.max_abs > 1 else 1.5)
    return MasterUpdate(optimizer, g.unit, bound, half=q.precision.master == "f16")


def _bound(q: Quantizer, v: Value, w: Value, g: LoweredValue, optimizer: Optimizer) -> BoundUpdate:
    p = q.policy()
    if optimizer.kind != "sgd" or optimizer.weight_decay:
        what = "weight decay" if optimizer.kind == "sgd" else f"optimizer {optimizer.kind}"
        raise q.refuse(
            f"{what} needs more per weight than the stored word; use sgd without decay, or a -latent precision"
        )
    assert isinstance(w.format, Quantized) and w.unit is not None
    method = _method(q, v, w.format, p.update)
    few = len(v.shape) == 1 or (len(v.shape) == 2 and v.shape[0] < FEW_ROWS)
    return BoundUpdate(
        method,
        w.format,
        g.unit / w.unit,
        REGISTERS if p.generator == "register" and method.random else f"{v.name}.update",
        w.channels,
        p.generator,
        "columns" if few else "rows",
        _map_behind(q, g) if p.word_order == "channels-last" else (),
    )


FEW_ROWS = 16
"""Matrices of fewer rows than this (output layers, heads) have their columns side by side in a vector engine; biases
move one by one, on its scalar side."""


def _map_behind(q: Quantizer, g: LoweredValue) -> tuple[int, ...]:
    """Channels, height and width of the map that the dense layer of a gradient reads flattened; empty without."""
    made = {v: op for op in q.ops for v in op.outputs}
    dense = made.get(g.value)
    flat = made.get(dense.inputs[1]) if dense is not None and dense.kind == "matmul_dw" else None
    shape = flat.inputs[0].shape if flat is not None and flat.kind == "reshape" else ()
    return shape[1:] if len(shape) == 4 else ()


def _method(q: Quantizer, v: Value, fmt: Quantized, wanted: WeightUpdate) -> WeightUpdate:
    """The policy's method, its options fitted to a weight; biases that it does not move take stochastic rounding."""
    method = wanted if len(v.shape) > 1 or wanted.moves_vectors else Stochastic()
    uneven = fmt.max_abs > 1 and not isinstance(fmt, Fixed)
    if fmt.step is None or (uneven and not isinstance(method, Stochastic)):
        raise q.refuse(f"words of {fmt} are not evenly spaced; use a -latent precision for powers of two")
    try:
        return method.for_weight(v.shape)
    except ConfigError as error:
        raise q.refuse(str(error)) from None


def _state(q: Quantizer, of: str, suffix: str, shape: Shape, fmt: Format) -> Value:
    """What is kept beside a weight, or the whole network, from step to step, zero at first."""
    name = f"{of}.{suffix}"
    made = q.residents.get(name) or Value(name, shape, fmt, Role.STATE, q.op.where, Init("zeros"), 1.0)
    q.residents[name] = made
    q.names.add(name)
    return made


def _steps(q: Quantizer) -> int:
    """Steps whose gradient moves the weight at once."""
    made = next((op for op in q.step.ops if q.op.inputs[1] in op.outputs), None)
    return 1 if made is None else deferred_steps(q, made)


def _defer(
    q: Quantizer, v: Value, w: Value, g: LoweredValue, move: BoundUpdate | MasterUpdate, steps: int
) -> None:
    """The gradient's op and the update become one that keeps the gradient's operands."""
    if g.exponent is not None:
        raise q.refuse(
            f"it defers {steps} steps, whose errors need one exponent; use error_exponent: static, or defer: 1"
        )
    made = next(op for op in q.ops if g.value in op.outputs)
    q.ops.remove(made)
    d, x = made.inputs
    kept = [
        _state(q, v.name, suffix, (steps * a.shape[0], *a.shape[1:]), a.format)
        for suffix, a in (("errors", d), ("inputs", x))
    ]
    count = _state(q, v.name, "count", (1,), Fixed(False, steps.bit_length(), 0))
    attrs = made.attrs.explicit() | {"optimizer": move, "operands": 2, "defer": steps}
    q.emit("matmul_dw_deferred", d, x, w, *kept, count, phase=Phase.GRADIENT, **attrs)
