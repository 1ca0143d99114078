"""Convolutions, their adjoints and updates."""

from __future__ import annotations

from insitu.backends.engine.actions import Action
from insitu.backends.engine.emit.dense import bias_shifts, bias_update, with_biases
from insitu.backends.engine.emit.elements import cleared, copy
from insitu.backends.engine.emit.emitter import BYTE, Emitter, signed
from insitu.backends.engine.emit.pools import unpooled
from insitu.backends.engine.forms import Grid, Kernel
from insitu.backends.engine.isa import A, Prologue, To
from insitu.backends.engine.microcode import Loop, Nest
from insitu.errors import ConfigError
from insitu.step.ir import Op, Value


def _window(op: Op, w: Kernel, x: Grid, update: bool = False) -> list[Loop]:
    """Over the taps of a window: the word of each in stream w, or in p and d where an update reads and writes it."""
    _, c, r, s = w.shape
    dy, dx = op.attrs.dilation
    row = x.width * x.pitch
    u, f = int(update), int(not update)
    return [
        Loop(s, x=dx * x.pitch, w=f, p=u, d=u, column=dx),
        Loop(r, x=dy * row, w=s * f, p=s * u, d=s * u, row=dy),
        Loop(c, x=1, w=r * s * f, p=r * s * u, d=r * s * u),
    ]


def _plane(op: Op, x: Grid) -> tuple[tuple[int, int, int, int], int]:
    """The plane of an input with the place where windows begin, and the distance of that place in bytes."""
    py, px = op.attrs.padding
    return (x.height, x.width, -py, -px), (py * x.width + px) * x.pitch


def _one_group(op: Op) -> None:
    if op.attrs.groups != 1:
        raise ConfigError(
            f"{op.kind} at {op.where} has {op.attrs.groups} groups of channels; the engine has loops for 1: use a "
            "network without depthwise or grouped convolutions"
        )


def _bytes_in_w(em: Emitter, op: Op) -> None:
    """Refuses maps of errors in W where its elements are narrower than an error."""
    if em.build.weight_bits != BYTE:
        raise ConfigError(
            f"{op.kind} at {op.where} keeps a map of errors among the weights, which have "
            f"{em.build.weight_bits} bits in this engine: use --precision edge-latent-free-8, or a dense network"
        )


def conv2d(em: Emitter, action: Action) -> None:
    op = action.first
    _one_group(op)
    x, weight, *bias = op.inputs
    w, w_at = em.kernel(weight)
    grid, x_at = em.grid(x)
    out, d_at = em.grid(op.outputs[0])
    scalar, high = em.scaled(op, em.rounded(op), x)
    plane, before = _plane(op, grid)
    sy, sx = op.attrs.stride
    nest = Nest(
        name=f"{weight.name} forward",
        round=_window(op, w, grid),
        rounds=[
            Loop(out.width, x=sx * grid.pitch, d=out.pitch, column=sx),
            Loop(out.height, x=sy * grid.width * grid.pitch, d=out.width * out.pitch, row=sy),
            Loop(w.tiles, w=w.taps, p=w.lanes, d=w.lanes),
        ],
        control={"scalar_signed": signed(x), "high": high, "out_signed": em.byte(op, op.outputs[0])},
        starts={"x": x_at - before, "w": w_at, "d": d_at},
        shifts={"scalar": scalar},
        plane=plane,
    )
    with_biases(em, nest, op, bias, scalar)
    em.run(nest)


def conv2d_dx(em: Emitter, action: Action) -> None:
    """Byte by byte of the error below: errors of all windows that have read it, times the kernel."""
    op = action.first
    _one_group(op)
    if op.attrs.stride != (1, 1) or op.attrs.dilation != (1, 1):
        raise ConfigError(
            f"{op.kind} at {op.where} has stride {op.attrs.stride} and dilation {op.attrs.dilation}; the engine goes "
            "back through windows of stride and dilation 1: use a network of those, or a rule with local errors (etch, "
            "drtp)"
        )
    d, weight = op.inputs
    w, w_at = em.kernel(weight)
    grid, d_at = em.grid(d)
    out, e_at = em.grid(op.outputs[0])
    (py, px), row = op.attrs.padding, grid.width * grid.pitch
    _, c, r, s = w.shape
    cleared(em, op, op.outputs[0])
    em.run(
        Nest(
            name=f"{weight.name} error",
            round=[
                Loop(s, x=-grid.pitch, w=1, column=-1),
                Loop(r, x=-row, w=s, row=-1),
                Loop(w.tiles, x=w.lanes, w=w.taps),
            ],
            rounds=[
                Loop(out.width, x=grid.pitch, d=out.pitch, column=1),
                Loop(out.height, x=row, d=out.width * out.pitch, row=1),
                Loop(c, w=r * s, d=1),
            ],
            control={
                "a": A.VECTOR,
                "dot": 1,
                "vector_stream": 1,
                "scalar_signed": signed(d),
                "to": To.BYTE,
                "out_signed": em.byte(op, op.outputs[0]),
            },
            starts={"x": d_at + (py * grid.width + px) * grid.pitch, "w": w_at, "d": e_at},
            shifts={"serial": em.serial(op, em.rounded(op), wide=False)},
            plane=(grid.height, grid.width, py, px),
        )
    )


