"""Colours, markers and dashes: one per role and one per rule, the same in every picture.

The colours are those of Okabe and Ito (Color Universal Design, 2008), which colour-blind readers can tell
apart; yellow is kept for areas, because lines of it vanish on white. Each has a lighter twin for dark
backgrounds.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from insitu.step.ir import Phase, Role

ROLES: tuple[str, ...] = tuple(role.value for role in Role)
"""Roles from the bottom of a memory picture to its top: residents first."""

PHASES: tuple[str, ...] = tuple(phase.value for phase in Phase)

ROLE_COLOURS: dict[str, tuple[str, str]] = {
    "weight": ("#0072B2", "#2f86c4"),
    "state": ("#56B4E9", "#74c2ee"),
    "feedback": ("#009E73", "#1fae86"),
    "activation": ("#E69F00", "#e8a825"),
    "error": ("#D55E00", "#dd6b1c"),
    "head": ("#CC79A7", "#d48ab3"),
    "label": ("#F0E442", "#eee35a"),
    "scratch": ("#999999", "#a3a3a3"),
}
"""Light and dark colour of every role."""

PHASE_COLOURS: dict[str, tuple[str, str]] = {
    "forward": ("#e3e6ea", "#353c46"),
    "error": ("#b3bac4", "#5a6472"),
    "feedback": ("#8d96a3", "#7b8796"),
    "gradient": ("#5f6976", "#a3aebb"),
    "update": ("#343b45", "#d3dae2"),
}
"""Greys, so that phases are not mistaken for roles."""

RULE_COLOURS: tuple[tuple[str, str], ...] = (
    ("#1a1d21", "#f1f3f5"),
    ("#0072B2", "#5aa9e6"),
    ("#D55E00", "#ff8a4c"),
    ("#009E73", "#2cc79a"),
    ("#C0659A", "#e79cc8"),
    ("#DB9400", "#f5b731"),
    ("#48A6DC", "#a5dcff"),
    ("#7d7d7d", "#a6a6a6"),
)

MARKERS = ("circle", "square", "triangle", "diamond", "cross")
DASHES = ("", "6 3", "2 2.5")


@dataclass(frozen=True)
class RuleStyle:
    """How a rule is drawn; ``colour`` is an index into :data:`RULE_COLOURS`."""

    colour: int
    marker: str
    dash: str

    @property
    def light(self) -> str:
        return RULE_COLOURS[self.colour][0]


def rule_style(index: int) -> RuleStyle:
    """The style of the rule with that number; 40 differ before they repeat."""
    colours = len(RULE_COLOURS)
    return RuleStyle(index % colours, MARKERS[index % len(MARKERS)], DASHES[index // colours % len(DASHES)])


class Labelled(Protocol):
    """A row of a table, by its rule's name."""

    @property
    def label(self) -> str: ...


def rule_styles(rows: Iterable[Labelled]) -> dict[str, RuleStyle]:
    """A style per label: back-propagation takes the colour of the text, the others follow in order."""
    rows = list(rows)
    labels = dict.fromkeys([r.label for r in rows if r.label == "bp"] + [r.label for r in rows])
    return {label: rule_style(i) for i, label in enumerate(labels)}
