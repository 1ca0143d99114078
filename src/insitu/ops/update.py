"""Update ops: the only ops, beside running statistics, that change a value.

``update(w, g, *state)`` applies a gradient; ``<gradient op>_update`` makes and applies it in one pass, so that no
gradient is ever stored as a whole. What a gradient does to a weight is the op's ``optimizer``: an
:class:`~insitu.ops.optimizers.Optimizer` on reals, an update of :mod:`insitu.ops.updates` on integers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

from insitu.ops.common import Run, Sums, TorchContext, no_outputs
from insitu.ops.integer_products import ConvolutionDw
from insitu.ops.loops import LoopNest, Operand, loops
from insitu.ops.norm import Epsilon
from insitu.ops.optimizers import LINEAR, Accumulate, Optimizer, apply, scaled
from insitu.ops.pool import UnpoolGate
from insitu.ops.updates import BoundUpdate, MasterUpdate, executor
from insitu.ops.updates.base import MACS_PER_WEIGHT
from insitu.step.attrs import Attrs, Range, attributes, make, names
from insitu.step.ir import OPS, Counts, Level, Op, OpRecord, Phase, Trait, Value, over_batch, register

if TYPE_CHECKING:
    from torch import Tensor


@attributes
class Optimized(Attrs):
    """
    Attributes:
        optimizer: how the weight moves by its gradient.
    """

    optimizer: Optimizer | BoundUpdate | MasterUpdate

    @property
    def zero_grad_is_noop(self) -> bool:
        return self.optimizer.zero_grad_is_noop

    @property
    def registers(self) -> bool:
        return isinstance(self.optimizer, BoundUpdate) and self.optimizer.registers


@attributes
class Update(Optimized):
    """
    Attributes:
        exponents: operands behind the gradient that are run-time exponents of it.
    """

    exponents: Annotated[int, Range(0, 1)] = 0


@attributes
class Applied(Optimized):
    """
    Attributes:
        operands: of the gradient and its exponents; the weights come behind them.
        exponents: how many of the operands are run-time exponents of the gradient.
    """

    operands: Annotated[int, Range(1)]
    exponents: Annotated[int, Range(0, 1)] = 0


@attributes
class SumsUpdate(Applied, Sums):
    """The update by a gradient of sums."""


@attributes
class ConvolutionUpdate(Applied, ConvolutionDw):
    """The update of a kernel."""


@attributes
class Gated(Attrs):
    """
    Attributes:
        pool: rows and columns of the map that share an error.
        parts: that an error is divided into.
    """

    pool: tuple[int, int]
    parts: Annotated[int, Range(1)] = 1


@attributes
class GatedSumsUpdate(SumsUpdate, Gated):
    """The update of a bias whose map has pooled errors."""


@attributes
class GatedConvolutionUpdate(ConvolutionUpdate, Gated):
    """The update of a kernel whose map has pooled errors."""


@attributes
class NormUpdate(Applied, Epsilon):
    """The update of a batch norm's scale."""


@attributes
class Deferred(SumsUpdate):
    """
    Attributes:
        defer: steps whose errors and inputs are kept before the weights move.
    """

    defer: Annotated[int, Range(1)]


def _update_torch(op: Op[Update], rt: TorchContext) -> Run:
    o = op.attrs.optimizer
    if not isinstance(o, Optimizer):
        run = executor.move(_gradient_first(op), rt, lambda g: g, 1)
        return lambda w, g, *rest: run(g, *rest[: op.attrs.exponents], w, *rest[op.attrs.exponents :])
    return lambda w, g, *state: apply(o, rt, w, g, state)


def _gradient_first(op: Op[Update]) -> Op[Update]:
    """``update(w, g, *exponents, *state)`` in the order of the fused updates: g, exponents, w, state."""
    w, g, *rest = op.inputs
    n = op.attrs.exponents
    return replace(op, inputs=(g, *rest[:n], w, *rest[n:]))


def _update_counts(o: Optimizer | BoundUpdate | MasterUpdate, w: Value) -> Counts:
    if not isinstance(o, Optimizer):
        return o.counts(w.shape)
    size = w.size
    return Counts(macs={Phase.UPDATE: MACS_PER_WEIGHT[o.kind] * size}, other={Phase.UPDATE: size})


