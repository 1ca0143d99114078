"""Attacks the command line for some minutes: kills, cuts, flips, races, fuzzed flags, YAML, arrays and names.

    python benchmarks/attack.py [--minutes 30] [--seed 1] [--kinds kill-train,yaml] [--out FILE]

All kinds have equal times. Every case is drawn from the seed, its kind and its number, and a fault says
them: ``--case 17 --kinds yaml`` repeats one. The counts per kind go to ``benchmarks/results/attack.json``; exit status
1 if there was a fault.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.attacks import KINDS, case, files, kills, programs, text  # noqa: E402

import insitu  # noqa: E402

ALL = (kills, files, text, programs)
"""Modules that bring the kinds."""

OUT = ROOT / "benchmarks" / "results" / "attack.json"


def one(name: str, seed: int, number: int) -> tuple[str | None, float]:
    """Runs a case; its fault and its seconds."""
    folder = Path(tempfile.mkdtemp(prefix="insitu-attack-"))
    begin = time.monotonic()
    try:
        return KINDS[name](case(name, seed, number, folder)), time.monotonic() - begin
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def attacked(names: Sequence[str], seed: int, minutes: float, most: float) -> dict[str, dict[str, Any]]:
    """Cases until the time is over or every kind had enough: counts, faults and seconds by kind."""
    found: dict[str, dict[str, Any]] = {
        n: {"cases": 0, "faults": [], "seconds": 0.0, "slowest": 0.0} for n in names
    }
    end = time.monotonic() + 60 * minutes
    while time.monotonic() < end and (left := [n for n in names if found[n]["cases"] < most]):
        name = min(left, key=lambda n: found[n]["seconds"])
        told = found[name]
        fault, seconds = one(name, seed, told["cases"])
        if fault:
            told["faults"].append({"case": told["cases"], "fault": fault})
            print(f"FAULT {name} {told['cases']}: {fault}", flush=True)
        told["cases"] += 1
        told["seconds"] = round(told["seconds"] + seconds, 3)
        told["slowest"] = round(max(told["slowest"], seconds), 2)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kinds", default=",".join(KINDS), help="comma-separated")
    parser.add_argument("--cases", type=int, default=math.inf, help="of each kind at most")
    parser.add_argument("--case", type=int, help="this case alone")
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    names = given.kinds.split(",")
    if unknown := set(names) - set(KINDS):
        parser.error(f"no kind {', '.join(sorted(unknown))}; there are {', '.join(KINDS)}")
    if given.case is not None:
        faults = [(name, one(name, given.seed, given.case)[0]) for name in names]
        print("\n".join(f"{name}: {fault or 'ok'}" for name, fault in faults))
        return int(any(fault for _, fault in faults))
    begin = time.monotonic()
    found = attacked(names, given.seed, given.minutes, given.cases)
    report = {
        "insitu": insitu.__version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": platform.machine(),
        "seed": given.seed,
        "minutes": round((time.monotonic() - begin) / 60, 1),
        "cases": sum(x["cases"] for x in found.values()),
        "faults": sum(len(x["faults"]) for x in found.values()),
        "kinds": found,
    }
    given.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    for name, told in found.items():
        print(
            f"{name:<24} {told['cases']:>7} cases  {len(told['faults']):>4} faults  slowest {told['slowest']} s"
        )
    return int(report["faults"] > 0)


if __name__ == "__main__":
    sys.exit(main())
