"""Dense layers: products, their adjoints, updates of weights and biases.

A product runs in one of two ways. *Outer*: a scalar of A times P weights, P sums at a time. *Dot*: P bytes of A times P
weights, summed in lane 0. Lanes hold neighbouring rows of a hidden layer's matrix (so it is outer forward and dot
backward) and neighbouring columns of an output layer's (dot forward, outer backward).
"""

from __future__ import annotations

from typing import Any

from insitu.backends.engine.actions import Action, matrix_of
from insitu.backends.engine.build import PRECISION, WIDE_FRACTION
from insitu.backends.engine.emit.elements import cleared, masked
from insitu.backends.engine.emit.emitter import Emitter, signed
from insitu.backends.engine.emit.losses import margin
from insitu.backends.engine.forms import Grid, Matrix, Planes
from insitu.backends.engine.isa import CLASSES, A, B, Prologue, To
from insitu.backends.engine.microcode import Loop, Nest
from insitu.errors import ConfigError
from insitu.step.ir import Op, Value

ONE_HOT_SHIFT = 15
"""Of the one-hot label: with ``high``, the row that it selects comes out as it is stored."""


def matmul(em: Emitter, action: Action) -> None:
    weights, _ = em.matrix(action.first.inputs[1])
    (_dot if weights.by_rows else _outer)(em, action.first, weights)


def _outer(em: Emitter, op: Op, w: Matrix) -> None:
    """P outputs at a time, input by input."""
    x, weight, *bias = op.inputs
    grid, x_at = em.grid(x)
    _, d_at = em.grid(op.outputs[0])
    scalar, high = em.scaled(op, em.rounded(op), x)
    nest = Nest(
        name=f"{weight.name} forward",
        round=_scan(grid),
        rounds=[Loop(w.tiles, w=w.columns, p=w.lanes, d=w.lanes)],
        control={"scalar_signed": signed(x), "high": high, "out_signed": em.byte(op, op.outputs[0])},
        starts={"x": x_at, "w": em.place(weight).start, "d": d_at},
        shifts={"scalar": scalar},
    )
    with_biases(em, nest, op, bias, scalar)
    em.run(nest)


def _scan(grid: Grid, both: bool = False) -> list[Loop]:
    """Byte by byte over a grid, word by word over the weights (``both``: that are read and written)."""
    c, n = grid.channels, grid.places
    if grid.pitch == c or n == 1:
        return [Loop(n * c, x=1, w=1, d=int(both))]
    return [Loop(c, x=1, w=1, d=int(both)), Loop(n, x=grid.pitch, w=c, d=c * both)]


def with_biases(em: Emitter, nest: Nest, op: Op, bias: list[Value], scalar: int) -> None:
    """Every round begins with the biases of its lanes."""
    if not bias:
        return
    planes, at = em.planes(bias[0])
    low = scalar + (op.attrs.bias_shift or 0)
    most = em.build.operand_bits - 2
    if low + 8 > most:
        raise ConfigError(
            f"{op.kind} at {op.where} shifts its bias by {low + 8} bits to the sum's units; the engine shifts it by "
            f"{most}: use an engine of a smaller fraction (now {em.build.fraction}), or other biases"
        )
    nest.control["prologue"] = Prologue.BIASES
    nest.starts["p"] = at
    nest.constants |= {"K0": 1 << low, "K1": 1 << low + 8, "HIOFF": planes.pitch}


def _dot(em: Emitter, op: Op, w: Matrix) -> None:
    """Output by output, P inputs at a time; an output of more than a byte is a score."""
    x, weight, *bias = op.inputs
    out, (grid, x_at) = op.outputs[0], em.grid(x)
    _aligned(em, op, grid)
    wide = isinstance(em.place(out).form, Planes)
    nest = Nest(
        name=f"{weight.name} forward",
        round=[Loop(w.tiles, x=w.lanes, w=1)],
        rounds=[Loop(w.rows, w=w.tiles, p=1, d=1)],
        control={"a": A.VECTOR, "dot": 1, "vector_stream": 1, "scalar_signed": signed(x)},
        starts={"x": x_at, "w": em.place(weight).start, "d": em.place(out).start},
        shifts={"serial": em.serial(op, em.rounded(op), wide), "bias": op.attrs.bias_shift or 0},
    )
    if bias:
        planes, nest.starts["p"] = em.planes(bias[0])
        nest.control["prologue"] = Prologue.BIAS
        nest.constants["HIOFF"] = planes.pitch
    if wide:
        _scores(em, nest, op, out)
    else:
        nest.control |= {"to": To.BYTE, "out_signed": em.byte(op, out)}
    em.run(nest)


