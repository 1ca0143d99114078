"""Integer ops: requantization, block exponents, tables, and how a weight is read in fewer bits than it is stored.

Every operand is an array of integers n, value = n · unit (see :class:`insitu.step.ir.Value`). The torch halves carry
them in float32, or in float64 where a sum may pass 2**24: both are exact there. What each op computes is written down,
in plain integers, in :mod:`insitu.run.integer`.

Legend: B batch, k a number of bits, e a run-time exponent (a scalar, or one per sample).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import frexp, sqrt
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np

from insitu.numbers import prng
from insitu.numbers.formats import Binary, Fixed, PowerOfTwo, Quantized
from insitu.numbers.rounding import Rounding
from insitu.ops.common import Drawn, OfFormat, Run, Shaped, Streamed, Sums, TorchContext, per_output, require
from insitu.step.attrs import Attrs, Range, attributes, portable
from insitu.step.ir import Counts, Inferred, Level, Op, OpRecord, Trait, Value, register

if TYPE_CHECKING:
    from torch import Tensor

EXPONENT = Fixed(True, 7, 0)
"""Format of a run-time exponent."""

Mode = Literal["half-up", "floor", "stochastic"]
"""How a fraction becomes an integer (:class:`insitu.numbers.rounding.Rounding`)."""

EXACT = 1 << 24
"""float32 holds every integer up to here, and no sum of integers that stay below is rounded."""

ROOM = 1 << 21
"""What rounding may add to a sum: sums that a float32 carries stay this far below :data:`EXACT`."""


def integers(v: Value) -> bool:
    """Does a value hold integers (not reals)?"""
    return isinstance(v.format, Quantized)


def of_format(inputs: Sequence[Value], attrs: OfFormat) -> Inferred:
    """Infers one output of the first input's shape in the format that the op is given."""
    return [(inputs[0].shape, attrs.format)]


def nearest_shift(ratio: float) -> int:
    """The k for which 2**-k is nearest to a positive ratio on a logarithmic scale."""
    mantissa, exponent = frexp(ratio)
    return (1 if mantissa < sqrt(0.5) else 0) - exponent


# --- how a weight is read ------------------------------------------------------------------------------------


@portable
@dataclass(frozen=True)
class WeightView:
    """How an op reads its weights: as they are stored, without their low bits, or rounded from reals.

    Attributes:
        format: of what is read.
        shift: low bits of the stored word that are dropped, rounded half-up (read in one bit: the sign).
        unit: for weights stored as reals: the value of the integer 1.
        channels: of each output channel: bits that what is read is shifted to the left by (hardware: shift the sum).
    """

    format: Quantized
    shift: int = 0
    unit: float | None = None
    channels: tuple[int, ...] = ()

    def __str__(self) -> str:
        text = f"{self.format}" + (f">>{self.shift}" if self.unit is None else f"/{self.unit:.9g}")
        return text + (f" <<{min(self.channels)}..{max(self.channels)} by channel" if self.channels else "")


@attributes
class ReadsWeights(Sums):
    """
    Attributes:
        read: how the weights are read; as they are stored where none.
    """

    read: WeightView | None = None


def rounded(position: Tensor, fmt: Quantized) -> Any:
    """The integers of a format nearest to reals in its units (torch; used up); ties go up, binary is the sign."""
    import torch

    if isinstance(fmt, Binary):
        return (position >= 0).to(position.dtype).mul_(2).sub_(1)
    if isinstance(fmt, PowerOfTwo):
        return _power_rounded(position, fmt, torch)
    return position.add_(0.5).floor_().clamp_(fmt.least, fmt.greatest)


def _power_rounded(position: Tensor, fmt: PowerOfTwo, torch: Tensor) -> Any:
    """The nearer of the two neighbouring powers (or of 0 and 1); a tie goes up."""
    x = position.clamp(fmt.least, fmt.greatest)
    mantissa, exponent = torch.frexp(x.abs())  # x = mantissa 2^exponent, mantissa from 1/2
    up = torch.where(x > 0, mantissa >= 0.75, mantissa > 0.75)
    power = torch.ldexp(torch.ones_like(x), exponent - 1 + up.to(exponent.dtype))
    small = torch.where(x > 0, x >= 0.5, x < -0.5).to(x.dtype)  # between -1 and 1
    return torch.where(x.abs() < 1, small, power).mul_(torch.sign(x))


