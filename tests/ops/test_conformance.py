"""Every op against plain torch, its adjoint against autograd, its counts against torch's FLOP counter."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import insitu.ops  # noqa: F401  (fills OPS)
from insitu.numbers.formats import Bit
from insitu.ops.activations import ACTIVATIONS
from insitu.ops.common import TorchContext
from insitu.ops.loss import LOSSES as LOSS_FUNCTIONS
from insitu.step.ir import OPS, Hole, Phase

from .harness import Row, as_list, inplace_variants, named, program, results, run
from .rows import FUNCTIONS, LOSSES, ROWS
from .test_integers import ROWS as INTEGERS

CLOSE = {"rtol": 1e-9, "atol": 1e-12}


def test_every_kind_has_a_row() -> None:
    """Ops on integers have theirs in the table of :mod:`tests.ops.test_integers`."""
    learning_curves = {"monitor", "monitor_goodness"}  # of integer scores: tests/experiment/test_precision.py
    assert {row.kind for row in ROWS} | {row.kind for row in INTEGERS} == set(OPS) - learning_curves


def test_every_adjoint_is_differentiated() -> None:
    differentiable = {kind for kind, record in OPS.items() if not isinstance(record.adjoint, Hole)}
    assert {row.kind for row in ROWS if row.needs} == differentiable


def test_rows_have_distinct_names() -> None:
    twice = [name for name, n in Counter(map(str, ROWS)).items() if n > 1]
    assert twice == []


def test_every_activation_and_loss_has_rows() -> None:
    assert set(FUNCTIONS) == set(ACTIVATIONS)
    assert set(LOSSES) == set(LOSS_FUNCTIONS)


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_forward_equals_plain_torch(row: Row) -> None:
    expected = as_list(row.reference(*row.tensors()))
    got = results(row)
    assert len(got) == len(expected)
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b.to(a.dtype), **CLOSE)


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_outputs_are_what_the_record_infers(row: Row) -> None:
    """Shapes, and bytes: the storage that the executor really makes is the size that the plan counts."""
    made = program(row)
    outputs, _ = run(made.step, named(row))
    for value, tensor in zip(made.op.outputs, outputs, strict=True):
        assert tuple(tensor.shape) == value.shape
        assert tensor.is_contiguous()
        if isinstance(value.format, Bit):  # carries two reals
            assert value.bytes == (tensor.numel() + 7) // 8
            continue
        assert tensor.numel() * tensor.element_size() == value.bytes
        if not made.op.record.alias:
            assert tensor.untyped_storage().nbytes() == value.bytes


@pytest.mark.parametrize("row", [row for row in ROWS if row.needs], ids=str)
def test_adjoint_equals_autograd(row: Row) -> None:
    made = program(row, adjoint=True)
    d = torch.randn(made.op.outputs[0].shape, dtype=torch.float64)
    outputs, _ = run(made.step, {**named(row), "d": d})
    got = outputs[len(made.op.outputs) :]
    tensors = row.tensors()
    wanted = [tensors[i].requires_grad_() for i in row.needs]
    expected = torch.autograd.grad(as_list(row.reference(*tensors))[0], wanted, d)
    assert len(got) == len(expected)
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, **CLOSE)


@pytest.mark.parametrize("row", [row for row in ROWS if row.needs], ids=str)
def test_adjoint_gives_only_what_is_asked_for(row: Row) -> None:
    for need in row.needs:
        one = Row(row.kind, row.tag, row.operands, row.reference, row.attrs, (need,), row.resident, row.emit)
        before = len(program(row).step.ops)
        emitted = program(one, adjoint=True).step.ops[before:]
        assert len(emitted) <= 1


@pytest.mark.parametrize(("row", "operand"), inplace_variants(ROWS), ids=str)
def test_in_place_gives_the_same_numbers(row: Row, operand: int) -> None:
    for a, b in zip(results(row, inplace=operand), results(row), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize(("row", "operand"), inplace_variants(ROWS), ids=str)
def test_in_place_uses_the_operands_storage(row: Row, operand: int) -> None:
    op = replace(program(row).op, inplace=operand)
    context = TorchContext(lr=0.0, seed=0, t=0, real=torch.float64, device=torch.device("cpu"))
    given = run_up_to(row)
    first = as_list(op.record.torch(op, context)(*given))[0]
    assert first.data_ptr() == given[operand].data_ptr()


def run_up_to(row: Row) -> list[torch.Tensor]:
    """The tensors that reach the op under test."""
    made = program(row)
    values = made.op.inputs
    step = replace(made.step, ops=made.step.ops[:-1], outputs=values)
    outputs, _ = run(step, named(row))
    return [tensor.clone() for tensor in outputs]


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_counts_are_natural_numbers_by_phase(row: Row) -> None:
    counts = program(row).op.record.counts(program(row).op)
    for table in (counts.macs, counts.other):
        assert set(table) <= set(Phase)
        assert all(isinstance(n, int) and n >= 0 for n in table.values())
    assert isinstance(counts.random, int) and counts.random >= 0


@pytest.mark.parametrize("row", [row for row in ROWS if row.flops], ids=str)
def test_macs_are_half_of_torchs_flops(row: Row) -> None:
    assert row.flops is not None
    op = program(row).op
    with FlopCounterMode(display=False) as counter:
        row.flops(*row.tensors())
    assert counter.get_total_flops() > 0
    macs = op.record.counts(op).macs
    assert sum(n for phase, n in macs.items() if phase != Phase.UPDATE) == counter.get_total_flops() // 2


RANDOM_WORDS = {
    "random": 30,
    "perturb": 2,
    "perturb_update": 2,
    "perturb-tiles": 1041,
    "random_project": 35,
    "random_rows-5": 42,
    "dropout-0.5": 60,
    "matmul_dx-sign-fresh": 20,
    "conv2d_dx-sign-fresh": 108,
    "matmul_dx-sign": 0,
    "matmul_dx-sign-magnitude": 0,
    "project-4-of-7": 0,
    "select_rows-4-of-7": 0,
}
"""Words that an op draws: of the row of that name, by hand."""


@pytest.mark.parametrize(("name", "words"), RANDOM_WORDS.items())
def test_random_words_are_counted(name: str, words: int) -> None:
    (row,) = [row for row in ROWS if str(row) == name]
    op = program(row).op
    assert op.record.counts(op).random == words
