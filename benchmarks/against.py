"""CPU seconds of the main commands, this working tree against another commit: nothing may get slower.

    python benchmarks/against.py REV [--turns 5] [--out benchmarks/results/against.json]

Both trees take turns in one run of this script, so that noise of the machine hits both alike; a figure is the least
over the turns (what a command needs when nothing disturbs it), in CPU seconds of the process and its children. Ratios
above 1 are slower than REV. A warm-up turn fills caches (byte code, compiled C) and is not counted.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
BAR = 1.05
RUN = ["--data", "digits", "--network", "mlp-64-32-10", "--seeds", "1", "--epochs", "2"]
ON_LINE = ["--rule", "drtp", "--precision", "edge-latent-free-8", "--batch", "1"]
COMMANDS = {
    "help": ["--help"],
    "cost": ["cost", "mlp-64-32-10"],
    "export_help": ["export", "c", "--help"],
    "compare": ["compare", *RUN, "--rules", "bp,drtp,mono-forward", "--out", "{out}"],
    "engine": ["train", *RUN[:4], *ON_LINE, "--epochs", "40", "--engine", "c", "--out", "{out}"],
}
"""What is timed; ``engine`` learns from 40 times all digits, one sample at a step."""


def unpacked(rev: str, folder: Path) -> Path:
    """The package of a commit, in a folder."""
    packed = subprocess.run(["git", "archive", rev, "src"], cwd=ROOT, check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(folder, filter="data")
    return folder / "src"


def seconds(source: Path, words: list[str], place: Path) -> float:
    """CPU seconds of one command with the package at ``source``."""
    with tempfile.TemporaryDirectory(dir=place) as out:
        command = [sys.executable, "-m", "insitu.cli", *(word.format(out=f"{out}/run") for word in words)]
        own = {"PYTHONPATH": str(source), "PYTHONPYCACHEPREFIX": str(place / "pyc"), "OMP_NUM_THREADS": "1"}
        env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"} | own
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, env=env, check=True, capture_output=True, cwd=place)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def compared(trees: dict[str, Path], words: list[str], turns: int, place: Path) -> dict[str, Any]:
    """The least seconds of each tree, and their ratio."""
    found: dict[str, list[float]] = {name: [] for name in trees}
    for turn in range(turns + 1):
        for name, source in trees.items():
            taken = seconds(source, words, place)
            if turn:
                found[name].append(taken)
    least = {name: round(min(values), 3) for name, values in found.items()}
    return least | {"ratio": round(least["now"] / least["before"], 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rev")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--only", choices=sorted(COMMANDS), nargs="*", default=list(COMMANDS))
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "against.json")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        trees = {"before": unpacked(args.rev, place / "before"), "now": ROOT / "src"}
        rows = {name: compared(trees, COMMANDS[name], args.turns, place) for name in args.only}
    result = {"rev": args.rev, "unit": "CPU seconds", "turns": args.turns, "bar": BAR, "commands": rows}
    args.out.write_text(json.dumps(result, indent=1) + "\n")
    for name, row in rows.items():
        print(f"{name:12} {row['before']:8.2f} {row['now']:8.2f}  x{row['ratio']:.2f}")


if __name__ == "__main__":
    main()
