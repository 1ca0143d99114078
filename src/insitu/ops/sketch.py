"""Sketches: many features added up in a few numbers, with random signs, and errors sent back the same way.

Feature i goes to number ``bucket(i)`` with the sign σ(i); both come from one random word of i, so that no matrix is
stored. Inner products are kept on average (count sketch: Charikar, Chen, Farach-Colton 2002; feature hashing:
Weinberger et al. 2009): a classifier on the sketch is one on the features whose weights share memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from insitu.ops.common import Formatted, Run, Streamed, TorchContext, error_attrs, require
from insitu.ops.quant import integers, onto, random_words
from insitu.step.attrs import Range, attributes
from insitu.step.builder import Builder
from insitu.step.ir import Counts, Inferred, Level, Op, OpRecord, Value, register

if TYPE_CHECKING:
    from torch import Tensor


@attributes
class Sketch(Formatted, Streamed):
    """
    Attributes:
        columns: numbers of the sketch, or features of the error.
        shift: of the result to the right, on reals: about half of log2 of the features per number.
    """

    columns: Annotated[int, Range(1, 1 << 16)]
    shift: Annotated[int, Range(0, 16)] = 0


def _infer(inputs: Sequence[Value], attrs: Sketch) -> Inferred:
    (x,) = inputs
    require(len(x.shape) == 2, f"a sketch is of rows [B,F], got {list(x.shape)}")
    return [((x.shape[0], attrs.columns), attrs.result(x.format))]


def _hashed(rt: TorchContext, stream: str, features: int, columns: int) -> tuple[Tensor, Tensor]:
    """Of every feature the number that it is added to, and its sign."""
    words = random_words(rt, stream, 0, features, 0)
    return ((words & 0xFFFF) * columns) >> 16, 1 - 2 * (words >> 31)


def _sketch_torch(op: Op[Sketch], rt: TorchContext) -> Run:
    x, a = op.inputs[0], op.attrs
    bucket, sign = _hashed(rt, a.stream, x.shape[1], a.columns)

    def sketch(h: Tensor) -> Any:
        z = h.new_zeros((h.shape[0], a.columns))
        z.index_add_(1, bucket, h * sign)
        return z if a.shift == 0 else z * 2.0**-a.shift

    return sketch


def _unsketch_torch(op: Op[Sketch], rt: TorchContext) -> Run:
    d, a = op.inputs[0], op.attrs
    bucket, sign = _hashed(rt, a.stream, a.columns, d.shape[1])

    def unsketch(d: Tensor) -> Any:
        e = d.index_select(1, bucket) * sign
        if integers(op.inputs[0]):
            assert a.format is not None
            return onto(e, a.format)
        return e if a.shift == 0 else e * 2.0**-a.shift

    return unsketch


def _adjoint(
    b: Builder, op: Op[Sketch], cotangents: Sequence[Value], _needs: Sequence[int]
) -> dict[int, Value]:
    (x,), a = op.inputs, op.attrs
    made = b.emit1(
        "unsketch", cotangents[0], stream=a.stream, shift=a.shift, columns=x.shape[1], **error_attrs()
    )
    return {0: made}


register(
    OpRecord(
        kind="sketch",
        doc="z_Bj = 2**-shift · sum of σ_i h_Bi over the features i of bucket j; σ and buckets from a stream's words",
        attrs=Sketch,
        infer=_infer,
        torch=_sketch_torch,
        counts=lambda op: Counts(other={op.phase: op.inputs[0].size}, random=op.inputs[0].shape[1]),
        adjoint=_adjoint,
        level=Level.REAL | Level.INTEGER,
    )
)
register(
    OpRecord(
        kind="unsketch",
        doc="e_Bi = 2**-shift · σ_i d_B,bucket(i): the adjoint of a sketch",
        attrs=Sketch,
        infer=_infer,
        torch=_unsketch_torch,
        counts=lambda op: Counts(other={op.phase: op.outputs[0].size}, random=op.attrs.columns),
        level=Level.REAL | Level.INTEGER,
    )
)
