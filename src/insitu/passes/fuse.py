"""Fusion: gradients into updates, gates with unpools, and outputs in place of operands that die."""

from __future__ import annotations

from dataclasses import replace
from math import prod

from insitu.numbers.formats import Fixed
from insitu.ops.activations import ACTIVATIONS
from insitu.ops.integer_products import Epilogue
from insitu.ops.pool import UnpoolGate, Window, tiles
from insitu.ops.quant import Requant
from insitu.step.attrs import make
from insitu.step.ir import OPS, Op, Phase, Step, Trait, Value
from insitu.step.liveness import roots, storages


def users(step: Step) -> dict[Value, list[Op]]:
    """The ops that read each value, in order."""
    found: dict[Value, list[Op]] = {}
    for op in step.ops:
        for value in op.inputs:
            found.setdefault(value, []).append(op)
    return found


def makers(step: Step) -> dict[Value, Op]:
    """The op that defines each value."""
    return {out: op for op in step.ops for out in op.outputs}


def fuse_updates(step: Step) -> Step:
    """``update(w, dw(d, x))`` becomes ``dw_update(d, x, w)``: the gradient is applied as it is made."""
    made, used = makers(step), users(step)
    fusions = {r.fuses: kind for kind, r in OPS.items() if r.fuses}
    gone: set[Op] = set()
    fused: dict[Op, Op] = {}
    for op in step.ops:
        if op.kind != "update":
            continue
        gradient = op.inputs[1]
        maker = made.get(gradient)
        alone = used[gradient] == [op] and gradient not in step.outputs
        if maker is None or maker.kind not in fusions or not alone:
            continue
        o, n = op.attrs.optimizer, op.attrs.exponents
        if getattr(o, "needs_full_gradient", False):
            continue
        kind = fusions[maker.kind]
        applied = {"optimizer": o, "operands": len(maker.inputs) + n, "exponents": n}
        inputs = (*maker.inputs, *op.inputs[2 : 2 + n], op.inputs[0], *op.inputs[2 + n :])
        attrs = make(OPS[kind].attrs, maker.attrs.explicit() | applied)
        fused[op] = Op(kind, inputs, (), attrs, Phase.GRADIENT, maker.where)
        gone.add(maker)
    ops = tuple(fused.get(op, op) for op in step.ops if op not in gone)
    return replace(step, ops=ops).verify()


def fuse_requant(step: Step) -> Step:
    """``requant(matmul(x, w))`` becomes one op that stores no wide sum, where the shift is known before the run."""
    made, used = makers(step), users(step)
    gone: set[Op] = set()
    fused: dict[Op, Op] = {}
    for op in step.ops:
        if op.kind != "requant" or len(op.inputs) > 1:
            continue
        (total,) = op.inputs
        maker = made.get(total)
        alone = used[total] == [op] and total not in step.outputs
        if maker is None or Trait.EPILOGUE not in maker.record.traits or not alone:
            continue
        a: Requant = op.attrs
        epilogue = Epilogue(a.format, a.shift, a.rounding, a.times, a.stream)
        fused[op] = replace(maker, outputs=op.outputs, attrs=replace(maker.attrs, epilogue=epilogue))
        gone.add(maker)
    ops = tuple(fused.get(op, op) for op in step.ops if op not in gone)
    return replace(step, ops=ops).verify()


def gate_before_unpool(step: Step) -> Step:
    """``gate(max_unpool(d), h)`` becomes ``max_unpool(gate(d, y))`` where ``y = max_pool(h)``.

    At the position of a maximum h equals y, elsewhere the error is zero: the same result on fewer elements,
    and h need not be kept. Where the gate reads a stash of h, it reads one of y, and that of h is not made.
    """
    made, used = makers(step), users(step)
    replaced: dict[Op, list[Op]] = {}
    for gate in step.ops:
        if Trait.GATE not in gate.record.traits or len(gate.inputs) != 2:
            continue
        if gate.kind == "gate" and ACTIVATIONS[gate.attrs.fn].gate_from != "output":
            continue
        unpool = made.get(gate.inputs[0])
        if unpool is None or unpool.kind != "max_unpool" or used[unpool.outputs[0]] != [gate]:
            continue
        if unpool.outputs[0] in step.outputs:
            continue
        pool = made.get(unpool.inputs[1])
        if pool is None:
            continue
        kept, before = _pooled(gate, pool, made, used)
        if kept is None:
            continue
        d, index = unpool.inputs
        small = replace(unpool.outputs[0], name=f"{gate.outputs[0].name}.pooled", shape=d.shape)
        replaced |= before
        replaced[unpool] = []
        replaced[gate] = [
            replace(gate, inputs=(d, kept), outputs=(small,)),
            replace(unpool, inputs=(small, index), outputs=gate.outputs),
        ]
    ops = tuple(new for op in step.ops for new in replaced.get(op, [op]))
    return replace(step, ops=ops).verify()


