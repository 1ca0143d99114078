"""Damaged files: run folders and cached programs that were cut, flipped, emptied, mixed or changed in their meaning."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import torch
from benchmarks.attacks import Case, kind, sound
from benchmarks.attacks.runs import RUN, TRAINED, contents, stopped, unequal, whole, workshop

FOREIGN = (
    b"\xff\xfe\x00",
    b"\x00" * 64,
    b"null\n",
    b"[1, 2]\n",
    b'"text"\n',
    b"{}\n",
    b'{"kind": 3}\n',
    b"\xed\xa0\x80",
)


def damaged(case: Case, data: bytes) -> bytes:
    """The bytes of a file after one of the usual accidents."""
    at, more = case.whole(len(data) + 1), FOREIGN[case.whole(len(FOREIGN))]
    lines = data.splitlines(keepends=True)
    line = case.whole(len(lines)) if lines else 0
    flipped = bytearray(data or b"\0")
    flipped[at % len(flipped)] ^= 1 << case.whole(8)
    return {
        "cut": data[:at],
        "flip": bytes(flipped),
        "empty": b"",
        "zeros": bytes(len(data)),
        "foreign": data[:at] + more + data[at:],
        "appended": data + more,
        "doubled": b"".join([*lines[: line + 1], *lines[line:]]),
        "dropped": b"".join([*lines[:line], *lines[line + 1 :]]),
        "beginning cut": data[at:],
    }[
        case.pick(
            "cut", "flip", "empty", "zeros", "foreign", "appended", "doubled", "dropped", "beginning cut"
        )
    ]


def _resumed(case: Case, name: str, what: str) -> str | None:
    """Resumes the run of a case: a refusal, or the results of a whole run."""
    ended = case.insitu(*TRAINED[name], "--out", "r", "--resume")
    if fault := sound(ended, what):
        return fault
    if ended.code:
        return None
    differs = unequal(*(_evaluations(contents(folder)) for folder in (case.folder / "r", whole(name)[0])))
    return f"{what}: resumed, and {differs} differs from that of a whole run" if differs else None


def _evaluations(found: dict[str, Any]) -> dict[str, Any]:
    """Contents without the lines of progress: they are in the events alone, and what is damaged there is left out."""
    return {**found, "events.jsonl": [e for e in found["events.jsonl"] if e["kind"] == "eval"]}


@kind("run-folder")
def run_folder(case: Case) -> str | None:
    """A file of a run folder is damaged; then the run is resumed, or used."""
    name = case.pick("floats", "phases", "integers")
    finished = bool(case.whole(2))
    folder = case.folder / "r"
    shutil.copytree(whole(name)[0] if finished else stopped(name), folder)
    files = sorted(
        p for p in folder.iterdir() if p.suffix != ".png" and p.name not in ("env.json", "step.txt")
    )
    path = files[case.whole(len(files))]
    if case.whole(10):
        path.write_bytes(damaged(case, path.read_bytes()))
    else:
        path.unlink()
    what = f"{name}, {'finished' if finished else 'stopped'}, {path.name}"
    if case.whole(2):
        return _resumed(case, name, what)
    uses = {
        "start": [*TRAINED[name], "--init-from", "r", "--out", "o"],
        "export": ["export", "c", "r", "-o", "o", "--steps", "1"],
        "check": ["check", "r"],
        "report": ["report", "r", "-o", "o.html"],
        "train": ["train", "r/config.yaml", "--out", "o"],
    }
    use = case.pick(*uses)
    return sound(case.insitu(*uses[use]), f"{what}: {use}", (0, 1, 2) if use == "check" else (0, 2))


@kind("results")
def results(case: Case) -> str | None:
    """A comparison's or a grid's files are damaged; then it is resumed or shown."""
    name = case.pick("compare", "grid")
    folder = case.folder / "r"
    shutil.copytree(whole(name)[0], folder)
    files = sorted(p for p in folder.rglob("*") if p.suffix in (".json", ".yaml") and p.name != "env.json")
    path = files[case.whole(len(files))]
    path.write_bytes(damaged(case, path.read_bytes()))
    what = f"{name}, {path.relative_to(folder)}"
    uses = [["report", "r", "-o", "o.html"], ["cost", "--results", "r", "--to-accuracy", "0.5"]]
    if name == "grid":
        uses.append(["grid", "--resume", "--out", "r"])
    words = uses[case.whole(len(uses))]
    return sound(case.insitu(*words), f"{what}: {words[0]}")


# --- meaning -----------------------------------------------------------------------------------------------------

VALUES: tuple[Any, ...] = (
    -1,
    -5,
    10**9,
    2**70,
    0.5,
    float("nan"),
    float("inf"),
    None,
    "",
    "x",
    [],
    [1],
    {},
    {"a": 1},
    True,
)


def _told(old: Any, value: Any) -> Any:
    """A value that a file can tell from the old one: of a loss or a score any number, or none, may be right."""
    fits = value is None or (isinstance(value, int | float) and math.isfinite(value))
    return repr(value) if fits and (old is None or isinstance(old, float)) else value


def changed(case: Case, raw: dict[str, Any]) -> str:
    """Changes what a checkpoint says, in a file that is whole; what was changed."""
    state, progress = raw["state"], raw["progress"]
    name, value = list(state)[case.whole(len(state))], VALUES[case.whole(len(VALUES))]
    how = case.pick("key", "drop", "tensor", "rename", "extra", "progress", "row", "fewer")
    if how == "key":
        name = case.pick(*raw)
        raw[name] = value
    elif how == "drop":
        name = case.pick("version", "fingerprint", "state", "progress", *[f"progress.{x}" for x in progress])
        del (progress if "." in name else raw)[name.rpartition(".")[2]]
    elif how == "tensor":
        old = state[name]
        shapes = (
            old.flatten(),
            old[None],
            torch.zeros(3, 3),
            torch.zeros(0),
            old.double(),
            old.to(torch.complex64),
        )
        others = (old.half(), old.int(), old.bool(), "text", 3, None, old.to_sparse())
        state[name] = (*shapes, *others)[case.whole(13)]
    elif how == "rename":
        state[name + "x"] = state.pop(name)
    elif how == "extra":
        state["extra"] = torch.zeros(3)
    elif how == "fewer":
        del state[name]
    elif how == "progress":
        name = case.pick(*progress)
        progress[name] = _told(progress[name], value)
    elif progress["history"]:
        row = progress["history"][0]
        name = case.pick(*row)
        row[name] = _told(row[name], value)
    return f"{how} of {name} ({value!r})"


@kind("meaning")
def meaning(case: Case) -> str | None:
    """A checkpoint with whole bytes says something else: it is refused, or the results are those of a whole run."""
    name = case.pick("floats", "phases", "integers")
    shutil.copytree(stopped(name, 5), case.folder / "r")
    path = case.folder / "r" / "checkpoint.pt"
    raw = torch.load(path, weights_only=True)
    what = f"{name}: {changed(case, raw)}"
    torch.save(raw, path)
    return _resumed(case, name, what)


# --- compiled programs -------------------------------------------------------------------------------------------

COMPILING = 600.0
"""Seconds for a run that compiles all kernels anew, on a machine that does other things too."""


@kind("cache")
def cache(case: Case) -> str | None:
    """A file of the cache is damaged: the run ends with the bits of every other."""
    reference = whole("c")[0]
    place = case.folder / "cache"
    shutil.copytree(workshop() / "cache", place)
    files = sorted(p for p in place.rglob("*") if p.is_file())
    path = files[case.whole(len(files))]
    path.write_bytes(damaged(case, path.read_bytes()))
    ended = case.insitu(*TRAINED["c"], "--out", "r", timeout=COMPILING, INSITU_CACHE=str(place))
    if ended.code != 0:
        return f"{path.name}: {ended.how}: {ended.last}"
    differs = unequal(contents(case.folder / "r"), contents(reference))
    return f"{path.name}: {differs} differs from that of a whole cache" if differs else None


# --- arrays to start from ----------------------------------------------------------------------------------------


@kind("start")
def start(case: Case) -> str | None:
    """``--init-from`` from a damaged file of parameters."""
    data = (whole("floats")[0] / "parameters.npz").read_bytes()
    Path(case.folder / "p.npz").write_bytes(damaged(case, data))
    return sound(case.insitu(*RUN, "--rule", "drtp", "--init-from", "p.npz", "--out", "r"), "start")
