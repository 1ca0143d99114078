"""Dead-code elimination: what no learned or predicted value depends on is not computed and not stored.

A rule emits its equations for the whole network. Where parameters are frozen, part of that serves nothing: an error
that is sent below the first layer that learns, the head of a block that stays as it is, feedback to it, a value that
only a gradient would have read.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from insitu.step.ir import Op, Step, Value


def sweep(step: Step, kept: Collection[str]) -> Step:
    """The step without the operations and residents that nothing needs.

    Needed are the step's outputs, writes to a resident in ``kept``, and whatever these read; so is a write to a
    resident that a needed operation reads (at this step or the next). The step's inputs stay.

    Args:
        kept: names of residents that are read outside of the step: parameters, and what a prediction reads.
    """
    needed = _needed(step, kept)
    ops = tuple(op for op in step.ops if op in needed)
    read = {v for op in ops for v in op.inputs} | set(step.outputs)
    residents = tuple(v for v in step.residents if v in read)
    return replace(step, ops=ops, residents=residents, swept=True).verify()


def _needed(step: Step, kept: Collection[str]) -> set[Op]:
    made: dict[Value, list[Op]] = {}
    for op in step.ops:
        for value in (*op.outputs, *op.written):
            made.setdefault(value, []).append(op)
    todo = [op for op in step.ops if any(v.name in kept for v in op.written)]
    todo += [op for v in step.outputs for op in made.get(v, [])]
    found: set[Op] = set()
    while todo:
        op = todo.pop()
        if op not in found:
            found.add(op)
            todo += [maker for v in op.inputs for maker in made.get(v, [])]
    return found
