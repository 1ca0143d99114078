"""Pools, and the errors below them."""

from __future__ import annotations

from insitu.backends.engine.actions import Action
from insitu.backends.engine.emit.elements import copy, masked
from insitu.backends.engine.emit.emitter import Emitter, signed
from insitu.backends.engine.forms import Grid
from insitu.backends.engine.isa import To
from insitu.backends.engine.microcode import Loop, Nest
from insitu.errors import ConfigError
from insitu.run.integer import pool_geometry
from insitu.step.ir import Op, Value


def _pool(em: Emitter, op: Op, x: Grid, out: Grid) -> tuple[list[Loop], list[Loop]]:
    """Over a window, and over all windows, vector by vector.

    Raises:
        ConfigError: windows have padding.
    """
    a = op.attrs
    (ky, kx), (sy, sx), padding = (
        (a.kernel, a.stride, a.padding) if op.kind == "sum_pool" else pool_geometry(op)
    )
    if tuple(padding) != (0, 0):
        raise ConfigError(
            f"{op.kind} at {op.where} has padding {padding}; the engine pools without: use padding 0"
        )
    row, lanes = x.width * x.pitch, em.build.lanes
    window = [Loop(kx, x=x.pitch), Loop(ky, x=row)]
    windows = [
        Loop(out.pitch // lanes, x=lanes, d=lanes),
        Loop(out.width, x=sx * x.pitch, d=out.pitch),
        Loop(out.height, x=sy * row, d=out.width * out.pitch),
    ]
    return window, windows


def sum_pool(em: Emitter, action: Action) -> None:
    op, x, out = action.first, action.first.inputs[0], action.last.outputs[0]
    k = em.rounded(action.last)
    nest = copy(em, op, x, [], em.grid(out)[1], k, control={"out_signed": em.byte(op, out)})
    nest.round, nest.rounds = _pool(em, op, em.grid(x)[0], em.grid(out)[0])
    em.run(nest)


def max_pool(em: Emitter, action: Action) -> None:
    op = action.first
    (x,), window = op.inputs, pool_geometry(op)[0]
    if len(op.outputs) == 2 and (window[0] * window[1] > 4 or not em.build.positions):
        raise ConfigError(
            f"{op.kind} at {op.where} keeps positions in windows of {window}; the engine counts to 4, if it is built "
            "with positions: use pools of 2 x 2, or a rule without max_unpool (etch, drtp)"
        )
    for position, out in enumerate(op.outputs):
        nest = copy(
            em, op, x, [], em.grid(out)[1], control={"pool": 1, "high": 0, "scalar_signed": signed(x)}
        )
        nest.round, nest.rounds = _pool(em, op, em.grid(x)[0], em.grid(out)[0])
        nest.control["position"] = position
        em.run(nest)


def max_unpool(em: Emitter, action: Action) -> None:
    """Place by place of the windows: the errors whose position it is, and zeros."""
    op = action.first
    d, position = op.inputs
    grid, _ = em.grid(d)
    out, at = em.grid(op.outputs[0])
    ky, kx = _whole(op, grid, out, (out.height // grid.height, out.width // grid.width))
    for code in range(ky * kx):
        y, x = divmod(code, kx)
        place = at + (y * out.width + x) * out.pitch
        nest = copy(em, op, d, _spread(em, grid, out, ky, kx, p=1), place)
        masked(em, nest, position)
        nest.more |= {"match": 1, "code": code}
        em.run(nest)


def _spread(em: Emitter, grid: Grid, out: Grid, ky: int, kx: int, p: int) -> list[Loop]:
    """Over all windows, vector by vector; stream p reads beside x."""
    row, lanes = out.width * out.pitch, em.build.lanes
    return [
        Loop(grid.pitch // lanes, x=lanes, p=p * lanes, d=lanes),
        Loop(grid.width, x=grid.pitch, p=p * grid.pitch, d=kx * out.pitch),
        Loop(grid.height, x=grid.width * grid.pitch, p=p * grid.width * grid.pitch, d=ky * row),
    ]


def _whole(op: Op, grid: Grid, out: Grid, window: tuple[int, int]) -> tuple[int, int]:
    """Refuses windows that do not fill the map."""
    if (grid.height * window[0], grid.width * window[1]) != (out.height, out.width):
        raise ConfigError(
            f"{op.kind} at {op.where}: windows of {window} do not fill a map of {out.height} x {out.width}; the engine "
            "needs windows side by side: use pools that divide their maps"
        )
    return window


def unpool(em: Emitter, action: Action) -> None:
    """``sum_unpool``, and ``unpool_gate`` with its mask."""
    op = action.first
    d, out = op.inputs[0], op.outputs[0]
    if op.attrs.kernel != op.attrs.stride or op.attrs.padding != (0, 0):
        raise ConfigError(
            f"{op.kind} at {op.where} has windows that overlap; use pools whose stride is their size"
        )
    grid, (whole, at) = em.grid(d)[0], em.grid(out)
    lanes = em.build.lanes
    loops = _windows(
        grid, whole, _whole(op, grid, whole, op.attrs.kernel), (whole.pitch, whole.width * whole.pitch)
    )
    nest = copy(em, op, d, [Loop(grid.pitch // lanes, x=lanes, p=lanes, d=lanes), *loops], at)
    if op.kind == "unpool_gate":
        masked(em, nest, op.inputs[1])
    em.run(nest)


def unpooled(em: Emitter, op: Op, d: Value, h: Value, scratch: int, tile: int) -> Nest:
    """A tile of channels of the map of errors behind a gate, in W."""
    grid, (whole, h_at) = em.grid(d)[0], em.grid(h)
    loops = _windows(grid, whole, _whole(op, grid, whole, op.attrs.pool), (1, whole.width))
    nest = copy(em, op, d, loops, scratch, control={"to": To.WEIGHTS})
    masked(em, nest, h)
    nest.starts["p"] = h_at + tile * em.build.lanes
    nest.starts["x"] += tile * em.build.lanes
    return nest


def _windows(grid: Grid, whole: Grid, window: tuple[int, int], step: tuple[int, int]) -> list[Loop]:
    """Over a map by its windows: x stays in a window, p goes over the map, d over the map in steps of its own."""
    (ky, kx), (dx, dy) = window, step
    place, row = whole.pitch, whole.width * whole.pitch
    return [
        Loop(kx, p=place, d=dx),
        Loop(grid.width, x=grid.pitch, p=kx * place, d=kx * dx),
        Loop(ky, p=row, d=dy),
        Loop(grid.height, x=grid.width * grid.pitch, p=ky * row, d=ky * dy),
    ]
