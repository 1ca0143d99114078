"""The steps of every rule, as text, against the checked-in files of ``steps/``.

A change to a rule, an op or a pass that alters a program shows up here as a diff to read and to commit. Where
the change is wanted, rewrite the files with ``INSITU_REPLAY=write pytest tests/replay``; that run fails for
every file that it changed, so that a variable left set cannot hide a diff. Source lines of the rules are left
out: they move with every edit.
"""

from __future__ import annotations

import os
import re
from difflib import unified_diff
from functools import cache
from pathlib import Path

import pytest

from insitu.network import zoo
from insitu.network.graph import Network
from insitu.passes import VIEWS, lower, plan
from insitu.passes.precision import make
from insitu.passes.quantize import quantize
from insitu.rules import RULES, emit_phases, make_rule

STEPS = Path(__file__).parent / "steps"
NETWORKS = ("mlp-64-100-10", "lenet5")
BATCH = 2
POLICIES = ("edge-latent-free-8", "w2a4", "niti-int8")
QUANTIZED = ("bp", "bp-stash", "drtp", "pred")
"""Rules whose steps on integers are kept too, on both networks, as they are executed."""


ACTIVATIONS = {"bp-stash": "relu"}
"""Where a rule takes no other."""


@cache
def network(name: str, rule: str = "bp") -> Network:
    return zoo.build(name, activation=ACTIVATIONS.get(rule))


def without_lines(text: str) -> str:
    """``rules/backprop.py:48`` becomes ``rules/backprop.py``."""
    return re.sub(r"(\.py):\d+", r"\1", text)


def replayed(name: str, rule: str, view: str, precision: str = "float32") -> str:
    """The printed step of every phase, with the memory that it takes."""
    parts = []
    policy = make(precision)
    net = network(name, rule)
    for emitted in emit_phases(make_rule(rule), net, BATCH):
        step = lower(quantize(emitted, policy, net.params) if policy else emitted, view)
        layout = plan(step)
        memory = f"# arena {layout.arena_bytes} bytes, residents {layout.resident_bytes} bytes\n"
        parts.append(without_lines(str(step)) + memory)
    return "\n".join(parts)


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", NETWORKS)
def test_step_is_unchanged(name: str, rule: str, view: str) -> None:
    compare(STEPS / f"{name}.{rule}.{view}.txt", replayed(name, rule, view))


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("rule", QUANTIZED)
@pytest.mark.parametrize("name", NETWORKS)
def test_step_on_integers_is_unchanged(name: str, rule: str, policy: str) -> None:
    compare(STEPS / f"{name}.{rule}.{policy}.txt", replayed(name, rule, "fused", policy))


def compare(file: Path, now: str) -> None:
    """A printed step with the one that is checked in."""
    before = file.read_text(encoding="utf-8") if file.exists() else ""
    if now == before:
        return
    if os.environ.get("INSITU_REPLAY") == "write":
        file.parent.mkdir(exist_ok=True)
        file.write_text(now, encoding="utf-8")
        pytest.fail(f"{file.name} was rewritten; read its diff, then run again")
    diff = "\n".join(
        unified_diff(before.splitlines(), now.splitlines(), "checked in", "now", lineterm="", n=1)
    )
    pytest.fail(f"{file.name} differs; if that is wanted, rewrite it with INSITU_REPLAY=write\n{diff}")


def test_no_file_is_left_over() -> None:
    expected = {f"{name}.{rule}.{view}.txt" for name in NETWORKS for rule in RULES for view in VIEWS}
    expected |= {f"{n}.{rule}.{policy}.txt" for n in NETWORKS for rule in QUANTIZED for policy in POLICIES}
    assert {file.name for file in STEPS.glob("*.txt")} == expected


def test_source_lines_are_left_out() -> None:
    assert without_lines("  # error fc1 rules/direct.py:120\n") == "  # error fc1 rules/direct.py\n"
    assert without_lines("{shape=(2, 3)}: f32[2,3]") == "{shape=(2, 3)}: f32[2,3]"
