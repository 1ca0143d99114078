"""Kernel matrices of a batch, for losses on statistical dependence. Legend: B batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from insitu.ops.common import Run, TorchContext, error_attrs, require, same_as, touch
from insitu.step.attrs import Attrs, attributes
from insitu.step.builder import Builder
from insitu.step.ir import Counts, Inferred, Op, OpRecord, Value, over_batch, register

if TYPE_CHECKING:
    from torch import Tensor


def _square(inputs: Sequence[Value], _attrs: Attrs) -> Inferred:
    (m, *_) = inputs
    require(
        len(m.shape) == 2 and m.shape[0] == m.shape[1],
        f"a kernel needs a square matrix [B,B], got {list(m.shape)}",
    )
    return [(m.shape, m.format)]


@attributes
class Gaussian(Attrs):
    """
    Attributes:
        width: 2σ²d of the Gaussian, more than 0.
    """

    width: float


@attributes
class Vote(Attrs):
    """
    Attributes:
        decay: factor on the former votes.
    """

    decay: float


def _gaussian_torch(op: Op[Gaussian], _rt: TorchContext) -> Run:
    width = op.attrs.width

    def kernel(g: Tensor) -> Any:
        norms = g.diagonal()
        distance = (norms[:, None] + norms[None, :]).sub_(g, alpha=2.0).clamp_(min=0.0)
        return distance.mul_(-1.0 / width).exp_()

    return kernel


def _gaussian_adjoint(
    b: Builder, op: Op[Gaussian], cotangents: Sequence[Value], _needs: Sequence[int]
) -> dict[int, Value]:
    made = b.emit1("gaussian_dx", cotangents[0], op.outputs[0], width=op.attrs.width, **error_attrs())
    return {0: made}


register(
    OpRecord(
        kind="gaussian",
        doc="K_ij = exp(-‖a_i - a_j‖² / width) from the Gram matrix of the rows a; width = 2σ²d in the papers",
        attrs=Gaussian,
        infer=_square,
        torch=_gaussian_torch,
        counts=touch(4),
        adjoint=_gaussian_adjoint,
        mixes_samples=over_batch,
    )
)


def _gaussian_dx_torch(op: Op[Gaussian], _rt: TorchContext) -> Run:
    width = op.attrs.width

    def dx(d: Tensor, k: Tensor) -> Any:
        """With s = ∂L/∂(distance²): -2 s off the diagonal, and the sums of its rows and columns on it."""
        s = (d * k).mul_(-1.0 / width)
        ends = s.sum(0) + s.sum(1)
        e = s.mul_(-2.0)
        e.diagonal().add_(ends)
        return e

    return dx


register(
    OpRecord(
        kind="gaussian_dx",
        doc="the error at the Gram matrix below a Gaussian kernel",
        attrs=Gaussian,
        infer=same_as(0),
        torch=_gaussian_dx_torch,
        counts=touch(4),
        mixes_samples=over_batch,
    )
)


def _centre_torch(_op: Op, _rt: TorchContext) -> Run:
    def centre(k: Tensor) -> Any:
        return (k - k.mean(0, keepdim=True)).sub_(k.mean(1, keepdim=True)).add_(k.mean())

    return centre


def _centre_adjoint(
    b: Builder, _op: Op, cotangents: Sequence[Value], _needs: Sequence[int]
) -> dict[int, Value]:
    return {0: b.emit1("centre", cotangents[0], **error_attrs())}


register(
    OpRecord(
        kind="centre",
        doc="HKH with H = I - 1/B: rows and columns of a matrix lose their means",
        infer=_square,
        torch=_centre_torch,
        counts=touch(4),
        adjoint=_centre_adjoint,
        mixes_samples=over_batch,
    )
)


def _inner_infer(inputs: Sequence[Value], _attrs: Attrs) -> Inferred:
    a, b = inputs
    require(a.shape == b.shape, f"an inner product needs two equal shapes, got {a.shape} and {b.shape}")
    return [((), a.format)]


register(
    OpRecord(
        kind="inner",
        doc="Σ a ⊙ b, a scalar",
        infer=_inner_infer,
        torch=lambda _op, _rt: lambda a, b: (a * b).sum(),
        counts=touch(2),
        mixes_samples=over_batch,
    )
)


def _vote_torch(op: Op[Vote], _rt: TorchContext) -> Run:
    decay = op.attrs.decay

    def vote(z: Tensor, label: Tensor, votes: Tensor) -> None:
        import torch

        rows, columns = z.argmax(1), label.long()
        one = torch.ones(len(rows), dtype=votes.dtype, device=votes.device)
        votes.mul_(decay).index_put_((rows, columns), one, accumulate=True)

    return vote


register(
    OpRecord(
        kind="vote",
        doc="votes_CC ← decay · votes; votes[argmax z, y] + 1 per sample: which output stands for which class",
        attrs=Vote,
        infer=lambda _inputs, _attrs: [],
        torch=_vote_torch,
        counts=lambda op: Counts(other={op.phase: op.inputs[0].size + op.inputs[2].size}),
        writes=lambda _n, _attrs: (2,),
        mixes_samples=over_batch,
    )
)


def _elect_infer(inputs: Sequence[Value], _attrs: Attrs) -> Inferred:
    z, votes = inputs
    require(
        len(z.shape) == 2 and z.shape[1] == votes.shape[0],
        f"outputs {list(z.shape)} do not fit the votes {list(votes.shape)}",
    )
    return [((z.shape[0], votes.shape[1]), z.format)]


def _elect_torch(_op: Op, _rt: TorchContext) -> Run:
    def elect(z: Tensor, votes: Tensor) -> Any:
        smooth = votes + 1.0 / votes.shape[1]
        return (smooth / smooth.sum(1, keepdim=True)).log_()[z.argmax(1)]

    return elect


register(
    OpRecord(
        kind="elect",
        doc="s_BC = log of the smoothed share of each class among the votes of output argmax z",
        infer=_elect_infer,
        torch=_elect_torch,
        counts=lambda op: Counts(other={op.phase: op.inputs[0].size + 2 * op.inputs[1].size}),
    )
)
