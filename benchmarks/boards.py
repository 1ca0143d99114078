"""Exported programs on the emulated Cortex-M boards: bits, bytes and instructions.

    python benchmarks/boards.py [--out benchmarks/results/boards.json]

Each program learns at batch 1 from initial values, with 8-bit weights alone (edge-latent-free-8): from 8x8 digits, and
LeNet-5 from MNIST (folder INSITU_DATA), built for speed and for size.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from insitu.backends.c.boards import BOARDS
from insitu.backends.c.firmware import on_board
from insitu.backends.c.project import Project, write
from insitu.errors import ConfigError
from insitu.experiment.export import exportable
from insitu.run.program import Program

DIGITS = (
    ("mlp-64-32-10", "drtp"),
    ("mlp-64-32-10", "bp"),
    ("mlp-64-32-10", "pred"),
    ("cnn-8-16", "drtp"),
    ("cnn-8-16", "bp-stash"),
    ("cnn-8-16", "dgl"),
)
FAST, SMALL = "-O2", "-Os -DINSITU_SMALL"
PROGRAMS: tuple[tuple[str, str, str, tuple[str, ...], str], ...] = (
    *(("digits", network, rule, tuple(BOARDS), FAST) for network, rule in DIGITS),
    *(("mnist", "lenet5", "drtp", ("m4",), build) for build in (FAST, SMALL)),
)
"""Data, network, rule, boards and the compiler's options."""
STEPS = 4
WORDS = "edge-latent-free-8"


def program(
    place: str,
    data: str,
    network: str,
    rule: str,
    *,
    precision: str | dict[str, Any] = WORDS,
    steps: int = STEPS,
    rule_options: Mapping[str, Any] | None = None,
    **options: str,
) -> Program:
    """The program of a run that learns one sample at a time from initial values; its configuration is written under a
    folder.

    Args:
        rule_options: of the rule; ``options``: of the network, beside ReLU.
    """
    fields = {"data": data, "network": network, "rule": rule, "precision": precision, "batch": 1}
    fields["rule_options"] = dict(rule_options or {})
    config = Path(place) / "run.yaml"
    config.write_text(
        yaml.safe_dump(fields | {"network_options": {"activation": "relu", **options}}), "utf-8"
    )
    return exportable(config, steps=steps)


def exported(place: str, data: str, network: str, rule: str, **options: Any) -> Project:
    """The project of that, written under the folder."""
    return write(program(place, data, network, rule, **options), Path(place) / "c")


def rows() -> list[dict[str, Any]]:
    """A row per program and board; a board that is too small says so."""
    found = []
    for data, network, rule, boards, build in PROGRAMS:
        with tempfile.TemporaryDirectory() as place:
            made = exported(place, data, network, rule)
            for board in boards:
                named = {"network": network, "rule": rule, "board": board, "build": build}
                try:
                    found.append(named | on_board(made, board, optimize=build, run=True).plain())
                except ConfigError as error:
                    found.append(named | {"refused": str(error)})
                print({k: v for k, v in found[-1].items() if k != "kernels"})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    found = rows()
    if args.out is not None:
        kept = [{k: v for k, v in row.items() if k != "kernels"} for row in found]
        args.out.write_text(json.dumps({"rows": kept}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
