"""Normalisations: batch norm (split into statistics, application and adjoints) and per-sample RMS norm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from insitu.ops.common import Run, TorchContext, error_attrs, no_outputs, require, same_as, touch
from insitu.ops.matmul import channels, sum_dims
from insitu.step.attrs import Attrs, Range, attributes
from insitu.step.builder import Builder
from insitu.step.ir import Counts, Inferred, Op, OpRecord, Phase, Role, Trait, Value, over_batch, register

if TYPE_CHECKING:
    from torch import Tensor


@attributes
class Epsilon(Attrs):
    """
    Attributes:
        eps: added to the variance (or the mean square) before the root.
    """

    eps: float


@attributes
class Normalize(Epsilon):
    """
    Attributes:
        frozen: the statistics are constants (running ones), through which no error passes.
    """

    frozen: bool


@attributes
class Track(Attrs):
    """
    Attributes:
        momentum: share of the batch's statistics.
        count: values per channel, for the unbiased variance.
    """

    momentum: float
    count: Annotated[int, Range(2)]


def _channels(inputs: Sequence[Value], _attrs: Attrs) -> Inferred:
    (x,) = inputs
    out = (channels(x), x.format)
    count = x.size // x.shape[1]
    require(
        count > 1,
        "batch norm needs more than one value per channel to estimate a variance; "
        "use a batch of 2 or more, or an RMS norm",
    )
    return [out, out]


def _stats_torch(op: Op, _rt: TorchContext) -> Run:
    import torch

    dims = sum_dims(op.inputs[0])
    return lambda x: tuple(reversed(torch.var_mean(x, dims, unbiased=False)))


register(
    OpRecord(
        kind="bn_stats",
        doc="mean_C and biased variance_C of x over the batch and space",
        infer=_channels,
        torch=_stats_torch,
        counts=touch(3),
        traits=(Trait.BATCH_STATISTICS,),
        mixes_samples=over_batch,
    )
)


def _track_torch(op: Op[Track], _rt: TorchContext) -> Run:
    momentum = op.attrs.momentum
    n = op.attrs.count

    def track(mean: Tensor, var: Tensor, running_mean: Tensor, running_var: Tensor) -> None:
        running_mean.lerp_(mean, momentum)
        running_var.lerp_(var * (n / (n - 1)), momentum)

    return track


register(
    OpRecord(
        kind="bn_track",
        doc="running mean and unbiased variance move by momentum towards the batch's (written)",
        attrs=Track,
        infer=no_outputs,
        torch=_track_torch,
        counts=lambda op: Counts(other={op.phase: 4 * op.inputs[0].size}),
        writes=lambda n, _attrs: (n - 2, n - 1),
    )
)


def _shape_to(x: Tensor, c: Tensor) -> Any:
    return c.view(1, -1, *(1,) * (x.dim() - 2))


def _apply_infer(inputs: Sequence[Value], _attrs: Attrs) -> Inferred:
    wanted = channels(inputs[0])
    for c in inputs[1:]:
        require(
            c.shape == wanted,
            f"%{c.name} {list(c.shape)} must have one element per channel {list(wanted)}",
        )
    return [(inputs[0].shape, inputs[0].format)]


def _apply_torch(op: Op[Normalize], _rt: TorchContext) -> Run:
    eps = op.attrs.eps

    def apply(x: Tensor, mean: Tensor, var: Tensor, *affine: Tensor) -> Any:
        scale = (var + eps).rsqrt()
        if affine:
            scale = scale * affine[0]
        shift = -mean * scale if len(affine) < 2 else affine[1] - mean * scale
        scale, shift = _shape_to(x, scale), _shape_to(x, shift)
        return (x.mul_(scale) if op.inplace == 0 else x * scale).add_(shift)

    return apply


def _apply_adjoint(
    b: Builder, op: Op[Normalize], cotangents: Sequence[Value], needs: Sequence[int]
) -> dict[int, Value]:
    (d,) = cotangents
    x, mean, var = op.inputs[:3]
    grads: dict[int, Value] = {}
    if 0 in needs:
        frozen = op.attrs.frozen
        operands = (d, x, mean, var, *op.inputs[3:4])
        grads[0] = b.emit1("bn_dx", *operands, eps=op.attrs.eps, frozen=frozen, **error_attrs())
    scratch: dict[str, Any] = {"role": Role.SCRATCH, "phase": Phase.GRADIENT}
    if 3 in needs:
        grads[3] = b.emit1("bn_dgamma", d, x, mean, var, eps=op.attrs.eps, **scratch)
    if 4 in needs:
        grads[4] = b.emit1("sum_to_channels", d, **scratch)
    return grads


register(
    OpRecord(
        kind="bn_apply",
        doc="y = (x - mean_C) / sqrt(var_C + eps) (⊙ gamma_C + beta_C); frozen: running statistics, constant",
        attrs=Normalize,
        infer=_apply_infer,
        torch=_apply_torch,
        counts=touch(2),
        adjoint=_apply_adjoint,
        inplace=(0,),
    )
)


def _bn_dx_torch(op: Op[Normalize], _rt: TorchContext) -> Run:
    eps, frozen, dims = op.attrs.eps, op.attrs.frozen, sum_dims(op.inputs[0])

    def dx(d: Tensor, x: Tensor, mean: Tensor, var: Tensor, *gamma: Tensor) -> Any:
        inv = (var + eps).rsqrt()
        scale = _shape_to(x, inv * gamma[0] if gamma else inv)
        if frozen:
            return d * scale
        x_hat = (x - _shape_to(x, mean)).mul_(_shape_to(x, inv))
        projection = (d * x_hat).mean(dims, keepdim=True)
        return x_hat.mul_(-projection).add_(d).sub_(d.mean(dims, keepdim=True)).mul_(scale)

    return dx


register(
    OpRecord(
        kind="bn_dx",
        doc="the error below a batch norm; x, mean and variance are the forward ones",
        attrs=Normalize,
        infer=same_as(0),
        torch=_bn_dx_torch,
        counts=touch(6),
        mixes_samples=over_batch,
    )
)


def _bn_dgamma_torch(op: Op[Epsilon], _rt: TorchContext) -> Run:
    eps, dims = op.attrs.eps, sum_dims(op.inputs[0])

    def dgamma(d: Tensor, x: Tensor, mean: Tensor, var: Tensor) -> Any:
        return (x - _shape_to(x, mean)).mul_(d).sum(dims).mul_((var + eps).rsqrt())

    return dgamma


register(
    OpRecord(
        kind="bn_dgamma",
        doc="g_C = sum of d ⊙ x̂ over the batch and space",
        attrs=Epsilon,
        infer=lambda inputs, _attrs: [(channels(inputs[0]), inputs[0].format)],
        torch=_bn_dgamma_torch,
        counts=touch(2),
        mixes_samples=over_batch,
    )
)


def _rms_infer(inputs: Sequence[Value], _attrs: Attrs) -> Inferred:
    (x,) = inputs
    return [(x.shape, x.format), ((x.shape[0],), x.format)]


def _per_sample(x: Tensor, r: Tensor) -> Any:
    return r.view(-1, *(1,) * (x.dim() - 1))


def _rms_torch(op: Op[Epsilon], _rt: TorchContext) -> Run:
    eps = op.attrs.eps

    def rms(x: Tensor) -> Any:
        r = x.flatten(1).square().mean(1).add_(eps).rsqrt_()
        scale = _per_sample(x, r)
        return (x.mul_(scale) if op.inplace == 0 else x * scale), r

    return rms


def _rms_adjoint(
    b: Builder, op: Op, cotangents: Sequence[Value | None], _needs: Sequence[int]
) -> dict[int, Value]:
    y, r = op.outputs
    d = cotangents[0]
    assert d is not None
    return {0: b.emit1("rms_norm_dx", d, y, r, **error_attrs())}


register(
    OpRecord(
        kind="rms_norm",
        doc="y = x · r_B, r = 1/sqrt(mean(x²) + eps) over all features of a sample",
        attrs=Epsilon,
        infer=_rms_infer,
        torch=_rms_torch,
        counts=touch(3),
        adjoint=_rms_adjoint,
        inplace=(0,),
        traits=(Trait.STATIC_POINT,),
    )
)


def _rms_dx_torch(op: Op, _rt: TorchContext) -> Run:
    def dx(d: Tensor, y: Tensor, r: Tensor) -> Any:
        along = (d * y).flatten(1).mean(1)
        out = d if op.inplace == 0 else d.clone()
        return out.addcmul_(y, _per_sample(d, along), value=-1).mul_(_per_sample(d, r))

    return dx


register(
    OpRecord(
        kind="rms_norm_dx",
        doc="e = r_B (d - y · mean(d ⊙ y))",
        infer=same_as(0),
        torch=_rms_dx_torch,
        counts=touch(5),
        inplace=(0,),
    )
)
