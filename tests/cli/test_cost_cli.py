"""``insitu cost`` and ``insitu check`` as a user meets them."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

from insitu.cli import main
from insitu.cli.options import shape
from insitu.errors import ConfigError
from insitu.experiment.design_point import DesignPoint
from insitu.experiment.impact import assess
from insitu.experiment.impact_table import COLUMNS, summary, summary_of
from insitu.hardware.target import names
from tests.report import factory

SMALL = "mlp-64-32-10"
EDGE = "edge-latent-free-8"
Capture = pytest.CaptureFixture[str]


def said(capsys: Capture, *words: str, code: int = 0) -> str:
    """What a command prints on stdout; nothing else is printed."""
    assert main(list(words)) == code
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


# --- cost ----------------------------------------------------------------------------------------------------


def test_cost_of_one_point(capsys: Capture) -> None:
    words = ["cost", SMALL, "--rule", "drtp", "--precision", EDGE, "--target", "accelerator-22nm"]
    text = said(capsys, *words, "--batch", "4")
    assert text.startswith(f"{SMALL}, rule drtp, {EDGE}, batch 4\non 16x16 weight-stationary array")
    assert "× inference" in text and "× bp" in text and "entry " not in text
    explained = said(capsys, *words, "--batch", "4", "--explain")
    assert explained.startswith(text) and "memory.sram.read" in explained and "\nsources\n" in explained


def test_cost_as_json(capsys: Capture) -> None:
    values = json.loads(said(capsys, "cost", SMALL, "--optimizer", "momentum", "--json"))
    found = assess(DesignPoint(SMALL, optimizer="momentum"))
    assert {k: values[k] for k in COLUMNS} == summary_of(found)
    assert values["bills"][0]["rows"][0]["op"] == "matmul" and "bp" in values["references"]
    unknown = json.loads(said(capsys, "cost", SMALL, "--target", "desktop", "--json"))
    assert unknown["energy_pj"] is None and unknown["bills"][0]["unknown"] == ["energy.cycle"]


def test_options_reach_the_rule_and_the_network(capsys: Capture) -> None:
    words = ["cost", "mlp-64-32-32-32-32-10", "--rule", "bp-checkpoint", "--activation", "relu", "--json"]
    values = json.loads(said(capsys, *words, "--option", "segments=2"))
    assert values["rule"] == "bp-checkpoint[segments=2]" and "bp-stash" in values["references"]
    normed = json.loads(said(capsys, "cost", "resnet8", "--norm", "rms", "--json"))
    assert normed["norm"] == "rms"


ETCH = ["cost", SMALL, "--rule", "etch", "--precision", f"{EDGE}:error_exponent=static"]


def test_triggers_are_stated_and_taken(capsys: Capture) -> None:
    """Nobody has measured: every sample, and the bill says so."""
    worst = said(capsys, *ETCH)
    assert (
        "learns from samples that trigger: fc1.head 100.0 %, output 100.0 %; every sample is the worst"
        in worst
    )
    text = said(capsys, *ETCH, "--triggers", "0.25,0.125", "--explain")
    assert "learns from samples that trigger: fc1.head 25.0 %, output 12.5 %\n" in text
    assert "in use  of the steps\n" in text and "of the steps\n" not in said(capsys, *ETCH, "--explain")
    values = json.loads(said(capsys, *ETCH, "--triggers", "0.25", "--json"))
    assert values["triggers"] == "fc1.head=0.25 output=0.25" and values["writes_per_weight"] == 0.25
    assert values["bills"][0]["triggers"] == {"fc1.head": 0.25, "output": 0.25}
    assert values["references"]["bp"]["triggers"] is None


def test_beside_others_the_shares_are_of_the_rules_that_wait(capsys: Capture) -> None:
    words = [*ETCH[:3], "bp,etch", *ETCH[4:], "--triggers", "0.25,0.125"]
    text = said(capsys, *words)
    assert "\nsamples that trigger, 1 of all\netch: fc1.head=0.25 output=0.125\n" in text
    shares = [p["triggers"] for p in json.loads(said(capsys, *words, "--json"))["points"]]
    assert shares == [None, "fc1.head=0.25 output=0.125"]


def test_cost_writes_a_folder(tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "new" / "folder"
    assert main(["cost", SMALL, "--json", "--out", str(out)]) == 0
    captured = capsys.readouterr()
    assert captured.err == f"written to {out / 'bill.json'} and memory.png\n"
    assert json.loads((out / "bill.json").read_text()) == json.loads(captured.out)
    assert (out / "memory.png").stat().st_size > 5000
    assert said(capsys, "cost", SMALL, "--json", "--out", str(out), "--quiet") == captured.out


def test_several_points_are_ranked(capsys: Capture) -> None:
    words = ["cost", SMALL, "--rule", "bp,shallow", "--target", "stm32l4r5,desktop", "--precision", EDGE]
    text = said(capsys, *words)
    table, ranking = text.split("\n\nranking\n")
    assert table.count("\nbp ") == table.count("\nshallow ") == 2
    claims = ranking.splitlines()
    assert claims == [
        f"shallow {EDGE} takes less energy than bp {EDGE} on stm32l4r5: holds, "
        + claims[0].split("holds, ")[1]
    ]
    values = json.loads(said(capsys, *words, "--json"))
    points = [DesignPoint(SMALL, r, EDGE, t) for r in ("bp", "shallow") for t in ("stm32l4r5", "desktop")]
    assert values["points"] == [summary(p) for p in points]
    assert [c["headline"] for c in values["claims"]] == [True]


def test_policies_with_fields_are_one_value(capsys: Capture) -> None:
    policy = f"{EDGE}:weight=4,activation=4"
    words = ["--precision", policy, "--precision", "float32,w4a8", "--json"]
    values = json.loads(said(capsys, "cost", SMALL, *words))
    assert [p["precision"] for p in values["points"]] == [policy, "float32", "w4a8"]
    assert all(p["refused"] is None for p in values["points"])


def test_a_sweep_writes_a_table_and_a_picture(tmp_path: Path, capsys: Capture) -> None:
    words = ["cost", SMALL, "--sweep", "--rule", "bp,hsic", "--target", "stm32l4r5", "--out", str(tmp_path)]
    words += ["--batch", "2"]
    assert main([*words, "--precision", f"float32,{EDGE}"]) == 0
    captured = capsys.readouterr()
    assert (
        captured.err == f"4 points, 1 refused: {tmp_path / 'sweep.csv'}, sweep.png\n" and captured.out == ""
    )
    rows = list(csv.DictReader((tmp_path / "sweep.csv").open()))
    assert [(r["rule"], r["precision"]) for r in rows] == [
        ("bp", "float32"),
        ("bp", EDGE),
        ("hsic", "float32"),
        ("hsic", EDGE),
    ]
    assert "label_gram" in rows[3]["refused"] and rows[3]["energy_pj"] == ""
    assert (tmp_path / "sweep.png").stat().st_size > 5000


def test_a_sweep_takes_all_targets_by_default(capsys: Capture) -> None:
    words = ["cost", "mlp-64-16-10", "--sweep", "--rule", "drtp", "--precision", EDGE, "--json"]
    values = json.loads(said(capsys, *words))
    assert [p["target"] for p in values["points"]] == list(names()) and values["claims"] == []


def stored_results(tmp_path: Path) -> Path:
    made = factory.results(rules=("bp", "drtp"), layers=(4, 4))
    (tmp_path / "results.json").write_text(made.model_dump_json())
    return tmp_path


def test_energy_to_an_accuracy(tmp_path: Path, capsys: Capture) -> None:
    folder = stored_results(tmp_path)
    words = ["cost", "mlp-784-1000-10", "--results", str(folder), "--accuracy", "0.9"]
    text = said(capsys, *words, "--target", "accelerator-22nm,desktop")
    assert text.startswith("to 90.0 % of the test samples\n") and text.count("3 of 3") == 4
    out = tmp_path / "out"
    assert main([*words, "--json", "--out", str(out), "-q"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values == json.loads((out / "to_accuracy.json").read_text())
    assert {v["label"] for v in values} == {"bp", "drtp"} and {v["target"] for v in values} == {"stm32l4r5"}
    never = json.loads(said(capsys, *words[:-1], "0.999", "--json"))
    assert [v["energy_pj"] for v in never] == [None, None]


def test_list_targets(capsys: Capture) -> None:
    rows = json.loads(said(capsys, "list", "targets", "--json"))
    assert [row["name"] for row in rows] == list(names())
    assert {row["name"] for row in rows if not row["energy"]} == {
        *("desktop", "ra8d1", "stm32g0b1", "engine-systemc"),
        *(f"engine-ecp5-{lanes}" for lanes in (4, 8, 16, 32)),
    }
    text = said(capsys, "list", "targets")
    assert all(name in text for name in names())


USERS = """\
base: stm32l4r5
name: mine
clock: {value: 48, unit: MHz, source: mine, confidence: exact}
sources: {mine: my own board}
"""


def test_a_users_target(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(USERS)
    mine, base = (
        json.loads(said(capsys, "cost", SMALL, "--target", t, "--json")) for t in (str(path), "stm32l4r5")
    )
    assert mine["energy_pj"] == base["energy_pj"]
    assert mine["seconds"] == pytest.approx(base["seconds"] * 120 / 48)


# --- check ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "code", "part"),
    [
        ([SMALL], 0, "bytes at the peak of a step"),
        ([SMALL, "--target", "stm32l4r5", "--precision", EDGE, "--backend", "c"], 0, "form for c"),
        (["mlp-784-1000-10", "--target", "stm32l4r5"], 1, "the peak is at matmul_dx of fc2"),
        ([SMALL, "--backend", "c"], 1, "matmul at fc1"),
        ([SMALL, "--rule", "bp,hsic", "--precision", EDGE, "--batch", "2"], 1, "label_gram"),
        (["resnet8", "--rule", "pepita"], 1, "pepita cannot train"),
    ],
)
def test_check_says_what_would_be_refused(words: list[str], code: int, part: str, capsys: Capture) -> None:
    text = said(capsys, "check", *words, code=code)
    assert part in text and ("refused  " in text) == (code == 1)
    quiet = said(capsys, "check", *words, "--quiet", code=code)
    assert quiet == "".join(line for line in text.splitlines(True) if line.startswith("refused"))
    items = json.loads(said(capsys, "check", *words, "--json", code=code))
    assert any(item["refused"] for item in items) == (code == 1)


# --- mistakes ------------------------------------------------------------------------------------------------

MISTAKES: list[tuple[str, list[str], list[str]]] = [
    ("target", ["cost", SMALL, "--target", "stm32l4r6"], ["stm32l4r6", "did you mean 'stm32l4r5'"]),
    ("a target of several", ["cost", SMALL, "--target", "gap9,stm32l4r6"], ["did you mean 'stm32l4r5'"]),
    ("network", ["cost", "lenet6"], ["lenet6", "did you mean lenet5"]),
    ("network of a sweep", ["cost", "lenet6", "--sweep"], ["did you mean lenet5"]),
    ("a rule of several", ["cost", SMALL, "--rule", "bp,drpt"], ["drpt", "did you mean 'drtp'"]),
    ("no rule", ["cost", SMALL, "--rule", ","], ["rule ''", "bp"]),
    ("a precision of several", ["cost", SMALL, "--precision", "w8a8,w8a"], ["precision 'w8a'", "w8a8"]),
    ("norm", ["cost", SMALL, "--norm", "batch"], ["--norm 'batch'", "keep, fold, rms"]),
    ("optimizer", ["cost", SMALL, "--optimizer", "sdg"], ["optimizer 'sdg'", "sgd"]),
    ("loss", ["cost", SMALL, "--loss", "xnt"], ["xnt", "xent"]),
    ("activation", ["cost", SMALL, "--activation", "rellu"], ["did you mean relu"]),
    ("batch", ["cost", SMALL, "--batch", "0"], ["--batch", "1"]),
    ("option without value", ["cost", SMALL, "--option", "segments"], ["'segments'", "name=value"]),
    ("option that is no value", ["cost", SMALL, "--option", "segments=["], ["segments='['", "write"]),
    ("unknown option", ["cost", SMALL, "--rule", "dfa", "--option", "x=1"], ["'x'", "feedback"]),
    (
        "shares",
        [*ETCH, "--triggers", "0.1,0.2,0.3"],
        ["3 trigger shares", "are 2: fc1.head, output", "one of each"],
    ),
    ("share", [*ETCH, "--triggers", "6"], ["trigger share 6 is no share", "0 to 1"]),
    ("no number", [*ETCH, "--triggers", "x"], ["--triggers='x'", "such as"]),
    (
        "no triggers",
        ["cost", SMALL, "--rule", "bp,dfa", "--triggers", "0.1"],
        ["bp, dfa", "leave out --triggers"],
    ),
    (
        "shares of several",
        [*ETCH[:3], "bp,etch", *ETCH[4:], "--triggers", "1,1,1"],
        ["are 2: fc1.head, output"],
    ),
    ("refused", ["cost", "resnet8", "--rule", "pepita"], ["pepita cannot train"]),
    ("too large", ["cost", "mlp-784-1000-10", "--target", "accelerator-22nm-sram"], ["no store", "use"]),
    ("wrong unit", ["cost", SMALL, "--target", "{unit}"], ["unit.yaml:3: clock.unit: 'Hz'", "write MHz"]),
    ("wrong key", ["cost", SMALL, "--target", "{key}"], ["key.yaml:3: clok", "did you mean 'clock'"]),
    ("no file", ["cost", SMALL, "--target", "none.yaml"], ["none.yaml", "cannot be read"]),
    ("no accuracy", ["cost", SMALL, "--results", "{results}"], ["--results needs --accuracy", "0.95"]),
    (
        "another network",
        ["cost", SMALL, "--results", "{results}", "--accuracy", "0.9"],
        [SMALL, "they hold mlp-784-1000-10, resnet20"],
    ),
    (
        "target of results",
        ["cost", "resnet20", "--results", "{results}", "--accuracy", "0.9", "--target", "gap8"],
        ["gap8", "did you mean 'gap9'"],
    ),
    (
        "shares of results",
        ["cost", "resnet20", "--results", "{results}", "--triggers", "1"],
        ["leave out --triggers"],
    ),
    ("no results", ["cost", SMALL, "--results", "none.json", "--accuracy", "0.9"], ["none.json"]),
    ("accuracy", ["cost", SMALL, "--results", "{results}", "--accuracy", "95"], ["--accuracy", "1"]),
    ("check network", ["check", "lenet6"], ["did you mean lenet5"]),
    ("check target", ["check", SMALL, "--target", "stm32l4r6"], ["did you mean 'stm32l4r5'"]),
    ("check rule", ["check", SMALL, "--rule", "drpt"], ["did you mean 'drtp'"]),
    ("check backend", ["check", SMALL, "--backend", "rust"], ["backend 'rust'", "use one of c, "]),
    ("check nothing", ["check", "none.yaml"], ["none.yaml", "check the path"]),
]


@pytest.mark.parametrize(("words", "parts"), [m[1:] for m in MISTAKES], ids=[m[0] for m in MISTAKES])
def test_a_mistake_is_one_line_and_exit_code_2(
    words: list[str], parts: list[str], tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "unit.yaml").write_text(USERS.replace("MHz", "Hz"))
    (tmp_path / "key.yaml").write_text(USERS.replace("clock", "clok"))
    stored_results(tmp_path)
    places = {"{unit}": "unit.yaml", "{key}": "key.yaml", "{results}": "results.json"}
    code = main([places.get(w, w) for w in words])
    captured = capsys.readouterr()
    assert code == 2 and captured.out == ""
    assert captured.err.startswith("insitu: ") and captured.err.count("\n") == 1
    for part in parts:
        assert part in captured.err, captured.err


@pytest.mark.parametrize(
    "words",
    [
        ["cost", SMALL, "--explain", "--precision", EDGE, "--target", "accelerator-22nm"],
        ["cost", SMALL, "--rule", "bp,drtp"],
        ["check", SMALL, "--target", "stm32l4r5", "--backend", "c", "--precision", EDGE],
        ["list", "targets"],
    ],
)
def test_costing_does_not_import_torch(words: list[str]) -> None:
    code = f"import sys; from insitu.cli import main; assert main({words!r}) == 0; sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_check_writes_a_file(tmp_path: Path, capsys: Capture) -> None:
    words, out = ["check", "mlp-784-1000-10", "--target", "stm32l4r5"], tmp_path / "check.txt"
    text = said(capsys, *words, code=1)
    assert said(capsys, *words, "--quiet", "--out", str(out), code=1) == "" and out.read_text() == text


@pytest.mark.parametrize(
    ("text", "found"), [("64", (64,)), ("3x128", (3, 1, 128)), ("1x28x28", (1, 28, 28)), (None, None)]
)
def test_the_shape_of_a_sample(text: str | None, found: tuple[int, ...] | None) -> None:
    assert shape(text) == found


@pytest.mark.parametrize("text", ["", "0", "3x0", "1x2x3x4", "3×8", "99999999x99"])
def test_what_is_no_shape_of_a_sample(text: str) -> None:
    with pytest.raises(ConfigError, match=r"3x128 \(a sequence of 3 channels\) or 1x28x28"):
        shape(text)
