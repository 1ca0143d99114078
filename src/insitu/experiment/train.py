"""One run: resolve, train, and keep everything in a run folder that can be resumed and repeated."""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

import insitu
from insitu.data import Dataset
from insitu.errors import CheckpointError, ConfigError
from insitu.experiment.config import RunConfig, dump, load
from insitu.experiment.engines import check_engine, engine_of
from insitu.experiment.pieces import Outcome, arrays_of, outcome_of, settings_of, threads_of
from insitu.experiment.program import executable
from insitu.experiment.resolve import Setup
from insitu.inputs.documents import dump_yaml
from insitu.ops.optimizers import Optimizer
from insitu.passes import lower
from insitu.run import checkpoint
from insitu.run.checkpoint import Progress
from insitu.run.files import append_line, make_folder, read_lines, write_atomic
from insitu.run.state import State
from insitu.run.trainer import Arrays, Settings, Trainer, angles

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


def fingerprint(config: RunConfig, *, files: bool = True) -> str:
    """A hash of everything in a configuration that can change bits.

    Args:
        files: also of the user's own network and data file, if they are files.
    """
    fields = config.model_dump(mode="json", exclude={"checkpoint_steps", "data_dir", "engine"})
    found = hashlib.sha256(json.dumps(fields, sort_keys=True).encode())
    start = Path(config.start or "")
    start = start / "parameters.npz" if start.is_dir() else start
    named = (Path(config.network.rpartition(":")[0]), Path(config.data), start)
    for path in named if files else ():
        if path.suffix and path.is_file():
            with path.open("rb") as stream:
                found.update(hashlib.file_digest(stream, "sha256").digest())
    return found.hexdigest()[:16]


def _before(event: dict[str, Any], progress: Progress) -> bool:
    """Was the event written before the checkpoint? An epoch's evaluation comes after its last step's checkpoint."""
    if event["kind"] == "eval":
        return bool(event["epoch"] <= progress.epoch)
    return bool(event["step"] <= progress.step)


class RunFolder:
    """The files of one run: config.yaml, step.txt, env.json, events.jsonl, checkpoint.pt, result.json, plots."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def file(self, name: str) -> Path:
        return self.path / name

    @property
    def used(self) -> bool:
        return any(self.file(name).exists() for name in ("config.yaml", "checkpoint.pt", "result.json"))

    def open(self, setup: Setup, *, resume: bool) -> tuple[State, Progress] | None:
        """Starts the folder, or reads its checkpoint.

        Raises:
            CheckpointError: if it already holds a run and ``resume`` is not set, or holds another run.
        """
        mark = fingerprint(setup.config, files=False)
        if self.used and not resume:
            raise CheckpointError(
                f"run folder {self.path} already holds a run; pass --resume to go on with it, or another --out"
            )
        stored = self.file("config.yaml")
        if stored.exists() and fingerprint(load(RunConfig, stored), files=False) != mark:
            raise CheckpointError(
                f"run folder {self.path} belongs to another configuration; resume with its own config.yaml"
            )
        if self.file("checkpoint.pt").exists():
            return self._read(fingerprint(setup.config))
        make_folder(self.path)
        write_atomic(stored, dump(setup.config))
        steps = [str(setup.training_step(setup.config.batch, k)) for k in range(setup.phases.count)]
        write_atomic(self.file("step.txt"), "\n".join(steps))
        if setup.policy is not None:
            numbers = {
                "policy": setup.policy.as_dict(),
                "ranges": {k: list(v) for k, v in setup.ranges.items()},
            }
            write_atomic(self.file("precision.yaml"), dump_yaml(numbers))
        write_atomic(self.file("env.json"), json.dumps(environment(), indent=2) + "\n")
        write_atomic(self.file("events.jsonl"), "")
        return None

    def _read(self, mark: str) -> tuple[State, Progress]:
        state, progress = checkpoint.load(self.file("checkpoint.pt"), mark)
        kept = [e for e in read_lines(self.file("events.jsonl")) if _before(e, progress)]
        write_atomic(self.file("events.jsonl"), "".join(json.dumps(e) + "\n" for e in kept))
        return state, progress

    def finish(self, outcome: Outcome) -> None:
        """Writes the result."""
        result = {
            "version": 1,
            "test_accuracy": outcome.test_accuracy,
            "test_loss": outcome.test_loss,
            "seconds": outcome.seconds,
            "samples": outcome.samples,
            "diverged": outcome.diverged,
            "before": outcome.before,
            "curve": outcome.curve.model_dump(),
        }
        write_atomic(self.file("result.json"), json.dumps(result, indent=2) + "\n")
        buffer = io.BytesIO()
        np.savez(buffer, **outcome.params)
        write_atomic(self.file("parameters.npz"), buffer.getvalue())


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

    if config.rule != "bp" or config.start is not None or config.brevitas is None:
        raise ConfigError(
            f"precision {config.precision!r} is the baseline of back-propagation from first values; use rule bp "
            "without start, or a policy of 'insitu list precisions'"
        )
    weight_bits, act_bits = config.brevitas
    folder = RunFolder(out) if out else None
    if folder:
        folder.open(Setup.of(config, data), resume=resume)
    outcome = qat(config, weight_bits=weight_bits, act_bits=act_bits, data=data, on_event=on_event)
    if folder:
        folder.finish(outcome)
    return replace(outcome, config=config, folder=out)


def _train(setup: Setup, out: Path | None, resume: bool, on_event: OnEvent) -> Outcome:
    config = setup.config
    settings = settings_of(setup)
    train_data, test_data, validation = arrays_of(setup)
    folder = RunFolder(out) if out else None
    restored = folder.open(setup, resume=resume) if folder else None
    mark = fingerprint(config)

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
        setup.net.params,
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
    if restored:
        trainer.restore(*restored)
    before = _before_training(setup)
    progress = trainer.run()
    outcome = replace(outcome_of(setup, progress, trainer.parameters(), out), before=before)
    if folder:
        folder.finish(outcome)
    return outcome


def _before_training(setup: Setup) -> dict[str, float | None] | None:
    """Test accuracy of a pretrained network: as it came, and as the run's precision sees it."""
    if setup.config.start is None:
        return None
    real = Setup(setup.config.model_copy(update={"precision": "float32"}), setup.data, setup.net, setup.rule)
    train, test, _ = arrays_of(setup)
    found = {}
    for name, given in (("float32", real), (setup.config.precision_name, setup)):
        fresh = Trainer(
            settings_of(given), given.training_step, given.prediction, setup.net.params, train, test
        )
        found[name] = fresh.evaluate(test)[1]
    return found


def load_run(folder: Path) -> tuple[RunConfig, State, Progress]:
    """Configuration, tensors and progress of a run folder."""
    config = load(RunConfig, folder / "config.yaml")
    state, progress = checkpoint.load(folder / "checkpoint.pt", fingerprint(config))
    return config, state, progress