def _scores(em: Emitter, nest: Nest, op: Op, out: Value) -> None:
    """The results are compared by the score unit, for the op that makes an error of them."""
    planes, _ = em.planes(out)
    if out.format.bits != 12 or planes.count > CLASSES:
        raise ConfigError(
            f"{op.kind} at {op.where} gives {planes.count} scores in {out.format}; the engine compares at most "
            f"{CLASSES} of 12 bits: use a network of fewer classes and --precision edge-latent-free-8"
        )
    loss = em.losses.get(out)
    nest.control |= {"wide": 1, "score": 1}
    nest.constants["HIOFF"] = planes.pitch
    nest.more["exclude"] = int(loss is not None and loss.kind == "violated")
    if nest.more["exclude"]:
        nest.constants["MARGIN"] = margin(loss)
    em.scored = out


def _aligned(em: Emitter, op: Op, grid: Grid) -> None:
    """Refuses to read vectors of a grid that is not padded."""
    if grid.pitch % em.build.lanes:
        raise ConfigError(
            f"{op.kind} at {op.where} reads vectors of a map that another op reads byte by byte without padding; "
            "use a network whose first layer is a convolution or a hidden layer"
        )


def projection(em: Emitter, action: Action) -> None:
    """The error below, or that which a feedback matrix gives; with the gate that ends it."""
    weights, _ = em.matrix(matrix_of(action.first))
    (_outer_error if weights.by_rows else _dot_error)(em, action, weights)


def _outer_error(em: Emitter, action: Action, w: Matrix) -> None:
    op, out = action.first, action.last.outputs[0]
    matrix = matrix_of(op)
    e = op.inputs[1] if op.kind == "select_rows" else op.inputs[0]
    scalar, high = (ONE_HOT_SHIFT, 1) if op.kind == "select_rows" else em.scaled(op, em.rounded(op), e)
    _, e_at = em.grid(e)
    nest = Nest(
        name=f"{matrix.name} error",
        round=[Loop(w.rows, x=1, w=w.tiles)],
        rounds=[Loop(w.tiles, w=1, p=w.lanes, d=w.lanes)],
        control={
            "scalar_signed": signed(e) * (op.kind != "select_rows"),
            "high": high,
            "out_signed": _signed_out(em, op, out),
        },
        starts={"x": e_at, "w": em.place(matrix).start, "d": _same(em, op, w.grid, out)},
        shifts={"scalar": scalar},
    )
    if len(action.ops) == 2:
        masked(em, nest, action.last.inputs[1])
    em.run(nest)


def _signed_out(em: Emitter, op: Op, out: Value) -> int:
    """``out_signed``; a row that is selected is not saturated, so it may be narrower than a byte."""
    return signed(out) if op.kind == "select_rows" else em.byte(op, out)


def _same(em: Emitter, op: Op, columns: Grid, out: Value) -> int:
    """Address of an error, which must lie as the matrix's columns do."""
    grid, at = em.grid(out)
    if grid.plane != columns.plane:
        raise ConfigError(
            f"{op.kind} at {op.where} gives an error of shape {grid.plane} through a matrix whose columns lie as "
            f"{columns.plane}; the engine needs the same order: use another rule"
        )
    return at


def _dot_error(em: Emitter, action: Action, w: Matrix) -> None:
    op = action.first
    e, out = op.inputs[0], op.outputs[0]
    _, e_at = em.grid(e)
    k = em.rounded(op)
    at = _same(em, op, w.grid, out)
    cleared(em, op, out)
    em.run(
        Nest(
            name=f"{matrix_of(op).name} error",
            round=[Loop(w.tiles, x=w.lanes, w=w.columns)],
            rounds=[
                Loop(w.grid.channels, w=1, d=1),
                Loop(w.grid.places, w=w.grid.channels, d=em.grid(out)[0].pitch),
            ],
            control={
                "a": A.VECTOR,
                "dot": 1,
                "vector_stream": 1,
                "scalar_signed": signed(e),
                "to": To.BYTE,
                "out_signed": em.byte(op, out),
            },
            starts={"x": e_at, "w": em.place(matrix_of(op)).start, "d": at},
            shifts={"serial": em.serial(op, k, wide=False)},
        )
    )


