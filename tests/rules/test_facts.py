"""What rules say of themselves, and what is read from their steps."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from insitu.cli import main
from insitu.errors import ConfigError
from insitu.network.graph import Network
from insitu.passes import plan
from insitu.rules import RULES, make_rule
from insitu.rules.facts import alive, describe, executed, explain, needs, smallest_batch
from tests.helpers import batch, gradients, one_step, small

BY_THE_INPUT = ("pepita", "mempepita", "mezo")
"""Forward-only, but the output's error comes back to the first layer as a change of its input, or as one number."""


SIGNS = ("sdfa",)
"""Not forward-only, yet the signs of a softmax's error follow from the label."""


CASES: list[tuple[str, dict[str, Any]]] = [
    *((rule, {}) for rule in RULES if rule not in (*BY_THE_INPUT, *SIGNS, "shallow")),
    ("etch", {"shared": True}),
    ("etch", {"group": 2}),
]


@pytest.mark.parametrize(("rule", "options"), CASES)
def test_forward_only_rules_do_not_see_later_layers_and_the_others_do(
    rule: str, options: dict[str, Any]
) -> None:
    made = make_rule(rule, options)
    sizes = "mlp-20-15-5" if options.get("shared") else "mlp-20-15-12-5"
    net = small(sizes, "relu" if rule == "bp-stash" or options else None)
    moved = {n: v * (-3.0 if n in ("fc2.weight", "fc3.weight") else 1.0) for n, v in net.params.items()}
    other = Network(net.name, net.input_shape, net.blocks, moved)
    x, y = batch(net, 6)
    start = one_step(made, net, x, y, lr=0.1)
    heads = {n: t for n, t in start.items() if n not in net.params}
    before, after = (
        gradients(one_step(made, n, x, y, residents=heads), n)["fc1.weight"] for n in (net, other)
    )
    assert bool(before.any())
    assert torch.equal(before, after) == made.forward_only


@pytest.mark.parametrize("rule", BY_THE_INPUT)
def test_errors_that_come_by_the_input(rule: str) -> None:
    assert make_rule(rule).forward_only


def test_needs() -> None:
    found = {name: needs(make_rule(name)) for name in RULES}
    compare = {n for n, f in found.items() if f["min_batch"] == 2}
    assert compare == {"sim", "predsim", "sim-bpf", "predsim-bpf", "hsic"}
    with_feedback = {n for n, f in found.items() if f["feedback"]}
    assert {"fa", "frsf", "dfa", "sdfa", "drtp", "pred-bpf", "pepita", "sigprop", "lls"} <= with_feedback
    assert not with_feedback & {
        "bp",
        "usf",
        "pred",
        "greedy",
        "dgl",
        "hsic",
        "dbl",
        "forward-forward",
        "mezo",
    }
    assert all(f["conv"] for f in found.values())


def test_every_row_is_complete() -> None:
    rows = describe()
    assert [r["rule"] for r in rows] == list(RULES)
    for row in rows:
        assert row["what"].endswith(".") and 1960 < row["year"] < 2030 and row["paper"]


def test_explain_reads_the_step() -> None:
    found = explain("pred", 8)
    step = executed(make_rule("pred"), small("mlp-784-100-50-10"), 8)
    assert found["alive"] == alive(step)
    assert sum(found["bytes"].values()) == plan(step).peak_bytes
    assert found["bytes"]["head"] > 0 and "L_k" in found["text"]
    with pytest.raises(ConfigError, match="rule 'pradict' is unknown"):
        explain("pradict")


def test_show_rule(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "rule", "hsic", "--batch", "4"]) == 0
    text = capsys.readouterr().out
    assert "min batch 2" in text and "nHSIC(X, Z_k)" in text and "sigma=5.0" in text
    assert main(["show", "rule", "hsic", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["min_batch"] == 2
    assert main(["list", "rules", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {"forward_only", "feedback", "min_batch", "conv", "integer", "year", "paper"} <= set(rows[0])


def test_smallest_batch() -> None:
    net = small("lenet5")
    assert [smallest_batch(make_rule(r), net) for r in ("bp", "sim", "hsic", "dgl")] == [1, 2, 2, 1]
