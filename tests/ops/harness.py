"""One op in a tiny step: built by the builder, run by the executor, next to its definition in plain torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from zlib import crc32

import torch

from insitu.numbers.formats import F64, Fixed
from insitu.run.torch_exec import TorchExecutor
from insitu.step.builder import Builder
from insitu.step.ir import OPS, Init, Op, Phase, Role, Step, Value

SEED, T, LR = 7, 3, 0.1
"""Seed of the run, training step and learning rate of every test program."""

Operand = tuple[int, ...] | Callable[[torch.Generator, list[torch.Tensor]], torch.Tensor]
"""A shape (drawn from N(0, 1)), or a function of the generator and the operands made so far."""

_FORMATS = {
    torch.float64: F64,
    torch.uint8: Fixed(False, 8, 0),
    torch.uint16: Fixed(False, 16, 0),
    torch.int32: Fixed(False, 32, 0),
}


@dataclass(frozen=True)
class Row:
    """How one op is used, and what it must give.

    Attributes:
        kind: the op.
        tag: tells rows of a kind apart.
        operands: what the program is given.
        reference: the operands' plain torch function: outputs, or the new values of what the op writes.
        attrs: of the op.
        needs: operands whose gradient is compared with autograd of ``reference``.
        resident: operands that live from step to step.
        emit: emits the op under test as the last op, where it needs others before it.
        flops: plain torch function whose counted FLOPs are twice the op's MACs (outside of the update).
    """

    kind: str
    tag: str
    operands: tuple[Operand, ...]
    reference: Callable[..., Any]
    attrs: Mapping[str, Any] = field(default_factory=dict)
    needs: tuple[int, ...] = ()
    resident: tuple[int, ...] = ()
    emit: Callable[[Builder, list[Value]], Any] | None = None
    flops: Callable[..., Any] | None = None

    def __str__(self) -> str:
        return f"{self.kind}-{self.tag}" if self.tag else self.kind

    def tensors(self) -> list[torch.Tensor]:
        """The operands' values, the same at every call."""
        generator = torch.Generator().manual_seed(crc32(str(self).encode()))
        made: list[torch.Tensor] = []
        for operand in self.operands:
            if callable(operand):
                made.append(operand(generator, made))
            else:
                made.append(torch.randn(operand, generator=generator, dtype=torch.float64))
        return made


@dataclass(frozen=True)
class Program:
    """A step around one op."""

    step: Step
    op: Op
    operands: list[Value]


def value_of(b: Builder, name: str, tensor: torch.Tensor, resident: bool) -> Value:
    """Declares a tensor as an input or resident of a step."""
    shape = tuple(tensor.shape)
    if resident:
        return b.resident(name, shape, Role.WEIGHT, Init("zeros"))
    return b.input(name, shape, Role.ACTIVATION, _FORMATS[tensor.dtype])


def program(row: Row, *, adjoint: bool = False) -> Program:
    """The step: the op and, where asked, its adjoint, with the cotangent of the first output as an input."""
    b = Builder("conformance", 1, F64)
    values = [value_of(b, f"v{i}", tensor, i in row.resident) for i, tensor in enumerate(row.tensors())]
    if row.emit is not None:
        row.emit(b, values)
    else:
        b.emit(row.kind, *values, role=Role.ACTIVATION, phase=Phase.FORWARD, **row.attrs)
    op = b.ops[-1]
    b.output(*op.outputs)
    if adjoint:
        cotangent = b.input("d", op.outputs[0].shape, Role.ERROR)
        given = [cotangent, *[None] * (len(op.outputs) - 1)]
        gradients = b.adjoint(op, given, [op.inputs.index(values[i]) for i in row.needs])
        b.output(*(gradients[op.inputs.index(values[i])] for i in row.needs))
    return Program(b.finish(), op, values)


def run(
    step: Step, given: Mapping[str, torch.Tensor], *, t: int = T, lr: float = LR
) -> tuple[list[torch.Tensor], dict[str, torch.Tensor]]:
    """Runs a step on copies of named tensors; returns its outputs and the residents afterwards."""
    state = {v.name: given[v.name].clone() for v in step.residents}
    executor = TorchExecutor(step, state, seed=SEED, dtype=torch.float64)
    return executor.run([given[v.name].clone() for v in step.inputs], lr=lr, t=t), state


def named(row: Row) -> dict[str, torch.Tensor]:
    return {f"v{i}": tensor for i, tensor in enumerate(row.tensors())}


def results(row: Row, *, inplace: int | None = None) -> list[torch.Tensor]:
    """What the op gives: its outputs, or the values of what it wrote."""
    made = program(row)
    step = made.step
    if inplace is not None:
        last = replace(step.ops[-1], inplace=inplace)
        step = replace(step, ops=(*step.ops[:-1], last)).verify()
    outputs, state = run(step, named(row))
    return [state[v.name] for v in made.op.written] or outputs


def as_list(result: Any) -> list[torch.Tensor]:
    return list(result) if isinstance(result, Sequence | tuple) else [result]


def inplace_variants(rows: Sequence[Row]) -> list[tuple[Row, int]]:
    """Each row with each operand whose storage its op may take over."""
    return [(row, i) for row in rows for i in OPS[row.kind].inplace]
