"""Execution order: the same program with its ops permuted, so that less is live at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from insitu.step.ir import Step, Value
from insitu.step.liveness import roots


def dependencies(step: Step) -> list[set[int]]:
    """For each op the ops that must come before it: definitions, and reads and writes of what is written."""
    root = roots(step)  # a view of a resident is read, and changes, with the resident
    made: dict[Value, int] = {}
    writer: dict[Value, int] = {}
    readers: dict[Value, list[int]] = {}
    needs: list[set[int]] = []
    for i, op in enumerate(step.ops):
        read = {root[v] for v in op.inputs}
        before = {made[v] for v in op.inputs if v in made}
        before |= {writer[r] for r in read if r in writer}
        for value in op.written:
            before |= set(readers.get(root[value], ()))
            readers[root[value]] = []
            writer[root[value]] = i
        for r in read:
            readers.setdefault(r, []).append(i)
        made.update(dict.fromkeys(op.outputs, i))
        needs.append(before - {i})
    return needs


Key = tuple[int, ...]


def schedule(step: Step, key: Callable[[int, int], Key]) -> Step:
    """List scheduling: of the ops that are ready, always the one with the least key.

    Args:
        key: ``(growth in live bytes once the op is done, emitted index) -> order``.
    """
    needs = dependencies(step)
    root = roots(step)
    touched = [{root[v] for v in (*op.inputs, *op.outputs)} for op in step.ops]
    born = [sum(v.bytes for v in op.outputs if root[v] is v) for op in step.ops]
    remaining = Counter(r for storages in touched for r in storages)
    kept = {root[v] for v in (*step.outputs, *step.residents)}
    waiting = set(range(len(step.ops)))
    done: set[int] = set()
    order: list[int] = []

    def growth(i: int) -> int:
        return born[i] - sum(r.bytes for r in touched[i] if remaining[r] == 1 and r not in kept)

    while waiting:
        ready = (i for i in waiting if needs[i] <= done)
        best = min(ready, key=lambda i: key(growth(i), i))
        remaining.subtract(touched[best])
        waiting.remove(best)
        done.add(best)
        order.append(best)
    return replace(step, ops=tuple(step.ops[i] for i in order)).verify()


def candidates(step: Step) -> list[Step]:
    """The orders that are tried: as emitted; what frees memory first, else as emitted; least growth first.

    Rules emit in an order that suits a whole network. Of a swept step two more are tried: what frees memory first,
    else what makes the least; and the least growth and output together.
    """
    found = [
        step,
        schedule(step, lambda growth, i: (int(growth > 0), i)),
        schedule(step, lambda growth, i: (growth, i)),
    ]
    if step.swept:
        made = [sum(v.bytes for v in op.outputs) for op in step.ops]
        found.append(schedule(step, lambda growth, i: (int(growth > 0), made[i], i)))
        found.append(schedule(step, lambda growth, i: (growth + made[i], i)))
    return found
