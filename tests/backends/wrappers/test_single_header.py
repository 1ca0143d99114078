"""One header (``--form single-header``), and the lines of text that the examples learn from."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from insitu.backends.c import updates
from insitu.backends.c.forms.single_header import joined
from insitu.backends.c.project import Source, generated, write
from insitu.backends.c.templates import RUNTIME
from insitu.experiment.export import exportable
from tests.backends.wrappers.helpers import CONFIG, GCC, STRICT, Learned, learned, need, program_of, ran

pytestmark = GCC


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_the_single_header_has_the_bits_and_no_warning(
    sample: Learned, tmp_path: Path, compiler: str
) -> None:
    need(compiler)
    out = write(sample.program, tmp_path / "c", form="single-header").folder
    header = (out / "insitu.h").read_text()
    assert header.count("#ifndef INSITU_NET_H") == header.count("#ifndef INSITU_INTERNAL_H") == 1
    for name in ("test", "example"):
        ran([compiler, "-std=c99", "-O1", *STRICT, f"{name}.c", "-o", name], out)
    assert ran([out / "test"], out) == "self-test: all equal\n"
    assert sample.state in ran([out / "example"], out, sample.lines)
    ran([compiler, "-std=c99", "-O1", *STRICT, "-DINSITU_NO_LEARN", "example.c", "-o", "infer"], out)
    said = ran([out / "infer"], out, sample.lines)
    assert said.count("refused") == len(sample.program.batches) and "learned" not in said


def test_real_weights_of_a_single_header_have_the_bits_where_products_and_sums_could_be_one(
    tmp_path: Path,
) -> None:
    """gnu99 joins them on processors that can, unless the header says no."""
    if "fma" not in Path("/proc/cpuinfo").read_text():
        pytest.skip("needs an x86-64 processor with fused multiply-add")
    out = write(program_of(tmp_path, "w8a8"), tmp_path / "c", form="single-header").folder
    ran(["gcc", "-std=gnu99", "-O2", "-mfma", "test.c", "-o", "test"], out)
    assert ran([out / "test"], out) == "self-test: all equal\n"


def test_two_single_headers_with_names_are_one_program(sample: Learned, tmp_path: Path) -> None:
    names = ("wake", "sleep")
    for name in names:
        write(sample.program, tmp_path / name, name=name, form="single-header")
        code = f'#define {name.upper()}_IMPLEMENTATION\n#include "{name}/{name}.h"\n'
        (tmp_path / f"{name}.c").write_text(code)
    use = "".join(f'#include "{n}/{n}.h"\n' for n in names)
    calls = "".join(f"{n}_init(nullptr, nullptr, nullptr) != {n.upper()}_NO_ARGUMENT || " for n in names)
    (tmp_path / "main.cpp").write_text(f"{use}int main() {{ return {calls}0; }}\n")
    ran(["gcc", "-std=c99", *STRICT, "-c", "wake.c", "sleep.c"], tmp_path)
    need("g++")
    ran(["g++", "-std=c++17", *STRICT, "main.cpp", "wake.o", "sleep.o", "-o", "two"], tmp_path)
    ran([tmp_path / "two"], tmp_path)


def test_all_kernels_and_updates_are_one_header(sample: Learned, tmp_path: Path) -> None:
    """No two of them have a name of their own in common."""
    files = generated(Source(sample.program)) | {"insitu_updates.h": updates.header(updates.known())}
    for path in (*(RUNTIME / "kernels").glob("*.[ch]"), *updates.sources()):
        files[path.name] = path.read_text()
    for made in ("", "#define INSITU_SMALL"):
        code = "\n".join([made, "#define INSITU_WORDS", *joined(files, "").values()])
        (tmp_path / "all.c").write_text(code)
        ran(["gcc", "-std=c99", *STRICT, "-fsyntax-only", "all.c"], tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"network: mlp-64-12-10": "network: cnn-4-4", "rule: drtp": "rule: bp-stash"},
        {"rule: drtp": "rule: etch", "PRECISION": "edge-latent-free-8:error_exponent=static,defer=4"},
        {"PRECISION": "edge-latent-free-2"},
    ],
)
def test_other_kernels_in_one_header_have_the_bits(changes: dict[str, str], tmp_path: Path) -> None:
    text = CONFIG
    for old, new in changes.items():
        text = text.replace(old, new)
    (tmp_path / "a.yaml").write_text(text.replace("PRECISION", "edge-latent-free-4"))
    out = write(exportable(tmp_path / "a.yaml", steps=6), tmp_path / "c", form="single-header").folder
    ran(["gcc", "-std=c99", *STRICT, "test.c", "-o", "test"], out)
    assert ran([out / "test"], out) == "self-test: all equal\n"


# --- lines of text --------------------------------------------------------------------------------------------------


def test_what_is_no_sample_is_said_and_nothing_is_learned(sample: Learned, tmp_path: Path) -> None:
    out = write(sample.program, tmp_path / "c", form="single-header").folder
    ran(["gcc", "-O1", "-fsanitize=address,undefined", "example.c", "-o", "example"], out)
    few, many = "3" + " 0.5" * 63, "3" + " 0.5" * 6500
    bad = [
        few,
        many,
        "10" + " 0.5" * 64,
        "-1" + " 0" * 64,
        "3.5" + " 0" * 64,
        "! 1",
        "nan",
        "3 1e9",
        "?",
        "\xff",
    ]
    *answers, first, last = ran(
        [out / "example"], out, "\n".join(["!", *bad, "?" + " 1" * 64, "!", ""])
    ).splitlines()
    assert answers[1:] == ["error: a line is a class below 10 or ?, then 64 numbers"] * len(bad)
    assert re.fullmatch(r"class \d", first) and answers[0] == last


def test_a_batch_is_learned_when_its_last_sample_has_come(tmp_path: Path) -> None:
    config = tmp_path / "batch.yaml"
    config.write_text(CONFIG.replace("PRECISION", "edge-latent-free-8").replace("batch: 1", "batch: 3"))
    sample = learned(exportable(config, steps=4))
    out = write(sample.program, tmp_path / "c", form="single-header").folder
    ran(["gcc", "-O1", "example.c", "-o", "example"], out)
    said = ran([out / "example"], out, sample.lines)
    assert said.count("learned") == 12 and sample.state in said
