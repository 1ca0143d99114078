"""One run: resolve, train, and keep everything in a run folder that can be resumed and repeated."""

from __future__ import annotations

import io
import json
import os
import platform
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

import insitu
from insitu.data import Dataset
from insitu.data.anomaly import NORMAL, NORMAL_NAME
from insitu.errors import CheckpointError, ConfigError
from insitu.experiment.config import RunConfig, dump, load
from insitu.experiment.engines import check_engine, engine_of
from insitu.experiment.exits import exits_of
from insitu.experiment.identity import Identity, ask_origin, compare, identity, named
from insitu.experiment.metrics import Detection, Metrics, Tags
from insitu.experiment.pieces import Outcome, arrays_of, outcome_of, settings_of, threads_of
from insitu.experiment.pretrained import FILES, tell
from insitu.experiment.program import executable
from insitu.experiment.resolve import Setup
from insitu.inputs.documents import dump_yaml
from insitu.ops.optimizers import Optimizer
from insitu.passes import lower
from insitu.run import checkpoint
from insitu.run.checkpoint import Checkpoint, Progress
from insitu.run.files import append_line, make_folder, read_lines, write_atomic
from insitu.run.lock import held
from insitu.run.resume import Course, check
from insitu.run.state import State
from insitu.run.trainer import Arrays, Settings, Trainer, angles
from insitu.step.triggers import triggers_of

OnEvent = Callable[[dict[str, Any]], None]
ALIGNMENT_SAMPLES = 256


def environment() -> dict[str, str]:
    """What the numbers were made with."""
    return {
        "insitu": insitu.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": version("numpy"),
        "machine": platform.machine(),
        "system": platform.system(),
        "threads": str(torch.get_num_threads()),
        "cores": str(os.cpu_count()),
    }


def _same(stored: RunConfig, config: RunConfig) -> bool:
    """Do two configurations give the same bits, if the files that they name are the same?"""
    return named(stored)["configuration"] == named(config)["configuration"]


def events(path: Path, progress: Progress) -> list[dict[str, Any]]:
    """The events of a run up to its checkpoint: evaluations by its history, what else the file tells of before it."""
    told = [e for e in read_lines(path) if e.get("kind") == "progress" and type(e.get("step")) is int]
    rest = {e["step"]: e for e in told if e["step"] <= progress.step}
    if progress.position:  # the checkpoint is written before its event
        rest[progress.step] = {"kind": "progress", "step": progress.step, "samples": progress.samples}
    rows = [(row["step"], 1, {"kind": "eval", **row}) for row in progress.history]
    return [e for _, _, e in sorted([*((n, 0, e) for n, e in rest.items()), *rows], key=lambda x: x[:2])]


