"""insitu: learning rules for quantized networks on the edge device, in one step program.

The names below are loaded on first use, so that ``import insitu`` and ``insitu --help`` do not import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_LAZY = {
    "capture": "insitu.network.torch.capture",
    "compare": "insitu.experiment.live",
    "cost": "insitu.experiment.live",
    "state_apply": "insitu.run.merge",
    "state_delta": "insitu.run.merge",
    "state_merge": "insitu.run.merge",
    "train": "insitu.experiment.live",
}

__all__ = ["__version__", *_LAZY]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'insitu' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
