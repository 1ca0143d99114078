"""Checkpoints: tensors and progress of a run in one file, written atomically and read without running code."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Annotated, NotRequired

import torch
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from insitu.errors import CheckpointError
from insitu.run.files import write_atomic
from insitu.run.state import State

VERSION = 2


Flag = Annotated[bool, Field(strict=True)]
Count = Annotated[int, Field(ge=0, strict=True)]
Number = Annotated[float, Field(allow_inf_nan=True, strict=True)]
Finite = Annotated[float, Field(allow_inf_nan=False, strict=True)]


class Evaluation(TypedDict):
    """A row of a run's history."""

    epoch: Count
    step: Count
    samples: Count
    train_loss: Finite | None
    test_loss: Finite | None
    test_accuracy: Finite | None
    lr: Finite
    seconds: Finite
    diverged: Flag
    validation_loss: NotRequired[Finite | None]
    validation_accuracy: NotRequired[Finite | None]
    triggered: NotRequired[dict[str, Finite]]
    alignment: NotRequired[dict[str, Finite]]


@with_config(ConfigDict(extra="forbid"))
@dataclass
class Progress:
    """Where a run stands.

    Attributes:
        step: training steps done.
        samples: training samples seen.
        epoch: epochs finished.
        position: samples of the current epoch already used.
        phase, phase_start: of the rule's schedule, and the step at which it began.
        loss_sum, loss_samples: of the current epoch, for its mean training loss.
        fired: samples that each trigger of the step has fired for since the last evaluation.
        seconds: training time so far, evaluation excluded.
        best: best validation score, ``None`` before the first; ``stale``: evaluations since.
        history: a row per evaluation.
        finished: nothing is left to do.
    """

    step: Count = 0
    samples: Count = 0
    epoch: Count = 0
    position: Count = 0
    phase: Count = 0
    phase_start: Count = 0
    loss_sum: Number = 0.0
    loss_samples: Count = 0
    fired: list[Count] = field(default_factory=list)
    seconds: Finite = 0.0
    best: Finite | None = None
    stale: Count = 0
    history: list[Evaluation] = field(default_factory=list)
    finished: Flag = False


def save(path: Path, state: State, progress: Progress, fingerprint: Mapping[str, str]) -> None:
    """Writes a checkpoint; the file is the old or the new one, whatever happens.

    Args:
        fingerprint: hashes of what the run is a run of, by part.
    """
    buffer = io.BytesIO()
    tensors = {name: tensor.detach().cpu() for name, tensor in state.items()}
    told = {"version": VERSION, "fingerprint": dict(fingerprint), "progress": asdict(progress)}
    torch.save({**told, "state": tensors}, buffer)
    write_atomic(path, buffer.getvalue())


@with_config(ConfigDict(extra="forbid", arbitrary_types_allowed=True))
@dataclass
class Checkpoint:
    """What a file holds; that it fits a run is for :mod:`insitu.run.resume` to say."""

    fingerprint: dict[str, str]
    state: State
    progress: Progress


_CHECKPOINT = TypeAdapter(Checkpoint)


def load(path: Path) -> Checkpoint:
    """Reads a checkpoint (``weights_only``: no code in the file is run).

    Raises:
        CheckpointError: if it is missing, damaged, of another version, or does not say what a checkpoint says.
    """
    try:
        data = path.read_bytes()
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            bad = archive.testzip()  # torch.load does not look at the checksums
            bad = bad or next((i.filename for i in archive.infolist() if i.external_attr & 0x10), None)
            if bad is not None:
                raise zipfile.BadZipFile(f"{bad} is no whole file")
        raw = torch.load(io.BytesIO(data), weights_only=True, map_location="cpu")
    except FileNotFoundError:
        raise CheckpointError(f"checkpoint {path} does not exist; start the run without --resume") from None
    except (
        OSError,
        RuntimeError,
        EOFError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        pickle.UnpicklingError,
        zipfile.BadZipFile,
    ) as error:
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise CheckpointError(
            f"checkpoint {path} is damaged ({reason}); remove it to start the run anew, or restore a copy"
        ) from None
    if not isinstance(raw, dict) or raw.get("version") != VERSION:
        then = raw.get("version") if isinstance(raw, dict) else None
        raise CheckpointError(
            f"checkpoint {path} is of version {then!r}, and this insitu reads version {VERSION}; go on with the insitu "
            "that wrote it, or start the run anew in another folder"
        )
    try:
        found = _CHECKPOINT.validate_python({k: v for k, v in raw.items() if k != "version"})
        if lacking := [f.name for f in fields(Progress) if f.name not in raw["progress"]]:
            raise ValidationError.from_exception_data(
                "progress", [{"type": "missing", "loc": ("progress", lacking[0]), "input": None}]
            )
        return found
    except (ValidationError, RecursionError) as error:
        raise CheckpointError(
            f"checkpoint {path} does not say where its run stands: {_first(error)}; restore a copy of it, or start the "
            "run anew in another folder"
        ) from None


def _first(error: ValidationError | RecursionError) -> str:
    """Place and reason of the first misfit."""
    if isinstance(error, RecursionError):
        return "its parts hold each other"
    told = error.errors(include_input=False, include_url=False)[0]
    return f"{'.'.join(map(str, told['loc']))}: {told['msg'][0].lower()}{told['msg'][1:]}"
