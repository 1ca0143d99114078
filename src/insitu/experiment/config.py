"""Frozen, checked configurations: what a run or a comparison is, complete, as YAML and back."""

from __future__ import annotations

import re
from math import cos, pi
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar, get_args

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from insitu.backends.protocol import names as backends
from insitu.errors import ConfigError
from insitu.inputs import bounds
from insitu.inputs.documents import Source, dump_yaml, parse_yaml, read_text
from insitu.ops.optimizers import Optimizer
from insitu.passes import precision as policies

T = TypeVar("T", bound=BaseModel)


TORCH = "torch"
"""The engine that every run has; the others are those of backends."""


def _known(engine: str) -> str:
    if engine != TORCH and engine not in backends():
        raise ValueError(f"engine is unknown; use one of {', '.join((TORCH, *backends()))}")
    return engine


Engine = Annotated[str, AfterValidator(_known)]


class Frozen(BaseModel):
    """Unknown keys are errors, and so are infinite numbers and words for them; nothing changes after it is made."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_word(cls, value: Any, info: ValidationInfo) -> Any:
        """``yes`` is true in YAML, and Python counts with it; a number it is not."""
        wanted = cls.model_fields[info.field_name or ""].annotation
        if isinstance(value, bool) and bool not in (wanted, *get_args(wanted)):
            raise ValueError("is true or false, where something else is wanted")
        return value


def most(bound: bounds.Most) -> AfterValidator:
    """The upper bound of a number that may be absent."""
    return AfterValidator(lambda value: value if value is None else bound.check(value))


PRETRAINED_RATE = 0.005
"""Learning rate of a pretrained network in integers, where none is given: at the 0.05 of a network that starts from
nothing, one sample at a time, it can lose what it knew."""


class OptimizerConfig(Frozen):
    """How gradients change weights; ``lr`` is the initial learning rate: of a pretrained network in integers
    :data:`PRETRAINED_RATE` where it is not given."""

    kind: Literal["sgd", "momentum", "nesterov", "adam", "sign"] = "sgd"
    lr: Annotated[float, most(bounds.RATE)] = Field(default=0.05, gt=0)
    momentum: float = Field(default=0.9, gt=0, lt=1)
    weight_decay: Annotated[float, most(bounds.FACTOR)] = Field(default=0.0, ge=0)
    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.999, ge=0, lt=1)
    eps: Annotated[float, most(bounds.FACTOR)] = Field(default=1e-8, gt=0)

    def build(self) -> Optimizer:
        """Its part of the step program."""
        return Optimizer(**self.model_dump(exclude={"lr"}))


class ScheduleConfig(Frozen):
    """Learning rate over the run: ``constant``, ``cosine`` to ``final`` times the initial rate, or ``step``:
    times ``gamma`` at each milestone (a share of the run between 0 and 1)."""

    kind: Literal["constant", "cosine", "step"] = "constant"
    final: float = Field(default=0.0, ge=0, le=1)
    gamma: Annotated[float, most(bounds.FACTOR)] = Field(default=0.1, gt=0)
    milestones: tuple[float, ...] = (0.5, 0.75)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if any(not 0 < m < 1 for m in self.milestones):
            raise ValueError("milestones are shares of the run between 0 and 1")
        return self

    def factor(self, progress: float) -> float:
        """What the initial rate is multiplied by at a progress between 0 and 1."""
        if self.kind == "cosine":
            return self.final + (1 - self.final) * (1 + cos(pi * min(progress, 1.0))) / 2
        if self.kind == "step":
            return self.gamma ** sum(progress >= m for m in self.milestones)
        return 1.0


class AugmentConfig(Frozen):
    """Random crop after padding by ``pad`` pixels, and random horizontal flip."""

    pad: Annotated[int, most(bounds.PAD)] = Field(default=0, ge=0)
    flip: bool = False


class EarlyStopConfig(Frozen):
    """Stop after ``patience`` evaluations without a gain of ``min_delta`` on the validation split."""

    patience: Annotated[int, most(bounds.EPOCHS)] = Field(default=5, ge=1)
    min_delta: float = Field(default=0.0, ge=0)


class CalibrationConfig(Frozen):
    """How ranges of activations are measured for a quantized precision: on ``samples`` training samples in float64.

    ``max``: the largest magnitude; ``percentile``: the magnitude that this percentage of the values stays below;
    ``mse``: the range with the least squared rounding error.
    """

    method: Literal["max", "percentile", "mse"] = "percentile"
    percentile: float = Field(default=99.9, gt=50, le=100)
    samples: Annotated[int, most(bounds.BATCH)] = Field(default=512, ge=1)


class TrainingConfig(Frozen):
    """What every run of a comparison shares."""

    version: Literal[1] = 1
    data: str = "digits"
    data_dir: str | None = None
    data_options: dict[str, Any] = {}
    limit_train: Annotated[int | None, most(bounds.SAMPLES)] = Field(default=None, ge=1)
    limit_test: Annotated[int | None, most(bounds.SAMPLES)] = Field(default=None, ge=1)
    validation: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="share of the training split held out, unless the data have a validation split",
    )
    network_options: dict[str, Any] = {}
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    loss: Literal["xent", "bce", "mse", "hinge"] = "xent"
    target: Literal["label", "input"] = Field(default="label", description="input: reconstruct the sample")
    epochs: Annotated[int, most(bounds.EPOCHS)] = Field(default=10, ge=1)
    samples: Annotated[int | None, most(bounds.SAMPLES)] = Field(
        default=None, ge=1, description="training samples in all, instead of epochs"
    )
    batch: Annotated[int, most(bounds.BATCH)] = Field(default=32, ge=1)
    augment: AugmentConfig = AugmentConfig()
    eval_batch: Annotated[int, most(bounds.BATCH)] = Field(default=500, ge=1)
    eval_epochs: Annotated[int, most(bounds.EPOCHS)] = Field(
        default=1, ge=1, description="epochs between evaluations; the last always"
    )
    early_stop: EarlyStopConfig | None = None
    checkpoint_steps: Annotated[int | None, most(bounds.COUNT)] = Field(
        default=None, ge=1, description="also checkpoint every so many steps"
    )
    precision: str | dict[str, Any] = Field(
        default="float32", description="a policy's name, or base: a name, and the fields that differ from it"
    )
    calibration: CalibrationConfig = CalibrationConfig()
    init_from: str | None = Field(
        default=None,
        validation_alias=AliasChoices("init_from", "start"),  # "start" in files of version 0.1
        description="run folder or .npz whose parameters the network starts from",
    )
    engine: Engine = Field(
        default=TORCH,
        description="what computes the steps; c: faster, the same bits (floats of a comparison: torch)",
    )
    device: str = "cpu"
    threads: Annotated[int | None, most(bounds.THREADS)] = Field(
        default=None, ge=1, description="torch threads; none: 1 for small steps, else all"
    )
    alignment: bool = Field(default=False, description="log the angle to back-propagation per layer")

    @model_validator(mode="after")
    def _precise(self) -> Self:
        if self.brevitas is not None:
            return self
        try:
            found = policies.make(self.precision)
        except ConfigError as error:
            raise ValueError(str(error)) from None
        if found is not None and self.alignment:
            raise ValueError("alignment compares real gradients; use precision float32 or float64")
        if found is not None and self.init_from is not None and "lr" not in self.optimizer.model_fields_set:
            gentle = self.optimizer.model_copy(update={"lr": PRETRAINED_RATE})
            object.__setattr__(self, "optimizer", gentle)
        return self

    @property
    def brevitas(self) -> tuple[int, int] | None:
        """Weight and activation bits of the QAT baseline, ``brevitas-w<bits>a<bits>``."""
        match = re.fullmatch("brevitas-w([0-9]+)a([0-9]+)", str(self.precision))
        return (int(match[1]), int(match[2])) if match else None

    @property
    def policy(self) -> policies.Precision | None:
        """The precision policy; ``None`` for floats, and where Brevitas quantizes."""
        return None if self.brevitas else policies.make(self.precision)

    @property
    def precision_name(self) -> str:
        """What tables call the precision."""
        return str(self.policy or self.precision)


class RunConfig(TrainingConfig):
    """One training run, complete: ``insitu train config.yaml`` repeats it."""

    network: str = "mlp-64-100-10"
    rule: str = "bp"
    rule_options: dict[str, Any] = {}
    seed: Annotated[int, most(bounds.SEED)] = Field(default=1, ge=0)


class RuleSpec(Frozen):
    """One rule of a comparison, with its options and what differs from the shared training configuration."""

    rule: str
    options: dict[str, Any] = {}
    lr: Annotated[float | None, most(bounds.RATE)] = Field(default=None, gt=0)
    rates: dict[str, Annotated[float, Field(gt=0), most(bounds.RATE)]] = Field(
        default={}, description="learning rates on some networks, over lr"
    )
    precision: str | dict[str, Any] | None = None
    network_options: dict[str, Any] = Field(default={}, description="under this rule, over the shared ones")
    epochs_factor: Annotated[int, most(bounds.EPOCHS)] = Field(
        default=1, ge=1, description="epochs of this rule over those of the others"
    )
    engine: Engine | None = Field(default=None, description="of this rule, if not the shared one")
    batch: Annotated[int | None, most(bounds.BATCH)] = Field(
        default=None, ge=1, description="samples a step of this rule, if not the shared number"
    )
    label: str | None = None

    @property
    def name(self) -> str:
        """What tables call it: the label, or the rule with its options."""
        if self.label:
            return self.label
        options = ",".join(f"{k}={v}" for k, v in self.options.items())
        name = f"{self.rule}[{options}]" if options else self.rule
        if self.precision is None:
            return name
        if isinstance(self.precision, str):
            return f"{name} {self.precision}"
        return f"{name} {policies.make(self.precision)}"


class BudgetConfig(TrainingConfig):
    """Training under a budget: what a step may take by its plan, before anything is trained."""

    hardware: str | None = Field(default=None, description="target to cost the steps on")
    max_bytes: Annotated[int | None, most(bounds.BYTES)] = Field(
        default=None, ge=1, description="rules with a higher peak do not train"
    )
    max_energy_uj: float | None = Field(
        default=None,
        gt=0,
        description="rules that take more energy per training sample on the target do not train",
    )

    @model_validator(mode="after")
    def _budgeted(self) -> Self:
        if self.max_energy_uj is not None and self.hardware is None:
            raise ValueError("max_energy_uj needs hardware, such as --target stm32l4r5")
        return self

    def run(self, network: str, spec: RuleSpec, seed: int) -> RunConfig:
        """The configuration of a run of a rule on a network."""
        shared = {name: getattr(self, name) for name in TrainingConfig.model_fields}
        lr = spec.rates.get(network, spec.lr)
        if lr is not None:
            shared["optimizer"] = self.optimizer.model_copy(update={"lr": lr})
        if spec.precision is not None:
            shared["precision"] = spec.precision
        if spec.engine is not None:
            shared["engine"] = spec.engine
        if spec.batch is not None:
            shared["batch"] = spec.batch
        shared["network_options"] = self.network_options | spec.network_options
        shared["epochs"] = self.epochs * spec.epochs_factor
        run = RunConfig(**shared, network=network, rule=spec.rule, rule_options=dict(spec.options), seed=seed)
        floats = run.policy is None  # engines of backends compute integers alone
        return run.model_copy(update={"engine": TORCH}) if floats else run


class CompareConfig(BudgetConfig):
    """The same networks trained with every rule and several seeds."""

    networks: tuple[str, ...] = ("mlp-64-100-10",)
    rules: tuple[RuleSpec, ...] = (RuleSpec(rule="bp"),)
    seeds: Annotated[int, most(bounds.SEEDS)] = Field(default=3, ge=1)
    first_seed: Annotated[int, most(bounds.SEED)] = Field(default=1, ge=0)

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        for what, names in (("networks", list(self.networks)), ("rules", [s.name for s in self.rules])):
            folders = ["".join(c if c.isalnum() else "_" for c in name) for name in names]
            if len(set(folders)) < len(folders):
                raise ValueError(
                    f"two {what} have one name; give each rule a label of its own, each network once"
                )
        return self


def dump(config: BaseModel) -> str:
    """The configuration as YAML, every field written."""
    return dump_yaml(config.model_dump(mode="json"))


def parse(model: type[T], raw: Any, source: str) -> T:
    """A configuration from plain data.

    Raises:
        ConfigError: naming the source, the field and the reason of the first problem.
    """
    if not isinstance(raw, dict):
        raise ConfigError(f"{source} is no configuration: it must hold 'key: value' lines")
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(f"{source}: {_explain(error, model)}") from None


def _explain(error: ValidationError, model: type[BaseModel]) -> str:
    first = error.errors()[0]
    place = ".".join(str(p) for p in first["loc"]) or "the whole"
    if first["type"] == "extra_forbidden":
        return f"key {place!r} is unknown; known keys: {', '.join(model.model_fields)}"
    value = first.get("input")
    shown = f" (got {repr(value)[:80]})" if not isinstance(value, dict) else ""
    reason = first["msg"].removeprefix("Value error, ")
    return f"{place}: {reason[0].lower() + reason[1:]}{shown}; correct this value"


def load(model: type[T], path: Path) -> T:
    """Reads a YAML configuration.

    Raises:
        ConfigError: if the file is missing, is no YAML, or does not fit the model.
    """
    source = Source(f"configuration {path}", "check the path and the file")
    return parse(model, parse_yaml(read_text(path, source), source), str(path))