def conv2d_dw_update(em: Emitter, action: Action) -> None:
    """The map of errors goes to W, where a place of it is a word."""
    op = action.first
    d = op.inputs[0]
    grid, _ = em.grid(d)
    scratch, lanes = em.layout.scratch[action], em.build.lanes
    words = [Loop(grid.size // lanes, x=lanes, d=1)]
    em.run(copy(em, op, d, words, scratch, control={"to": To.WEIGHTS}))
    w, _ = em.kernel(op.written[0])
    _kernel_update(em, op, op.inputs[1], grid, range(w.tiles), scratch, w.tiles)


def gated_conv2d_dw_update(em: Emitter, action: Action) -> None:
    """A tile of channels of errors at a time."""
    op = action.first
    d, h, x = op.inputs[:3]
    weight = op.written[0]
    w, _ = em.kernel(weight)
    scratch = em.layout.scratch[action]
    for tile in range(w.tiles):
        em.run(unpooled(em, op, d, h, scratch, tile))
        _kernel_update(em, op, x, em.grid(h)[0], range(tile, tile + 1), scratch, 1)


def _kernel_update(
    em: Emitter, op: Op, x: Value, errors: Grid, tiles: range, scratch: int, pitch: int
) -> None:
    """The update of some tiles of a kernel by errors in W, ``pitch`` words a place."""
    _one_group(op)
    _bytes_in_w(em, op)
    weight = op.written[0]
    w, w_at = em.kernel(weight)
    grid, x_at = em.grid(x)
    scalar, high = em.scaled(op, em.moved(op), x)
    plane, before = _plane(op, grid)
    sy, sx = op.attrs.stride
    first, last = w_at + tiles.start * w.taps, w.shape[0] - (w.tiles - 1) * w.lanes
    if tiles.start == 0:
        em.draw(op, w.shape[0], lanes=False)
    em.run(
        Nest(
            name=f"{weight.name} update",
            round=[
                Loop(errors.width, x=sx * grid.pitch, w=pitch, column=sx),
                Loop(errors.height, x=sy * grid.width * grid.pitch, w=errors.width * pitch, row=sy),
            ],
            rounds=[
                *_window(op, w, grid, update=True),
                Loop(len(tiles), w=1, p=w.taps, d=w.taps, words=True),
            ],
            control={
                "scalar_signed": signed(x),
                "high": high,
                "out_signed": 1,
                "to": To.WEIGHTS,
                "prologue": Prologue.WEIGHTS,
                "update": 1,
            },
            starts={"x": x_at - before, "w": scratch, "p": first, "d": first},
            more={"last": (last if tiles.stop == w.tiles else w.lanes) - 1},
            shifts={"scalar": scalar},
            plane=plane,
        )
    )


def gated_sum_to_channels_update(em: Emitter, action: Action) -> None:
    """Sums of the map of errors, channel by channel: vectors with one byte times the words of a tile."""
    op = action.first
    d, h, bias = (*op.inputs[:2], op.written[0])
    grid, lanes = em.grid(h)[0], em.build.lanes
    shift, shifts = bias_shifts(em, op, most=7)
    scratch = em.layout.scratch[action]
    for tile in range(grid.pitch // lanes):
        em.run(unpooled(em, op, d, h, scratch, tile))
        nest = bias_update(
            em,
            bias,
            round=[Loop(grid.places, w=1)],
            rounds=[Loop(min(lanes, grid.channels - tile * lanes), x=lanes, p=1, d=1)],
            control={"a": A.VECTOR, "dot": 1, "vector_stream": 1},
            starts={"x": em.unit(1 << shift), "w": scratch},
            shifts=shifts,
        )
        nest.starts |= {s: nest.starts[s] + tile * lanes for s in "pd"}
        em.run(nest)
