"""Random values made when they are needed, by the bit-defined generator: dropout and regenerated feedback."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from insitu.numbers import prng
from insitu.numbers.formats import AnyFormat, Quantized
from insitu.ops import integer_products
from insitu.ops.common import (
    Columns,
    Formatted,
    Run,
    Shaped,
    Streamed,
    TorchContext,
    error_attrs,
    require,
    zeroed,
)
from insitu.ops.loops import LoopNest, Operand, dense
from insitu.ops.quant import feedback_integers, integers, random_words
from insitu.step.attrs import Attrs, Range, attributes, names
from insitu.step.builder import Builder
from insitu.step.ir import Counts, Inferred, Level, Op, OpRecord, Trait, Value, register

if TYPE_CHECKING:
    from torch import Tensor


@attributes
class Rate(Attrs):
    """
    Attributes:
        p: share of the elements that become 0, less than 1.
    """

    p: float


@attributes
class Dropout(Streamed, Rate):
    """Elements that are dropped at random.

    Attributes:
        each: how many neighbours are dropped together: the elements of a map, where whole channels are dropped.
    """

    each: Annotated[int, Range(1)] = 1


@attributes
class InFormat(Attrs):
    """
    Attributes:
        format: of the result.
    """

    format: AnyFormat


@attributes
class Uniform(Attrs):
    """
    Attributes:
        bound: of the uniform distribution over (-bound, bound).
    """

    bound: float


@attributes
class Random(Uniform, Streamed, InFormat, Shaped):
    """A fixed random array of reals."""


@attributes
class Regenerated(Streamed, Columns):
    """
    Attributes:
        bound: of a matrix of reals, uniform over (-bound, bound).
        matrix: format of a matrix of integers.
    """

    bound: float | None = None
    matrix: Quantized | None = None


@attributes
class RandomProject(Regenerated, Formatted):
    """A product with a regenerated matrix."""


@attributes
class RandomRows(Regenerated, InFormat):
    """Rows of a regenerated matrix."""

    def order(self) -> tuple[str, ...]:
        """A step on reals prints the format at the end."""
        return names(type(self)) if self.matrix else (*names(Regenerated), "format")


def _dropout_infer(inputs: Sequence[Value], attrs: Dropout) -> Inferred:
    p = attrs.p
    require(
        0 <= p < 1, f"a dropout rate of {p:g} keeps nothing or more than all; use at least 0 and less than 1"
    )
    whole = inputs[0].size % attrs.each == 0
    require(whole, f"{inputs[0].size} elements are no groups of {attrs.each}; use the elements of a channel")
    return zeroed(inputs, attrs)


def _dropout_torch(op: Op[Dropout], rt: TorchContext) -> Run:
    import torch

    p, stream, each, inplace = op.attrs.p, op.attrs.stream, op.attrs.each, op.inplace == 0
    threshold = round(p * 2**32)
    gain = 1.0 if integers(op.inputs[0]) else 1.0 / (1.0 - p)

    def drop(x: Tensor) -> Any:
        index = torch.arange(x.numel() // each, device=x.device)
        keep = prng.words(prng.key(rt.seed, stream, rt.t), index) >= threshold
        mask = keep.repeat_interleave(each).view(x.shape).to(x.dtype).mul_(gain)
        return x.mul_(mask) if inplace else x * mask

    return drop


def _dropout_adjoint(
    b: Builder, op: Op[Dropout], cotangents: Sequence[Value], _needs: Sequence[int]
) -> dict[int, Value]:
    return {0: b.emit1("dropout", cotangents[0], **op.attrs.explicit(), **error_attrs())}


register(
    OpRecord(
        kind="dropout",
        doc="x ⊙ mask / (1-p), with a word of the mask for ``each`` neighbours; the mask of (stream, training step) is "
        "regenerated in the adjoint, not kept",
        attrs=Dropout,
        infer=_dropout_infer,
        torch=_dropout_torch,
        counts=lambda op: Counts(
            other={op.phase: op.inputs[0].size}, random=op.inputs[0].size // op.attrs.each
        ),
        adjoint=_dropout_adjoint,
        inplace=(0,),
        level=Level.REAL | Level.INTEGER,
        traits=(Trait.PASSES_EXPONENT,),
    )
)


def _matrix_infer(_inputs: Sequence[Value], attrs: Random) -> Inferred:
    return [(attrs.shape, attrs.format)]


def _matrix_torch(op: Op[Random], rt: TorchContext) -> Run:
    import torch

    shape, stream, bound = op.outputs[0].shape, op.attrs.stream, op.attrs.bound
    size = op.outputs[0].size

    def matrix() -> Any:
        flat = prng.uniform_torch(prng.key(rt.seed, stream), torch.arange(size, device=rt.device), bound)
        return flat.to(rt.real).view(shape)

    return matrix


register(
    OpRecord(
        kind="random",
        doc="a fixed random array, U(-bound, bound), the same at every step of a run",
        attrs=Random,
        infer=_matrix_infer,
        torch=_matrix_torch,
        counts=lambda op: Counts(random=op.outputs[0].size),
    )
)


def _project_infer(inputs: Sequence[Value], attrs: RandomProject) -> Inferred:
    (e,) = inputs
    require(len(e.shape) == 2, f"a projected error must be [B,C], got {list(e.shape)}")
    return [((e.shape[0], attrs.columns), attrs.result(e.format))]


def _row(rt: TorchContext, key: int, row: int, columns: int, bound: float) -> Tensor:
    import torch

    start = row * columns
    return prng.uniform_torch(key, torch.arange(start, start + columns, device=rt.device), bound)


def _integer_row(op: Op[Regenerated], rt: TorchContext, row: int) -> Tensor:
    """A row of a feedback matrix of integers, in the format ``matrix``."""
    columns = op.attrs.columns
    assert op.attrs.matrix is not None
    words = random_words(rt, op.attrs.stream, row * columns, columns, 0)
    return feedback_integers(words, op.attrs.matrix)


def _integer_project(op: Op[RandomProject], rt: TorchContext) -> Run:
    def project(e: Tensor) -> Any:
        import torch

        delta = torch.zeros(e.shape[0], op.attrs.columns, dtype=torch.float64, device=e.device)
        for row in range(e.shape[1]):
            delta.addr_(e[:, row].double(), _integer_row(op, rt, row).double())
        return delta

    return project


def _project_torch(op: Op[RandomProject], rt: TorchContext) -> Run:
    columns, stream = op.attrs.columns, op.attrs.stream
    if integers(op.inputs[0]):
        return _integer_project(op, rt)
    bound = op.attrs.bound
    assert bound is not None

    def project(e: Tensor) -> Any:
        key = prng.key(rt.seed, stream)
        delta = e.new_zeros((e.shape[0], columns))
        for row in range(e.shape[1]):
            delta.addr_(e[:, row], _row(rt, key, row, columns, bound).to(e.dtype))
        return delta

    return project


def _random_project_loops(op: Op[RandomProject]) -> LoopNest:
    e, out = op.inputs[0], op.outputs[0]
    width = (op.attrs.matrix or out.format).bits
    return _projected(op, Operand(None, e.shape[1] * op.attrs.columns, width, width))


def _projected(op: Op[Any], matrix: Operand) -> LoopNest:
    """δ = e B: as a dense layer with the outputs C and the inputs N, so that B is the stationary operand."""
    e = op.inputs[0]
    operands = (Operand.of(op.outputs[0]), matrix, Operand.of(e))
    return dense(op, "dx", e.shape[0], e.shape[1], op.attrs.columns, operands)


register(
    OpRecord(
        kind="random_project",
        doc="δ_BN = e_BC B_CN with B regenerated row by row, never stored",
        attrs=RandomProject,
        infer=_project_infer,
        torch=_project_torch,
        counts=lambda op: Counts(
            macs={op.phase: op.inputs[0].size * op.attrs.columns},
            random=op.inputs[0].shape[1] * op.attrs.columns,
        ),
        level=Level.REAL | Level.INTEGER,
        loops=_random_project_loops,
    )
)


def _rows_infer(inputs: Sequence[Value], attrs: RandomRows) -> Inferred:
    (label,) = inputs
    require(len(label.shape) == 1, "a target projection needs class labels [B]; use dfa for regression")
    return [((label.shape[0], attrs.columns), attrs.format)]


def _integer_rows(op: Op[RandomRows], rt: TorchContext) -> Run:
    def rows(label: Tensor) -> Any:
        import torch

        return torch.stack([_integer_row(op, rt, c) for c in label.tolist()]).float()

    return rows


def _rows_torch(op: Op[RandomRows], rt: TorchContext) -> Run:
    """Makes one row at a time, for the classes that are in the batch."""
    columns, stream = op.attrs.columns, op.attrs.stream
    if op.attrs.matrix is not None:
        return _integer_rows(op, rt)
    bound = op.attrs.bound
    assert bound is not None

    def rows(label: Tensor) -> Any:
        import torch

        key = prng.key(rt.seed, stream)
        label = label.int()
        delta = torch.empty((label.shape[0], columns), dtype=rt.real, device=label.device)
        for c in label.unique().tolist():
            delta[label == c] = _row(rt, key, c, columns, bound).to(rt.real)
        return delta

    return rows


register(
    OpRecord(
        kind="random_rows",
        doc="δ_BN = row B[y] of a feedback matrix that is regenerated, never stored: no MAC",
        attrs=RandomRows,
        infer=_rows_infer,
        torch=_rows_torch,
        counts=lambda op: Counts(random=op.outputs[0].size),
        level=Level.REAL | Level.INTEGER,
    )
)


def _check_columns(matrix: Value, columns: int) -> None:
    require(
        len(matrix.shape) == 2 and columns <= matrix.shape[1],
        f"the feedback matrix {list(matrix.shape)} has fewer than {columns} columns",
    )


def _select_infer(inputs: Sequence[Value], attrs: Columns) -> Inferred:
    matrix, label = inputs
    require(len(label.shape) == 1, "a target projection needs class labels [B]; use dfa for regression")
    _check_columns(matrix, attrs.columns)
    return [((label.shape[0], attrs.columns), matrix.format)]


def _select_torch(op: Op[Columns], _rt: TorchContext) -> Run:

    columns = op.attrs.columns

    def select(matrix: Tensor, label: Tensor) -> Any:
        return matrix[:, :columns].index_select(0, label.int())

    if columns == op.inputs[0].shape[1]:
        return lambda matrix, label: matrix.index_select(0, label.int())
    return select


register(
    OpRecord(
        kind="select_rows",
        doc="δ_BN = row B[y] of a stored feedback matrix (its first N columns): no MAC",
        attrs=Columns,
        infer=_select_infer,
        torch=_select_torch,
        counts=lambda op: Counts(other={op.phase: op.outputs[0].size}),
        level=Level.REAL | Level.INTEGER,
        touched=lambda op, i: op.outputs[0].size if i == 0 else op.inputs[i].size,
    )
)


def _project_stored_infer(inputs: Sequence[Value], attrs: integer_products.Projection) -> Inferred:
    e, matrix = inputs
    require(
        len(e.shape) == 2 and e.shape[1] == matrix.shape[0],
        f"the error {list(e.shape)} does not fit the feedback matrix {list(matrix.shape)}",
    )
    _check_columns(matrix, attrs.columns)
    return [((e.shape[0], attrs.columns), attrs.result(e.format))]


def _project_stored_torch(op: Op[integer_products.Projection], rt: TorchContext) -> Any:
    import torch

    if integers(op.inputs[0]):
        return integer_products.projected(op, rt)

    columns = op.attrs.columns
    if columns == op.inputs[1].shape[1]:
        return torch.mm
    return lambda e, matrix: torch.mm(e, matrix[:, :columns])


def _project_loops(op: Op[Any]) -> LoopNest:
    e, matrix = op.inputs[:2]
    return _projected(op, Operand.of(matrix, elements=e.shape[1] * op.attrs.columns))


register(
    OpRecord(
        kind="project",
        doc="δ_BN = e_BC B_CN with a stored feedback matrix (its first N columns)",
        attrs=integer_products.Projection,
        infer=_project_stored_infer,
        torch=_project_stored_torch,
        counts=lambda op: Counts(macs={op.phase: op.inputs[0].size * op.attrs.columns}),
        level=Level.REAL | Level.INTEGER,
        traits=(Trait.EPILOGUE,),
        loops=_project_loops,
    )
)