class RunFolder:
    """The files of one run: config.yaml, step.txt, env.json, events.jsonl, checkpoint.pt, result.json, plots."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def file(self, name: str) -> Path:
        return self.path / name

    @property
    def used(self) -> bool:
        return any(self.file(name).exists() for name in ("config.yaml", "checkpoint.pt", "result.json"))

    def open(self, setup: Setup, *, resume: bool) -> Checkpoint | None:
        """Starts the folder, or reads its checkpoint.

        Raises:
            CheckpointError: if it already holds a run and ``resume`` is not set, or holds another run.
        """
        if self.used and not resume:
            raise CheckpointError(
                f"run folder {self.path} already holds a run; pass --resume to go on with it, or another --out"
            )
        stored = self.file("config.yaml")
        if stored.exists() and not _same(load(RunConfig, stored), setup.config):
            raise CheckpointError(
                f"run folder {self.path} belongs to another configuration; resume with its own config.yaml"
            )
        if self.file("checkpoint.pt").exists():
            return self._read(setup)
        self._begin(setup)
        return None

    def _begin(self, setup: Setup) -> None:
        make_folder(self.path)
        write_atomic(self.file("config.yaml"), dump(setup.config))
        write_atomic(self.file("step.txt"), "\n".join(map(str, setup.steps[:-1])))
        if setup.policy is not None:
            numbers = {
                "policy": setup.policy.as_dict(),
                "ranges": {k: list(v) for k, v in setup.ranges.items()},
            }
            write_atomic(self.file("precision.yaml"), dump_yaml(numbers))
        write_atomic(self.file("env.json"), json.dumps(environment(), indent=2) + "\n")
        write_atomic(self.file("events.jsonl"), "")

    def _read(self, setup: Setup) -> Checkpoint:
        """The checkpoint, which is of this run; the events become those before it."""
        found = of_run(self.file("checkpoint.pt"), setup)
        told = events(self.file("events.jsonl"), found.progress)
        write_atomic(self.file("events.jsonl"), "".join(json.dumps(e) + "\n" for e in told))
        return found

    def finish(self, outcome: Outcome, of: Identity) -> None:
        """Writes the result, and what run it is of."""
        result = {
            "version": 1,
            "test_accuracy": outcome.test_accuracy,
            "test_loss": outcome.test_loss,
            "seconds": outcome.seconds,
            "samples": outcome.samples,
            "diverged": outcome.diverged,
            "before": outcome.before,
            "exits": outcome.exits.model_dump() if outcome.exits else None,
            "metrics": outcome.metrics.model_dump() if outcome.metrics else None,
            "curve": outcome.curve.model_dump(),
            "identity": {**of, "spec": outcome.config.network},
        }
        write_atomic(self.file("result.json"), json.dumps(result, indent=2) + "\n")
        for name, arrays in zip(FILES, (outcome.params, outcome.heads)):
            if arrays or name == FILES[0]:
                buffer = io.BytesIO()
                np.savez(buffer, **arrays)
                write_atomic(self.file(name), buffer.getvalue())


def of_run(path: Path, setup: Setup) -> Checkpoint:
    """A checkpoint that is of this run, and fits it.

    Raises:
        CheckpointError: naming what differs, and the remedy.
    """
    found = checkpoint.load(path)
    compare(found.fingerprint, identity(setup), f"checkpoint {path}")
    residents = {v.name: v for step in setup.steps for v in step.residents}
    check(path, found.state, found.progress, residents, course_of(setup), settings_of(setup).dtype)
    return found


def course_of(setup: Setup) -> Course:
    """How the run goes through its samples."""
    settings = settings_of(setup)
    return Course(
        samples=setup.training_samples,
        batch=settings.batch,
        total=settings.total,
        skip_single=settings.skip_single,
        eval_epochs=settings.eval_epochs,
        patience=settings.patience,
        triggers=len(triggers_of(setup.steps[0])),
        seed=settings.seed,
        phases=setup.phases,
    )


def _probe(setup: Setup, settings: Settings, train: Arrays) -> Callable[[State], dict[str, float]] | None:
    """Angles to BP on the first samples of the training split."""
    if not setup.config.alignment:
        return None
    count = min(ALIGNMENT_SAMPLES, len(train))
    plain = Optimizer("sgd")
    rules = [lower(setup.emitted(count, k, optimizer=plain, start=0)) for k in range(setup.phases.count)]
    reference = lower(setup.reference(count, plain))
    inputs = (train.x[:count], train.y[:count])

    def probe(state: State) -> dict[str, float]:
        found: dict[str, float] = {}
        for step in rules:  # every phase has the layers that it trains
            found |= angles(state, step, reference, inputs, settings, setup.net.params)
        return found

    return probe


def train(
    config: RunConfig,
    out: Path | None = None,
    *,
    resume: bool = False,
    on_event: OnEvent = lambda _e: None,
    data: Dataset | None = None,
) -> Outcome:
    """Trains one configuration.

    Args:
        out: the run folder; ``None`` keeps nothing on disk.
        resume: go on from the folder's checkpoint; a finished run is returned as it is.
        on_event: called at every evaluation.
        data: the data set, if it is loaded already.

    Raises:
        InsituError: if anything in the request does not fit, before the first step.
    """
    check_engine(config)
    with held(out) if out else nullcontext():
        if config.brevitas is not None:
            return _baseline(config, out, resume, on_event, data)
        setup = Setup.of(config, data)
        with threads_of(setup):
            return _train(setup, out, resume, on_event)


def _baseline(
    config: RunConfig, out: Path | None, resume: bool, on_event: OnEvent, data: Dataset | None
) -> Outcome:
    """Quantization-aware training by Brevitas; without checkpoints, it starts anew when it is resumed."""
    from insitu.experiment.baseline import qat

    if config.rule != "bp" or config.init_from is not None or config.brevitas is None:
        raise ConfigError(
            f"precision {config.precision!r} is the baseline of back-propagation from initial values; use rule bp "
            "without start, or a policy of 'insitu list precisions'"
        )
    weight_bits, act_bits = config.brevitas
    folder = RunFolder(out) if out else None
    setup = Setup.of(config, data)
    if folder:
        folder.open(setup, resume=resume)
    outcome = qat(config, weight_bits=weight_bits, act_bits=act_bits, data=data, on_event=on_event)
    if folder:
        folder.finish(outcome, identity(setup))
    return replace(outcome, config=config, folder=out)


def _train(setup: Setup, out: Path | None, resume: bool, on_event: OnEvent) -> Outcome:
    config = setup.config
    settings = settings_of(setup)
    if config.init_from is not None:
        ask_origin(config)
        tell(config.init_from, setup.net.heads, setup.learned())
    train_data, test_data, validation = arrays_of(setup)
    folder = RunFolder(out) if out else None
    restored = folder.open(setup, resume=resume) if folder else None
    mark = identity(setup) if folder else {}

    def note(event: dict[str, Any]) -> None:
        if folder:
            append_line(folder.file("events.jsonl"), event)
        on_event(event)

    def keep(state: State, progress: Progress) -> None:
        if folder:
            checkpoint.save(folder.file("checkpoint.pt"), state, progress, mark)

    trainer = Trainer(
        settings,
        lambda batch, phase: setup.training_step(batch, phase, with_loss=True),
        setup.prediction,
        setup.net.values,
        train_data,
        test_data,
        engine=engine_of(config.engine, lambda batch: executable(setup, batch), config.batch),
        validation=validation,
        on_event=note,
        on_checkpoint=keep,
        probe=_probe(setup, settings, train_data),
        phases=setup.phases,
        prefix=setup.prefix,
    )
    trainer.hold(setup.steps)
    if restored:
        trainer.restore(restored.state, restored.progress)
    before = _before_training(setup)
    progress = trainer.run()
    values = trainer.parameters(setup.learned())
    params = {name: values.pop(name) for name in setup.net.params}
    exits = exits_of(setup, settings, trainer.state, validation, test_data)
    metrics = _metrics(setup, trainer)
    outcome = outcome_of(setup, progress, params, out)
    outcome = replace(outcome, before=before, heads=values, exits=exits, metrics=metrics)
    if folder:
        folder.finish(outcome, mark)
    return outcome


def _metrics(setup: Setup, trainer: Trainer) -> Metrics | Detection | Tags | None:
    """Of the test samples; ``None`` for a regression."""
    data, found = setup.data, trainer.predictions()
    if data.classes is None:
        return Tags.of(data.test.y, found) if setup.config.loss == "bce" else None
    if setup.config.target == "label":
        return Metrics.of(data.test.y, found, data.class_names, data.classes)
    return Detection.of(data.test.y != NORMAL, found) if data.class_names[:1] == (NORMAL_NAME,) else None


def _before_training(setup: Setup) -> dict[str, float | None] | None:
    """Test accuracy of a pretrained network: as it came, and as the run's precision sees it."""
    if setup.config.init_from is None:
        return None
    real = Setup(setup.config.model_copy(update={"precision": "float32"}), setup.data, setup.net, setup.rule)
    train, test, _ = arrays_of(setup)
    found = {}
    for name, given in (("float32", real), (setup.config.precision_name, setup)):
        fresh = Trainer(
            settings_of(given), given.training_step, given.prediction, setup.net.values, train, test
        )
        found[name] = fresh.evaluate(test)[1]
    return found


def load_run(folder: Path) -> tuple[RunConfig, State, Progress]:
    """Configuration, tensors and progress of a run folder; the files that the configuration names are as they were."""
    config, path = load(RunConfig, folder / "config.yaml"), folder / "checkpoint.pt"
    found = checkpoint.load(path)
    compare(found.fingerprint, named(config), f"checkpoint {path}")
    return config, found.state, found.progress
