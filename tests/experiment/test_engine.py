"""The C engine trains with the bits of the torch engine, and their runs are interchangeable."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from typer.testing import CliRunner

from insitu.backends.c.engine import CompiledEngine
from insitu.backends.c.memory import Memory, unpacked
from insitu.backends.c.project import Source, generated
from insitu.cli import app
from insitu.errors import ConfigError
from insitu.experiment.command import train_command
from insitu.experiment.compare import compare
from insitu.experiment.config import CompareConfig, RuleSpec, RunConfig, dump, load, parse
from insitu.experiment.identity import fingerprint
from insitu.experiment.program import executable, integer_batches
from insitu.experiment.resolve import Setup
from insitu.experiment.train import Outcome, train
from insitu.numbers.formats import Fixed
from insitu.numbers.packing import pack
from insitu.run import checkpoint
from insitu.run.samples import Feed, as_integers
from insitu.run.state import integer_samples
from insitu.step.ir import Role, Value
from tests.part import part

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="the C engine needs gcc")

FREE, LATENT = "edge-latent-free-8", "w8a8"


def config(**more: Any) -> RunConfig:
    raw = {
        "network": "mlp-64-20-10",
        "precision": FREE,
        "epochs": 2,
        "batch": 8,
        "limit_train": 150,
        "limit_test": 80,
        **more,
    }
    return parse(RunConfig, raw, "test")


class Stop(Exception):
    """A run is cut off here."""


def stopped_after(steps: int, made: RunConfig, folder: Path) -> None:
    """Trains until the checkpoint at a number of steps, and no further."""

    def on_event(event: dict[str, Any]) -> None:
        if event["kind"] == "progress" and event["step"] >= steps:
            raise Stop

    with pytest.raises(Stop):
        train(made, folder, on_event=on_event)


def rows(folder: Path) -> list[dict[str, Any]]:
    """The history of the last checkpoint, without what depends on the engine: time and training loss."""
    kept = []
    for row in checkpoint.load(folder / "checkpoint.pt").progress.history:
        kept.append({k: v for k, v in row.items() if k not in ("seconds", "train_loss")})
    return kept


def assert_equal(a: Path, b: Path) -> None:
    """Two run folders hold the same bits."""
    one, two = (checkpoint.load(folder / "checkpoint.pt") for folder in (a, b))
    mine, theirs, p, q = one.state, two.state, one.progress, two.progress
    assert mine.keys() == theirs.keys()
    for name, tensor in mine.items():
        assert tensor.dtype == theirs[name].dtype and torch.equal(tensor, theirs[name]), name
    assert rows(a) == rows(b)
    for name in ("step", "samples", "epoch", "position", "phase", "phase_start", "best", "stale", "finished"):
        assert getattr(p, name) == getattr(q, name), name
    with np.load(a / "parameters.npz") as ours, np.load(b / "parameters.npz") as other:
        assert ours.files == other.files
        assert all(np.array_equal(ours[n], other[n]) for n in ours.files)


def both(tmp_path: Path, **more: Any) -> tuple[Outcome, Outcome]:
    """The same run with both engines, compared."""
    ends = [train(config(engine=engine, **more), tmp_path / engine) for engine in ("torch", "c")]
    assert_equal(tmp_path / "torch", tmp_path / "c")
    assert ends[0].curve.test_loss == ends[1].curve.test_loss
    assert ends[0].curve.test_accuracy == ends[1].curve.test_accuracy
    return ends[0], ends[1]


CASES: list[dict[str, Any]] = [
    {"rule": "bp", "batch": 1},
    {"rule": "bp"},
    {"rule": "bp", "precision": LATENT},
    {"rule": "bp", "precision": "w4a4-free"},
    {"rule": "bp", "precision": "niti-int8"},
    {"rule": "bp", "precision": "w1a8-free:update=bop"},
    {"rule": "bp", "precision": "w8a8-free:update=round-robin,window=4"},
    {"rule": "bp", "precision": "w4a8-free:update=error-feedback,group_size=4"},
    {"rule": "bp", "precision": "w8a8:activation_exponent=dynamic"},
    {"rule": "bp", "precision": "w8a8-free:rounding=stochastic"},
    {"rule": "etch", "batch": 1, "precision": "edge-latent-free-4:error_exponent=static,defer=7"},
    {"rule": "dfa"},
    {"rule": "drtp", "precision": LATENT},
    {"rule": "pred", "batch": 1},
    {"rule": "mono-forward"},
    {"rule": "greedy", "epochs": 4},
    {"rule": "dbl", "rule_options": {"move": "random"}, "network": "mlp-64-20-16-10"},
    {"rule": "dbl", "rule_options": {"period": 3}, "network": "mlp-64-20-16-10", "precision": LATENT},
    {"rule": "pepita"},
    {"rule": "forward-forward"},
    {"rule": "bp", "precision": "nitro"},
    {"rule": "bp", "network": "cnn-4-6", "network_options": {"activation": "relu"}, "limit_train": 40},
]


def _named(case: dict[str, Any]) -> str:
    return "-".join(str(v) for v in case.values())


@pytest.mark.parametrize("case", part(CASES, 2), ids=_named)
def test_both_engines_end_with_the_same_bits(case: dict[str, Any], tmp_path: Path) -> None:
    before, after = both(tmp_path, **case)
    assert None not in before.curve.train_loss
    assert set(after.curve.train_loss) == {None} and not after.diverged


@pytest.mark.parametrize("precision", [FREE, LATENT])
@pytest.mark.parametrize("kind", ["cosine", "step"])
def test_the_learning_rate_follows_its_schedule(kind: str, precision: str, tmp_path: Path) -> None:
    both(tmp_path, precision=precision, schedule={"kind": kind}, batch=7)


def test_samples_that_do_not_fill_bytes(tmp_path: Path) -> None:
    both(tmp_path, precision="w8a8-free:input=5", batch=3, data=str(_odd(tmp_path)), network="mlp-7-9-3")


def _odd(folder: Path) -> Path:
    """Data of 7 features."""
    rng = np.random.default_rng(0)
    y = np.arange(120) % 3
    x = (0.2 * y[:, None] + 0.5 * rng.random((120, 7))).astype(np.float32)
    np.savez(folder / "odd.npz", x_train=x[:90], y_train=y[:90], x_test=x[90:], y_test=y[90:])
    return folder / "odd.npz"


def test_augmented_samples(tmp_path: Path) -> None:
    both(tmp_path, augment={"pad": 1, "flip": True})


def test_validation_and_early_stop(tmp_path: Path) -> None:
    stop = {"patience": 1, "min_delta": 0.5}
    first, _ = both(tmp_path, validation=0.2, early_stop=stop, epochs=8)
    assert len(first.curve.samples) == 2
    assert "validation_accuracy" in rows(tmp_path / "c")[0]


def test_samples_in_all_end_inside_an_epoch(tmp_path: Path) -> None:
    both(tmp_path, samples=203, eval_epochs=2)


@pytest.mark.parametrize("precision", [FREE, LATENT, "w8a8-free:update=round-robin,window=4"])
@pytest.mark.parametrize("order", [("torch", "c"), ("c", "torch"), ("c", "c")])
def test_a_run_goes_on_with_either_engine(order: tuple[str, str], precision: str, tmp_path: Path) -> None:
    plain = {"checkpoint_steps": 5, "precision": precision}
    train(config(**plain), tmp_path / "whole")
    stopped_after(25, config(engine=order[0], **plain), tmp_path / "run")  # in the second epoch
    train(config(engine=order[1], **plain), tmp_path / "run", resume=True)
    assert_equal(tmp_path / "whole", tmp_path / "run")


def test_phases_go_on_with_either_engine(tmp_path: Path) -> None:
    plain = {"rule": "greedy", "checkpoint_steps": 5, "network": "mlp-64-20-16-10", "epochs": 3}
    train(config(**plain), tmp_path / "whole")
    stopped_after(25, config(**plain), tmp_path / "run")
    train(config(engine="c", **plain), tmp_path / "run", resume=True)
    assert_equal(tmp_path / "whole", tmp_path / "run")


def test_an_epoch_half_in_c_has_no_training_loss(tmp_path: Path) -> None:
    stopped_after(5, config(engine="c", checkpoint_steps=5), tmp_path)
    losses = train(config(checkpoint_steps=5), tmp_path, resume=True).curve.train_loss
    assert losses[0] is None and losses[1] is not None


def test_the_engine_is_no_part_of_the_fingerprint() -> None:
    assert fingerprint(config()) == fingerprint(config(engine="c"))
    assert "--set engine=c" in train_command(config(engine="c"))
    assert "engine" not in train_command(config())


def test_configuration_round_trip(tmp_path: Path) -> None:
    assert config().engine == "torch"
    (tmp_path / "c.yaml").write_text(dump(config(engine="c")))
    assert load(RunConfig, tmp_path / "c.yaml") == config(engine="c")
    with pytest.raises(ConfigError, match="engine is unknown; use one of torch, c"):
        config(engine="cuda")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"precision": "float32"}, "engine c computes in integers.*--engine torch"),
        ({"precision": "brevitas-w4a4"}, "engine c computes in integers.*--engine torch"),
        ({"device": "meta"}, "engine c runs on this processor.*--engine torch"),
        ({"precision": "w8a8:master=f16"}, "engine c: .*f16.*--engine torch"),
        ({"precision": LATENT, "optimizer": {"kind": "momentum"}}, "engine c: .*momentum.*--engine torch"),
    ],
)
def test_refusals_leave_no_folder(more: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message) as refused:
        train(config(engine="c", **more), tmp_path / "run")
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "run").exists()


def test_compare_honours_the_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stretches: list[Any] = []
    learn = CompiledEngine.learn

    def counted(self: CompiledEngine, *given: Any) -> None:
        stretches.append(given)
        learn(self, *given)

    monkeypatch.setattr(CompiledEngine, "learn", counted)
    plain = config().model_dump(include=set(CompareConfig.model_fields)) | {"seeds": 1}
    rules = (RuleSpec(rule="bp"), RuleSpec(rule="drtp"))
    ours = [
        compare(CompareConfig(networks=("mlp-64-20-10",), rules=rules, **plain | {"engine": engine})).rows
        for engine in ("torch", "c")
    ]
    assert stretches
    assert [r.test_accuracy for r in ours[0]] == [r.test_accuracy for r in ours[1]]


def test_command_line(tmp_path: Path) -> None:
    words = ["train", "--network", "mlp-64-20-10", "--rule", "drtp", "--precision", FREE, "--engine", "c"]
    words += ["--epochs", "1", "--set", "limit_train=100", "--set", "limit_test=50", "--out", str(tmp_path)]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert "diverged" not in result.output
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["engine"] == "c"
    stored = json.loads((tmp_path / "result.json").read_text())
    assert stored["curve"]["train_loss"] == [None] and not stored["diverged"]


# --- samples and state as bytes ----------------------------------------------------------------------------------


def _input(fmt: Fixed, unit: float | None, shape: tuple[int, ...], zero: int = 0) -> Value:
    return Value("x", shape, fmt, Role.ACTIVATION, unit=unit, zero=zero)


@pytest.mark.parametrize("unit", [2.0**-7, 0.0123])
def test_samples_round_as_the_executor_rounds(unit: float) -> None:
    value = _input(Fixed(True, 7, 0), unit, (1, 64), zero=3)
    x = np.random.default_rng(0).normal(size=(500, 64)).astype(np.float32)
    assert np.array_equal(as_integers(value, x), integer_samples(value, torch.from_numpy(x)).numpy())


@pytest.mark.parametrize("bits", [1, 3, 4, 8, 12, 16])
@pytest.mark.parametrize("features", [5, 8])
def test_batches_are_packed_as_arrays_are(bits: int, features: int) -> None:
    fmt = Fixed(False, bits, 0)
    x = np.random.default_rng(0).integers(0, 1 << bits, (30, features))
    feed = Feed(_input(fmt, 1.0, (3, features)), x.astype(np.float32))
    index = np.random.default_rng(1).permutation(30).reshape(-1, 3)
    for made, chosen in zip(feed.batches(index), index):
        assert np.array_equal(made, pack(x[chosen], fmt))


def test_labels_are_their_own_words() -> None:
    labels = Feed(Value("label", (2,), Fixed(False, 8, 0), Role.LABEL), np.array([4, 2, 9, 7]))
    assert labels.batches(np.array([[3, 0], [1, 2]])).tolist() == [[7, 4], [2, 9]]


def test_the_program_of_a_run() -> None:
    setup = Setup.of(config(rule="drtp", batch=4))
    program = executable(setup, 4)
    assert program.residents.keys() == program.initial_state.keys()
    memory = Memory(program)
    block = np.frombuffer(memory.block("state", program.initial_state), np.uint8)
    for name, place in memory.places.items():
        value = program.residents[name]
        if place.region == "state":
            assert np.array_equal(unpacked(value, block[place.offset :]), program.initial_state[name])
    batches = integer_batches(setup, program, 3)
    assert [(x.shape, y.shape) for x, y in batches] == [((4, 64), (4,))] * 3
    assert np.array_equal(batches[1][1], setup.data.train.y[4:8])


# --- triggers ----------------------------------------------------------------------------------------------------

ETCH: dict[str, Any] = {"rule": "etch", "batch": 1, "precision": f"{FREE}:error_exponent=static"}


def test_triggers_are_counted_alike(tmp_path: Path) -> None:
    """By both engines, per epoch, whatever the batch; two epochs in one figure are their mean."""
    by_epoch, _ = both(tmp_path / "a", **ETCH)
    found = by_epoch.curve.triggered
    assert found is not None and [list(shares) for shares in found] == [["fc1.head", "output"]] * 2
    assert all(0 < share <= 1 for shares in found for share in shares.values())
    assert found[1]["output"] < found[0]["output"]
    together, _ = both(tmp_path / "b", eval_epochs=2, **ETCH)
    assert together.curve.triggered == [
        pytest.approx({k: (found[0][k] + found[1][k]) / 2 for k in found[0]}),
    ]
    both(tmp_path / "c", **{**ETCH, "batch": 7})
    (event, *_) = rows(tmp_path / "a" / "c")
    assert event["triggered"] == found[0]


def test_a_margin_that_is_never_met_triggers_at_every_sample(tmp_path: Path) -> None:
    outcome, _ = both(tmp_path, **ETCH, rule_options={"margin": 100.0}, epochs=1)
    assert outcome.curve.triggered == [{"fc1.head": 1.0, "output": 1.0}]


@pytest.mark.parametrize("order", [("torch", "c"), ("c", "torch"), ("c", "c")])
def test_counts_of_triggers_outlive_an_interruption(order: tuple[str, str], tmp_path: Path) -> None:
    plain = {**ETCH, "checkpoint_steps": 40, "eval_epochs": 2}
    whole = train(config(engine="c", **plain), tmp_path / "whole")
    stopped_after(200, config(engine=order[0], **plain), tmp_path / "run")
    again = train(config(engine=order[1], **plain), tmp_path / "run", resume=True)
    assert again.curve.triggered == whole.curve.triggered is not None


def test_rules_that_learn_from_every_sample_count_nothing(tmp_path: Path) -> None:
    outcome, _ = both(tmp_path, rule="bp")
    assert outcome.curve.triggered is None and "triggered" not in rows(tmp_path / "c")[0]


def test_a_project_holds_no_counters() -> None:
    setup = Setup.of(config(engine="c", **ETCH))
    program = executable(setup, 1)
    assert not any("insitu_host" in text for text in generated(Source(program)).values())
    assert "insitu_host_fired(net, 1u" in generated(Source(program, counted=True))["insitu_net.c"]
