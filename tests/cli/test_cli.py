"""The command line as a user meets it: exit codes, streams, one clear line for a mistake."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from insitu.cli import main
from insitu.experiment.config import CompareConfig
from insitu.rules import RULES

TINY = ["--set", "limit_train=100", "--set", "limit_test=50", "--epochs", "1"]


def run(*words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "insitu.cli", *words],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "140"},
    )


def test_help_does_not_import_torch() -> None:
    code = "import sys; from insitu.cli import main; main(['--help']); sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and "compare" in done.stdout


@pytest.mark.parametrize(
    "words", [["list", "networks"], ["list", "recipes"], ["show", "step", "mlp-8-4-2"], ["data", "list"]]
)
def test_light_verbs_do_not_import_torch(words: list[str]) -> None:
    code = f"import sys; from insitu.cli import main; main({words!r}); sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


VERBS = [
    *(
        "train",
        "adapt",
        *(f"device {verb}" for verb in ("infer", "learn", "evaluate", "save", "load")),
        "compare",
        "reproduce",
        "grid",
        "report",
        "show rule",
        "show step",
        "data fetch",
        "data list",
    ),
    *("list rules", "list networks", "list data", "list precisions", "list targets", "list recipes"),
    *(
        "cost",
        "check",
        "export c",
        "export microcode",
        "export onnx",
        "export rtl",
        "export systemc",
        "search",
        "show microcode",
    ),
]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example_and_the_shared_options(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*verb.split(), "--help"]) == 0
    text = capsys.readouterr().out
    assert f"Example: insitu {verb}" in text
    assert all(flag in text for flag in ("--json", "--quiet", "--out"))


def test_these_are_all_the_verbs() -> None:
    from typer.main import get_command

    from insitu.cli import app

    def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[str]:
        if not hasattr(command, "list_commands"):
            yield " ".join(path)
            return
        for name in command.list_commands(None):
            yield from leaves(command.get_command(None, name), (*path, name))

    assert sorted(leaves(get_command(app))) == sorted(VERBS)


@pytest.mark.parametrize("verb", [v for v in VERBS if v.startswith("list")] + ["data list", "show step"])
@pytest.mark.parametrize("form", [[], ["--json"]], ids=["text", "json"])
def test_out_writes_what_would_be_printed(
    verb: str, form: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*verb.split(), *(["mlp-8-4-2"] if verb == "show step" else []), *form]
    assert main(words) == 0
    printed = capsys.readouterr().out
    out = tmp_path / "out.txt"
    assert main([*words, "--out", str(out)]) == 0
    captured = capsys.readouterr()
    assert out.read_text(encoding="utf-8") == printed and printed.endswith("\n")
    assert captured.out == "" and captured.err == f"written to {out}\n"
    assert main([*words, "--out", str(out), "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")


def test_data_fetch_takes_out_for_its_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch(name: str, *, data_dir: Path, progress: Callable[[str, int, int | None], None]) -> list[Path]:
        progress("a.gz", 0, 10)
        progress("a.gz", 10, 10)
        return [data_dir / name / "a.gz"]

    monkeypatch.setattr("insitu.data.fetch", fetch)
    for flag in ("--out", "--data-dir"):
        assert main(["data", "fetch", "mnist", flag, str(tmp_path)]) == 0
        assert capsys.readouterr() == (f"{tmp_path / 'mnist' / 'a.gz'}\n", "fetching a.gz (10 bytes)\n")
    assert main(["data", "fetch", "mnist", "--out", str(tmp_path), "--json", "-q"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out) == [str(tmp_path / "mnist" / "a.gz")] and captured.err == ""


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    import insitu

    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == insitu.__version__


def test_train_writes_a_folder_and_says_where(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert main(["train", *TINY, "--rule", "drtp", "--out", str(out)]) == 0
    captured = capsys.readouterr()
    assert "test accuracy" in captured.out and str(out) in captured.out
    assert captured.err.count("epoch") == 1
    assert {"curves.png", "memory.png", "result.json"} <= {p.name for p in out.iterdir()}


def test_json_on_stdout_and_quiet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *TINY, "--json", "--quiet", "--out", str(tmp_path / "run")]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["samples"] == 100
    assert captured.err == ""


def test_train_says_what_guessing_would_score_and_which_classes_are_confused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *TINY, "--confusion", "-q", "--out", str(tmp_path / "run")]) == 0
    text = capsys.readouterr().out
    assert "(balanced " in text and "the most frequent class 22.00 %)" in text
    rows = [line.split() for line in text.splitlines() if re.match(r"[0-9]\s", line)]
    assert len(rows) == 10 and sum(int(n) for row in rows for n in row[1:11] if n != ".") == 50


def test_a_rate_is_found_on_held_back_training_samples(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "--network", "mlp-64-16-10", "--epochs", "1", "--set", "limit_train=300", "--json"]
    assert main([*words, "--lr", "auto", "--out", str(tmp_path / "a")]) == 0
    said = capsys.readouterr()
    (chosen,) = re.findall(r"--lr auto: (\S+), the best", said.err)
    assert json.loads(said.out)["samples"] == 300 and said.err.count("on held-back samples\n") == 8
    kept = yaml.safe_load((tmp_path / "a" / "config.yaml").read_text())
    assert kept["optimizer"]["lr"] == float(chosen) and kept["validation"] == 0.0
    assert main([*words, "--lr", "auto", "--resume", "-q", "--out", str(tmp_path / "a")]) == 0
    assert "--lr auto" not in capsys.readouterr().err
    assert main([*words, "--lr", "fast"]) == 2
    assert "'fast' is no learning rate; use a number, or auto" in capsys.readouterr().err


def test_compare_from_an_empty_folder(tmp_path: Path) -> None:
    """As a new user would: no flags but a smaller budget."""
    done = run("compare", *TINY, "--seeds", "1", "--rules", "bp,drtp", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "runs" / "compare-digits-1"
    assert {"results.json", "report.html", "compare.yaml", "runs"} <= {p.name for p in folder.iterdir()}
    assert "report.html" in done.stdout and "drtp" in done.stdout
    assert "[  4/4]" in done.stderr
    again = run("compare", *TINY, "--seeds", "1", "--rules", "bp", cwd=tmp_path)
    assert again.returncode == 0 and (tmp_path / "runs" / "compare-digits-2").is_dir()


def test_compare_asks_the_question_of_a_device_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from insitu.cli import compare as verb

    asked: list[CompareConfig] = []
    monkeypatch.setattr(verb, "_run", lambda config, *_, **__: asked.append(config))
    assert main(["compare", "-q"]) == main(["compare", "-q", "--rules", "all"]) == 0
    assert main(["compare", "own-rule-mnist", "-q", "--rules", "all"]) == 0
    device, every, others = asked
    assert device.batch == 1 and device.precision == "edge-latent-free-8" and device.engine == "c"
    assert {s.rule for s in device.rules} >= {
        "bp",
        "bp-stash",
        "fa",
        "dfa",
        "drtp",
        "pred",
        "etch",
        "shallow",
    }
    assert every.precision == "float32" and len({s.rule for s in every.rules}) > 25
    assert {s.rule for s in others.rules} == set(RULES) and others.data == "mnist"


def test_compare_without_a_compiler_is_short_and_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from insitu.backends.c.backend import C
    from insitu.cli import compare as verb

    asked: list[CompareConfig] = []
    monkeypatch.setattr(verb, "_run", lambda config, *_, **__: asked.append(config))
    monkeypatch.setattr(C, "missing", lambda _self: "no C compiler was found")
    assert main(["compare"]) == 0
    assert "no C compiler was found: one epoch of one seed" in capsys.readouterr().err
    assert (asked[0].engine, asked[0].epochs, asked[0].seeds) == ("torch", 1, 1)


def test_compare_json_and_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "c"
    words = [
        "compare",
        *TINY,
        "--seeds",
        "1",
        "--rules",
        "bp",
        "--network",
        "mlp-64-20-10",
        "--out",
        str(out),
    ]
    assert main([*words, "--json", "-q"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"][0]["rule"] == "bp"
    page = tmp_path / "page.html"
    assert main(["report", str(out), "-o", str(page)]) == 0
    assert page.exists() and str(page) in capsys.readouterr().out
    assert main(["report", str(out), "-o", str(page), "-q"]) == 0
    assert capsys.readouterr() == ("", "")


def test_compare_takes_a_recipe_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(
        "networks: [mlp-64-20-10]\nrules: [{rule: dfa, options: {feedback: shared}}]\n"
        "epochs: 1\nseeds: 1\nlimit_train: 100\nlimit_test: 50\n"
    )
    assert main(["compare", str(recipe), "--batch", "10", "--json", "-q", "--out", str(tmp_path / "c")]) == 0
    row = json.loads(capsys.readouterr().out)["rows"][0]
    assert row["label"] == "dfa[feedback=shared]" and row["batch"] == 10


def test_show_step(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "step", "mlp-8-4-2", "--rule", "drtp", "--eager"]) == 0
    text = capsys.readouterr().out
    assert "select_rows(%fc1.feedback, %label)" in text and "peak " in text
    assert main(["show", "step", "mlp-8-4-2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["by_role"]["weight"] == 4 * (8 * 4 + 4 + 4 * 2 + 2)


def test_show_step_of_an_own_network(capsys: pytest.CaptureFixture[str]) -> None:
    words = "show step cnn-4-6 --rule etch --option limit=64 --activation relu --input 1x8x8 --classes 4"
    assert main([*words.split(), "--precision", "edge-latent-free-8"]) == 0
    text = capsys.readouterr().out
    assert "gated_conv2d_dw_update(" in text and "lut(" not in text
    for more, told in (
        ("--option limit", "write name=value"),
        ("--norm odd", "use one of keep, fold, rms"),
        ("--phase 3", "phases 0 to 0"),
    ):
        assert main([*words.split(), *more.split()]) == 2
        assert told in capsys.readouterr().err


def npz(path: Path, **arrays: np.ndarray) -> str:
    np.savez(path, **arrays)
    return str(path)


def bad_data(tmp_path: Path, kind: str) -> str:
    x = np.random.default_rng(0).normal(size=(60, 64)).astype(np.float32)
    y = np.arange(60) % 10
    test = {"x_test": x[:20], "y_test": y[:20]}
    if kind == "nan":
        x[7, 3] = np.nan
    if kind == "label":
        y[5] = -1
    if kind == "length":
        y = y[:50]
    if kind == "empty":
        x, y = x[:0], y[:0]
    if kind == "keys":
        return npz(tmp_path / "keys.npz", images=x)
    return npz(tmp_path / f"{kind}.npz", x_train=x, y_train=y, **test)


MISTAKES: list[tuple[str, list[str], list[str]]] = [
    ("unknown flag", ["train", "--epoch", "3"], ["--epoch", "--epochs"]),
    ("unknown verb", ["tran"], ["tran", "train"]),
    ("no number", ["train", "--epochs", "x"], ["--epochs", "integer"]),
    ("unknown key", ["train", "--set", "epoch=3"], ["epoch", "known keys"]),
    ("unknown rule", ["train", "--rule", "drpt"], ["drpt", "did you mean 'drtp'"]),
    ("unknown option", ["train", "--rule", "dfa", "--set", "rule_options.x=1"], ["'x'", "feedback"]),
    (
        "option of a wrong type",
        ["train", "--rule", "bp-checkpoint", "--set", "rule_options.segments=2x"],
        ["2x", "segments"],
    ),
    (
        "option that is nothing",
        ["train", "--rule", "usf", "--set", "rule_options.scale=.nan"],
        ["scale", "correct"],
    ),
    ("unknown device", ["train", "--set", "device=foo"], ["device 'foo'", "device=cpu"]),
    ("unknown network", ["train", "--network", "lenet-5"], ["lenet-5", "lenet5"]),
    ("unknown data", ["train", "--data", "minst"], ["minst", "mnist"]),
    (
        "missing data",
        ["train", "--data", "cifar10", "--data-dir", "{empty}"],
        ["cifar10", "insitu data fetch", "INSITU_DATA"],
    ),
    ("wrong shape", ["train", "--network", "mlp-784-100-10"], ["[784]", "[1, 8, 8]", "choose a network"]),
    ("batch too large", ["train", "--batch", "5000"], ["5000", "1437", "--batch 1437"]),
    ("zero samples", ["train", "--set", "samples=0"], ["samples", "greater than or equal to 1"]),
    ("nan", ["train", "--data", "{nan}", "--network", "mlp-64-10"], ["nan.npz", "NaN"]),
    ("labels", ["train", "--data", "{label}", "--network", "mlp-64-10"], ["label.npz", "-1"]),
    ("lengths", ["train", "--data", "{length}", "--network", "mlp-64-10"], ["length.npz", "60", "50"]),
    ("no samples", ["train", "--data", "{empty_npz}", "--network", "mlp-64-10"], ["empty.npz"]),
    ("keys", ["train", "--data", "{keys}", "--network", "mlp-64-10"], ["keys.npz", "images"]),
    ("missing config", ["train", "none.yaml"], ["none.yaml", "check the path"]),
    ("unknown recipe", ["reproduce", "nope"], ["nope", "drtp-mnist-fc"]),
    ("resume of nothing", ["train", "--resume"], ["--resume", "--out"]),
    ("resume of no comparison", ["compare", "--resume"], ["--resume", "--out"]),
    ("resume of no recipe", ["reproduce", "own-rule-mnist", "--resume"], ["--resume", "--out"]),
    ("resume of no grid", ["grid", "--resume"], ["--resume", "--out"]),
    ("resume of no run", ["train", "--resume", "--out", "typo"], ["typo", "holds no run", "--out"]),
    ("report of nothing", ["report", "none"], ["none"]),
    ("bad set", ["train", "--set", "epochs"], ["epochs", "path=value"]),
    ("out is a folder", ["list", "rules", "--out", "."], ["--out .", "path of a file"]),
    ("out without folder", ["list", "rules", "--json", "--out", "no/such/file"], ["no/such/file"]),
    ("no space", ["show", "step", "mlp-8-4-2", "--out", "/dev/full/x"], ["/dev/full"]),
]


@pytest.mark.parametrize(("words", "said"), [m[1:] for m in MISTAKES], ids=[m[0] for m in MISTAKES])
def test_a_mistake_is_one_line_and_exit_code_2(
    words: list[str],
    said: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("INSITU_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "empty").mkdir()
    places = {"{empty}": str(tmp_path / "empty"), "{empty_npz}": "empty"}
    for kind in ("nan", "label", "length", "empty", "keys"):
        key = "{empty_npz}" if kind == "empty" else "{" + kind + "}"
        if key in words:
            places[key] = bad_data(tmp_path, kind)
    code = main([places.get(w, w) for w in words])
    captured = capsys.readouterr()
    assert code == 2
    assert captured.err.count("\n") == 1 and "Traceback" not in captured.err
    for part in said:
        assert part in captured.err, captured.err
    assert not (tmp_path / "runs").exists()


def test_debug_shows_the_traceback() -> None:
    done = run("--debug", "train", "--rule", "nope")
    assert done.returncode != 0 and "Traceback" in done.stderr


@contextmanager
def started(*words: str) -> Iterator[subprocess.Popen[str]]:
    """A command in a session of its own that hears interrupts, also where pytest itself runs in the background."""
    process = subprocess.Popen(
        [sys.executable, "-m", "insitu.cli", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def interrupted(process: subprocess.Popen[str], folder: Path, pattern: str) -> str:
    """Ctrl-C once a file is there; the last line on stderr."""
    deadline = time.monotonic() + 90
    while not list(folder.glob(pattern)) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    return err.strip().splitlines()[-1]


def test_interrupt_says_how_to_go_on(tmp_path: Path) -> None:
    with started("train", "--epochs", "5000", "--out", str(tmp_path / "run")) as process:
        last = interrupted(process, tmp_path, "run/checkpoint.pt")
    assert last.startswith("insitu: interrupted; --resume")


def test_interrupt_ends_parallel_runs_too(tmp_path: Path) -> None:
    words = ["--rules", "bp,drtp", "--network", "mlp-64-20-10", "--epochs", "100000", "--jobs", "2"]
    with started("compare", *words, "--out", str(tmp_path / "c")) as process:
        assert "--resume" in interrupted(process, tmp_path, "c/runs/*/checkpoint.pt")


def test_the_python_api_mirrors_the_verbs() -> None:
    import insitu

    assert callable(insitu.train) and callable(insitu.compare) and callable(insitu.capture)
    assert "train" in dir(insitu)
    with pytest.raises(AttributeError, match="nothing"):
        insitu.nothing  # noqa: B018


def test_start_is_read_as_init_from_with_a_note(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["train", "--data", "digits", "--network", "mlp-64-8-10", "--set", "limit_train=32"]
    assert main([*small, "--epochs", "1", "--out", str(tmp_path / "a")]) == 0
    assert main([*small, "--epochs", "1", "--start", str(tmp_path / "a"), "--out", str(tmp_path / "b")]) == 0
    assert "--start is now --init-from" in capsys.readouterr().err
    config = yaml.safe_load((tmp_path / "b" / "config.yaml").read_text(encoding="utf-8"))
    assert config["init_from"] == str(tmp_path / "a") and "start" not in config
    (tmp_path / "old.yaml").write_text(f"start: {tmp_path / 'a'}\n", encoding="utf-8")
    from insitu.cli.recipe import from_file
    from insitu.experiment.config import RunConfig

    assert from_file(RunConfig, tmp_path / "old.yaml", {}, None).init_from == str(tmp_path / "a")
    assert main([*small, "--start", "x", "--init-from", "y"]) == 2


@pytest.mark.parametrize(
    ("accuracy", "loss", "shown"),
    [
        (0.5, 1.0, "test accuracy 50.00 %"),
        (None, 0.006505283998550225, "test loss 0.006505"),
        (None, None, "no score"),
    ],
)
def test_a_loss_is_printed_with_four_digits(accuracy: float | None, loss: float | None, shown: str) -> None:
    from insitu.cli.train import _score

    assert _score(accuracy, loss) == shown