def reader(op: Op, read: WeightView | None) -> Callable[[Tensor], Tensor]:
    """The function that an op reads its weights (or bias) with."""
    if read is None:
        return lambda w: w
    if read.channels:
        return _channel_reader(read, len(op.inputs[1].shape))
    return _plain_reader(read)


def _channel_reader(read: WeightView, dims: int) -> Callable[[Tensor], Tensor]:
    import torch

    gain = torch.tensor([2.0**s for s in read.channels]).view(-1, *(1,) * (dims - 1))
    plain = _plain_reader(replace(read, channels=()))
    if read.unit is None:
        return lambda w: plain(w) * gain
    return lambda w: plain(w / gain) * gain  # powers of two: exact


def _plain_reader(read: WeightView) -> Callable[[Tensor], Tensor]:
    if read.unit is not None:
        per_unit = 1.0 / read.unit
        return lambda w: rounded(w * per_unit, read.format)
    if read.shift == 0:
        return lambda w: w
    scale = 1.0 if isinstance(read.format, Binary) else 2.0**-read.shift
    return lambda w: rounded(w * scale, read.format).float()


# --- requantization ------------------------------------------------------------------------------------------


@attributes
class Shift(OfFormat):
    """
    Attributes:
        shift: bits to the right.
        rounding: of the bits that are shifted out.
        times: factor before the shift.
        minus: the run-time exponent is subtracted from the shift, not added.
    """

    shift: Annotated[int, Range(-62, 62)]
    rounding: Mode
    times: Annotated[int, Range(1)] = 1
    minus: bool = False


@attributes
class Requant(Drawn, Shift):
    """A requantization; stochastic rounding draws random words."""


def _requant_infer(inputs: Sequence[Value], attrs: Requant) -> Inferred:
    if len(inputs) == 2:
        e = inputs[1].shape
        require(e in ((), inputs[0].shape[:1]), f"an exponent is a scalar or one per sample, got {list(e)}")
    return of_format(inputs, attrs)


def random_words(rt: TorchContext, stream: str, start: int, count: int, t: int | None = None) -> Tensor:
    """Words ``start ...`` of a stream at a training step, as int64."""
    import torch

    k = prng.key(rt.seed, stream, rt.t if t is None else t)
    words = prng.words(k, np.arange(start, start + count, dtype=np.uint64))
    return torch.from_numpy(words.astype(np.int64)).to(rt.device)


def shifted(x: Tensor, k: int, rounding: str, words: Any = None, *, own: bool = False) -> Any:
    """``x · 2**-k``, rounded to an integer (torch); ``words`` random 32-bit words of x's shape, if stochastic.

    Exact for a float64 below 2**48, and for a float32 that :data:`ROOM` allows. ``own``: x may be overwritten.
    """
    if k > 20:
        x, k = x.double(), min(k, 32 if rounding == Rounding.STOCHASTIC else 40)
    if k <= 0 or rounding != Rounding.STOCHASTIC:
        x = x.mul_(2.0**-k) if own else x * 2.0**-k
    if k <= 0:
        return x
    if rounding == Rounding.HALF_UP:
        return x.add_(0.5).floor_()
    if rounding == Rounding.FLOOR:
        return x.floor_()
    return (x + (words >> (32 - k)).to(x.dtype)).mul_(2.0**-k).floor_()


def _by_sample(x: Tensor, e: Tensor, shift: int, rounding: str) -> Any:
    """As :func:`shifted`, with an exponent per sample."""
    import torch

    k = (e.double() + shift).view(-1, *(1,) * (x.dim() - 1)).clamp(-40, 40)
    position = x.double() * torch.ldexp(torch.ones_like(k), -k.to(torch.int32))
    return position.add_(0.5).floor_() if rounding == Rounding.HALF_UP else position.floor_()