def _pooled(
    gate: Op, pool: Op, made: dict[Value, Op], used: dict[Value, list[Op]]
) -> tuple[Value | None, dict[Op, list[Op]]]:
    """What a gate in front of the pool reads once it is behind it (``None``: it must stay), and what replaces ops."""
    h, y = gate.inputs[1], pool.outputs[0]
    if pool.inputs[0] is h:
        return y, {}
    stash = made.get(h)
    if stash is None or stash.kind != "stash" or stash.inputs[0] is not pool.inputs[0] or used[h] != [gate]:
        return None, {}
    for other in used.get(y, []):
        if other.kind == "stash" and other.attrs == stash.attrs:
            return other.outputs[0], {stash: []}
    moved = replace(stash, inputs=(y,), outputs=(replace(stash.outputs[0], shape=y.shape),))
    return moved.outputs[0], {stash: [], pool: [pool, moved]}


def unpool_into_gate(step: Step) -> Step:
    """``gate(avg_unpool(d), h)`` of a ReLU becomes ``unpool_gate(d, h)``, which can take h's place: no second map."""
    made, used = makers(step), users(step)
    fused: dict[Op, Op] = {}
    gone: set[Op] = set()
    for gate in step.ops:
        if gate.kind != "gate" or gate.attrs.fn != "relu":
            continue
        spread, h = gate.inputs
        unpool = made.get(spread)
        if unpool is None or unpool.kind not in ("avg_unpool", "sum_unpool"):
            continue
        window: Window | None = unpool.attrs.window
        if window is None or not tiles(window) or used[spread] != [gate] or spread in step.outputs:
            continue
        parts = prod(window.kernel) if unpool.kind == "avg_unpool" else 1
        attrs = UnpoolGate(**window.explicit(), parts=parts)
        fused[gate] = replace(gate, kind="unpool_gate", inputs=(unpool.inputs[0], h), attrs=attrs)
        gone.add(unpool)
    ops = tuple(fused.get(op, op) for op in step.ops if op not in gone)
    return replace(step, ops=ops).verify()


def gate_into_updates(step: Step) -> Step:
    """Updates that read ``unpool_gate(d, h)`` read d and h: where no other op reads it, the map is not made."""
    used = users(step)
    gated = {kind: f"gated_{kind}" for kind in OPS if f"gated_{kind}" in OPS}
    fused: dict[Op, Op] = {}
    gone: set[Op] = set()
    for spread in step.ops:
        if spread.kind != "unpool_gate" or spread.outputs[0] in step.outputs:
            continue
        (e,), a = spread.outputs, spread.attrs
        readers = used.get(e, [])
        if not all(op.kind in gated and op.inputs.index(e) == 0 for op in readers):
            continue
        gone.add(spread)
        for op in readers:
            kind = gated[op.kind]
            more = {"operands": op.attrs.operands + 1, "pool": a.kernel, "parts": a.parts}
            attrs = make(OPS[kind].attrs, op.attrs.explicit() | more)
            fused[op] = replace(op, kind=kind, inputs=(*spread.inputs, *op.inputs[1:]), attrs=attrs)
    ops = tuple(fused.get(op, op) for op in step.ops if op not in gone)
    return replace(step, ops=ops).verify()


def drop_positions(step: Step) -> Step:
    """Max pools whose positions nothing reads do not make them."""
    used = users(step)

    def lean(op: Op) -> Op:
        if op.kind != "max_pool" or len(op.outputs) == 1:
            return op
        y, position = op.outputs
        if position in used or position in step.outputs:
            return op
        return replace(op, outputs=(y,), attrs=replace(op.attrs, positions=False))

    return replace(step, ops=tuple(map(lean, step.ops))).verify()


def in_place(step: Step) -> Step:
    """Marks outputs that take over the storage of an operand at its last use.

    Inputs, residents and what the step returns stay whole.
    """
    owner = roots(step)  # by value; `heir` joins the storages that were handed over on the way
    heir: dict[Value, Value] = {}
    death = {s.root: s.death for s in storages(step)}
    whole = {*step.inputs, *step.residents}
    returned = {owner[v] for v in step.outputs}

    def storage(value: Value) -> Value:
        root = owner[value]
        while root in heir:
            root = heir[root]
        return root

    ops = list(step.ops)
    for i, op in enumerate(ops):
        if op.inplace is not None:
            continue
        for k in op.record.inplace:
            operand, out = op.inputs[k], op.outputs[0]
            taken = storage(operand)
            same = operand.shape == out.shape and _as_wide(operand, out)
            shared = any(storage(v) is taken for j, v in enumerate(op.inputs) if j != k)
            if same and not shared and death[taken] == i and taken not in whole and taken not in returned:
                ops[i] = replace(op, inplace=k)
                heir[out], death[taken] = taken, death[out]
                if out in returned:
                    returned.add(taken)
                break
    return replace(step, ops=tuple(ops)).verify()


def _as_wide(a: Value, b: Value) -> bool:
    """Are elements of the two equally wide, so that one may be written where the other lay?"""
    if isinstance(a.format, Fixed) and isinstance(b.format, Fixed):
        return a.format.bits == b.format.bits
    return a.format == b.format
