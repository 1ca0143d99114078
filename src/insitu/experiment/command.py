"""The command that repeats a run, from its configuration."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from insitu.experiment.config import RunConfig

FLAGS = {
    "data": "--data",
    "network": "--network",
    "rule": "--rule",
    "epochs": "--epochs",
    "batch": "--batch",
    "seed": "--seed",
}
"""Fields that have a flag of their own; every other one is ``--set path=value``."""

_SILENT = ("version", "data_dir", "checkpoint_steps", "threads", "device")


def _changes(model: BaseModel, default: BaseModel, path: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted path and value of every field that differs from the default."""
    for name in type(model).model_fields:
        value, usual = getattr(model, name), getattr(default, name)
        here = f"{path}{name}"
        if isinstance(value, BaseModel):
            if usual is None:
                yield here, {}
            yield from _changes(value, type(value)() if usual is None else usual, f"{here}.")
        elif isinstance(value, dict):
            for key, item in value.items():
                yield f"{here}.{key}", item
        elif value != usual:
            yield here, value


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        text = repr(value)  # a YAML float has a dot: 1.0e-05
        return text if "e" not in text or "." in text else text.replace("e", ".0e")
    if isinstance(value, tuple | list):
        return "[" + ",".join(_text(v) for v in value) + "]"
    return str(value)


def train_command(config: RunConfig) -> str:
    """``insitu train ...`` with everything that differs from the defaults; data, network, rule and seed always."""
    always = {"data", "network", "rule", "epochs", "batch", "seed"}
    changed = {k: getattr(config, k) for k in always} | dict(_changes(config, RunConfig()))
    words = ["insitu", "train"]
    for name, flag in FLAGS.items():
        words += [flag, _text(changed.pop(name))]
    for path, value in changed.items():
        if path.split(".")[0] == "optimizer" and path.endswith(".lr"):
            words += ["--lr", _text(value)]
        elif path.split(".")[0] not in _SILENT:
            words += ["--set", f"{path}={_text(value)}"]
    return shlex.join(words)
