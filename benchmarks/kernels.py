"""Instructions of single kernel calls on the Cortex-M4 and M55, counted in the emulator.

    python benchmarks/kernels.py [--out benchmarks/results/kernels.json]

`-O2`, batch 1, everything that a call does: random words of an update and requantization are in it. Inputs and errors
are random and none is 0, so every weight is touched. Bars: 2.3 instructions a multiply-accumulate of a forward pass, 6
a weight of an update; with Helium 0.5 and 2.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from insitu.backends.c.boards import build
from insitu.backends.c.emulator import count
from insitu.backends.c.firmware import OUTSIDE
from insitu.backends.c.project import kernels_of
from insitu.backends.c.templates import RUNTIME

BARS = {"m4": {"forward": 2.3, "update": 6.0}, "m55": {"forward": 0.5, "update": 2.0}}
"""Instructions a multiply-accumulate or weight, by board."""


@dataclass(frozen=True)
class Case:
    """A call: ``work`` multiply-accumulates or weights; the sizes of x, w, d and z are in elements."""

    name: str
    call: str
    work: int
    x: int
    w: int
    out: int
    bits: int = 8
    bar: str | None = "forward"


def dense(outputs: int, inputs: int, bits: int = 8) -> Case:
    call = f"""
    const insitu_dense n = {{1u, {outputs}u, {inputs}u, {inputs}u}};
    insitu_matmul(&x, &w, NULL, &z, &n, &read, &read, 0, &fit, &clock);"""
    name = f"dense {inputs}x{outputs}, {bits}-bit words"
    work = outputs * inputs
    return Case(name, call, work, inputs, work, outputs, bits, "forward" if bits == 8 else None)


def conv(channels: int, outputs: int, size: int, kernel: int) -> Case:
    to, window = size - kernel + 1, channels * kernel * kernel
    call = f"""
    static uint32_t window[{(window + 3) // 4}];
    const insitu_conv n = {{1u, {channels}u, {size}u, {size}u, {outputs}u, {to}u, {to}u, {kernel}u, {kernel}u, 1u,
                            {{1u, 1u}}, {{0u, 0u}}, {{1u, 1u}}}};
    insitu_conv2d(&x, &w, NULL, &z, &n, &read, &read, 0, &fit, &clock, (uint8_t *)window);"""
    name = f"convolution, windows of {window}, {outputs} channels"
    work = to * to * outputs * window
    return Case(name, call, work, channels * size * size, outputs * window, outputs * to * to)


def update(outputs: int, inputs: int, shift: int) -> Case:
    call = f"""
    static const int8_t shifts[1] = {{{shift}}};
    const insitu_clock now = {{1u, 1u, 0.5f, shifts}};
    const insitu_dense n = {{1u, {outputs}u, {inputs}u, {inputs}u}};
    const insitu_move move = {{.low = -128, .high = 127, .least = INT32_MIN, .most = INT32_MAX, .stream = 77u,
                              .rounding = INSITU_STOCHASTIC, .stride = 1u, .random = 1u, .zero_is_noop = 1u,
                              .group = 1u}};
    insitu_matmul_dw_update(&z, &x, NULL, &w, NULL, &n, &move, &now);"""
    work = outputs * inputs
    name = f"update {inputs}x{outputs}, shift {shift}"
    return Case(name, call, work, inputs, work, outputs, bar="update")


CASES = (
    dense(64, 256),
    dense(100, 784),
    conv(6, 16, 14, 5),
    conv(1, 6, 28, 5),
    conv(32, 32, 10, 3),
    update(300, 256, 18),
    update(64, 256, 18),
    update(64, 256, 12),
    *(dense(100, 784, bits) for bits in (2, 4, 6)),
)

PROGRAM = """
#include "insitu_kernels.h"
#define MORE seed = seed * 1664525u + 1013904223u
static uint8_t x_data[{x}], w_data[{bytes}], z_data[{out}];
int main(void)
{{
    const insitu_array x = {{x_data, {x}u, 8u, INSITU_UNSIGNED}}, w = {{w_data, {w}u, {bits}u, INSITU_SIGNED}};
    const insitu_array z = {{z_data, {out}u, 8u, INSITU_SIGNED}};
    const insitu_read read = {{NULL, 0.0f, INT32_MIN, INT32_MAX, INSITU_AS_STORED, 0, 0u, 0u}};
    const insitu_fit fit = {{1, -128, 127, 0u, 7, INSITU_HALF_UP, 0u, INT32_MIN, INT32_MAX}};
    const insitu_clock clock = {{1u, 1u, 0.5f, NULL}};
    uint32_t seed = 1;
    (void)read; (void)fit; (void)clock;
    for (uint32_t i = 0; i < {x}u; i++) {{ MORE; x_data[i] = (uint8_t)(seed >> 25 | 1u); }}
    for (uint32_t i = 0; i < {bytes}u; i++) {{ MORE; w_data[i] = (uint8_t)(seed >> 24); }}
    for (uint32_t i = 0; i < {out}u; i++) {{ MORE; z_data[i] = (uint8_t)(seed >> 24 | 1u); }}
    {{{call}
    }}
    return 0;
}}
"""


def instructions(case: Case, board: str) -> int:
    """Of the call, without start-up and the making of the data."""
    size = -(-case.w * case.bits // 8)
    text = PROGRAM.format(x=case.x, w=case.w, bytes=size, out=case.out, bits=case.bits, call=case.call)
    with tempfile.TemporaryDirectory() as place:
        source = Path(place) / "main.c"
        source.write_text(text, encoding="utf-8")
        defines = ("INSITU_NO_REAL", *(("INSITU_BYTES",) if case.bits == 8 else ()))
        headers = [path.read_text(encoding="utf-8") for path in RUNTIME.glob("*.h")]
        kernels = [path for path in kernels_of([text, *headers]) if path.suffix == ".c"]
        sources = [source, *kernels]
        elf = build(sources, [RUNTIME, RUNTIME / "kernels"], board, Path(place) / "out", defines)
        counts = count(elf, board)
    return counts["total"] - sum(counts.get(name, 0) for name in OUTSIDE)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rows = []
    for board, case in product(BARS, CASES):
        found = instructions(case, board)
        each, bar = found / case.work, BARS[board][case.bar] if case.bar else None
        named = {"board": board, "call": case.name}
        rows.append({**named, "instructions": found, "work": case.work, "each": each, "bar": bar})
        print(
            f"{board:4} {case.name:45} {found:>10,} {each:6.2f}" + (f"  (bar {bar})" if bar else ""),
            flush=True,
        )
    if options.out:
        options.out.write_text(json.dumps({"rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
