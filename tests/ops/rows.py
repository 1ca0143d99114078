"""The conformance table: at least one row per kind of op."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from insitu.numbers import prng
from insitu.numbers.formats import F64
from insitu.ops.activations import ACTIVATIONS
from insitu.ops.optimizers import Optimizer
from insitu.step.builder import Builder
from insitu.step.ir import Phase, Role, Value

from .harness import LR, SEED, Operand, Row, T
from .rows_forward import FORWARD_ROWS
from .rows_hebbian import HEBBIAN
from .rows_hsic import KERNELS

FORWARD: dict[str, Any] = {"role": Role.ACTIVATION, "phase": Phase.FORWARD}


def half_steps(*shape: int) -> Operand:
    """Multiples of 1/2 in [-2, 2]: full of ties, zeros and the corners of clipped functions."""
    return lambda g, _made: torch.randint(-4, 5, shape, generator=g).double() / 2


def positive(*shape: int) -> Operand:
    return lambda g, _made: torch.rand(shape, generator=g, dtype=torch.float64) + 0.5


def labels(batch: int, classes: int) -> Operand:
    """Class indices as the executor passes them."""
    kind = torch.uint8 if classes <= 256 else torch.int32
    return lambda g, _made: torch.randint(0, classes, (batch,), generator=g).to(kind)


def gradient(function: Callable[..., torch.Tensor], d: torch.Tensor, *tensors: torch.Tensor) -> torch.Tensor:
    """The vector-Jacobian product of a function with respect to its first tensor."""
    with torch.enable_grad():
        x = tensors[0].detach().requires_grad_()
        return torch.autograd.grad(function(x, *tensors[1:]), x, d)[0]


# --- dense --------------------------------------------------------------------------------------------------

SGD = Optimizer("sgd")


def stored(stream: str, shape: tuple[int, ...], bound: float, step: int = 0) -> torch.Tensor:
    """The matrix that a stream stands for."""
    size = int(np.prod(shape))
    return torch.from_numpy(prng.uniform(prng.key(SEED, stream, step), size, bound)).double().view(shape)


DENSE = [
    Row("matmul", "", ((3, 4), (5, 4)), F.linear, needs=(0, 1), flops=F.linear),
    Row("matmul", "bias", ((3, 4), (5, 4), (5,)), F.linear, needs=(0, 1, 2), flops=F.linear),
    Row("matmul", "batch1", ((1, 4), (5, 4), (5,)), F.linear, needs=(0, 1, 2), flops=F.linear),
    Row("matmul_dx", "", ((3, 5), (5, 4)), torch.mm, flops=torch.mm),
    Row(
        "matmul_dx",
        "sign",
        ((3, 5), half_steps(5, 4)),
        lambda d, w: d @ (0.3 * torch.sign(w)),
        {"view": "sign", "scale": 0.3},
        flops=torch.mm,
    ),
    Row(
        "matmul_dx",
        "sign-magnitude",
        ((3, 5), half_steps(5, 4), (5, 4)),
        lambda d, w, m: d @ (m.abs() * torch.sign(w)),
        {"view": "sign-magnitude"},
        flops=lambda d, w, _m: d @ w,
    ),
    Row(
        "matmul_dx",
        "sign-fresh",
        ((3, 5), half_steps(5, 4)),
        lambda d, w: d @ (stored("s", (5, 4), 0.3, T).abs() * torch.sign(w)),
        {"view": "sign-fresh", "scale": 0.3, "stream": "s"},
        flops=torch.mm,
    ),
    Row("matmul_dw", "", ((3, 5), (3, 4)), lambda d, x: d.t() @ x, flops=lambda d, x: d.t() @ x),
    Row("sum_to_channels", "2d", ((3, 5),), lambda d: d.sum(0)),
    Row("sum_to_channels", "4d", ((3, 5, 2, 4),), lambda d: d.sum((0, 2, 3))),
    Row(
        "matmul_dw_update",
        "",
        ((3, 5), (3, 4), (5, 4)),
        lambda d, x, w: w - LR * (d.t() @ x),
        {"optimizer": SGD, "operands": 2},
        resident=(2,),
        flops=lambda d, x, _w: d.t() @ x,
    ),
    Row(
        "sum_to_channels_update",
        "",
        ((3, 5, 2, 2), (5,)),
        lambda d, w: w - LR * d.sum((0, 2, 3)),
        {"optimizer": SGD, "operands": 1},
        resident=(1,),
    ),
    Row("update", "", ((5, 4), (5, 4)), lambda w, g: w - LR * g, {"optimizer": SGD}, resident=(0,)),
]

# --- convolutions -------------------------------------------------------------------------------------------

CONVS: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "plain": ((2, 3, 6, 5), (4, 3, 3, 3), {}),
    "1x1": ((2, 3, 4, 4), (4, 3, 1, 1), {}),
    "padding": ((2, 3, 5, 5), (4, 3, 3, 3), {"padding": (1, 2)}),
    "stride": ((2, 3, 7, 6), (4, 3, 3, 2), {"stride": (2, 3)}),
    "stride-rest": ((2, 3, 8, 8), (4, 3, 3, 3), {"stride": (2, 2), "padding": (1, 1)}),
    "dilation": ((2, 3, 8, 9), (4, 3, 3, 3), {"dilation": (2, 3), "padding": (1, 1)}),
    "groups": ((2, 4, 5, 5), (6, 2, 3, 3), {"groups": 2, "padding": (1, 1)}),
    "depthwise": ((2, 4, 6, 6), (4, 1, 3, 3), {"groups": 4, "stride": (2, 2), "padding": (1, 1)}),
    "multiplier": ((2, 3, 5, 5), (6, 1, 3, 3), {"groups": 3}),
    "large": ((4, 16, 20, 20), (16, 16, 3, 3), {"padding": (1, 1)}),  # beyond the direct kernels
}
PLAIN = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1}


def conv_rows(tag: str) -> list[Row]:
    """Forward, both adjoints and the fused update of one geometry."""
    x, w, more = CONVS[tag]
    geometry = PLAIN | more

    def conv(x: torch.Tensor, w: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        return F.conv2d(x, w, bias, **geometry)

    d = tuple(conv(torch.empty(x), torch.empty(w)).shape)

    def dx(d: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        return torch.nn.grad.conv2d_input(x, w, d, **geometry)

    def dw(d: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.grad.conv2d_weight(x, w, d, **geometry)

    def forward_work(_d: torch.Tensor, x: torch.Tensor, *_more: torch.Tensor) -> torch.Tensor:
        """The weight gradient has the forward MACs; FlopCounterMode forgets the groups there."""
        return conv(x, torch.empty(w, dtype=torch.float64))

    dw_work = dw if geometry["groups"] == 1 else forward_work
    return [
        Row("conv2d", tag, (x, w), conv, geometry, needs=(0, 1), flops=conv),
        Row("conv2d", f"{tag}-bias", (x, w, (w[0],)), conv, geometry, needs=(0, 1, 2), flops=conv),
        Row("conv2d_dx", tag, (d, w), dx, geometry | {"shape": x}, flops=dx),
        Row("conv2d_dw", tag, (d, x), dw, geometry | {"kernel": w}, flops=dw_work),
        Row(
            "conv2d_dw_update",
            tag,
            (d, x, w),
            lambda d, x, w: w - LR * dw(d, x),
            geometry | {"kernel": w, "optimizer": SGD, "operands": 2},
            resident=(2,),
            flops=lambda d, x, _w: dw_work(d, x),
        ),
    ]


def conv_view_rows() -> list[Row]:
    """Sign views in place of a kernel."""
    x, w, d = (2, 4, 5, 5), (6, 2, 3, 3), (2, 6, 5, 5)
    geometry = PLAIN | {"groups": 2, "padding": (1, 1)}

    def dx(d: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        return torch.nn.grad.conv2d_input(x, w, d, **geometry)

    attrs = geometry | {"shape": x}
    return [
        Row(
            "conv2d_dx",
            "sign",
            (d, half_steps(*w)),
            lambda d, w: dx(d, 0.3 * torch.sign(w)),
            attrs | {"view": "sign", "scale": 0.3},
        ),
        Row(
            "conv2d_dx",
            "sign-magnitude",
            (d, half_steps(*w), w),
            lambda d, w, m: dx(d, m.abs() * torch.sign(w)),
            attrs | {"view": "sign-magnitude"},
        ),
        Row(
            "conv2d_dx",
            "sign-fresh",
            (d, half_steps(*w)),
            lambda d, v: dx(d, stored("s", w, 0.3, T).abs() * torch.sign(v)),
            attrs | {"view": "sign-fresh", "scale": 0.3, "stream": "s"},
        ),
    ]


# --- element-wise -------------------------------------------------------------------------------------------


def straight_through(x: torch.Tensor) -> torch.Tensor:
    """±1 forward, hard tanh backward."""
    clipped = F.hardtanh(x)
    return clipped + (torch.where(x >= 0, 1.0, -1.0).to(x.dtype) - clipped).detach()


FUNCTIONS: dict[str, tuple[Callable[..., torch.Tensor], dict[str, Any]]] = {
    "relu": (torch.relu, {}),
    "leaky_relu": (lambda x: F.leaky_relu(x, 0.1), {"slope": 0.1}),
    "tanh": (torch.tanh, {}),
    "sigmoid": (torch.sigmoid, {}),
    "hardtanh": (F.hardtanh, {}),
    "sign": (straight_through, {}),
    "relu6": (F.relu6, {}),
    "clipped_relu": (lambda x: F.hardtanh(x, 0.0, 1.5), {"high": 1.5}),
    "hardsigmoid": (F.hardsigmoid, {}),
    "hardswish": (F.hardswish, {}),
    "silu": (F.silu, {}),
    "gelu": (F.gelu, {}),
}


def activation_rows(fn: str) -> list[Row]:
    function, attrs = FUNCTIONS[fn]
    attrs = {"fn": fn, **attrs}

    def kept(g: torch.Generator, made: list[torch.Tensor]) -> torch.Tensor:
        """Third operand's part: what the gate reads, the output or the input."""
        x = torch.randint(-4, 5, (3, 8), generator=g).double() / 2
        return x if ACTIVATIONS[fn].gate_from == "input" else function(x)

    def gate(d: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
        """d ⊙ f′ from the output, as in a textbook."""
        slope = {
            "relu": (kept > 0).double(),
            "leaky_relu": 0.1 + 0.9 * (kept > 0).double(),
            "tanh": 1 - kept**2,
            "sigmoid": kept * (1 - kept),
            "hardtanh": (kept.abs() < 1).double(),
            "sign": (kept.abs() < 1).double(),
            "relu6": ((kept > 0) & (kept < 6)).double(),
            "clipped_relu": ((kept > 0) & (kept < 1.5)).double(),
        }
        return d * slope[fn] if fn in slope else d * _slope_at(kept)

    def _slope_at(x: torch.Tensor) -> torch.Tensor:
        x = x.clone().requires_grad_()
        (slope,) = torch.autograd.grad(function(x).sum(), x)
        return slope

    return [
        Row("activate", fn, (half_steps(3, 8),), function, attrs, needs=(0,)),
        Row("activate", f"{fn}-4d", ((2, 3, 4, 5),), function, attrs, needs=(0,)),
        Row("gate", fn, ((3, 8), kept), gate, attrs),
    ]


POINTWISE = [
    Row("add", "", ((3, 4), (3, 4)), torch.add, needs=(0, 1)),
    Row("couple", "", ((3, 4), (3, 4)), torch.add, needs=(0, 1)),
    Row("couple", "minus", ((3, 4), (3, 4)), torch.sub, {"minus": True}),
    Row("mul", "", ((3, 4), (3, 4)), torch.mul),
    Row("scale", "", ((3, 4),), lambda x: -0.7 * x, {"by": -0.7}, needs=(0,)),
    Row("sign", "", (half_steps(3, 9),), torch.sign),
    Row("stash", "", (half_steps(3, 9),), lambda x: 0.25 * (x > 0), {"scale": 0.25}),
    Row("stash", "4d", ((2, 3, 4, 5),), lambda x: 2.0 * (x > 0), {"scale": 2.0}),
    Row("reshape", "", ((2, 3, 4),), lambda x: x.reshape(2, 12), {"shape": (2, 12)}, needs=(0,)),
]

# --- pools --------------------------------------------------------------------------------------------------


def window(kernel: int, stride: int, padding: int) -> dict[str, Any]:
    return {"kernel": (kernel, kernel), "stride": (stride, stride), "padding": (padding, padding)}


POOLS: dict[str, tuple[Operand, tuple[int, ...], dict[str, Any]]] = {
    "2": ((2, 3, 6, 6), (2, 3, 6, 6), window(2, 2, 0)),
    "rest": ((2, 3, 7, 5), (2, 3, 7, 5), window(2, 2, 0)),
    "overlap": ((2, 3, 7, 7), (2, 3, 7, 7), window(3, 2, 0)),
    "overlap-padding": ((2, 3, 6, 7), (2, 3, 6, 7), window(3, 1, 1)),
    "oblong": ((2, 2, 6, 7), (2, 2, 6, 7), {"kernel": (3, 2), "stride": (1, 2), "padding": (1, 0)}),
    "ties": (half_steps(2, 3, 6, 6), (2, 3, 6, 6), window(3, 2, 1)),
    "large-plane": ((1, 2, 17, 17), (1, 2, 17, 17), window(2, 2, 0)),  # positions of 16 bits
    "adaptive": ((2, 3, 6, 6), (2, 3, 6, 6), {"size": (3, 2)}),
    "adaptive-rest": ((2, 3, 7, 5), (2, 3, 7, 5), {"size": (3, 4)}),
    "adaptive-1": ((2, 3, 5, 4), (2, 3, 5, 4), {"size": (1, 1)}),
}


def larger(x: torch.Tensor) -> torch.Tensor:
    return F.interpolate(x, scale_factor=(2.0, 3.0))


UPSAMPLING = [
    Row("upsample", "", ((2, 3, 4, 5),), larger, {"factor": (2, 3)}, needs=(0,)),
    Row("upsample", "1", ((2, 3, 4, 5),), lambda x: x, {"factor": (1, 1)}, needs=(0,)),
    Row(
        "upsample_dx",
        "",
        ((2, 3, 8, 15),),
        lambda d: gradient(larger, d, torch.zeros(2, 3, 4, 5).to(d)),
        {"factor": (2, 3)},
    ),
]


def unpool_gate_row(tag: str, shape: tuple[int, ...], pooled: tuple[int, ...], attrs: dict[str, Any]) -> Row:
    """The adjoint of an average pool of a ReLU's output."""

    def through(d: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return gradient(lambda z: F.avg_pool2d(z.relu(), *attrs.values()), d, y)

    parts = attrs["kernel"][0] * attrs["kernel"][1]
    return Row("unpool_gate", tag, (pooled, shape), through, {**attrs, "parts": parts})


def gated_rows() -> list[Row]:
    """Updates by the error of an average pool of a ReLU's output, whose map has a row and a column left over."""
    window = {"pool": (2, 3), "parts": 6, "optimizer": SGD}
    geometry: dict[str, Any] = {"stride": (2, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 2}

    def error(d: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        return gradient(lambda z: F.avg_pool2d(z.relu(), (2, 3)), d, h)

    def kernel(d: torch.Tensor, h: torch.Tensor, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        return w - LR * gradient(lambda v: F.conv2d(x, v, None, *geometry.values()), error(d, h), w)

    d, h, x, w = (3, 6, 2, 2), (3, 6, 5, 7), (3, 4, 10, 7), (6, 2, 3, 3)
    return [
        Row(
            "gated_conv2d_dw_update",
            "",
            (d, h, x, w),
            kernel,
            {**geometry, **window, "kernel": w, "operands": 3},
            resident=(3,),
        ),
        Row(
            "gated_sum_to_channels_update",
            "",
            (d, h, (6,)),
            lambda d, h, b: b - LR * error(d, h).sum((0, 2, 3)),
            {**window, "operands": 2},
            resident=(2,),
        ),
    ]


def pool_rows(tag: str) -> list[Row]:
    """Max and average pooling and their adjoints in one geometry."""
    operand, shape, attrs = POOLS[tag]
    size = attrs.get("size")
    arguments = tuple(attrs.values())  # size, or kernel, stride and padding

    def maximum(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if size is not None:
            return F.adaptive_max_pool2d(x, size, return_indices=True)
        return F.max_pool2d(x, *arguments, return_indices=True)

    def mean(x: torch.Tensor) -> torch.Tensor:
        return F.adaptive_avg_pool2d(x, size) if size is not None else F.avg_pool2d(x, *arguments)

    pooled = tuple(mean(torch.empty(shape)).shape)
    index_type = torch.uint8 if shape[2] * shape[3] <= 256 else torch.uint16

    def source(g: torch.Generator) -> torch.Tensor:
        return operand(g, []) if callable(operand) else torch.randn(shape, generator=g, dtype=torch.float64)

    def unpool(d: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        """A loop over the elements of the error."""
        flat = d.new_zeros(shape[0] * shape[1], shape[2] * shape[3])
        for plane, (errors, positions) in enumerate(zip(d.flatten(0, 1), index.flatten(0, 1), strict=True)):
            for e, at in zip(errors.flatten().tolist(), positions.flatten().tolist(), strict=True):
                flat[plane, at] += e
        return flat.view(shape)

    side_by_side = size is None and attrs["kernel"] == attrs["stride"] and attrs["padding"] == (0, 0)
    return [
        Row("max_pool", tag, (operand,), maximum, attrs, needs=(0,)),
        *([unpool_gate_row(tag, shape, pooled, attrs)] if side_by_side else []),
        Row(
            "max_unpool",
            tag,
            (pooled, lambda g, _made: maximum(source(g))[1].to(index_type)),
            unpool,
            {"shape": shape},
        ),
        Row("avg_pool", tag, (operand,), mean, attrs, needs=(0,)),
        Row(
            "avg_unpool",
            tag,
            (pooled,),
            lambda d: gradient(mean, d, torch.zeros(shape, dtype=torch.float64)),
            attrs | {"shape": shape},
        ),
    ]


# --- norms --------------------------------------------------------------------------------------------------

EPS = 1e-5


def dims(x: torch.Tensor) -> list[int]:
    return [i for i in range(x.dim()) if i != 1]


def batch_mean(of: int) -> Operand:
    return lambda _g, made: made[of].mean(dims(made[of]))


def batch_var(of: int) -> Operand:
    return lambda _g, made: made[of].var(dims(made[of]), unbiased=False)


def emit_bn(b: Builder, values: list[Value]) -> None:
    x, *affine = values
    stats = b.emit("bn_stats", x, **FORWARD)
    b.emit("bn_apply", x, *stats, *affine, eps=EPS, frozen=False, **FORWARD)


def emit_track(b: Builder, values: list[Value]) -> None:
    x, *running = values
    stats = b.emit("bn_stats", x, **FORWARD)
    b.emit("bn_track", *stats, *running, momentum=0.3, count=x.size // x.shape[1], **FORWARD)


def tracked(x: torch.Tensor, mean: torch.Tensor, var: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The running statistics that torch's own batch norm leaves."""
    mean, var = mean.clone(), var.clone()
    F.batch_norm(x, mean, var, training=True, momentum=0.3, eps=EPS)
    return mean, var


def train_norm(x: torch.Tensor, *affine: torch.Tensor) -> torch.Tensor:
    return F.batch_norm(x, None, None, *affine, training=True, eps=EPS)


def frozen_norm(x: torch.Tensor, *more: torch.Tensor) -> torch.Tensor:
    return F.batch_norm(x, *more, training=False, eps=EPS)


def norm_rows(tag: str, shape: tuple[int, ...]) -> list[Row]:
    c = (shape[1],)
    on_batch = (shape, shape, batch_mean(1), batch_var(1))  # d, x and the statistics of x
    given = (shape, shape, c, positive(*c))  # d, x and running statistics
    frozen = {"eps": EPS, "frozen": True}
    live = {"eps": EPS, "frozen": False}

    def live_dx(d: torch.Tensor, x: torch.Tensor, _m: Any, _v: Any, *gamma: torch.Tensor) -> torch.Tensor:
        return gradient(train_norm, d, x, *gamma)

    def dgamma(d: torch.Tensor, x: torch.Tensor, mean: torch.Tensor, var: torch.Tensor) -> torch.Tensor:
        one = torch.ones(c, dtype=torch.float64)
        return gradient(lambda gamma: frozen_norm(x, mean, var, gamma), d, one)

    return [
        Row("bn_stats", tag, (shape,), lambda x: (x.mean(dims(x)), x.var(dims(x), unbiased=False))),
        Row("bn_track", tag, (shape, c, positive(*c)), tracked, resident=(1, 2), emit=emit_track),
        Row("bn_apply", tag, (shape,), train_norm, needs=(0,), emit=emit_bn),
        Row("bn_apply", f"{tag}-gamma", (shape, c), train_norm, needs=(0, 1), emit=emit_bn),
        Row("bn_apply", f"{tag}-affine", (shape, c, c), train_norm, needs=(0, 1, 2), emit=emit_bn),
        Row("bn_apply", f"{tag}-frozen", (shape, c, positive(*c)), frozen_norm, frozen, needs=(0,)),
        Row(
            "bn_apply",
            f"{tag}-frozen-affine",
            (shape, c, positive(*c), c, c),
            frozen_norm,
            frozen,
            needs=(0, 3, 4),
        ),
        Row("bn_dx", tag, on_batch, live_dx, live),
        Row("bn_dx", f"{tag}-affine", (*on_batch, c), live_dx, live),
        Row(
            "bn_dx",
            f"{tag}-frozen",
            (*given, c),
            lambda d, x, m, v, gamma: gradient(frozen_norm, d, x, m, v, gamma),
            frozen,
        ),
        Row("bn_dgamma", tag, on_batch, dgamma, {"eps": EPS}),
        Row(
            "bn_dgamma_update",
            tag,
            (*on_batch, c),
            lambda d, x, m, v, w: w - LR * dgamma(d, x, m, v),
            {"eps": EPS, "optimizer": SGD, "operands": 4},
            resident=(4,),
        ),
    ]


def rms(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    r = (x.flatten(1).square().mean(1) + EPS) ** -0.5
    return F.rms_norm(x, x.shape[1:], eps=EPS), r


def rms_rows(tag: str, shape: tuple[int, ...]) -> list[Row]:
    kept = (lambda _g, made: rms(made[1])[0], lambda _g, made: rms(made[1])[1])  # y and r of made[1]

    def emit(b: Builder, values: list[Value]) -> None:
        d, _x, y, r = values
        b.emit("rms_norm_dx", d, y, r, **FORWARD)

    return [
        Row("rms_norm", tag, (shape,), rms, {"eps": EPS}, needs=(0,)),
        Row(
            "rms_norm_dx",
            tag,
            (shape, shape, *kept),
            lambda d, x, _y, _r: gradient(lambda x: rms(x)[0], d, x),
            emit=emit,
        ),
    ]


# --- losses -------------------------------------------------------------------------------------------------


def one_hot(y: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    return y if y.shape == z.shape else F.one_hot(y.long(), z.shape[1]).to(z.dtype)


LOSSES: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "xent": lambda z, y: F.cross_entropy(z, y.long()),
    "bce": lambda z, y: F.binary_cross_entropy_with_logits(z, one_hot(y, z)),
    "mse": lambda z, y: F.mse_loss(z, one_hot(y, z)),
    "hinge": lambda z, y: F.multi_margin_loss(z, y.long()),
}


def crammer_singer(z: torch.Tensor, y: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
    """Hinge of the highest rival, margin 0.5 + 0.2 |h|_1, averaged over the batch."""
    hot = one_hot(y, z)
    bound = 0.5 + 0.2 * h.flatten(1).abs().sum(1)
    rival = z.masked_fill(hot > 0, -torch.inf).amax(1)
    return (rival - (z * hot).sum(1) + bound).clamp(min=0).mean()


def every_violator(z: torch.Tensor, y: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
    """Hinge of all rivals with the same margin."""
    hot = one_hot(y, z)
    bound = 0.5 + 0.2 * h.flatten(1).abs().sum(1, keepdim=True)
    short = (z - (z * hot).sum(1, keepdim=True) + bound).clamp(min=0) * (1 - hot)
    return short.sum(1).mean()


def violation_rows() -> list[Row]:
    """The error is the gradient of a hinge, the loss that is returned cross-entropy."""
    rows = []
    for every, function in ((False, crammer_singer), (True, every_violator)):
        for with_loss in (False, True):

            def oracle(
                z: torch.Tensor, y: torch.Tensor, h: torch.Tensor, f: Any = function, loss: bool = with_loss
            ) -> Any:
                e = gradient(f, torch.ones((), dtype=z.dtype), z, y, h)
                return (e, F.cross_entropy(z, y.long())) if loss else e

            attrs = {"relative": 0.2, "margin": 0.5, "every": every, "scale": 0.25, "with_loss": with_loss}
            operands = ((4, 10), labels(4, 10), (4, 3, 2))
            rows.append(
                Row("violation_error", f"{'all' if every else 'one'}{with_loss:d}", operands, oracle, attrs)
            )
    return rows


def loss_rows(name: str) -> list[Row]:
    """The error and the loss of torch's mean reduction, for labels of 8 and of 32 bits."""
    function = LOSSES[name]

    def error(z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return gradient(function, torch.ones((), dtype=z.dtype), z, y)

    rows = []
    for tag, (batch, classes) in {"uint8": (4, 10), "int32": (3, 300), "batch1": (1, 4)}.items():
        scale = 1 / batch if name == "xent" else 1 / (batch * classes)
        operands = ((batch, classes), labels(batch, classes))
        attrs = {"scale": scale, "with_loss": True}
        rows.append(Row(f"{name}_error", tag, operands, lambda z, y: (error(z, y), function(z, y)), attrs))
        rows.append(Row(f"{name}_error", f"{tag}-bare", operands, error, attrs | {"with_loss": False}))
        rows.append(Row(f"{name}_loss", tag, operands, function, {"scale": scale}))
    if name in ("mse", "bce"):
        for shape in ((4, 3), (2, 3, 2, 2)):
            attrs = {"scale": 1 / int(np.prod(shape)), "with_loss": True}
            rows.append(
                Row(
                    f"{name}_error",
                    f"targets-{len(shape)}d",
                    (shape, positive(*shape)),
                    lambda z, y: (error(z, y), function(z, y)),
                    attrs,
                )
            )
            given = (shape, positive(*shape))
            rows.append(
                Row(f"{name}_loss", f"targets-{len(shape)}d", given, function, {"scale": attrs["scale"]})
            )
    return rows


# --- random -------------------------------------------------------------------------------------------------


def dropped(p: float, each: int = 1) -> Callable[[torch.Tensor], torch.Tensor]:
    """Dropout by the words of the stream ``s`` at step T, of so many neighbours together."""

    def drop(x: torch.Tensor) -> torch.Tensor:
        index = np.arange(x.numel(), dtype=np.uint64) // np.uint64(each)
        keep = prng.words(prng.key(SEED, "s", T), index) >= p * 2**32
        return x * torch.from_numpy(keep).view(x.shape).double() / (1 - p)

    return drop


def read_rows(columns: int, width: int) -> list[Row]:
    """Feedback from a stored matrix of ``width`` columns, of which the first ``columns`` are read."""
    return [
        Row(
            "project",
            f"{columns}-of-{width}",
            ((3, 5), (5, width)),
            lambda e, b: e @ b[:, :columns],
            {"columns": columns},
            flops=lambda e, b: e @ b[:, :columns],
        ),
        Row(
            "select_rows",
            f"{columns}-of-{width}",
            ((5, width), labels(4, 5)),
            lambda b, y: b[y.long(), :columns],
            {"columns": columns},
        ),
    ]


HASHED = {"stream": "s", "shift": 2}


def hashed(features: int, columns: int, stream: str = "s", seed: int = SEED) -> torch.Tensor:
    """The signs by which features are added up, as a matrix."""
    drawn = prng.words(prng.key(seed, stream, 0), np.arange(features, dtype=np.uint64)).astype(np.int64)
    matrix = torch.zeros(features, columns, dtype=torch.float64)
    for i, word in enumerate(drawn.tolist()):
        matrix[i, (word & 0xFFFF) * columns >> 16] = -1.0 if word >> 31 else 1.0
    return matrix


SKETCH = hashed(9, 4)

RANDOM = [
    *(
        Row("dropout", f"{p}", ((4, 3, 5),), dropped(p), {"p": p, "stream": "s"}, needs=(0,))
        for p in (0.0, 0.25, 0.5, 0.9)
    ),
    Row(
        "dropout",
        "channels",
        ((4, 3, 5, 2),),
        dropped(0.5, 10),
        {"p": 0.5, "stream": "s", "each": 10},
        needs=(0,),
    ),
    Row(
        "random",
        "",
        (),
        lambda: stored("s", (5, 2, 3), 0.3),
        {"shape": (5, 2, 3), "format": F64, "stream": "s", "bound": 0.3},
    ),
    Row(
        "random_project",
        "",
        ((3, 5),),
        lambda e: e @ stored("s", (5, 7), 0.3),
        {"columns": 7, "stream": "s", "bound": 0.3},
        flops=lambda e: e @ stored("s", (5, 7), 0.3),
    ),
    Row("sketch", "", ((3, 9),), lambda h: h @ SKETCH / 4, HASHED | {"columns": 4}, needs=(0,)),
    Row("unsketch", "", ((3, 4),), lambda d: d @ SKETCH.t() / 4, HASHED | {"columns": 9}),
    *(
        Row(
            "random_rows",
            f"{classes}",
            (labels(6, classes),),
            lambda y, classes=classes: stored("s", (classes, 7), 0.3)[y.long()],
            {"columns": 7, "stream": "s", "bound": 0.3, "format": F64},
        )
        for classes in (5, 300)
    ),
    *read_rows(7, 7),
    *read_rows(4, 7),
]

# --- similarities -------------------------------------------------------------------------------------------


def space_std(x: torch.Tensor) -> torch.Tensor:
    return x.flatten(2).std(2)


def unit_rows(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    centred = x - x.mean(1, keepdim=True)
    norm = centred.norm(dim=1)
    return centred / (norm + 1e-8)[:, None], norm


def label_gram(y: torch.Tensor, classes: int) -> torch.Tensor:
    """By its definition: the Gram matrix of centred, normalised one-hot labels."""
    hot = F.one_hot(y.long(), classes).double()
    units = F.normalize(hot - hot.mean(1, keepdim=True), dim=1)
    return units @ units.T


def emit_unit_dx(b: Builder, values: list[Value]) -> None:
    d, _x, norm, y = values
    b.emit("unit_rows_dx", d, norm, y, **FORWARD)


def emit_std_dx(b: Builder, values: list[Value]) -> None:
    d, x, s = values
    b.emit("space_std_dx", d, s, x, **FORWARD)


SIMILARITY = [
    Row("space_std", "", ((3, 4, 2, 3),), space_std, needs=(0,)),
    Row(
        "space_std_dx",
        "",
        ((3, 4), (3, 4, 2, 3), lambda _g, made: space_std(made[1])),
        lambda d, x, _s: gradient(space_std, d, x),
        emit=emit_std_dx,
    ),
    Row("unit_rows", "", ((4, 6),), unit_rows, needs=(0,)),
    Row(
        "unit_rows_dx",
        "",
        ((4, 6), (4, 6), lambda _g, made: unit_rows(made[1])[1], lambda _g, made: unit_rows(made[1])[0]),
        lambda d, x, _n, _y: gradient(lambda x: unit_rows(x)[0], d, x),
        emit=emit_unit_dx,
    ),
    Row("gram", "", ((4, 6),), lambda x: x @ x.T, needs=(0,), flops=lambda x: x @ x.T),
    Row(
        "gram_dx",
        "",
        ((4, 4), (4, 6)),
        lambda d, x: gradient(lambda x: x @ x.T, d, x),
        flops=lambda d, x: (d + d.T) @ x,
    ),
    *(
        Row(
            "label_gram",
            f"{classes}",
            (labels(6, classes),),
            lambda y, classes=classes: label_gram(y, classes),
            {"classes": classes, "format": F64},
        )
        for classes in (2, 5)
    ),
    Row("positive", "", (half_steps(4, 5),), lambda x: (x > 0).double()),
]

ROWS: list[Row] = [
    *SIMILARITY,
    *DENSE,
    *(row for tag in CONVS for row in conv_rows(tag)),
    *conv_view_rows(),
    *(row for fn in FUNCTIONS for row in activation_rows(fn)),
    *POINTWISE,
    *(row for tag in POOLS for row in pool_rows(tag)),
    *UPSAMPLING,
    *gated_rows(),
    *(row for tag, shape in {"2d": (6, 3), "4d": (2, 3, 4, 3)}.items() for row in norm_rows(tag, shape)),
    *(row for tag, shape in {"2d": (3, 6), "4d": (2, 3, 4, 3)}.items() for row in rms_rows(tag, shape)),
    *(row for name in LOSSES for row in loss_rows(name)),
    *violation_rows(),
    *RANDOM,
    *FORWARD_ROWS,
    *KERNELS,
    *HEBBIAN,
]
