"""The memory of a step as results keep it: bytes by role at the peak, and over its ops."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from insitu.experiment.record import Bytes, Moment
from insitu.network.graph import Network
from insitu.network.phases import Phases
from insitu.step.ir import Role, Step
from insitu.step.liveness import timeline

ByRole = Mapping[Role, int]


def by_role(found: ByRole) -> Bytes:
    """As a record."""
    return Bytes(total=sum(found.values()), **{role.value: n for role, n in found.items()})


def both(a: ByRole, b: ByRole) -> dict[Role, int]:
    """The sum, role by role."""
    return {role: a.get(role, 0) + b.get(role, 0) for role in Role}


def moments(step: Step, resting: ByRole) -> list[Moment]:
    """Live bytes while each op runs, with what rests meanwhile."""
    rows = zip(step.ops, timeline(step))
    return [
        Moment(op=op.kind, layer=op.where.layer, phase=op.phase.value, bytes=by_role(both(row, resting)))
        for op, row in rows
    ]


def idle(schedule: Phases, net: Network, steps: Sequence[Step], step: Step) -> dict[Role, int]:
    """Bytes by role of residents that a phase's step does not touch, but that must not be lost.

    All of them where phases take turns; the network's own where every phase comes once.
    """
    touched = {v.name for v in step.residents}
    others = {v.name: v for other in steps for v in other.residents if v.name not in touched}
    kept = [v for v in others.values() if schedule.period is not None or v.name in net.params]
    return {role: sum(v.bytes for v in kept if v.role == role) for role in Role}