def onto(y: Tensor, fmt: Quantized) -> Any:
    """Integers saturated to a format and carried in float32 (float64 beyond 24 bits)."""
    if isinstance(fmt, Binary):
        y = (y >= 0).to(y.dtype).mul_(2).sub_(1)
    else:
        y = y.clamp_(fmt.least, fmt.greatest)
    return y.float() if fmt.max_abs < EXACT else y.double()


def _requant_torch(op: Op[Requant], rt: TorchContext) -> Run:
    shift, rounding, fmt = op.attrs.shift, op.attrs.rounding, op.attrs.format
    times, stream = op.attrs.times, op.attrs.stream
    size, shape = op.inputs[0].size, op.inputs[0].shape
    sampled = len(op.inputs) == 2 and op.inputs[1].shape != ()
    sign = -1 if op.attrs.minus else 1

    def requant(x: Tensor, e: Any = None) -> Any:
        if times != 1:
            x = x.double() * times
        if sampled:
            return onto(_by_sample(x, sign * e, shift, rounding), fmt)
        words = None if stream is None else random_words(rt, stream, 0, size).view(shape)
        return onto(shifted(x, shift + (0 if e is None else sign * int(e)), rounding, words), fmt)

    return requant


register(
    OpRecord(
        kind="requant",
        doc="y = saturate(round(times · x · 2^-(shift + e))) in another format; e a run-time exponent, if given "
        "(minus: -e)",
        attrs=Requant,
        infer=_requant_infer,
        torch=_requant_torch,
        counts=lambda op: Counts(
            other={op.phase: op.inputs[0].size}, random=op.inputs[0].size if op.attrs.stream else 0
        ),
        level=Level.INTEGER,
        traits=(Trait.ROUNDS,),
    )
)


@attributes
class Exponent(Attrs):
    """
    Attributes:
        bits: that the values get, sign included.
        by_sample: an exponent per sample, not one of the tensor.
        usual: what is subtracted from the exponent.
    """

    bits: Annotated[int, Range(2, 32)]
    by_sample: bool
    usual: int = 0


def _exponent_infer(inputs: Sequence[Value], attrs: Exponent) -> Inferred:
    return [(inputs[0].shape[:1] if attrs.by_sample else (), EXPONENT)]


def _exponent_torch(op: Op[Exponent], _rt: TorchContext) -> Run:
    import torch

    bits, by_sample, usual = op.attrs.bits, op.attrs.by_sample, op.attrs.usual

    def exponent(x: Tensor) -> Any:
        least, most = torch.aminmax(x.flatten(1), dim=1) if by_sample else torch.aminmax(x)
        largest = torch.maximum(-least, most)
        return (torch.frexp(largest)[1] - (bits - 1)).clamp_(min=0).float() - usual

    return exponent


register(
    OpRecord(
        kind="exponent",
        doc="e = how many low bits the largest |x| has too many for `bits` bits with sign, 0 or more; "
        "of the tensor or of each sample; minus `usual`",
        attrs=Exponent,
        infer=_exponent_infer,
        torch=_exponent_torch,
        counts=lambda op: Counts(other={op.phase: op.inputs[0].size}),
        level=Level.INTEGER,
        traits=(Trait.ROUNDS,),
        mixes_samples=lambda op: not op.attrs.by_sample,
    )
)


@attributes
class NormExponent(Attrs):
    """
    Attributes:
        by: divisor of the sum of squares.
    """

    by: Annotated[int, Range(1)]


def _norm_infer(inputs: Sequence[Value], _attrs: Attrs) -> Inferred:
    (x,) = inputs
    require(len(x.shape) > 1, f"an exponent per sample needs [B,...], got {list(x.shape)}")
    return [((x.shape[0],), EXPONENT)]


def _norm_torch(op: Op[NormExponent], _rt: TorchContext) -> Run:
    import torch

    by = op.attrs.by

    def norm(x: Tensor) -> Any:
        total = x.double().flatten(1).square().sum(1)
        power = torch.frexp((total / by).floor_())[1]
        return torch.div(power + 1, 2, rounding_mode="floor").float()

    return norm


