"""Every form of a kernel computes the same bits: plain C, AVX2, AVX-512, on random shapes under the sanitizers."""

from __future__ import annotations

import shutil
import subprocess
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from insitu.backends.c import host
from insitu.backends.c.host import AVX2, AVX512, SANITIZED, VNNI, WARNINGS, compiler, features, kernels
from insitu.backends.c.project import Source, generated, kernels_of
from insitu.backends.c.templates import RUNTIME
from tests.backends.programs import pair

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="the C engine needs gcc")

SOURCES = ("forms.c", "conv_forms.c", "element_forms.c")
EMULATED = (*AVX2, *AVX512, "-DINSITU_VNNI_EMULATED")
"""The form for VNNI with its one instruction emulated."""


@lru_cache
def printed(source: str, flags: tuple[str, ...]) -> list[str]:
    """What the cases print with kernels compiled with some flags."""
    all_flags = (*SANITIZED, *flags)
    with TemporaryDirectory() as folder:
        binary = Path(folder) / "forms"
        command = [compiler(), *WARNINGS, *all_flags, f"-I{RUNTIME}", str(Path(__file__).with_name(source))]
        subprocess.run([*command, str(kernels(all_flags)), "-o", str(binary)], check=True)
        done = subprocess.run([binary], capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(
    "flags",
    [AVX2, (*AVX2, *AVX512), EMULATED, (*AVX2, *AVX512, *VNNI)],
    ids=["avx2", "avx512", "vnni-emulated", "vnni"],
)
def test_a_fast_form_has_the_bits_of_the_plain_one(source: str, flags: tuple[str, ...]) -> None:
    if not {flag for flag in flags if flag.startswith("-m")} <= set(features()):
        pytest.skip("this processor lacks the instructions")
    for mine, plain in zip(printed(source, flags), printed(source, ()), strict=True):
        assert mine == plain


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("flags : sse2 fma", ()),
        ("flags : sse2 avx2", AVX2),
        ("flags : sse2 avx2 avx512f avx512_vnni avx512vbmi", AVX2),
        ("flags : avx2 avx512f avx512bw avx512vl avx512_vnni", (*AVX2, *AVX512)),
        ("flags : avx2 avx512f avx512bw avx512vl avx512_vnni avx512vbmi", (*AVX2, *AVX512, *VNNI)),
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
