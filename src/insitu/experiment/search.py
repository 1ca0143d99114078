"""Choice under a budget: rule, heads, words and learning rate of a network, by Optuna, on a validation split."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from insitu.data import Dataset
from insitu.data.dataset import Split
from insitu.experiment.command import train_command
from insitu.experiment.compare import provenance
from insitu.experiment.folder import begin
from insitu.experiment.front import front
from insitu.experiment.record import Record
from insitu.experiment.resolve import load_data
from insitu.experiment.search_space import SearchConfig, Space, space
from insitu.experiment.search_study import ended, library, opened, proposed, train_trial, trials
from insitu.run.files import write_atomic
from insitu.run.lock import held

if TYPE_CHECKING:
    import optuna

OnEvent = Callable[[dict[str, Any]], None]


class Trial(Record):
    """One candidate at one learning rate.

    ``score`` is the accuracy on the validation split behind each epoch, a fraction (for targets that are no classes:
    the negative loss). ``stopped``: ended early, so its last score is no result. ``front``: no other trial that was
    trained to the end has a better score for as few bytes, or for as little energy.
    """

    number: int
    name: str
    rule: str
    options: dict[str, object]
    bits: str
    lr: float
    peak_bytes: int
    energy_uj: float | None
    score: list[float | None]
    stopped: bool
    front: bool = False
    command: str

    @property
    def last(self) -> float | None:
        return self.score[-1] if self.score else None


class SearchResults(Record):
    """A search: what ``results.json`` holds.

    ``budget``: bytes, and µJ a sample; ``accuracies``: the scores are some; ``refused``: candidates that the plan left
    out, and why.
    """

    version: Literal[1] = 1
    kind: Literal["search"] = "search"
    insitu: str
    created: str
    command: str
    environment: dict[str, str]
    config: dict[str, object]
    data_digest: str
    budget: tuple[int, float | None]
    accuracies: bool
    trials: list[Trial]
    refused: dict[str, str]

    @property
    def scored(self) -> list[Trial]:
        """Trials with a score that is a number."""
        return [t for t in self.trials if t.last is not None]

    @property
    def ended(self) -> list[Trial]:
        """Those of them that were trained to the end."""
        return [t for t in self.scored if not t.stopped]

    @property
    def chosen(self) -> list[Trial]:
        """The front, from the fewest bytes up."""
        return sorted((t for t in self.trials if t.front), key=lambda t: (t.peak_bytes, t.last or 0.0))


def search(
    config: SearchConfig,
    out: Path | None = None,
    *,
    resume: bool = False,
    command: str = "",
    on_event: OnEvent = lambda _e: None,
) -> SearchResults:
    """Plans every candidate, trains those within the budget at rates that Optuna proposes, and keeps the front.

    The trials lie in ``out`` as Optuna's journal; a search that was stopped goes on from it to the same end.
    The test split is not looked at: the ``command`` of a trial trains it anew and tests it, once.

    Args:
        resume: go on with the trials of the folder.
        command: recorded in the results.
        on_event: called with ``{"kind": "planned", ...}`` before the first trial, and ``{"kind": "trial", ...}``
            behind each.

    Raises:
        ConfigError: if the budget leaves nothing, or Optuna is not installed.
        CheckpointError: if ``out`` holds something else, or another process writes there.
    """
    library()
    with held(out) if out else nullcontext():
        data = load_data(config)
        found = space(config, data)
        if out:
            begin(out, "search", config, resume, _key)
        on_event({"kind": "planned", "candidates": len(found.candidates), "refused": found.refused})
        study = opened(config, found.candidates, out)
        for trial in trials(study, config, found.candidates):
            train_trial(study, trial, config, found.candidates, _blind(data))
            told = _told(study.trials[trial.number], config, found)
            on_event({"kind": "trial", "done": len(ended(study)), "of": config.trials, **told.model_dump()})
        results = _results(study, config, found, command, data)
        if out:
            write_atomic(out / "results.json", results.model_dump_json(indent=1) + "\n")
        return results


def _blind(data: Dataset) -> Dataset:
    """The data without the test split, so that no choice can come from it (a trainer wants a sample there)."""
    return replace(data, test=Split(data.train.x[:1], data.train.y[:1]))


def _key(config: SearchConfig) -> dict[str, Any]:
    """What has to agree for a search to go on; more trials may be asked for."""
    return config.model_dump(mode="json", exclude={"checkpoint_steps", "data_dir", "trials", "engine"})


def _results(
    study: optuna.Study, config: SearchConfig, found: Space, command: str, data: Dataset
) -> SearchResults:
    told = [_told(t, config, found) for t in ended(study)]
    best = _front(told)
    return SearchResults(
        **provenance(config, command),
        data_digest=data.digest,
        budget=(config.max_bytes or 0, config.max_energy_uj),
        accuracies=data.classes is not None and config.target == "label",
        trials=[t.model_copy(update={"front": t.number in best}) for t in told],
        refused=found.refused,
    )


def _told(trial: optuna.trial.FrozenTrial, config: SearchConfig, found: Space) -> Trial:
    """A trial as a record."""
    candidate, run = proposed(trial, config, found.candidates)
    scores = [score for _, score in sorted(trial.intermediate_values.items())]
    return Trial(
        number=trial.number,
        name=candidate.name,
        rule=candidate.spec.rule,
        options=dict(candidate.spec.options),
        bits=candidate.bits,
        lr=run.optimizer.lr,
        peak_bytes=candidate.peak_bytes,
        energy_uj=candidate.energy_uj,
        score=[score if isfinite(score) else None for score in scores],
        stopped=trial.state.name == "PRUNED",
        command=train_command(run),
    )


def _front(told: list[Trial]) -> set[int]:
    """Numbers of the trials on a front: score against bytes, or against energy."""
    some = [t for t in told if not t.stopped and t.last is not None]
    costs = [[float(t.peak_bytes) for t in some]]
    if all(t.energy_uj is not None for t in some):
        costs.append([t.energy_uj or 0.0 for t in some])
    scores = [t.last or 0.0 for t in some]
    return {some[i].number for cost in costs for i in front(list(zip(cost, scores)))}