register(
    OpRecord(
        kind="norm_exponent",
        doc="e_B = half the bits of floor(sum of x² / by): 2^e is the length (by = 1) or the root mean square "
        "(by = features) of a sample, up to a factor of two",
        attrs=NormExponent,
        infer=_norm_infer,
        torch=_norm_torch,
        counts=lambda op: Counts(macs={op.phase: op.inputs[0].size}),
        level=Level.INTEGER,
    )
)


def _add_exponents_infer(inputs: Sequence[Value], _attrs: Attrs) -> Inferred:
    shapes = [v.shape for v in inputs if v.shape]
    return [(shapes[0] if shapes else (), EXPONENT)]


register(
    OpRecord(
        kind="add_exponents",
        doc="e + f, of the tensor or per sample, saturated to 8 bits",
        infer=_add_exponents_infer,
        torch=lambda _op, _rt: lambda e, f: (e + f).clamp_(EXPONENT.least, EXPONENT.greatest),
        counts=per_output,
        level=Level.INTEGER,
        traits=(Trait.ROUNDS,),
    )
)


@attributes
class Aligned(OfFormat):
    """
    Attributes:
        shifts: static exponent of each operand.
        exponents: has the operand a run-time exponent (an operand behind the two) as well?
    """

    shifts: tuple[int, int]
    exponents: tuple[bool, bool]


def _align_infer(inputs: Sequence[Value], attrs: Aligned) -> Inferred:
    a, b = inputs[:2]
    require(a.shape == b.shape, f"the shapes must be equal, got {list(a.shape)} and {list(b.shape)}")
    return [(a.shape, attrs.format), ((), EXPONENT)]


def _align_torch(op: Op[Aligned], _rt: TorchContext) -> Run:
    import torch

    fmt, shifts, given = op.attrs.format, op.attrs.shifts, op.attrs.exponents

    def align(a: Tensor, b: Tensor, *exponents: Tensor) -> Any:
        rest = iter(exponents)
        e, f = ((int(next(rest)) if g else 0) + s for g, s in zip(given, shifts))
        high = max(e, f)
        total = shifted(a, high - e, Rounding.HALF_UP) + shifted(b, high - f, Rounding.HALF_UP)
        return onto(total, fmt), torch.tensor(float(high))

    return align


register(
    OpRecord(
        kind="add_aligned",
        doc="a + b where both have exponents of their own (shifts + run-time ones): the sum at the larger exponent, "
        "and that exponent",
        attrs=Aligned,
        infer=_align_infer,
        torch=_align_torch,
        counts=lambda op: Counts(other={op.phase: 2 * op.inputs[0].size}),
        level=Level.INTEGER,
    )
)


# --- fixed random feedback -----------------------------------------------------------------------------------


def feedback_integers(words: Tensor, fmt: Quantized) -> Any:
    """Random 32-bit words (int64) as integers, uniform over -max_abs ... max_abs of a format."""
    if isinstance(fmt, Binary):
        return 2 * (words >> 31) - 1
    max_abs = fmt.greatest
    return ((words * (2 * max_abs + 1)) >> 32) - max_abs


def feedback_spread(fmt: Quantized) -> float:
    """Bound of the continuous uniform distribution with the variance of :func:`feedback_integers`."""
    n = fmt.greatest
    return sqrt(3.0) if isinstance(fmt, Binary) else sqrt(float(n * (n + 1)))


@attributes
class FixedRandom(Streamed, Shaped, OfFormat):
    """A fixed random array."""


def _fixed_torch(op: Op[FixedRandom], rt: TorchContext) -> Run:
    shape, fmt, stream = op.outputs[0].shape, op.attrs.format, op.attrs.stream
    size = op.outputs[0].size
    return lambda: feedback_integers(random_words(rt, stream, 0, size, 0), fmt).float().view(shape)


register(
    OpRecord(
        kind="fixed_random",
        doc="a fixed random array of integers, uniform over the format, the same at every step of a run",
        attrs=FixedRandom,
        infer=lambda _inputs, attrs: [(attrs.shape, attrs.format)],
        torch=_fixed_torch,
        counts=lambda op: Counts(random=op.outputs[0].size),
        level=Level.INTEGER,
    )
)