def matmul_dw_update(em: Emitter, action: Action) -> None:
    op = action.first
    d, x, weight = (*op.inputs[:2], op.written[0])
    w, _ = em.matrix(weight)
    scalars, vectors = (d, x) if w.by_rows else (x, d)
    scalar, high = em.scaled(op, em.moved(op), scalars, vectors)
    _order(op, w)
    em.draw(op, w.rows, w.by_rows)
    inner, outer, last = (_by_rows if w.by_rows else _by_columns)(em, op, w, x)
    start = em.place(weight).start
    em.run(
        Nest(
            name=f"{weight.name} update",
            round=inner,
            rounds=outer,
            control={
                "b": B.VECTOR,
                "scalar_signed": signed(scalars),
                "vector_signed": signed(vectors),
                "high": high,
                "out_signed": 1,
                "to": To.WEIGHTS,
                "prologue": Prologue.VECTOR,
                "update": 1,
                "each": 1,
            },
            starts={"x": em.grid(scalars)[1], "w": start, "p": em.grid(vectors)[1], "d": start},
            more={"last": last - 1},
            shifts={"scalar": scalar},
        )
    )


def _order(op: Op, w: Matrix) -> None:
    """Refuses random words in another order than that in which the engine meets the weights."""
    o, (channels, height, width) = op.attrs.optimizer, w.grid.plane
    order = o.columns if channels > 1 and height * width > 1 else w.grid.plane
    if order != w.grid.plane or (o.registers and (o.lanes == "columns") != w.by_rows):
        raise ConfigError(
            f"{op.kind} at {op.where} draws its random words in the stored order of columns; the engine needs "
            f"channels last: use --precision {PRECISION}"
        )


Loops = tuple[list[Loop], list[Loop], int]
"""Of a round, around it, and how many random words the last tile of lanes draws."""


def _by_rows(em: Emitter, op: Op, w: Matrix, x: Value) -> Loops:
    """V is a vector of inputs, scalars are errors."""
    grid, _ = em.grid(x)
    _aligned(em, op, grid)
    tiles = grid.pitch // w.lanes
    tile = Loop(tiles, w=1, p=w.lanes, d=1, words=True)
    place = Loop(grid.places, w=tiles, p=grid.pitch, d=tiles)
    rows = [Loop(w.rows, x=1, w=w.tiles, d=w.tiles)]
    return rows, [tile, place], grid.channels - (tiles - 1) * w.lanes


def _by_columns(em: Emitter, _op: Op, w: Matrix, x: Value) -> Loops:
    """V is a vector of errors, scalars are inputs."""
    tile = Loop(w.tiles, w=w.columns, p=w.lanes, d=w.columns, words=True)
    return _scan(em.grid(x)[0], both=True), [tile], w.rows - (w.tiles - 1) * w.lanes


def sum_to_channels_update(em: Emitter, action: Action) -> None:
    op = action.first
    d, bias = op.inputs[0], op.written[0]
    grid, x_at = em.grid(d)
    scalar, shifts = bias_shifts(em, op, em.scalar_shift(d))
    em.run(
        bias_update(
            em,
            bias,
            round=[Loop(grid.places, x=grid.pitch)],
            rounds=[Loop(grid.channels, x=1, p=1, d=1)],
            control={"b": B.ONE, "scalar_signed": signed(d)},
            starts={"x": x_at},
            shifts=shifts | {"scalar": scalar},
        )
    )


def bias_shifts(em: Emitter, op: Op, most: int) -> tuple[int, dict[str, int]]:
    """What a gradient is shifted by before the serial shift, and the shifts of the bias; draws random words.

    Raises:
        ConfigError: the update is out of range.
    """
    k = em.moved(op)
    serial, scalar = min(WIDE_FRACTION, WIDE_FRACTION - k), max(0, -k)
    if WIDE_FRACTION - serial > em.build.high or scalar > most:
        raise em.out_of_range(op, k, -most, em.build.high)
    if k > 0 and em.build.generator == "lfsr":
        em.draw(op, 0, lanes=False)
    return scalar, {"serial": serial, "bias": WIDE_FRACTION - serial}


def bias_update(
    em: Emitter, bias: Value, control: dict[str, int], starts: dict[str, int], **rest: Any
) -> Nest:
    planes, at = em.planes(bias)
    control = control | {"wide": 1, "wide16": 1, "update": 1, "prologue": Prologue.BIAS}
    starts = starts | {"p": at, "d": at}
    return Nest(
        name=f"{bias.name} update",
        control=control,
        starts=starts,
        constants={"HIOFF": planes.pitch},
        **rest,
    )
