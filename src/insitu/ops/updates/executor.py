"""Runs the torch forms of updates: random words, parts of a gradient, output channels, deferred gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from insitu.ops.updates.base import BoundUpdate
from insitu.ops.updates.master import MasterUpdate
from insitu.ops.updates.stochastic import WIDE
from insitu.step.ir import Op, Shape


class Words:
    """The random words of one update: one per row, then one per column; xor-ed for a part of the rows."""

    def __init__(self, b: BoundUpdate, rt: Any, shape: Shape, registers: Any = None) -> None:
        self.count, self.device = shape[0], rt.device
        self.rest = prod(shape[1:]) if len(shape) > 1 else 0
        drawn = b.words(rt.seed, rt.t, self.count, self.rest, registers) if b.random else ()
        self.words = np.concatenate(drawn) if drawn else np.zeros(0, np.int64)
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


TILE = 32768
"""Elements of a gradient that the torch executor makes at a time where an update needs the gradient itself:
what a core's cache holds, and torch's grain size, up to which an element-wise op does not wait for threads.
"""


def move(op: Op, rt: Any, gradient: Callable[..., Any], operands: int) -> Callable[..., None]:
    """The update of an op with inputs (gradient operands..., [exponent], w, *state, [registers]).

    Args:
        gradient: of the first ``operands`` inputs, all of it.
    """
    o: BoundUpdate | MasterUpdate = op.attrs.optimizer
    n = operands + op.attrs.exponents
    apply = _master(o, gradient) if isinstance(o, MasterUpdate) else _bound(op, o, gradient, n)

    def run(*tensors: Any) -> None:
        e = int(tensors[operands]) if n > operands else 0
        apply(rt, tensors[:operands], tensors[n], e, tensors[n + 1 :])

    return run


def _master(o: MasterUpdate, gradient: Callable[..., Any]) -> Callable[..., None]:
    return lambda rt, given, w, e, state: o.move(rt, w, gradient(*given), e, state)


def _bound(op: Op, b: BoundUpdate, gradient: Callable[..., Any], at: int) -> Callable[..., None]:
    """``at``: the position of the weight among the inputs."""
    shape, method = op.inputs[at].shape, b.method
    tiled = op.kind == "matmul_dw_update" and op.attrs.chunks == 1 and not op.attrs.limit
    tiled = tiled and not method.needs_full_gradient and not method.states(shape)
    scratch: list[Any] = []  # a part of a gradient, kept: fresh memory costs as much as the update

    def apply(rt: Any, given: Sequence[Any], w: Any, e: int, state: Sequence[Any]) -> None:
        *state, registers = state if b.registers else (*state, None)
        words = Words(b, rt, shape, registers)
        if b.channels:
            _by_channels(b, rt, w, gradient(*given), e, words)
        elif tiled:
            _by_tiles(b, rt, w, given, e, words, op.attrs.format.max_abs, scratch)
        else:
            rows = method.rows(shape, rt.t)
            method.move(b, rt, w, _gradient_of(op, rows, shape, given, gradient), e, words, rows, state)

    return apply


def _gradient_of(
    op: Op, rows: slice, shape: Shape, given: Sequence[Any], gradient: Callable[..., Any]
) -> Any:
    """The gradient of some rows; of a dense layer no other is made."""
    if rows == slice(0, shape[0]):
        return gradient(*given)
    if op.kind == "matmul_dw_update":
        d, x = given
        return gradient(d[:, rows], x)
    return gradient(*given)[rows]


def deferred(op: Op) -> Op:
    """The plain update that a ``matmul_dw_deferred`` makes once enough steps are kept."""
    _, _, w, errors, inputs, _ = op.inputs
    return replace(op, kind="matmul_dw_update", inputs=(errors, inputs, w))


def defer(op: Op, rt: Any, gradient: Callable[..., Any]) -> Callable[..., None]:
    """The update by the errors and inputs of ``defer`` steps.

    Args:
        gradient: of errors and inputs of them all.
    """
    defer, batch = op.attrs.defer, op.inputs[0].shape[0]
    apply = move(deferred(op), rt, gradient, 2)

    def run(d: Any, x: Any, w: Any, errors: Any, inputs: Any, count: Any) -> None:
        if not d.any():
            return
        at = int(count[0])
        errors[at * batch : (at + 1) * batch].copy_(d)
        inputs[at * batch : (at + 1) * batch].copy_(x)
        count[0] = (at + 1) % defer
        if at + 1 == defer:
            apply(errors.to(d.dtype), inputs.to(x.dtype), w)

    return run


def _by_channels(b: BoundUpdate, rt: Any, w: Any, g: Any, e: int, words: Words) -> None:
    """Output channels of one unit at a time."""
    import torch

    shifts = torch.tensor(b.channels)
    for more in sorted(set(b.channels)):
        rows = (shifts == more).nonzero().view(-1)
        part = w[rows]
        b.method.move(b, rt, part, g[rows], e - more, words, rows, ())
        w[rows] = part


def _by_tiles(
    b: BoundUpdate,
    rt: Any,
    w: Any,
    given: Sequence[Any],
    e: int,
    words: Words,
    max_abs: int,
    scratch: list[Any],
) -> None:
    """A dense gradient of at most ``max_abs``, a few rows at a time: no whole gradient is stored."""
    d, x = given
    if b.method.move_dense(b, w, d, x, b.shift(rt.lr, e), words, max_abs, scratch):
        return
    step, dt = max(1, WIDE // w.shape[1]), d.t()
    for i in range(0, w.shape[0], step):
        rows = slice(i, min(i + step, w.shape[0]))
        b.method.move(b, rt, w[rows], dt[rows] @ x, e, words, rows, ())
