"""What a comparison writes: ``results.json``, versioned, and a row per network and rule."""

from __future__ import annotations

from statistics import fmean, stdev
from typing import Literal

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """Part of a results file; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid")


class Spread(Record):
    """Values over the seeds, their mean and sample standard deviation (0 for one seed)."""

    mean: float
    sd: float
    values: list[float]

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        return cls(mean=fmean(values), sd=stdev(values) if len(values) > 1 else 0.0, values=values)


class Bytes(Record):
    """Bytes at the peak of a step, by role; they sum to ``total``."""

    total: int
    weight: int = 0
    state: int = 0
    feedback: int = 0
    activation: int = 0
    error: int = 0
    head: int = 0
    label: int = 0
    scratch: int = 0


class Macs(Record):
    """Multiply-accumulates per sample, by phase."""

    forward: float = 0
    error: float = 0
    feedback: float = 0
    gradient: float = 0
    update: float = 0

    @property
    def total(self) -> float:
        return self.forward + self.error + self.feedback + self.gradient + self.update


class Moment(Record):
    """Live bytes while one op of the step runs (for the memory picture)."""

    op: str
    layer: str | None
    phase: str
    bytes: Bytes


class Curve(Record):
    """One seed's run: a point per evaluation; a loss that is no finite number is ``None``.

    ``triggered``: share of the samples since the evaluation before for which each trigger fired, by its layer and in
    order; ``None`` for rules that learn from every sample.
    """

    seed: int
    samples: list[int]
    train_loss: list[float | None]
    test_loss: list[float | None]
    test_accuracy: list[float | None]
    triggered: list[dict[str, float]] | None = None


class Hardware(Record):
    """What a training sample takes on a target; ``None`` where the target does not say.

    Energy is in pJ (low, central, high), ``run_energy_uj`` that of all training samples of a seed (central),
    ``problem`` why the target cannot hold the step. A rule with triggers is taken to learn from every sample.
    """

    target: str
    peak_bytes: int
    energy_pj: tuple[float, float, float] | None
    energy_to_inference: float | None
    energy_to_bp: float | None
    seconds: float | None
    run_energy_uj: float | None
    writes_per_weight: float
    lifetime_samples: float | None
    problem: str | None


class Rejected(Record):
    """A rule that was over a budget and did not train."""

    rule: str
    network: str
    reason: str


DIVERGED = 1e6
"""A test loss above it is no finite number's but in name."""


class Row(Record):
    """One rule on one network.

    ``peak_bytes`` is that of the fused step, ``eager_bytes`` of the step as the rule emits it, each at the training
    batch; ``inference_bytes`` of the forward pass at the same batch. Ratios to BP are ``None`` where ``bp`` was
    not run. ``diverged`` counts the seeds whose loss left the finite numbers. ``seconds`` is the mean training time
    of a seed, evaluation excluded. Accuracies are fractions. ``before`` is the test accuracy of a pretrained network
    before it learned: in float32, and in the row's precision (``quantized``). ``majority`` is the share of the most
    frequent class in the test data, and ``tested`` their number; ``None`` in results of older versions.
    ``input_shape`` is that of a sample, ``outputs`` those of the network. ``identity`` holds hashes of the user's
    network files and of the data; ``None`` in results of older versions.
    """

    rule: str
    label: str
    rule_options: dict[str, object] = {}
    network: str
    input_shape: tuple[int, ...] | None = None
    outputs: int | None = None
    data: str
    precision: str
    batch: int
    optimizer: str
    lr: float
    seeds: list[int]
    epochs: int
    samples: int
    test_accuracy: Spread | None
    test_loss: Spread | None
    before: dict[str, float] | None = None
    majority: float | None = None
    tested: int | None = None
    peak_bytes: Bytes
    eager_bytes: Bytes
    inference_bytes: int
    bytes_to_inference: float
    bytes_to_bp: float | None
    macs_per_sample: Macs
    inference_macs: float
    macs_to_inference: float
    macs_to_bp: float | None
    hardware: Hardware | None = None
    diverged: int = 0
    seconds: float
    curves: list[Curve]
    timeline: list[Moment]
    eager_timeline: list[Moment]
    command: str
    paper: str
    identity: dict[str, str] | None = None

    @property
    def warning(self) -> str:
        """What speaks against reading the row as a result: ``diverged``, ``chance`` (its accuracy is not above the
        majority's share by 1.96 standard errors of that share), or nothing."""
        lost = self.test_loss is None or self.test_loss.mean > DIVERGED
        if self.diverged or (lost and self.test_accuracy is not None):
            return "diverged"
        if self.test_accuracy is None or self.majority is None or not self.tested:
            return ""
        error = (self.majority * (1 - self.majority) / self.tested) ** 0.5
        return "chance" if self.test_accuracy.mean < self.majority + 1.96 * error else ""


class Results(Record):
    """A comparison."""

    version: Literal[1] = 1
    insitu: str
    created: str
    command: str
    environment: dict[str, str]
    config: dict[str, object]
    rows: list[Row]
    rejected: list[Rejected] = []
