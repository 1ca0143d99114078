"""Strict compilers, a big-endian machine, and one whose ``int`` has 16 bits."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from insitu.backends.c import updates
from insitu.backends.c.project import write
from insitu.backends.c.templates import RUNTIME
from insitu.experiment.export import exportable
from tests.backends.wrappers.helpers import GCC, STAND_INS, STRICT, c_files, config_of, need, program_of, ran

pytestmark = GCC


@pytest.mark.parametrize("precision", ["edge-latent-free-4", "w8a8"])
def test_a_big_endian_machine_has_the_same_bits(tmp_path: Path, precision: str) -> None:
    """s390x also computes between two operations on floats in double (``FLT_EVAL_METHOD`` 1) in strict C99."""
    need("s390x-linux-gnu-gcc", "qemu-s390x")
    out = write(program_of(tmp_path, precision), tmp_path / "c", form="single-header").folder
    ran(["s390x-linux-gnu-gcc", "-std=c99", "-O2", "-static", *STRICT, "test.c", "-o", "test"], out)
    assert ran(["qemu-s390x", out / "test"], out) == "self-test: all equal\n"


@pytest.mark.parametrize("precision", ["edge-latent-free-4", "w8a8"])
def test_a_machine_whose_int_has_16_bits_has_the_same_bits(tmp_path: Path, precision: str) -> None:
    need("avr-gcc", "simavr")
    config = config_of(tmp_path, precision)
    config.write_text(
        config.read_text().replace("mlp-64-12-10", "mlp-64-4-10")
    )  # 8 KB of RAM hold constants too
    out = write(exportable(config, steps=6), tmp_path / "c", form="arduino").folder
    folders = [f"-I{path}" for path in (STAND_INS / "avr", out / "extras/self_test", out / "src")]
    flags = ["-mmcu=atmega2560", "-std=gnu99", "-Os", "-DINSITU_BOARD", *STRICT]
    ran(["avr-gcc", *flags, *folders, STAND_INS / "avr/avr.c", *c_files(out), "-o", "test.elf"], out)
    done = subprocess.run(
        ["simavr", "-m", "atmega2560", "-f", "16000000", "test.elf"],
        cwd=out,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "self-test: all equal" in done.stdout + done.stderr


@pytest.mark.parametrize(
    "compiler",
    [
        "gcc",
        "clang",
        "arm-none-eabi-gcc -mcpu=cortex-m4 -DINSITU_DSP",
        "s390x-linux-gnu-gcc",
        "avr-gcc -mmcu=avr6",
    ],
)
def test_every_kernel_is_clean_under_strict_warnings(tmp_path: Path, compiler: str) -> None:
    need(compiler.split()[0])
    headers = {"insitu_updates.h": updates.header(updates.known())}
    headers["insitu_kernels.h"] = (RUNTIME / "insitu_kernels.h").read_text()
    for name, text in headers.items():
        (tmp_path / name).write_text(text)
    kernels = tmp_path / "kernels"
    shutil.copytree(RUNTIME / "kernels", kernels)
    for path in updates.sources():
        shutil.copy(path, kernels)
    forms = [[], ["-DINSITU_BYTES", "-DINSITU_NO_REAL", "-DINSITU_SMALL"]]
    for form in forms if compiler == "gcc" else forms[:1]:
        sources = sorted(kernels.glob("*.c"))
        ran([*compiler.split(), "-std=c99", *STRICT, *form, "-fsyntax-only", "-I.", *sources], tmp_path)
