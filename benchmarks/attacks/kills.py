"""Kills at random moments, then a resume: the results are those of an undisturbed run. And races for a folder."""

from __future__ import annotations

import signal
import time
from pathlib import Path

from benchmarks.attacks import Case, kind, sound
from benchmarks.attacks.forks import Running
from benchmarks.attacks.runs import COMPARED, TRAINED, contents, known_recipe, unequal, whole

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
ENDS = {0, 130, *(-number for number in SIGNALS)}
"""Exit codes of a command that was sent a signal, perhaps too late."""

MOST = 3
"""Signals a case at most."""


def _killed(case: Case, name: str, words: list[str]) -> str | None:
    """Runs a command, with up to three kills, to its end; what is not as it should be."""
    reference, seconds = whole(name)
    command = [*words, "--out", "r"]
    for n in range(1 + case.whole(MOST)):
        again = ["--resume"] if n else []
        running = Running([*command, *again], case.folder, before=known_recipe)
        time.sleep(float(case.rng.uniform(0, 1.1 * seconds)))
        running.kill(SIGNALS[case.whole(len(SIGNALS))])
        ended = running.wait(600)
        if ended.code not in ENDS:
            return f"killed: {ended.how}: {ended.last}"
    ended = Running([*command, "--resume"], case.folder, before=known_recipe).wait(600)
    if ended.code != 0:
        return f"resumed: {ended.how}: {ended.last}"
    left = [p.name for p in (case.folder / "r").rglob(".*")]
    differs = unequal(contents(case.folder / "r"), contents(reference))
    return (
        f"left behind: {left}" if left else f"{differs} differs from that of a whole run" if differs else None
    )


@kind("kill-train")
def kill_train(case: Case) -> str | None:
    name = case.pick(*TRAINED)
    fault = _killed(case, name, TRAINED[name])
    return fault and f"{name}: {fault}"


@kind("kill-compare")
def kill_compare(case: Case) -> str | None:
    return _killed(case, "compare", COMPARED["compare"])


@kind("kill-grid")
def kill_grid(case: Case) -> str | None:
    return _killed(case, "grid", COMPARED["grid"])


@kind("kill-reproduce")
def kill_reproduce(case: Case) -> str | None:
    return _killed(case, "reproduce", COMPARED["reproduce"])


@kind("race")
def race(case: Case) -> str | None:
    """Two runs at once: of one folder one has it; without ``--out`` each has its own."""
    out = ["--out", "r"] if case.whole(2) else []
    words = [*TRAINED["floats"], *out, "--seed"]
    running = [Running([*words, str(seed)], case.folder) for seed in (1, 2)]
    ended = [x.wait() for x in running]
    for one in ended:
        if fault := sound(one, "race"):
            return fault
    won = [str(seed) for seed, one in zip((1, 2), ended) if one.code == 0]
    if len(won) != (1 if out else 2):
        return f"{len(won)} runs of 2 ended well, --out is {'one' if out else 'free'}"
    folders = [case.folder / "r"] if out else sorted((case.folder / "runs").iterdir())
    seeds = sorted(_seed(folder) for folder in folders)
    return None if seeds == won else f"runs of seeds {won} ended well, and folders hold those of {seeds}"


def _seed(folder: Path) -> str:
    """The seed of a whole run folder."""
    lines = (folder / "config.yaml").read_text().splitlines()
    evaluations = (folder / "events.jsonl").read_text().count('"eval"')
    assert evaluations == 2, f"{folder.name} has {evaluations} evaluations of 2"
    return next(x.removeprefix("seed: ") for x in lines if x.startswith("seed: "))
