"""What the tests of the forms share: a program with what the reference makes of it, and calls of tools."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import pytest

from insitu.backends.c.memory import Memory
from insitu.backends.c.project import write
from insitu.experiment.export import exportable
from insitu.run.program import Program

GCC = pytest.mark.skipif(shutil.which("gcc") is None, reason="the projects need gcc")
STRICT = ["-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Wcast-align", "-Wvla", "-pedantic", "-Werror"]
STAND_INS = Path(__file__).parent / "stand_ins"
CONFIG = (
    "{data: digits, network: mlp-64-12-10, rule: drtp, batch: 1, limit_train: 60, limit_test: 10,"
    " precision: 'PRECISION', optimizer: {lr: 0.05}}"
)


@dataclass(frozen=True)
class Learned:
    """What the reference makes of a program's samples.

    Attributes:
        lines: the samples as a sketch reads them, and the question for the state.
        state: the CRC-32 of the state after them.
    """

    program: Program
    lines: str
    state: str


def learned(program: Program) -> Learned:
    x = program.inference.inputs[0]
    unit, zero = float(x.unit or 1), x.zero or 0
    lines = []
    for samples, labels in program.batches:
        for words, label in zip(samples.reshape(len(samples), -1), labels.ravel()):
            values = (words.astype(float) - zero) * unit
            lines.append(f"{int(label)} " + ",".join(f"{v:.8f}" for v in values))
    block = Memory(program).block("state", program.golden.states[-1])
    return Learned(program, "\n".join([*lines, "!", ""]), f"state {crc32(block):08x}")


def config_of(folder: Path, precision: str = "edge-latent-free-4") -> Path:
    config = folder / f"{precision}.yaml"
    config.write_text(CONFIG.replace("PRECISION", precision))
    return config


def program_of(folder: Path, precision: str = "edge-latent-free-4") -> Program:
    return exportable(config_of(folder, precision), steps=20)


def ran(command: Sequence[str | Path], folder: Path, given: str = "") -> str:
    done = subprocess.run(list(map(str, command)), cwd=folder, input=given, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def need(*tools: str) -> None:
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}: run scripts/setup-system.sh")


def library(sample: Learned, folder: Path, form: str) -> Path:
    """The library, whose own self-test has passed."""
    out = write(sample.program, folder / form, form=form).folder
    assert "self-test: all equal" in ran(["make", "-s", "test", "CFLAGS=-O0"], out / "extras/self_test")
    return out


def c_files(out: Path) -> list[Path]:
    return sorted((out / "src").rglob("*.c"))
