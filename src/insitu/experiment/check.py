"""Before training: everything that a target, a precision or a backend would refuse, each with its layer and remedy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from insitu.backends.protocol import find, names, on_reals
from insitu.errors import ConfigError, InsituError
from insitu.experiment.described import point_of
from insitu.experiment.design_point import DesignPoint
from insitu.experiment.design_program import ask_names, program
from insitu.experiment.impact import Impact, assess, references
from insitu.hardware.cost import capacity_bytes
from insitu.rules.facts import unready
from insitu.rules.protocol import make_rule
from insitu.step.ir import Op, Shape, Step, Trait
from insitu.step.liveness import timeline

REFERENCE = "integer"
"""The integer reference: what every backend of integers is checked against."""


@dataclass(frozen=True)
class Item:
    """One thing that was looked at.

    Attributes:
        rule, precision, target: of what (target may be empty).
        refused: the reason, the place and the remedy; ``None``: nothing to object.
        note: what was found, where nothing is refused.
    """

    rule: str
    precision: str
    target: str
    refused: str | None
    note: str = ""

    def plain(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Found:
    """All items."""

    items: tuple[Item, ...]

    @property
    def clean(self) -> bool:
        return all(item.refused is None for item in self.items)

    def text(self, *, quiet: bool = False) -> str:
        """A line per item; only refusals, if quiet."""
        lines = []
        for item in self.items:
            place = ", ".join(part for part in (item.rule, item.precision, item.target) if part)
            if item.refused is not None:
                lines.append(f"refused  {place}: {item.refused}")
            elif not quiet:
                lines.append(f"ok       {place}: {item.note}")
        return "\n".join(lines) + "\n" if lines else ""


def check(
    what: str, rules: Sequence[str] | None, precisions: Sequence[str], targets: Sequence[str], backend: str | None,
    batch: int | None, input_shape: Shape | None = None, classes: int | None = None,
) -> Found:  # fmt: skip
    """Looks at a run, a configuration or a network; the other arguments take the place of what it says.

    Raises:
        ConfigError: an unknown backend, network, rule, precision or target, or a file that is no configuration.
    """
    if backend is not None and backend not in (*names(), REFERENCE):
        known = ", ".join((*names(), REFERENCE))
        raise ConfigError(f"backend {backend!r} is unknown; use one of {known}")
    given = {"batch": batch, "input_shape": input_shape, "classes": classes}
    point = replace(point_of(what), target="", **{k: v for k, v in given.items() if v})
    chosen = product(rules or [point.rule], precisions or [point.precision], targets or [""])
    points = [
        replace(
            point,
            rule=rule,
            options=point.options if rule == point.rule else (),
            precision=precision,
            target=target,
        )
        for rule, precision, target in chosen
    ]
    kept = (_kept(Path(what), point),) if (Path(what) / "checkpoint.pt").is_file() else ()
    if kept and kept[0].refused is not None:
        return Found(kept)
    ask_names(points)
    return Found((*kept, *(item for point in points for item in _items(point, backend))))


def _kept(folder: Path, point: DesignPoint) -> Item:
    """Are the files that a run folder names still those that it was trained with?"""
    from insitu.experiment.train import load_run  # imports torch

    item = Item(point.rule, point.precision, "", None, f"{folder}: its files are those of the run")
    try:
        load_run(folder)
    except InsituError as error:
        return replace(item, refused=str(error))
    return item


def _items(point: DesignPoint, backend: str | None) -> Iterator[Item]:
    named = (point.name, point.precision, point.target)
    try:
        made = program(replace(point, target=""))
    except InsituError as error:
        yield Item(*named, str(error))
        return
    if backend is not None:
        yield Item(*named, _no_backend(point, made.steps, backend), f"every op has a form for {backend}")
    if not point.target:
        yield Item(*named, None, f"{made.peak_bytes:,} bytes at the peak of a step")
        return
    try:
        impact = assess(point)
    except InsituError as error:
        yield Item(*named, str(error))
        return
    yield Item(
        *named,
        _no_room(impact),
        f"{impact.peak_bytes:,} of {capacity_bytes(impact.inference.target):,} bytes",
    )


def _no_room(impact: Impact) -> str | None:
    """Why the target has too little memory, where in the step, and what would fit."""
    if impact.problem is None:
        return None
    op = _peak_op(impact)
    fits = [name for name, other in references(impact.point).items() if other.problem is None]
    remedy = (
        f"rule {fits[0]} fits" if fits else "use fewer bits, a smaller batch or network, or another target"
    )
    return f"{impact.problem}; the peak is at {op.kind} of {op.where.layer or 'no layer'}; {remedy}"


def _peak_op(impact: Impact) -> Op:
    step = impact.program.steps[impact.program.highest]
    sizes = [sum(row.values()) for row in timeline(step)]
    return step.ops[sizes.index(max(sizes))]


def _no_backend(point: DesignPoint, steps: Sequence[Step], backend: str) -> str | None:
    """Why a backend (or the integer reference) cannot run the steps."""
    for step in steps:
        if backend == REFERENCE:
            reason = _on_reals(point, step)
        else:
            refused = find(backend).refuse(step)
            reason = (_on_reals(point, step) or refused[0]) if refused else None
        if reason is not None:
            return reason
    return None


def _on_reals(point: DesignPoint, step: Step) -> str | None:
    """Which op computes in reals, and whether the rule or the precision is why."""
    found = on_reals(step)
    if found is None:
        return None
    op, value = found
    if Trait.TORCH_ONLY in op.record.traits:
        name = getattr(op.attrs.fn, "__qualname__", "fn")
        return f"op call ({name}) at {op.where} runs in torch alone; use another rule"
    reason = unready(make_rule(point.rule, dict(point.options)))
    why = reason or f"precision {point.precision} keeps {value.name} in {value.format}"
    remedy = "use another rule" if reason else "use a precision without reals, such as edge-latent-free-8"
    return f"{op.kind} at {op.where} works on reals: {why}; {remedy}"
