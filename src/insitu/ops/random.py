"""Random values made when they are needed, by the bit-defined generator: dropout and regenerated feedback."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from insitu.numbers import prng
from insitu.ops import integer_products
from insitu.ops.common import error_attrs, require, result, zeroed
from insitu.ops.quant import feedback_integers, integers, random_words
from insitu.step.ir import Counts, Inferred, Op, OpRecord, Value, register


def _dropout_infer(inputs: Sequence[Value], attrs: Any) -> Inferred:
    p = attrs["p"]
    require(
        0 <= p < 1, f"a dropout rate of {p:g} keeps nothing or more than all; use at least 0 and less than 1"
    )
    return zeroed(inputs, attrs)


def _dropout_torch(op: Op, rt: Any) -> Any:
    import torch

    p, stream, inplace = op.attrs["p"], op.attrs["stream"], op.inplace == 0
    threshold = round(p * 2**32)
    gain = 1.0 if integers(op.inputs[0]) else 1.0 / (1.0 - p)

    def drop(x: Any) -> Any:
        index = torch.arange(x.numel(), device=x.device)
        keep = prng.words(prng.key(rt.seed, stream, rt.t), index) >= threshold
        mask = keep.view(x.shape).to(x.dtype).mul_(gain)
        return x.mul_(mask) if inplace else x * mask

    return drop


def _dropout_adjoint(b: Any, op: Op, cotangents: Sequence[Value], _needs: Any) -> dict[int, Value]:
    return {0: b.emit1("dropout", cotangents[0], **dict(op.attrs), **error_attrs())}


register(
    OpRecord(
        kind="dropout",
        doc="x ⊙ mask / (1-p); the mask of (stream, training step) is regenerated in the adjoint, not kept",
        infer=_dropout_infer,
        torch=_dropout_torch,
        counts=lambda op: Counts(other={op.phase: op.inputs[0].size}, random=op.inputs[0].size),
        adjoint=_dropout_adjoint,
        inplace=(0,),
    )
)


def _matrix_infer(_inputs: Sequence[Value], attrs: Any) -> Inferred:
    return [(tuple(attrs["shape"]), attrs["format"])]


def _matrix_torch(op: Op, rt: Any) -> Any:
    import torch

    shape, stream, bound = op.outputs[0].shape, op.attrs["stream"], op.attrs["bound"]
    size = op.outputs[0].size

    def matrix() -> Any:
        flat = prng.uniform_torch(prng.key(rt.seed, stream), torch.arange(size, device=rt.device), bound)
        return flat.to(rt.real).view(shape)

    return matrix


register(
    OpRecord(
        kind="random",
        doc="a fixed random array, U(-bound, bound), the same at every step of a run",
        infer=_matrix_infer,
        torch=_matrix_torch,
        counts=lambda op: Counts(random=op.outputs[0].size),
    )
)


def _project_infer(inputs: Sequence[Value], attrs: Any) -> Inferred:
    (e,) = inputs
    require(len(e.shape) == 2, f"a projected error must be [B,C], got {list(e.shape)}")
    return [((e.shape[0], attrs["columns"]), result(attrs, e.format))]


def _row(rt: Any, key: int, row: int, columns: int, bound: float) -> Any:
    import torch

    start = row * columns
    return prng.uniform_torch(key, torch.arange(start, start + columns, device=rt.device), bound)


def _integer_row(op: Op, rt: Any, row: int) -> Any:
    """A row of a feedback matrix of integers, in the format ``matrix``."""
    columns = op.attrs["columns"]
    words = random_words(rt, op.attrs["stream"], row * columns, columns, 0)
    return feedback_integers(words, op.attrs["matrix"])


def _integer_project(op: Op, rt: Any) -> Any:
    def project(e: Any) -> Any:
        import torch

        delta = torch.zeros(e.shape[0], op.attrs["columns"], dtype=torch.float64, device=e.device)
        for row in range(e.shape[1]):
            delta.addr_(e[:, row].double(), _integer_row(op, rt, row).double())
        return delta

    return project


def _project_torch(op: Op, rt: Any) -> Any:
    columns, stream = op.attrs["columns"], op.attrs["stream"]
    if integers(op.inputs[0]):
        return _integer_project(op, rt)
    bound = op.attrs["bound"]

    def project(e: Any) -> Any:
        key = prng.key(rt.seed, stream)
        delta = e.new_zeros((e.shape[0], columns))
        for row in range(e.shape[1]):
            delta.addr_(e[:, row], _row(rt, key, row, columns, bound).to(e.dtype))
        return delta

    return project


register(
    OpRecord(
        kind="random_project",
        doc="δ_BN = e_BC B_CN with B regenerated row by row, never stored",
        infer=_project_infer,
        torch=_project_torch,
        counts=lambda op: Counts(
            macs={op.phase: op.inputs[0].size * op.attrs["columns"]},
            random=op.inputs[0].shape[1] * op.attrs["columns"],
        ),
    )
)


def _rows_infer(inputs: Sequence[Value], attrs: Any) -> Inferred:
    (label,) = inputs
    require(len(label.shape) == 1, "a target projection needs class labels [B]; use dfa for regression")
    return [((label.shape[0], attrs["columns"]), attrs["format"])]


def _integer_rows(op: Op, rt: Any) -> Any:
    def rows(label: Any) -> Any:
        import torch

        return torch.stack([_integer_row(op, rt, c) for c in label.tolist()]).float()

    return rows


def _rows_torch(op: Op, rt: Any) -> Any:
    """Makes one row at a time, for the classes that are in the batch."""
    columns, stream = op.attrs["columns"], op.attrs["stream"]
    if "matrix" in op.attrs:
        return _integer_rows(op, rt)
    bound = op.attrs["bound"]

    def rows(label: Any) -> Any:
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
        infer=_rows_infer,
        torch=_rows_torch,
        counts=lambda op: Counts(random=op.outputs[0].size),
    )
)


def _check_columns(matrix: Value, columns: int) -> None:
    require(
        len(matrix.shape) == 2 and columns <= matrix.shape[1],
        f"the feedback matrix {list(matrix.shape)} has fewer than {columns} columns",
    )


def _select_infer(inputs: Sequence[Value], attrs: Any) -> Inferred:
    matrix, label = inputs
    require(len(label.shape) == 1, "a target projection needs class labels [B]; use dfa for regression")
    _check_columns(matrix, attrs["columns"])
    return [((label.shape[0], attrs["columns"]), matrix.format)]


def _select_torch(op: Op, _rt: Any) -> Any:

    columns = op.attrs["columns"]

    def select(matrix: Any, label: Any) -> Any:
        return matrix[:, :columns].index_select(0, label.int())

    if columns == op.inputs[0].shape[1]:
        return lambda matrix, label: matrix.index_select(0, label.int())
    return select


register(
    OpRecord(
        kind="select_rows",
        doc="δ_BN = row B[y] of a stored feedback matrix (its first N columns): no MAC",
        infer=_select_infer,
        torch=_select_torch,
        counts=lambda op: Counts(other={op.phase: op.outputs[0].size}),
    )
)


def _project_stored_infer(inputs: Sequence[Value], attrs: Any) -> Inferred:
    e, matrix = inputs
    require(
        len(e.shape) == 2 and e.shape[1] == matrix.shape[0],
        f"the error {list(e.shape)} does not fit the feedback matrix {list(matrix.shape)}",
    )
    _check_columns(matrix, attrs["columns"])
    return [((e.shape[0], attrs["columns"]), result(attrs, e.format))]


def _project_stored_torch(op: Op, rt: Any) -> Any:
    import torch

    if integers(op.inputs[0]):
        return integer_products.projected(op, rt)

    columns = op.attrs["columns"]
    if columns == op.inputs[1].shape[1]:
        return torch.mm
    return lambda e, matrix: torch.mm(e, matrix[:, :columns])


register(
    OpRecord(
        kind="project",
        doc="δ_BN = e_BC B_CN with a stored feedback matrix (its first N columns)",
        infer=_project_stored_infer,
        torch=_project_stored_torch,
        counts=lambda op: Counts(macs={op.phase: op.inputs[0].size * op.attrs["columns"]}),
    )
)
