"""Two-dimensional convolutions: the product and its two adjoints.

Legend: B batch, C input channels, K output channels, H W input plane, P Q output plane, R S kernel, G groups.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from insitu.ops import integer_products
from insitu.ops.common import Run, TorchContext, error_attrs, macs, require
from insitu.ops.integer_products import GEOMETRY, Convolution, ConvolutionDw, ConvolutionDx, Geometry
from insitu.ops.loops import LoopNest, Operand, convolution, weights, written
from insitu.ops.matmul import feedback_view, view_random
from insitu.ops.quant import integers
from insitu.step.builder import Builder
from insitu.step.ir import (
    Counts,
    Inferred,
    Level,
    Op,
    OpRecord,
    Phase,
    Role,
    Shape,
    Trait,
    Value,
    over_batch,
    register,
)

if TYPE_CHECKING:
    from torch import Tensor


def plane(size: int, kernel: int, stride: int, padding: int, dilation: int = 1) -> int:
    """Output length along one axis."""
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def _infer(inputs: Sequence[Value], attrs: Convolution) -> Inferred:
    x, w = inputs[0], inputs[1]
    require(
        len(x.shape) == 4 and len(w.shape) == 4 and x.shape[1] == w.shape[1] * attrs.groups,
        f"conv2d with groups={attrs.groups} needs x [B,C,H,W] and weights [K,C/groups,R,S], got "
        f"{list(x.shape)} and {list(w.shape)}",
    )
    require(
        w.shape[0] % attrs.groups == 0,
        f"{w.shape[0]} output channels do not divide into {attrs.groups} groups",
    )
    require(
        len(inputs) == 2 or inputs[2].shape == w.shape[:1],
        "the bias must have one element per output channel",
    )
    out = [
        plane(x.shape[2 + i], w.shape[2 + i], attrs.stride[i], attrs.padding[i], attrs.dilation[i])
        for i in (0, 1)
    ]
    require(
        min(out) > 0, f"the kernel {list(w.shape[2:])} is larger than the padded plane {list(x.shape[2:])}"
    )
    return [((x.shape[0], w.shape[0], *out), attrs.result(x.format))]


DIRECT_MACS = 1_000_000
"""Below this size the plain im2col kernels of torch's CPU beat oneDNN's by 1.2 to 7 times, above they lose
(measured on batches of 1 to 64 with 3x3 and 5x5 kernels on an AVX-512 machine): the set-up of a oneDNN call
dominates."""


def _direct(op: Op[Geometry], rt: TorchContext, macs_of_op: int) -> bool:
    """Is this a small, dense convolution on a CPU?"""
    plain = op.attrs.groups == 1 and op.attrs.dilation == (1, 1)
    return plain and macs_of_op <= DIRECT_MACS and rt.device.type == "cpu"


def _torch(op: Op[Convolution], rt: TorchContext) -> Run:
    import torch

    if integers(op.inputs[0]):
        return integer_products.conv(op, rt)
    if _direct(op, rt, _count(op.outputs[0], op.inputs[1].shape)):
        small = torch.ops.aten._slow_conv2d_forward.default
        kernel, stride, padding = op.inputs[1].shape[2:], op.attrs.stride, op.attrs.padding
        return lambda x, w, bias=None: small(x, w, kernel, bias, stride, padding)
    conv = torch.conv2d
    geometry = op.attrs.geometry
    return lambda x, w, bias=None: conv(x, w, bias, *geometry)


def _adjoint(
    b: Builder, op: Op[Convolution], cotangents: Sequence[Value], needs: Sequence[int]
) -> dict[int, Value]:
    (d,) = cotangents
    x, w = op.inputs[0], op.inputs[1]
    geometry: dict[str, Any] = dict(zip(GEOMETRY, op.attrs.geometry))
    grads: dict[int, Value] = {}
    if 0 in needs:
        grads[0] = b.emit1("conv2d_dx", d, w, shape=x.shape, **geometry, **error_attrs())
    if 1 in needs:
        grads[1] = b.emit1(
            "conv2d_dw", d, x, kernel=w.shape, role=Role.SCRATCH, phase=Phase.GRADIENT, **geometry
        )
    if 2 in needs:
        grads[2] = b.emit1("sum_to_channels", d, role=Role.SCRATCH, phase=Phase.GRADIENT)
    return grads


def _count(d: Value, w_shape: Sequence[int]) -> int:
    """B·K·P·Q·(C/G)·R·S, padding counted."""
    return d.size * w_shape[1] * w_shape[2] * w_shape[3]


def _loops(op: Op[Convolution]) -> LoopNest:
    (x, w), out = op.inputs[:2], op.outputs[0]
    operands = (Operand.of(out), weights(op), Operand.of(x))
    return convolution(op, "forward", out, x.shape, w.shape, operands)


def _error_below(
    b: Builder, op: Op[Convolution], d: Value, matrix: Value, *more: Value, **view: Any
) -> Value:
    """Through a kernel of the weights' shape, or a view of it."""
    geometry: dict[str, Any] = dict(zip(GEOMETRY, op.attrs.geometry))
    shape = op.inputs[0].shape
    return b.emit1("conv2d_dx", d, matrix, *more, shape=shape, **geometry, **view, **error_attrs())


