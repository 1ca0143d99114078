"""A run becomes a project that proves its own bits."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from insitu.backends.c.firmware import on_board
from insitu.backends.c.host import self_test
from insitu.backends.c.project import write
from insitu.cli import main
from insitu.experiment.config import RunConfig
from insitu.experiment.export import exportable
from insitu.experiment.resolve import Setup
from insitu.experiment.train import train
from insitu.run.program import Program
from insitu.run.samples import as_integers
from tests.experiment.test_engine import stopped_after

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="the C engine needs gcc")

RUN = [
    "train",
    "--data",
    "digits",
    "--network",
    "mlp-64-12-10",
    "--rule",
    "drtp",
    "--epochs",
    "1",
    "--batch",
    "1",
    "--lr",
    "0.05",
    "--set",
    "limit_train=60",
    "--set",
    "limit_test=40",
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export") / "run"
    assert main([*RUN, "--precision", "edge-latent-free-4", "--engine", "c", "--out", str(folder)]) == 0
    return folder


def test_the_project_of_a_trained_run_passes_its_own_test(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "c"
    assert main(["export", "c", str(run), "-o", str(out)]) == 0
    done = subprocess.run(["make", "test", "sanitize"], cwd=out, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("self-test: all equal") == 2 and "warning" not in done.stderr


def test_a_trace_has_as_many_steps_as_were_asked_for(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "c"
    assert main(["export", "c", str(run), "-o", str(out), "--trace", "11", "--quiet"]) == 0
    found = np.load(out / "trace.npz")
    assert len(found["learn_0/in.x"]) == 11 and found["learn_0/in.x"].dtype == np.int64
    assert "of 11 training steps, from t = 60 on" in (out / "spec.md").read_text()


def test_a_trace_that_is_too_long_is_refused(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for steps in ("-1", "10001"):
        assert main(["export", "c", str(run), "-o", str(tmp_path / "c"), "--trace", steps]) == 2
        assert "use 0 to 10,000" in capsys.readouterr().err


def test_a_changed_weight_fails_the_test_of_the_project(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "c"
    assert main(["export", "c", str(run), "-o", str(out)]) == 0
    data = out / "insitu_data.c"
    head, _, tail = data.read_text().partition("{\n    ")
    first, _, rest = tail.partition(",")
    data.write_text(f"{head}{{\n    {int(first) ^ 1},{rest}")
    done = subprocess.run(["make", "test"], cwd=out, capture_output=True, text=True)
    assert done.returncode != 0 and "self-test: wrong state at 0" in done.stdout


def test_the_export_of_a_run_goes_on_where_its_last_checkpoint_is(tmp_path: Path) -> None:
    """Step count and rate are those of the run, and the self-test proves it: its reference starts there."""
    folder, out = tmp_path / "run", tmp_path / "c"
    words = ["--precision", "edge-latent-free-8", "--set", "schedule.kind=cosine", "--out", str(folder)]
    assert main([*RUN, *words]) == 0
    assert main(["export", "c", str(folder), "-o", str(out)]) == 0
    net = (out / "insitu_net.c").read_text()
    assert "net->clock.t = 60u;" in net
    rate = float.fromhex(re.search(r"clock.rate = (.*)f;", net)[1])  # type: ignore[index]
    assert 0 < rate < 0.05 / 100
    assert main(["export", "c", str(folder), "-o", str(out), "--lr", "0.05"]) == 0
    assert f"net->clock.rate = {float(np.float32(0.05)).hex()}f;" in (out / "insitu_net.c").read_text()
    done = subprocess.run(["make", "test"], cwd=out, capture_output=True, text=True)
    assert "self-test: all equal" in done.stdout, done.stderr


SCHEDULES = {
    "constant": {},
    "cosine": {"kind": "cosine", "final": 0.01},
    "step": {"kind": "step", "milestones": [0.4, 0.8], "gamma": 0.25},
}


@pytest.mark.parametrize("batch", [1, 6])
@pytest.mark.parametrize("kind", SCHEDULES)
def test_learning_goes_on_in_c_where_training_stopped(kind: str, batch: int, tmp_path: Path) -> None:
    """An epoch of training, an export, and two more epochs in C are three epochs of training: to the bit."""
    fields = {"data": "digits", "network": "mlp-64-12-10", "rule": "drtp", "precision": "edge-latent-free-8"}
    fields |= {"limit_train": 60, "limit_test": 40, "batch": batch, "schedule": SCHEDULES[kind]}
    per_epoch = 60 // batch
    more = {"epochs": 3, "engine": "c", "checkpoint_steps": per_epoch, "optimizer": {"lr": 0.5}}
    made = RunConfig.model_validate(fields | more)
    train(made, tmp_path / "whole")
    stopped_after(per_epoch, made, tmp_path / "run")
    whole, program = exportable(tmp_path / "whole"), exportable(tmp_path / "run")
    assert whole.t == 3 * per_epoch and not whole.later and program.t == per_epoch
    assert bool(program.later) == (kind != "constant") and all(
        program.t < t < whole.t for t, _ in program.later
    )
    program = replace(program, batches=tuple(batches_to_come(Setup.of(made), program)))
    last = program.golden.states[-1]
    assert all(np.array_equal(last[n], a) for n, a in whole.initial_state.items() if n in program.written)
    assert "self-test: all equal" in self_test(program)


def batches_to_come(setup: Setup, program: Program) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """What the trainer gives to the training steps after the first epoch."""
    count, given = setup.training_samples, program.given["x"]
    for epoch in (1, 2):
        order = np.random.default_rng([setup.config.seed, epoch]).permutation(count)
        for i in range(0, count, program.steps[0].batch):
            at = order[i : i + program.steps[0].batch]
            x = setup.data.train.x[at].reshape(len(at), *setup.net.input_shape)
            yield as_integers(given, x), setup.data.train.y[at].astype(np.int64)


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_a_project_compiles_without_a_warning_in_every_form(run: Path, tmp_path: Path, compiler: str) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"needs {compiler}: run scripts/setup-system.sh")
    out = tmp_path / "c"
    assert main(["export", "c", str(run), "-o", str(out), "--quiet"]) == 0
    makefile = (out / "Makefile").read_text()
    flags = re.search(r"^CONFIG := (.*)$", makefile, re.M)[1].split()  # type: ignore[index]
    warnings = re.findall(r"-W[\w-]+|-pedantic", re.search(r"^WARN := (.*)$", makefile, re.M)[1])  # type: ignore[index]
    assert "-Wconversion" in warnings
    sources = [str(path) for path in out.rglob("*.c")]
    for standard in ("c99", "c11", "c17"):
        for form in ([], ["-DINSITU_NO_LEARN"]):
            command = [compiler, f"-std={standard}", *form, *flags, *warnings, "-Werror", "-fsyntax-only"]
            done = subprocess.run([*command, f"-I{out}", *sources], capture_output=True, text=True)
            assert done.returncode == 0, done.stderr


TWO = """#include "sleep_net.h"
#include "wake_net.h"
#include <cstdio>
static uint8_t arena[WAKE_ARENA_BYTES + SLEEP_ARENA_BYTES], first[WAKE_STATE_BYTES], second[SLEEP_STATE_BYTES];
static uint8_t label[1] = {3}, x[WAKE_BATCH_BYTES];
int main() {
    static float values[WAKE_SAMPLE_VALUES];
    wake_net a;
    sleep_net b;
    wake_init(&a, arena, first);
    sleep_init(&b, arena, second);
    for (unsigned i = 0; i < WAKE_SAMPLE_VALUES; i++) values[i] = static_cast<float>(i) / 64.0f;
    if (wake_quantize_input(values, WAKE_SAMPLE_VALUES, x) != WAKE_OK) return 1;
    if (wake_learn(&a, x, label) != WAKE_OK || sleep_learn(&b, x, label) != SLEEP_OK) return 2;
    std::printf("%d %d %s\\n", wake_infer(&a, x) >= 0, sleep_infer(&b, x) >= 0, wake_class_names[3]);
    return 0;
}
"""


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
def test_two_exports_with_different_kernels_are_one_program_in_cpp(run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(
        "{data: digits, network: mlp-64-8-10, rule: bp, precision: w8a8, batch: 1, limit_train: 60}"
    )
    objects = []
    for name, source in (("wake", run), ("sleep", other)):
        folder = tmp_path / name
        assert main(["export", "c", str(source), "-o", str(folder), "--name", name, "--quiet"]) == 0
        flags = re.search(r"^CONFIG := (.*)$", (folder / "Makefile").read_text(), re.M)[1].split()  # type: ignore[index]
        assert "INSITU_" not in " ".join(flags) and not list(folder.rglob("insitu*"))
        programs = ("test.c", "exec.c", "uart_mps2.c")  # with a main of their own
        sources = [path for path in folder.rglob("*.c") if path.name not in programs]
        for i, path in enumerate(sources):
            objects.append(f"{name}{i}.o")
            command = [
                "gcc",
                "-std=c99",
                "-Wall",
                "-Wextra",
                "-Werror",
                *flags,
                f"-I{folder}",
                "-c",
                str(path),
            ]
            subprocess.run([*command, "-o", objects[-1]], check=True, cwd=tmp_path)
    (tmp_path / "main.cpp").write_text(TWO)
    command = [
        "g++",
        "-std=c++17",
        "-Wall",
        "-Wextra",
        "-pedantic",
        "-Werror",
        "-Iwake",
        "-Isleep",
        "main.cpp",
    ]
    subprocess.run([*command, *objects, "-o", "two"], check=True, cwd=tmp_path)
    done = subprocess.run([tmp_path / "two"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "1 1 3\n")


def test_a_name_that_is_none_in_c_is_refused(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("", "9to5", "a-b", "x" * 33, "int main(", "é"):
        assert main(["export", "c", str(run), "-o", str(tmp_path / "c"), "--name", name]) == 2
        assert "cannot begin symbols of C" in capsys.readouterr().err
    assert not (tmp_path / "c").exists()


on_boards = pytest.mark.skipif(
    not (shutil.which("arm-none-eabi-gcc") and shutil.which("qemu-system-arm")),
    reason="boards need gcc-arm-none-eabi and qemu-system-arm; scripts/setup-system.sh installs them",
)


@on_boards
@pytest.mark.parametrize("board", ["m0", "m3", "m4", "m7", "m33", "m55"])
def test_the_boards_have_the_same_bits_and_the_planned_memory(run: Path, tmp_path: Path, board: str) -> None:
    found = on_board(write(exportable(run, steps=100), tmp_path / "c"), board, run=True)
    assert found.equal and found.memory == found.planned
    assert found.bss == found.memory  # to the byte
    assert found.stack is not None and 200 < found.stack < 2048
    assert found.memory / found.inference_memory <= 1.25
    assert found.per_step is not None and found.per_step > 0


@on_boards
def test_a_build_without_learning_has_no_room_for_heads_or_deferred_samples(tmp_path: Path) -> None:
    built = {}
    for rule, precision in (("bp", ""), ("etch", ":error_exponent=static,defer=4")):
        config = tmp_path / f"{rule}.yaml"
        config.write_text(
            f"{{data: digits, network: mlp-64-12-10, rule: {rule}, batch: 1, limit_train: 20, limit_test: 10,"
            f" precision: 'edge-latent-free-8{precision}'}}"
        )
        built[rule] = on_board(write(exportable(config, steps=2), tmp_path / rule), "m4")
    heads_and_samples = 10 * 12 + 2 * 10 + 4 * (64 + 12 + 12 + 10)
    assert built["etch"].inference_memory == built["bp"].inference_memory
    assert built["etch"].memory > built["etch"].inference_memory + heads_and_samples


@on_boards
def test_the_smallest_build_of_lenet_has_equal_bits_in_12_kilobytes(real_data: Path, tmp_path: Path) -> None:
    config = tmp_path / "run.yaml"
    config.write_text(
        "{data: mnist, network: lenet5, rule: drtp, precision: edge-latent-free-8, batch: 1, limit_train: 100,"
        " limit_test: 10, network_options: {activation: relu}}"
    )
    made = write(exportable(config, steps=2, data_dir=str(real_data)), tmp_path / "c")
    found = on_board(made, "m4", optimize="-Os -DINSITU_SMALL", run=True)
    assert found.equal and found.text <= 12 << 10


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["float32"], "C has integers alone"),
        (["w8a8", "--set", "optimizer.kind=momentum"], "uses optimizer momentum; C has sgd"),
        (["w8a8", "--set", "optimizer.kind=adam"], "uses optimizer adam; C has sgd"),
    ],
)
def test_what_cannot_be_exported_is_one_line(
    words: list[str], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    assert main([*RUN, "--precision", *words, "--out", str(folder)]) == 0
    capsys.readouterr()
    assert main(["export", "c", str(folder), "-o", str(tmp_path / "c")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and reason in error and not (tmp_path / "c").exists()


@pytest.mark.parametrize("rate", ["0", "-0.1", "nan", "1e40"])
def test_a_rate_that_is_none_is_refused(
    run: Path, rate: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", "c", str(run), "-o", str(tmp_path / "c"), "--lr", rate]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "use 1e-30 to 1,000,000" in error and not (tmp_path / "c").exists()


def test_a_folder_with_other_files_is_left_alone(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    assert main(["export", "c", str(run), "-o", str(tmp_path)]) == 2
    assert "holds other files" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]
