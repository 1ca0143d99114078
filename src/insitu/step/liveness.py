"""Which storage is live at which op: the base of every memory figure.

Values share a storage where an op's record says that its output is a view (``alias``) or where a pass let the
output take over an input's storage (``inplace``). While op *i* runs, its inputs and its outputs are live.
"""

from __future__ import annotations

from dataclasses import dataclass

from insitu.step.ir import Role, Step, Value


@dataclass(frozen=True)
class Storage:
    """One piece of memory.

    ``birth`` is -1 for inputs and residents; ``death`` is the last op that needs it.
    """

    root: Value
    values: tuple[Value, ...]
    birth: int
    death: int

    @property
    def bytes(self) -> int:
        return max(v.bytes for v in self.values)

    def role_at(self, index: int, born: dict[Value, int]) -> Role:
        """The role of the value that the storage holds at op ``index``."""
        holder = self.values[0]
        for value in self.values[1:]:
            if born[value] <= index:
                holder = value
        return holder.role


def roots(step: Step) -> dict[Value, Value]:
    """The value that owns the storage of each value."""
    root = {v: v for v in (*step.inputs, *step.residents)}
    for op in step.ops:
        for i, out in enumerate(op.outputs):
            source = 0 if op.record.alias else op.inplace
            root[out] = root[op.inputs[source]] if i == 0 and source is not None else out
    return root


def births(step: Step) -> dict[Value, int]:
    """Index of the op that defines each value; -1 for inputs and residents."""
    born = {v: -1 for v in (*step.inputs, *step.residents)}
    for i, op in enumerate(step.ops):
        for out in op.outputs:
            born[out] = i
    return born


def storages(step: Step) -> list[Storage]:
    """All storages, in order of birth; residents and step outputs live to the end."""
    root = roots(step)
    born = births(step)
    last: dict[Value, int] = {}
    for i, op in enumerate(step.ops):
        for value in (*op.inputs, *op.outputs):
            last[root[value]] = i
    end = len(step.ops) - 1
    for value in (*step.outputs, *step.residents):
        last[root[value]] = end
    members: dict[Value, list[Value]] = {}
    views = {op.outputs[0] for op in step.ops if op.record.alias}
    for value, r in root.items():
        if value not in views:  # a view has no size and no role of its own
            members.setdefault(r, []).append(value)
    found = [Storage(r, tuple(vs), born[r], last.get(r, -1)) for r, vs in members.items()]
    return sorted(found, key=lambda s: s.birth)


def timeline(step: Step) -> list[dict[Role, int]]:
    """Live bytes by role while each op runs; residents included."""
    born = births(step)
    rows: list[dict[Role, int]] = [dict.fromkeys(Role, 0) for _ in step.ops]
    for storage in storages(step):
        for i in range(max(storage.birth, 0), storage.death + 1):
            rows[i][storage.role_at(i, born)] += storage.bytes
    return rows


def peak_bytes(step: Step) -> int:
    """Largest sum of live bytes over the ops, residents included."""
    return max((sum(row.values()) for row in timeline(step)), default=0)