register(
    OpRecord(
        kind="conv2d",
        doc="z_BKPQ = conv(x_BCHW, w_K(C/G)RS) (+ bias_K); stride, padding, dilation, groups",
        attrs=Convolution,
        infer=_infer,
        torch=_torch,
        counts=lambda op: macs(op, _count(op.outputs[0], op.inputs[1].shape)),
        adjoint=_adjoint,
        level=Level.REAL | Level.INTEGER,
        traits=(Trait.EPILOGUE,),
        loops=_loops,
        error_below=_error_below,
    )
)


def _check_error(d: Value, x: Shape, w: Shape, attrs: Geometry) -> None:
    """An error must have the shape of the forward output."""
    fits = len(x) == 4 and len(w) == 4 and x[1] == w[1] * attrs.groups
    require(fits, f"a plane {list(x)} does not fit the kernel {list(w)} with groups={attrs.groups}")
    out = [plane(x[2 + i], w[2 + i], attrs.stride[i], attrs.padding[i], attrs.dilation[i]) for i in (0, 1)]
    want = (x[0], w[0], *out)
    require(
        d.shape == want,
        f"error {list(d.shape)} does not fit the kernel {list(w)} over {list(x)}; it must be {list(want)}",
    )


def _dx_infer(inputs: Sequence[Value], attrs: ConvolutionDx) -> Inferred:
    d, w = inputs[0], inputs[1]
    _check_error(d, attrs.shape, w.shape, attrs)
    return [(attrs.shape, attrs.result(d.format))]


Backward = Callable[[Any, Any, Any], Any]


def _backward(op: Op[Geometry], rt: TorchContext, kernel: Sequence[int], wanted: int) -> Backward:
    """``(d, x, w) -> gradient``: of the input for ``wanted`` 0, of the kernel for 1.

    Only the shape of the wanted one is read, not its values.
    """
    import torch

    stride, padding, dilation, groups = op.attrs.geometry
    mask = (wanted == 0, wanted == 1, False)
    if _direct(op, rt, _count(op.inputs[0], kernel)):
        small, size = torch.ops.aten._slow_conv2d_backward.output_mask, tuple(kernel[2:])
        return lambda d, x, w: small(d, x, w, size, stride, padding, mask)[wanted]
    full = torch.ops.aten.convolution_backward.default
    return lambda d, x, w: full(d, x, w, None, stride, padding, dilation, False, (0, 0), groups, mask)[wanted]


def _dx_torch(op: Op[ConvolutionDx], rt: TorchContext) -> Run:
    if integers(op.inputs[0]):
        return integer_products.conv_dx(op, rt)
    backward = _backward(op, rt, op.inputs[1].shape, 0)
    shape = op.outputs[0].shape

    def dx(d: Tensor, w: Tensor, *m: Tensor) -> Any:
        return backward(d, d.new_empty(1).expand(shape), feedback_view(op, rt, w, *m))

    return dx


def _dx_loops(op: Op[ConvolutionDx]) -> LoopNest:
    (d, w), out = op.inputs[:2], op.outputs[0]
    operands = (Operand.of(out), weights(op), Operand.of(d))
    return convolution(op, "dx", d, out.shape, w.shape, operands)


register(
    OpRecord(
        kind="conv2d_dx",
        doc="e_BCHW = transposed conv(d_BKPQ, w), also with a feedback kernel or a sign view in place of w",
        attrs=ConvolutionDx,
        infer=_dx_infer,
        torch=_dx_torch,
        counts=lambda op: Counts(
            macs={op.phase: _count(op.inputs[0], op.inputs[1].shape)}, random=view_random(op)
        ),
        level=Level.REAL | Level.INTEGER,
        traits=(Trait.EPILOGUE,),
        loops=_dx_loops,
    )
)


def _dw_infer(inputs: Sequence[Value], attrs: ConvolutionDw) -> Inferred:
    d, x = inputs[0], inputs[1]
    _check_error(d, x.shape, attrs.kernel, attrs)
    return [(attrs.kernel, attrs.result(d.format))]


def _dw_torch(op: Op[ConvolutionDw], rt: TorchContext) -> Run:
    if integers(op.inputs[0]):
        return integer_products.conv_dw(op, rt)
    kernel = op.attrs.kernel
    backward = _backward(op, rt, kernel, 1)
    return lambda d, x: backward(d, x, d.new_empty(1).expand(kernel))


def _dw_loops(op: Op[ConvolutionDw]) -> LoopNest:
    d, x = op.inputs[:2]
    operands = (Operand.of(written(op)), Operand.of(d), Operand.of(x))
    return convolution(op, "dw", d, x.shape, op.attrs.kernel, operands)


register(
    OpRecord(
        kind="conv2d_dw",
        doc="g_K(C/G)RS = correlation of x_BCHW with d_BKPQ",
        attrs=ConvolutionDw,
        infer=_dw_infer,
        torch=_dw_torch,
        counts=lambda op: macs(op, _count(op.inputs[0], op.attrs.kernel)),
        level=Level.REAL | Level.INTEGER,
        loops=_dw_loops,
        mixes_samples=over_batch,
    )
)
