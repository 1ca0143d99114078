"""Checkpoints: tensors and progress of a run in one file, written atomically and read without running code."""

from __future__ import annotations

import io
import pickle
import zipfile
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch

from insitu.errors import CheckpointError
from insitu.run.files import write_atomic
from insitu.run.state import State

VERSION = 1


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

    step: int = 0
    samples: int = 0
    epoch: int = 0
    position: int = 0
    phase: int = 0
    phase_start: int = 0
    loss_sum: float = 0.0
    loss_samples: int = 0
    fired: list[int] = field(default_factory=list)
    seconds: float = 0.0
    best: float | None = None
    stale: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    finished: bool = False


def save(path: Path, state: State, progress: Progress, fingerprint: str) -> None:
    """Writes a checkpoint; the file is the old or the new one, whatever happens.

    Args:
        fingerprint: of the configuration; a checkpoint is resumed only by the same one.
    """
    buffer = io.BytesIO()
    tensors = {name: tensor.detach().cpu() for name, tensor in state.items()}
    torch.save(
        {"version": VERSION, "fingerprint": fingerprint, "state": tensors, "progress": asdict(progress)},
        buffer,
    )
    write_atomic(path, buffer.getvalue())


def load(path: Path, fingerprint: str | None = None) -> tuple[State, Progress]:
    """Reads a checkpoint (``weights_only``: no code in the file is run).

    Raises:
        CheckpointError: if it is missing, damaged, of another version or of another configuration.
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
        raise CheckpointError(
            f"checkpoint {path} is of another version than {VERSION}; start the run anew in another folder"
        )
    if fingerprint is not None and raw["fingerprint"] != fingerprint:
        raise CheckpointError(
            f"checkpoint {path} belongs to another configuration, or to another version of its network or data file; "
            "resume with the run folder's own config.yaml and the files of that run"
        )
    known = {f.name for f in fields(Progress)}
    return raw["state"], Progress(**{k: v for k, v in raw["progress"].items() if k in known})
