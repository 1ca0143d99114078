"""The forms of kernels for a core (plain, DSP, Helium) give the products and bytes of a plain loop, on that core."""

from __future__ import annotations

from pathlib import Path

import pytest

from insitu.backends.c.boards import BOARDS, Board, build
from insitu.backends.c.emulator import run
from insitu.backends.c.project import kernels_of
from insitu.backends.c.templates import RUNTIME
from tests.backends.test_boards import MISSING, needs

PROGRAM = """
#include "internal.h"
enum { MOST = 70, PITCH = 71 };
static uint8_t x[MOST], w[4 * PITCH], bytes[4 * 5];
static uint32_t seed = 1;

/* Any byte, and the ends of its range often. */
static uint8_t any(void)
{
    static const uint8_t ends[4] = {0u, 127u, 128u, 255u};

    seed = seed * 1664525u + 1013904223u;
    return seed >> 30 ? (uint8_t)(seed >> 16) : ends[seed >> 28 & 3u];
}

static int32_t plain(const uint8_t *row, uint32_t n, uint8_t is_signed)
{
    int32_t sum = 0;

    for (uint32_t i = 0; i < n; i++)
        sum += insitu_byte(x, i, is_signed) * (int8_t)row[i];
    return sum;
}

static int products(uint32_t n, uint8_t is_signed)
{
    int32_t four[4];

    for (uint32_t i = 0; i < MOST; i++) x[i] = any();
    for (uint32_t i = 0; i < 4 * PITCH; i++) w[i] = any();
    insitu_dot8_4rows(x, w, PITCH, n, is_signed, four);
    for (uint32_t j = 0; j < 4; j++)
        if (four[j] != plain(w + j * PITCH, n, is_signed)) return 1;
    if (insitu_dot8(x, w, n, is_signed) != plain(w, n, is_signed)) return 2;
    return 0;
}

static int finished(int8_t shift, uint32_t plane)
{
    const insitu_fit fit = {.times = 1, .low = -100, .high = 120, .shift = shift, .rounding = INSITU_HALF_UP};
    const insitu_clock clock = {0};
    int32_t sums[4];
    int64_t more[4];

    for (uint32_t j = 0; j < 4; j++) {
        uint8_t far = any() & 31u;

        sums[j] = insitu_asr((int32_t)((uint32_t)any() << 24 | (uint32_t)any() << 8), 3u + far % 28u);
        more[j] = insitu_asr((int32_t)((uint32_t)any() << 24 | any()), 2u + far % 29u);
    }
    insitu_finish_4(bytes, plane, sums, more, &fit);
    for (uint32_t j = 0; j < 4; j++)
        if ((int8_t)bytes[j * plane] != insitu_fitted(sums[j] + more[j], &fit, &clock, 0)) return 3;
    return 0;
}

int main(void)
{
    for (uint32_t n = 1; n <= MOST; n++)
        for (uint8_t is_signed = 0; is_signed < 2; is_signed++) {
            int wrong = products(n, is_signed);

            if (wrong) return wrong;
        }
    for (int8_t shift = 1; shift < 30; shift++)
        for (uint32_t i = 0; i < 40; i++)
            if (finished(shift, i % 2u ? 1u : 5u)) return 3;
    return 0;
}
"""


@pytest.mark.parametrize(
    "board",
    [
        pytest.param(BOARDS[n], id=n, marks=needs(MISSING[BOARDS[n].architecture]))
        for n in ("m3", "m4", "m55")
    ],
)
def test_products_and_bytes_are_those_of_a_loop(board: Board, tmp_path: Path) -> None:
    source = tmp_path / "main.c"
    source.write_text(PROGRAM)
    headers = [path.read_text(encoding="utf-8") for path in RUNTIME.glob("*.h")]
    kernels = [path for path in kernels_of([PROGRAM, *headers]) if path.suffix == ".c"]
    elf = build(
        [source, *kernels], [RUNTIME, RUNTIME / "kernels"], board, tmp_path / "out", ["INSITU_NO_REAL"]
    )
    assert elf.warnings == ""
    assert run(elf, board).exit_code == 0
