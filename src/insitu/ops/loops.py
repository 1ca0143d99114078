"""The loop nest of a product: a fact of the op, which the bill, and what maps ops to hardware, read from its record.

The nest has the eight loops of a convolution; a dense product is one with planes and kernels of 1 x 1. An op declares
it by ``loops=`` in its record::

    nest = op.record.loops(op)
    nest.form, nest.sizes      # forward, (B, G, K, C, OY, OX, FY, FX)

Legend: B batch, G groups, K output channels (of a group), C input channels (of a group), OY OX the plane of the
output, FY FX the kernel.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Literal

from insitu.ops.common import Formatted
from insitu.ops.integer_products import Viewed
from insitu.step.ir import Op, Shape, Value

ACCUMULATOR = 32
"""Bits of a sum where a step does not say: float32, and integers whose sum has no format of its own."""

Form = Literal["forward", "dx", "dw"]


@dataclass(frozen=True)
class Operand:
    """What a product reads or makes.

    Attributes:
        value: where it is stored; ``None`` for what is made on the fly (a regenerated feedback matrix).
        elements: how many.
        bits: per element, as stored.
        width: per element, as it enters the multiplier.
    """

    value: Value | None
    elements: int
    bits: int
    width: int

    @classmethod
    def of(cls, value: Value, width: int | None = None, elements: int | None = None) -> Operand:
        """All elements of a value (or so many), in the width in which they are stored (or another)."""
        bits = value.format.bits
        count = value.size if elements is None else elements
        return cls(value, count, bits, bits if width is None else width)


@dataclass(frozen=True)
class LoopNest:
    """The loop nest of a product.

    Attributes:
        form: ``forward`` (O = W * I), ``dx`` (O is the error below, W the weights, I the error above) or ``dw`` (O is
            the gradient, W the error, I the layer's input).
        sizes: B, G, K, C, OY, OX, FY, FX of the *forward* product.
        stride, dilation: along y and x.
        plane: height and width of the layer's input, without padding.
        made, stationary, streamed: the operands O, W and I.
        sum_bits: of a partial sum.
        added: O is added to what is stored there (a fused update).
    """

    form: Form
    sizes: tuple[int, int, int, int, int, int, int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    plane: tuple[int, int]
    made: Operand
    stationary: Operand
    streamed: Operand
    sum_bits: int
    added: bool = False

    @property
    def macs(self) -> int:
        return prod(self.sizes)

    @property
    def kind(self) -> str:
        """``dense``, ``conv`` or ``depthwise``: the kernel of a processor that does it."""
        _, groups, _, c, oy, ox, fy, fx = self.sizes
        if oy * ox * fy * fx == 1:
            return "dense"
        return "depthwise" if groups > 1 and c == 1 else "conv"

    @property
    def terms(self) -> int:
        """How many products one element of the result sums."""
        batch, _, k, c, oy, ox, fy, fx = self.sizes
        return {"forward": c * fy * fx, "dx": k * fy * fx, "dw": batch * oy * ox}[self.form]

    @property
    def axis(self) -> int:
        """Length of the axis that a sum can be cut along; 1 where there is none (channels in groups)."""
        batch, groups, k, c, *_ = self.sizes
        return batch if self.form == "dw" else 1 if groups > 1 else {"forward": c, "dx": k}[self.form]


Operands = tuple[Operand, Operand, Operand]
"""O, W and I."""


def dense(
    op: Op, form: Form, batch: int, k: int, c: int, operands: Operands, added: bool = False
) -> LoopNest:
    """The nest of a dense product with ``k`` outputs and ``c`` inputs."""
    sizes = (batch, 1, k, c, 1, 1, 1, 1)
    return LoopNest(form, sizes, (1, 1), (1, 1), (1, 1), *operands, sum_bits(op), added)


def convolution(op: Op, form: Form, d: Value, x: Shape, w: Shape, operands: Operands) -> LoopNest:
    """The nest of a convolution.

    Args:
        d: of the shape of the forward output.
        x, w: shapes of the forward input and of the kernel.
    """
    groups = op.attrs.groups
    sizes = (d.shape[0], groups, w[0] // groups, w[1], d.shape[2], d.shape[3], w[2], w[3])
    added = not op.outputs
    return LoopNest(
        form, sizes, op.attrs.stride, op.attrs.dilation, (x[2], x[3]), *operands, sum_bits(op), added
    )


def weights(op: Op) -> Operand:
    """The second operand, in the width in which it enters the arithmetic: of a view its signs."""
    w, read = op.inputs[1], op.attrs.read
    if read is not None:
        return Operand.of(w, read.format.bits)
    return Operand.of(w, 1 if isinstance(op.attrs, Viewed) and op.attrs.view == "sign" else None)


def written(op: Op) -> Value:
    """What a product makes: its output, or the weights that a fused update writes."""
    return op.outputs[0] if op.outputs else op.written[0]


def sum_bits(op: Op) -> int:
    """Bits of a partial sum."""
    fmt = op.attrs.format if isinstance(op.attrs, Formatted) else None
    return fmt.bits if fmt is not None else ACCUMULATOR


def loops(op: Op) -> LoopNest | None:
    """The loop nest of an op; ``None`` of one that goes over its elements."""
    return None if op.record.loops is None else op.record.loops(op)
