"""Execution order: the same program with its ops permuted, so that less is live at a time."""

from __future__ import annotations

from dataclasses import replace

from insitu.step.ir import Op, Step, Value
from insitu.step.liveness import roots


def dependencies(step: Step) -> list[set[int]]:
    """For each op the ops that must come before it: definitions, and reads and writes of what is written."""
    made: dict[Value, int] = {}
    writer: dict[Value, int] = {}
    readers: dict[Value, list[int]] = {}
    needs: list[set[int]] = []
    for i, op in enumerate(step.ops):
        before = {made[v] for v in op.inputs if v in made}
        before |= {writer[v] for v in op.inputs if v in writer}
        for value in op.written:
            before |= set(readers.get(value, ()))
            readers[value] = []
            writer[value] = i
        for value in op.inputs:
            readers.setdefault(value, []).append(i)
        made.update(dict.fromkeys(op.outputs, i))
        needs.append(before - {i})
    return needs


def greedy(step: Step) -> Step:
    """Of the ops that are ready, always the one that leaves the fewest bytes live; ties as emitted."""
    needs = dependencies(step)
    root = roots(step)
    remaining: dict[Value, int] = {}
    for op in step.ops:
        for r in {root[v] for v in (*op.inputs, *op.outputs)}:
            remaining[r] = remaining.get(r, 0) + 1
    kept = {root[v] for v in (*step.outputs, *step.residents)}
    done: set[int] = set()
    waiting = list(range(len(step.ops)))
    ops: list[Op] = []

    def growth(i: int) -> int:
        op = step.ops[i]
        born = sum(v.bytes for v in op.outputs if root[v] is v)
        touched = {root[v] for v in (*op.inputs, *op.outputs)}
        return born - sum(r.bytes for r in touched if remaining[r] == 1 and r not in kept)

    while waiting:
        ready = [i for i in waiting if needs[i] <= done]
        best = min(ready, key=lambda i: (growth(i), i))
        for r in {root[v] for v in (*step.ops[best].inputs, *step.ops[best].outputs)}:
            remaining[r] -= 1
        waiting.remove(best)
        done.add(best)
        ops.append(step.ops[best])
    return replace(step, ops=tuple(ops)).verify()


def candidates(step: Step) -> list[Step]:
    """The orders that are tried: as emitted, and greedy."""
    return [step, greedy(step)]
