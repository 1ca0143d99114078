"""The updates of :mod:`insitu.ops.stored` in torch, for the executor: the bits of the integer reference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np

from insitu.ops.quant import EXACT
from insitu.ops.stored import (
    AVERAGE,
    EVIDENCE,
    JUMPS,
    Latent,
    Move,
    Stored,
    carried,
    gathered,
    jump_table,
    real_step,
)
from insitu.step.ir import Op, Shape


class _Words:
    """The random words of one update: one per row, then one per column; xor-ed for a part of the rows."""

    def __init__(self, o: Stored, rt: Any, shape: Shape) -> None:
        self.count, self.device = shape[0], rt.device
        self.rest = prod(shape[1:]) if len(shape) > 1 else 0
        self.words = o.words(rt.seed, rt.t, self.count + self.rest) if o.random else np.zeros(0, np.int64)
        self.known: tuple[int, Any, Any] | None = None

    def high(self, rows: Any, bits: int) -> Any:
        """The ``bits`` high bits of the words of some rows, int32 (int64 for 32 bits)."""
        import torch

        if self.known is None or self.known[0] != bits:
            cut = (self.words >> (32 - bits)).astype(np.int32 if bits < 32 else np.int64)
            tensor = torch.from_numpy(cut).to(self.device)
            self.known = (bits, tensor[: self.count], tensor[self.count :])
        _, r, c = self.known
        return r[rows, None] ^ c if self.rest else r[rows]

    def fractions(self, bits: int) -> tuple[Any, Any]:
        """Int32 R (a column) and C (a row), whose xor is the bit pattern of the float32 1 + (high bits) · 2**-bits."""
        import torch

        cut = ((self.words >> (32 - bits)) << (23 - bits)).astype(np.int32)
        cut[: self.count] |= 0x3F800000  # the exponent of 1
        tensor = torch.from_numpy(cut).to(self.device)
        return tensor[: self.count, None], tensor[self.count :]


def _stochastic(g: Any, k: int, words: _Words, rows: Any) -> Any:
    """g · 2**-k, rounded up with the chance of the fraction; g is used up."""
    if k <= 0:
        return g.mul_(2.0**-k)
    k = min(k, 32)
    if k > 20:
        g = g.double()
    flat = g.view(g.shape[0], -1) if words.rest else g
    return flat.add_(words.high(rows, k)).mul_(2.0**-k).floor_().view(g.shape)


def _move_stored(o: Stored, rt: Any, w: Any, g: Any, e: int, words: _Words, rows: Any) -> None:
    """Changes some rows of w by their gradient."""
    import torch

    k = o.shift(rt.lr, e)
    if o.kind == "niti":
        k = int(torch.frexp(g.abs().max())[1]) - o.step_bits + (o.stride - 1)
    if o.kind in ("stochastic", "niti"):
        x = _stochastic(g, k, words, rows)
    elif o.kind == "dst":
        x = _jumps(o, g, k, words, rows)
    elif o.kind == "integer-sgd":
        x = (g.double() * 2.0**-k).trunc_()
        if o.decay is not None:
            x = x + (w.double() * 2.0**-o.decay).trunc_()
    else:
        x = (g.double() * 2.0 ** -min(k, 62)).add_(0.5).floor_() if k > 0 else g * 2.0**-k
    if o.stride != 1:
        x = x * o.stride
    w.sub_(x.to(w.dtype)).clamp_(o.format.least, o.format.greatest)


def _jumps(o: Stored, g: Any, k: int, words: _Words, rows: Any) -> Any:
    import torch

    size = g.double().abs() * 2.0 ** -max(k, -20)
    table = torch.tensor(jump_table(o.kappa), dtype=torch.int32)
    part = ((size - size.floor()) * JUMPS).floor_().long()
    more = words.high(rows, 16).view(g.shape) < table[part]
    return torch.sign(g) * (size.floor() + more)


def _bop(o: Stored, rt: Any, w: Any, g: Any, e: int, m: Any) -> None:
    k = o.shift(rt.lr, e) - 8
    x = (g.double() * 2.0 ** -min(k, 62)).add_(0.5).floor_() if k > 0 else g.double() * 2.0**-k
    x = x.clamp_(AVERAGE.least, AVERAGE.greatest) - m
    m.add_((x * 2.0**-o.gamma).add_(0.5).floor_().to(m.dtype)).clamp_(AVERAGE.least, AVERAGE.greatest)
    flip = (m * w >= o.flip).to(w.dtype)
    w.mul_(1 - 2 * flip)


def _rotating(o: Stored, rt: Any, w: Any, g: Any, e: int, words: _Words, sums: Any) -> None:
    """``g``: the gradient of the active rows."""
    rows = o.active(tuple(w.shape), rt.t)
    part = sums[: rows.stop - rows.start]
    x = _stochastic(g, o.shift(rt.lr, e), words, rows)
    part.add_(x.to(part.dtype)).clamp_(EVIDENCE.least, EVIDENCE.greatest)
    if rt.t % o.window == o.window - 1:
        step = part.sign() * (part.abs() >= o.evidence) * o.stride
        w[rows] = (w[rows] - step).clamp_(o.format.least, o.format.greatest)
        sums.zero_()


def _carry(o: Stored, rt: Any, w: Any, g: Any, e: int, words: _Words, rest: Any) -> None:
    import torch

    flat = w.reshape(w.shape[0], -1).long()
    drawn = torch.from_numpy(words.words).to(w.device)
    shared = drawn[: words.count, None] ^ drawn[words.count :][:: o.carry]
    kept = rest.long()
    carried(o, min(o.shift(rt.lr, e), 32), flat, g.reshape(flat.shape).long(), kept, shared)
    w.copy_(flat.view(w.shape))
    rest.copy_(kept)


def _move_latent(o: Latent, rt: Any, w: Any, g: Any, e: int, state: Sequence[Any]) -> None:
    """Plain float32 operations, one rounding each, so that NumPy gives the same bits."""
    real = g.float() * float(np.float32(o.unit * 2.0**e))
    moved = real_step(o.optimizer, rt.lr, rt.t, w, real, state)
    w.sub_(moved).clamp_(-o.bound, o.bound)
    if o.half:
        w.copy_(w.half().float())


TILE = 32768
"""Elements of a gradient that the torch executor makes at a time where an update needs the gradient itself:
what a core's cache holds, and torch's grain size, up to which an element-wise op does not wait for threads.
"""


WIDE = 1 << 18
"""As :data:`TILE`, where the product is the larger part of the work: products of few rows are slow."""


def move(op: Op, rt: Any, gradient: Callable[..., Any], operands: int) -> Callable[..., None]:
    """The update of an op with inputs (gradient operands..., [exponent], w, *state).

    Args:
        gradient: of the first ``operands`` inputs, whole.
    """
    o: Move = op.attrs["optimizer"]
    n = operands + op.attrs.get("exponents", 0)
    shape = op.inputs[n].shape
    everything = slice(0, shape[0])
    tiled = op.kind == "matmul_dw_update" and op.attrs["chunks"] == 1 and not op.attrs.get("limit")
    scratch: list[
        Any
    ] = []  # a part of a gradient, kept from step to step: fresh memory costs as much as the update

    def run(*tensors: Any) -> None:
        given, w, state = tensors[:operands], tensors[n], tensors[n + 1 :]
        e = int(tensors[operands]) if n > operands else 0
        if isinstance(o, Latent):
            _move_latent(o, rt, w, gradient(*given), e, state)
            return
        words = _Words(o, rt, shape)
        if o.channels:
            _by_channels(o, rt, w, gradient(*given), e, words)
        elif o.kind == "bop":
            _bop(o, rt, w, gradient(*given), e, state[0])
        elif o.kind == "carry":
            _carry(o, rt, w, gradient(*given), e, words, state[0])
        elif o.kind == "rotating":
            rows = o.active(shape, rt.t)
            cut = _rows_of(op.kind, given, rows) if operands == 2 else None
            g = gradient(*cut) if cut is not None else gradient(*given)[rows]
            _rotating(o, rt, w, g, e, words, state[0])
        elif tiled and not o.whole:
            _by_tiles(o, rt, w, given, e, words, op.attrs["format"].reach, scratch)
        else:
            _move_stored(o, rt, w, gradient(*given), e, words, everything)

    return run


def gathering(op: Op, rt: Any, gradient: Callable[..., Any]) -> Callable[..., None]:
    """The update by the errors and inputs of ``gather`` steps.

    Args:
        gradient: of errors and inputs of them all.
    """
    gather, batch = op.attrs["gather"], op.inputs[0].shape[0]
    apply = move(gathered(op), rt, gradient, 2)

    def run(d: Any, x: Any, w: Any, errors: Any, inputs: Any, count: Any) -> None:
        if not d.any():
            return
        at = int(count[0])
        errors[at * batch : (at + 1) * batch].copy_(d)
        inputs[at * batch : (at + 1) * batch].copy_(x)
        count[0] = (at + 1) % gather
        if at + 1 == gather:
            apply(errors.to(d.dtype), inputs.to(x.dtype), w)

    return run


def _by_channels(o: Stored, rt: Any, w: Any, g: Any, e: int, words: _Words) -> None:
    """Output channels of one unit at a time."""
    import torch

    shifts = torch.tensor(o.channels)
    for more in sorted(set(o.channels)):
        rows = (shifts == more).nonzero().view(-1)
        part = w[rows]
        _move_stored(o, rt, part, g[rows], e - more, words, rows)
        w[rows] = part


def _rows_of(kind: str, given: Sequence[Any], rows: slice) -> tuple[Any, ...] | None:
    """The operands that make only some rows of a dense gradient."""
    d, x = given
    return (d[:, rows], x) if kind == "matmul_dw_update" else None


def _by_tiles(
    o: Stored,
    rt: Any,
    w: Any,
    given: Sequence[Any],
    e: int,
    words: _Words,
    reach: int,
    scratch: list[Any],
) -> None:
    """A dense gradient up to ± reach, a few rows at a time: no whole gradient is stored."""
    d, x = given
    step = max(1, WIDE // w.shape[1])
    k = o.shift(rt.lr, e)
    quick = o.kind == "stochastic" and k > 0 and reach + (2 << k) <= EXACT
    if quick:
        r, c = words.fractions(k)
        if d.shape[0] <= FEW:
            _sparsely(o, w, d, x, k, r, c)
        else:
            _quickly(o, w, d, x, k, r, c, step, scratch)
        return
    dt = d.t()
    for i in range(0, w.shape[0], step):
        rows = slice(i, min(i + step, w.shape[0]))
        _move_stored(o, rt, w[rows], dt[rows] @ x, e, words, rows)


FEW = 4
"""Samples up to which many errors and inputs are zero for all of them."""


def _sparsely(o: Stored, w: Any, d: Any, x: Any, k: int, r: Any, c: Any) -> None:
    """Only rows with an error and columns with an input: where the gradient is zero, rounding adds nothing."""
    rows, columns = d.any(0).nonzero().view(-1), x.any(0).nonzero().view(-1)
    if 2 * rows.numel() * columns.numel() > w.numel():
        _quickly(o, w, d, x, k, r, c, max(1, WIDE // w.shape[1]), [])
    elif rows.numel() and columns.numel():
        part = w[rows[:, None], columns]
        _quickly(o, part, d[:, rows], x[:, columns], k, r[rows], c[columns], len(rows), [])
        w[rows[:, None], columns] = part


def _quickly(
    o: Stored, w: Any, d: Any, x: Any, k: int, r: Any, c: Any, step: int, scratch: list[Any]
) -> None:
    """The stochastic update in four sweeps over the weights.

    The product is added to the random fractions, which are made as floats 1 + a · 2**-k by their bits; a sample more,
    -1 times 1, takes the 1 off again. Every number on the way is a multiple of 2**-k, at most 2**(24 - k): exact.
    """
    import torch

    dt = torch.cat((d * 2.0**-k, d.new_full((1, d.shape[1]), -1.0))).t()
    more = torch.cat((x, x.new_ones((1, x.shape[1]))))
    if not scratch:
        scratch.append(torch.empty((min(step, w.shape[0]), w.shape[1]), dtype=torch.int32, device=w.device))
    for i in range(0, w.shape[0], step):
        rows = slice(i, min(i + step, w.shape[0]))
        part = scratch[0][: rows.stop - rows.start]
        change = torch.bitwise_xor(r[rows], c, out=part).view(torch.float32).addmm_(dt[rows], more).floor_()
        w[rows].sub_(change, alpha=o.stride).clamp_(o.format.least, o.format.greatest)
