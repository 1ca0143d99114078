"""The trials of a search: Optuna proposes candidates and rates, and stops what is worse than what takes no more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from insitu.data import Dataset
from insitu.errors import ConfigError
from insitu.experiment.config import RunConfig
from insitu.experiment.search_space import Candidate, SearchConfig
from insitu.experiment.train import train

if TYPE_CHECKING:
    import optuna

PEERS = 3
"""Trials that take no more, from which on a trial is compared with their median."""

BYTES, ENERGY = "peak_bytes", "energy_uj"
RATE = "exponent of the rate"
DECISIONS = 3
"""Rule, options, bits."""


def library() -> Any:
    """Optuna, silent.

    Raises:
        ConfigError: if it is not installed.
    """
    try:
        import optuna
    except ImportError:
        raise ConfigError(
            "insitu search needs the package 'optuna', which is not installed; pip install 'insitu[search]'"
        ) from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def opened(config: SearchConfig, candidates: Sequence[Candidate], out: Path | None) -> optuna.Study:
    """The study in a folder; a new one begins with candidates of all sizes: half of its trials."""
    optuna = library()
    storage = None
    if out:
        from optuna.storages.journal import JournalFileBackend

        storage = optuna.storages.JournalStorage(JournalFileBackend(str(out / "trials.journal")))
    study: optuna.Study = optuna.create_study(
        storage=storage, study_name="search", direction="maximize", pruner=_pruner(), load_if_exists=True
    )
    if not study.trials:
        for candidate in _spread(candidates, max(1, config.trials // 2)):
            study.enqueue_trial(dict(_decisions(candidate)))
    return study


def trials(
    study: optuna.Study, config: SearchConfig, candidates: Sequence[Candidate]
) -> Iterator[optuna.Trial]:
    """The trials to do, first the one that was interrupted. Each has a sampler, so that resuming draws the same.

    What was tried already is not tried again: it fails, and the next is drawn at random.
    """
    states = library().trial.TrialState
    yield from (library().Trial(study, t._trial_id) for t in study.trials if t.state == states.RUNNING)
    rates = config.rates[1] - config.rates[0] + 1
    while len(ended(study)) < min(config.trials, rates * len(candidates)):
        study.sampler = _sampler(study, config.seed)
        trial = study.ask()
        proposed(trial, config, candidates)
        if any(trial.params == t.params for t in ended(study)):
            study.tell(trial, state=states.FAIL)
        else:
            yield trial


def _sampler(study: optuna.Study, seed: int) -> optuna.samplers.BaseSampler:
    optuna = library()
    begun = [t for t in study.trials if t.state != optuna.trial.TrialState.WAITING]
    mine = 1000 * seed + len(begun)
    if begun and begun[-1].state == optuna.trial.TrialState.FAIL:
        return optuna.samplers.RandomSampler(seed=mine)
    return optuna.samplers.TPESampler(seed=mine, n_startup_trials=1)


def ended(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """Trials with a result, stopped ones among them."""
    states = library().trial.TrialState
    return [t for t in study.trials if t.state in (states.COMPLETE, states.PRUNED)]


def train_trial(
    study: optuna.Study,
    trial: optuna.Trial,
    config: SearchConfig,
    candidates: Sequence[Candidate],
    data: Dataset,
) -> None:
    """Trains what a trial proposes, and tells the study what became of it."""
    optuna = library()
    candidate, run = proposed(trial, config, candidates)
    trial.set_user_attr(BYTES, candidate.peak_bytes)
    trial.set_user_attr(ENERGY, candidate.energy_uj)
    known = study.trials[trial.number].intermediate_values
    scores: list[float] = []

    def report(event: dict[str, Any]) -> None:
        if event["kind"] == "eval":
            scores.append(_score(event))
            if len(scores) not in known:  # else the trial was interrupted behind it
                trial.report(scores[-1], len(scores))
            if event["diverged"] or (event["epoch"] < run.epochs and trial.should_prune()):
                raise optuna.TrialPruned

    try:
        train(run, data=data, on_event=report)
        study.tell(trial, scores[-1])
    except optuna.TrialPruned:
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)


def proposed(
    trial: optuna.Trial | optuna.trial.FrozenTrial, config: SearchConfig, candidates: Sequence[Candidate]
) -> tuple[Candidate, RunConfig]:
    """One of the candidates, decision by decision, so that every choice is within the budget; and its run."""
    left = list(candidates)
    for level in range(DECISIONS):
        name = _decisions(left[0])[level][0]
        choices = list(dict.fromkeys(_decisions(c)[level][1] for c in left))
        choice = trial.suggest_categorical(name, choices)
        left = [c for c in left if _decisions(c)[level][1] == choice]
    rate = 2.0 ** trial.suggest_int(RATE, *config.rates)
    spec = left[0].spec.model_copy(update={"lr": rate})
    return left[0], config.run(config.network, spec, config.seed)


def _decisions(candidate: Candidate) -> list[tuple[str, str]]:
    """What leads to a candidate; the name of each holds those before, as its choices differ with them."""
    rule, options = candidate.spec.rule, candidate.options
    return [("rule", rule), (f"options of {rule}", options), (f"bits of {rule} {options}", candidate.bits)]


def _spread(candidates: Sequence[Candidate], count: int) -> list[Candidate]:
    """So many of the candidates in even steps from the fewest bytes to the most."""
    count = min(count, len(candidates))
    return [candidates[i * len(candidates) // count] for i in range(count)]


def _score(event: dict[str, Any]) -> float:
    """Higher is better: accuracy on the validation split, or the negative loss; one that is no number loses."""
    accuracy, loss = event["validation_accuracy"], event["validation_loss"]
    if accuracy is not None:
        return float(accuracy)
    return -float(loss) if loss is not None else float("-inf")


def _pruner() -> Any:
    """Stops a trial that is worse, at its epoch, than the median of the trials that take no more of anything.

    The median of all trials would stop what is frugal for the sake of what is not.
    """

    class Frugal(library().pruners.BasePruner):  # type: ignore[misc]
        def prune(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> bool:
            step = trial.last_step
            peers = [
                other.intermediate_values[step]
                for other in study.get_trials(deepcopy=False)
                if other.number != trial.number
                and step in other.intermediate_values
                and _no_more(other, trial)
            ]
            return len(peers) >= PEERS and trial.intermediate_values[step] < median(peers)

    return Frugal()


def _no_more(a: optuna.trial.FrozenTrial, b: optuna.trial.FrozenTrial) -> bool:
    """Trial a takes no more bytes, and no more energy where it is known, than b."""
    known = [key for key in (BYTES, ENERGY) if b.user_attrs[key] is not None]
    return all(a.user_attrs[key] <= b.user_attrs[key] for key in known)