register(
    OpRecord(
        kind="update",
        doc="w (and the optimiser's state) move by a gradient: update(w, g, *state); a gradient of integers may have a "
        "run-time exponent: update(w, g, e, *state)",
        attrs=Update,
        infer=no_outputs,
        torch=_update_torch,
        counts=lambda op: _update_counts(op.attrs.optimizer, op.inputs[0]),
        writes=lambda n, attrs: (0, *range(2 + attrs.exponents, n)),
        level=Level.REAL | Level.INTEGER,
        traits=(Trait.MOVES,),
        mixes_samples=over_batch,
    )
)


def _dense_accumulate(d: Tensor, x: Tensor) -> Accumulate:
    """into ← beta · into + alpha · dᵀx; a rank-1 update at batch 1."""
    dt = d.t()
    if d.shape[0] == 1:
        return lambda into, beta, alpha: scaled(into, beta).addcmul_(dt, x, value=alpha)
    return lambda into, beta, alpha: into.addmm_(dt, x, beta=beta, alpha=alpha)


def _dense_update_torch(op: Op[SumsUpdate], rt: TorchContext) -> Run:
    """The gradient is never stored: accumulated in place, or made a few rows at a time."""
    o = op.attrs.optimizer
    if not isinstance(o, Optimizer):
        return executor.move(op, rt, OPS["matmul_dw"].torch(op, rt), 2)
    if o.kind in LINEAR:
        linear = LINEAR[o.kind]
        return lambda d, x, w, *state: linear(o, rt, w, _dense_accumulate(d, x), *state)

    step = max(1, executor.TILE // op.inputs[2].shape[1])

    def by_rows(d: Tensor, x: Tensor, w: Tensor, *state: Tensor) -> None:
        for i in range(0, w.shape[0], step):
            rows = slice(i, i + step)
            apply(o, rt, w[rows], d[:, rows].t() @ x, [s[rows] for s in state])

    return by_rows


def _flat(d: Tensor) -> Any:
    """The bias gradient of one sample without space: there is nothing to sum."""
    return d.view(-1)


def _whole_update_torch(gradient: str) -> Callable[[Op[Applied], TorchContext], Run]:
    """Makes the gradient as a workspace of the op, then applies it (convolutions, biases: small)."""

    def lower(op: Op[Applied], rt: TorchContext) -> Any:
        o, n = op.attrs.optimizer, op.attrs.operands
        make = OPS[gradient].torch(op, rt)
        if not isinstance(o, Optimizer):
            return executor.move(op, rt, make, n - op.attrs.exponents)
        if gradient == "sum_to_channels" and op.inputs[0].size == op.inputs[n].size:
            make = _flat

        def run(*tensors: Tensor) -> None:
            apply(o, rt, tensors[n], make(*tensors[:n]), tensors[n + 1 :])

        return run

    return lower


def _fused_counts(gradient: str) -> Callable[[Op[Applied]], Counts]:
    def counts(op: Op[Applied]) -> Counts:
        made = OPS[gradient].counts(op)
        applied = _update_counts(op.attrs.optimizer, op.inputs[op.attrs.operands])
        return Counts(
            {**made.macs, **applied.macs}, {**made.other, **applied.other}, made.random + applied.random
        )

    return counts


def _register_fused(
    gradient: str, attrs: type[Applied], lower: Callable[[Op[Any], TorchContext], Run]
) -> None:
    register(
        OpRecord(
            kind=f"{gradient}_update",
            doc=f"{gradient} and update in one pass; no gradient is stored",
            attrs=attrs,
            infer=no_outputs,
            torch=lower,
            counts=_fused_counts(gradient),
            writes=lambda n, attrs: tuple(range(attrs.operands, n)),
            level=OPS[gradient].level | Level.FUSED,
            traits=(Trait.MOVES,),
            loops=OPS[gradient].loops,
            fuses=gradient,
            mixes_samples=over_batch,
        )
    )


_register_fused("matmul_dw", SumsUpdate, _dense_update_torch)
_register_fused("conv2d_dw", ConvolutionUpdate, _whole_update_torch("conv2d_dw"))
_register_fused("sum_to_channels", SumsUpdate, _whole_update_torch("sum_to_channels"))
_register_fused("bn_dgamma", NormUpdate, _whole_update_torch("bn_dgamma"))


# --- errors of a pooled map, and the gate ----------------------------------------------------------------------


def expanded(op: Op[Any]) -> tuple[Op, Op]:
    """The two ops that a gated update is: the map of errors, and the update that reads it."""
    d, h, *rest = op.inputs
    a, plain = op.attrs, OPS[op.kind.removeprefix("gated_")]
    window = UnpoolGate(kernel=a.pool, stride=a.pool, padding=(0, 0), parts=a.parts)
    error = replace(h, name=f"{d.name}.map", format=d.format, role=d.role)
    given = {k: v for k, v in a.explicit().items() if k not in names(Gated)} | {"operands": a.operands - 1}
    update = replace(op, kind=plain.kind, inputs=(error, *rest), attrs=make(plain.attrs, given))
    return Op("unpool_gate", (d, h), (error,), window, op.phase, op.where), update


def _gated_torch(op: Op[Any], rt: TorchContext) -> Run:
    """By way of the map, as a workspace."""
    spread, update = expanded(op)
    unpool, move = OPS["unpool_gate"].torch(spread, rt), OPS[update.kind].torch(update, rt)
    return lambda d, h, *rest: move(unpool(d, h), *rest)


def _gated_loops(op: Op[Any]) -> LoopNest | None:
    """Of the map, a channel of which is made at a time: what is read of memory is the gate."""
    _, update = expanded(op)
    nest = loops(update)
    return nest and replace(nest, stationary=Operand.of(op.inputs[1], width=op.inputs[0].format.bits))


def _gated_counts(op: Op[Any]) -> Counts:
    """Those of the update, and an operation per element of the map for the gate."""
    _, update = expanded(op)
    made = OPS[update.kind].counts(update)
    return replace(made, other={**made.other, op.phase: made.other.get(op.phase, 0) + op.inputs[1].size})


def _register_gated(update: str, attrs: type[Applied]) -> None:
    plain = OPS[update]
    register(
        replace(
            plain,
            kind=f"gated_{update}",
            doc=f"{update} by the errors d_BCPQ of a map pooled by windows side by side, each for all of its window "
            f"where the ReLU's output h_BCHW is above 0: gated_{update}(d, h, ...); no map of errors is stored",
            attrs=attrs,
            torch=_gated_torch,
            counts=_gated_counts,
            loops=_gated_loops if plain.loops else None,
            fuses=None,
        )
    )


_register_gated("conv2d_dw_update", GatedConvolutionUpdate)
_register_gated("sum_to_channels_update", GatedSumsUpdate)


def _deferred_counts(op: Op[Deferred]) -> Counts:
    """On average: a step's share of the gradient and of the weights that move, and what is kept of it."""
    k = op.attrs.defer
    made = _fused_counts("matmul_dw")(executor.deferred(op))
    other = {phase: -(-n // k) for phase, n in made.other.items()}
    other[Phase.GRADIENT] = op.inputs[0].size + op.inputs[1].size
    return Counts({phase: -(-n // k) for phase, n in made.macs.items()}, other, -(-made.random // k))


register(
    OpRecord(
        kind="matmul_dw_deferred",
        doc="keeps d_BO and x_BI of a step with an error; those of every ``defer`` steps move the weights at once: "
        "matmul_dw_deferred(d, x, w, errors, inputs, count)",
        attrs=Deferred,
        infer=no_outputs,
        torch=lambda op, rt: executor.defer(op, rt, OPS["matmul_dw"].torch(executor.deferred(op), rt)),
        counts=_deferred_counts,
        writes=lambda n, attrs: (2, 3, 4, 5),
        level=Level.INTEGER,
        mixes_samples=over_batch,
        deferred=lambda op: (executor.deferred(op), op.attrs.defer),
    )
)
