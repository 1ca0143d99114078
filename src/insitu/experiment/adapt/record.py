"""What ``insitu adapt`` writes: ``results.json``, versioned, and a row per rule."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from insitu.experiment.record import Record, Spread


class AdaptCurve(Record):
    """One seed's stream; a point before the first sample and after every so many. Accuracies are fractions of test
    samples.

    ``new``: of the domain that the stream is in; ``domains``: of every new domain; ``old``: of the old one;
    ``prequential``: share of the stream so far that was right before it was learned (``None`` at the start).
    """

    seed: int
    samples: list[int]
    new: list[float]
    old: list[float]
    domains: list[list[float]]
    prequential: list[float | None]
    triggered: dict[str, float] = Field(default_factory=dict)
    seconds: float = 0.0


class AdaptRow(Record):
    """One rule.

    ``lr`` was the best of ``trials`` (mean accuracy on held-back samples by rate; nothing was chosen where it is
    empty). ``new`` is the mean of the domains of the goal at the end, ``last`` the domain that came last, ``forgotten``
    the old accuracy before less that at the end. ``peak_bytes`` is that of the training step with ``replay_bytes``;
    energy and writes are those of a sample of the stream, with its replay; triggers count as they fired.
    """

    label: str
    rule: str
    precision: str
    lr: float | None
    trials: dict[str, float] = Field(default_factory=dict)
    seeds: list[int]
    new_before: Spread
    new: Spread
    last: Spread
    old_before: Spread
    old: Spread
    forgotten: Spread
    prequential: Spread
    peak_bytes: int
    replay_bytes: int
    inference_bytes: int
    writes_per_weight: float
    energy_pj: tuple[float, float, float] | None
    energy_to_inference: float | None
    seconds: float
    curves: list[AdaptCurve]
    paper: str


class AdaptResults(Record):
    """One scenario in one regime; ``goal``: the new domains that count at the end."""

    kind: Literal["adapt"] = "adapt"
    version: Literal[1] = 1
    insitu: str
    created: str
    command: str
    environment: dict[str, str]
    config: dict[str, object]
    what: str
    data: str
    network: str
    domains: list[str]
    goal: list[str]
    pretrained_on: int
    stream: int
    tested_old: int
    tested_new: int
    held_old: int
    held_new: int
    target: str
    engine: str
    rows: list[AdaptRow]
