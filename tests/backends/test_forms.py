"""Every form of a kernel computes the same bits: plain C, AVX2, AVX-512, on random shapes under the sanitizers."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from insitu.backends.c import host
from insitu.backends.c.host import AVX2, AVX512, SANITIZED, WARNINGS, compiler, features, kernels
from insitu.backends.c.project import Source, generated, kernels_of
from insitu.backends.c.templates import RUNTIME
from tests.backends.programs import pair

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="the C engine needs gcc")

SOURCE = Path(__file__).with_name("forms.c")


def printed(flags: tuple[str, ...], folder: Path) -> list[str]:
    """What the cases print with kernels compiled with some flags."""
    binary, all_flags = folder / "forms", (*SANITIZED, *flags)
    command = [compiler(), *WARNINGS, *all_flags, f"-I{RUNTIME}", str(SOURCE), str(kernels(all_flags))]
    subprocess.run([*command, "-o", str(binary)], check=True)
    done = subprocess.run([binary], capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("flags", [AVX2, (*AVX2, *AVX512)], ids=["avx2", "avx512"])
def test_a_fast_form_has_the_bits_of_the_plain_one(flags: tuple[str, ...], tmp_path: Path) -> None:
    if not set(flags) <= set(features()):
        pytest.skip("this processor lacks the instructions")
    for mine, plain in zip(printed(flags, tmp_path), printed((), tmp_path), strict=True):
        assert mine == plain


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("flags : sse2 fma", ()),
        ("flags : sse2 avx2", AVX2),
        ("flags : avx2 avx512f avx512bw avx512vl avx512_vnni", AVX2),
        ("flags : avx2 avx512f avx512bw avx512vl avx512_vnni avx512vbmi", (*AVX2, *AVX512)),
    ],
)
def test_a_processor_gets_what_it_has(
    text: str, found: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: text)
    assert host.features.__wrapped__() == found


def test_a_project_has_no_form_for_a_host() -> None:
    source = Source(pair("bp", "mlp", "edge-latent-free-8", batch=1).program)
    found = {path.name: path.read_text() for path in kernels_of(generated(source).values())}
    assert {"matmul_dw_update.c", "matmul_dw_update_bytes.h", "matmul_dw_update_dsp.h", "dot8_dsp.h"} <= set(
        found
    )
    assert not [name for name, text in found.items() if "avx" in name or "immintrin" in text]
