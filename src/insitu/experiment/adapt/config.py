"""The configuration of ``insitu adapt``."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from insitu.errors import ConfigError
from insitu.experiment.adapt.scenarios import REGIMES, find
from insitu.experiment.config import Engine, Frozen, RuleSpec, most
from insitu.inputs import bounds
from insitu.inputs.foreign import has_layers

FROZEN, LAST, BIASES = "frozen", "last-layer", "biases"
"""Baselines that are no rules of their own: nothing learns; the output layer; the biases alone, by BP."""

PASSES = 300_000
"""Samples that pretraining passes at most, all epochs together, unless these are given."""

_STATIC = {"base": "edge-latent-free-8", "error_exponent": "static"}
RULES = (
    RuleSpec(rule=FROZEN),
    RuleSpec(rule=LAST),
    RuleSpec(rule=BIASES),
    RuleSpec(rule="bp"),
    RuleSpec(rule="bp-stash"),
    RuleSpec(rule="pred", label="pred", precision=_STATIC),
    RuleSpec(rule="etch", label="etch", precision=_STATIC),
)


class PretrainConfig(Frozen):
    """Pretraining in float32 by back-propagation with Adam."""

    epochs: Annotated[int | None, most(bounds.EPOCHS)] = Field(
        default=None, ge=1, description="none: the scenario's, of large data fewer"
    )
    batch: Annotated[int, most(bounds.BATCH)] = Field(default=32, ge=1)
    lr: Annotated[float, most(bounds.RATE)] = Field(default=0.002, gt=0)


class AdaptConfig(Frozen):
    """A scenario in a regime, and the rules that meet it."""

    version: Literal[1] = 1
    scenario: str = "rotated"
    regime: Literal["single", "drift", "continual"] = "single"
    data: str | None = Field(default=None, description="the old domain, where the scenario leaves it open")
    data_dir: str | None = None
    network: str | None = None
    network_options: dict[str, Any] | None = Field(
        default=None, description="none: ReLU, where the network has no layers of its own"
    )
    start: str | None = Field(default=None, description="run folder, .pt or .npz in place of pretraining")
    pretrain: PretrainConfig = PretrainConfig()
    rules: tuple[RuleSpec, ...] = RULES
    rates: tuple[Annotated[float, Field(gt=0), most(bounds.RATE)], ...] = Field(
        default=(0.1, 0.03, 0.01, 0.003, 0.001, 0.0003), min_length=1
    )
    choose: Literal["both", "new"] = Field(
        default="both", description="on which held-back samples a rate is chosen: of both domains, or the new"
    )
    precision: str | dict[str, Any] = "edge-latent-free-8"
    engine: Engine = "c"
    hardware: str = Field(default="stm32l4r5-c", description="target to cost the steps on")
    replay: Annotated[int, most(bounds.SAMPLES)] = Field(
        default=0, ge=0, description="samples of a replay buffer"
    )
    every: Annotated[int | None, most(bounds.SAMPLES)] = Field(
        default=None, ge=1, description="samples between evaluations; none: a twentieth of the stream"
    )
    limit: Annotated[int | None, most(bounds.SAMPLES)] = Field(
        default=None, ge=1, description="samples of the stream at most"
    )
    seeds: Annotated[int, most(bounds.SEEDS)] = Field(default=3, ge=1)
    first_seed: Annotated[int, most(bounds.SEED)] = Field(default=1, ge=0)

    @property
    def layers(self) -> dict[str, Any]:
        """Options of the network. ReLU serves every rule of the table."""
        if self.network_options is not None:
            return self.network_options
        return {} if self.network is not None and has_layers(self.network) else {"activation": "relu"}

    def epochs(self, samples: int) -> int:
        """Of pretraining on so many samples."""
        found = min(find(self.scenario).epochs, max(PASSES // samples, 1))
        return self.pretrain.epochs or found

    @model_validator(mode="after")
    def _fits(self) -> Self:
        try:
            scenario = find(self.scenario)
        except ConfigError as error:
            raise ValueError(str(error)) from None
        if self.regime not in scenario.worlds:
            known = ", ".join(r for r in REGIMES if r in scenario.worlds)
            raise ValueError(f"scenario {self.scenario} has no regime {self.regime!r}; use one of {known}")
        names = [spec.name for spec in self.rules]
        if len(set(names)) < len(names):
            raise ValueError("two rules have one name; give each a label of its own")
        return self
