"""The executor of microcode against formulas of the reference: requantization, updates, and what it refuses."""

import numpy as np
import pytest

from insitu.backends.engine import isa
from insitu.backends.engine.build import Build
from insitu.backends.engine.isa import A, B, Prologue, To
from insitu.backends.engine.machine import Machine, MachineError
from insitu.numbers import lfsr
from insitu.run.integer_arithmetic import shift_right

RANDOM = np.random.default_rng(1)


def machine(*words, **build):
    m = Machine(Build(**build))
    m.code[: len(words) + 1] = [*words, isa.encode("END")]
    m.a[:] = RANDOM.integers(0, 256, m.a.shape)
    m.w[:] = RANDOM.integers(-128, 128, m.w.shape)
    return m


def loops(*counts_and_steps):
    """BOUND, DXW and DPD of every level: count, then steps of x, w, p, d."""
    words = []
    for level in range(isa.LEVELS):
        count, x, w, p, d = counts_and_steps[level] if level < len(counts_and_steps) else (1, 0, 0, 0, 0)
        words += [
            isa.encode("BOUND", level, count=count - 1),
            isa.encode("DXW", level, x=x, w=w),
            isa.encode("DPD", level, p=p, d=d),
        ]
    return [*words, isa.encode("LIM", height=511, width=511)]


@pytest.mark.parametrize("lanes", [4, 8, 16, 32])
@pytest.mark.parametrize("k", [6, 11, 24])
def test_a_dense_layer_rounds_half_up_and_saturates(lanes, k):
    shift = 24 - k
    high = int(shift > 9)
    m = machine(
        *loops((20, 1, 1, 0, 0), (2, -19, 1, lanes, lanes)),
        isa.encode("CTL", prologue=Prologue.BIASES, inner=1, high=high),
        isa.encode("SH", scalar=shift - 9 * high),
        isa.encode("K0", value=1 << max(shift - 9 * high, 0)),
        isa.encode("K1", value=1 << min(shift - 9 * high + 8, 16)),
        isa.encode("BP", address=64),
        isa.encode("BD", address=256),
        isa.encode("HIOFF", address=64),
        isa.encode("GO"),
        lanes=lanes,
    )
    m.a[64:192] = 0
    m.a[64 : 64 + 2 * lanes] = low = RANDOM.integers(0, 256, 2 * lanes)
    taken = m.run()
    z = m.a[:20].astype(int) @ m.w[:40].reshape(2, 20, lanes).astype(int) + low.reshape(2, lanes)
    expected = np.clip(shift_right(z, k, "half-up"), 0, 255)
    assert np.array_equal(m.a[256 : 256 + 2 * lanes].reshape(2, lanes), expected)
    t = m.timing
    assert taken == t.start + len(loops()) + 7 + 1 + t.go + 40 + 2 * 2 + t.drain


def update(m, k, columns, rows, lanes, last):
    """A column tile layout's update by v (of the lanes) times x."""
    high = int(24 - k > 9)
    words = [
        isa.encode("KEYLO", bits=77),
        isa.encode("KEYHI", bits=5),
        isa.encode("SEED", skip=rows),
        *loops((columns, 1, 1, 0, 1), (-(-rows // lanes), 1 - columns, 1, lanes, 1)),
        isa.encode(
            "CTL",
            b=B.VECTOR,
            vector_signed=1,
            high=high,
            update=1,
            each=1,
            out_signed=1,
            to=To.WEIGHTS,
            prologue=Prologue.VECTOR,
            inner=1,
            words=1,
        ),
        isa.encode("CTL2", words_level=1, last=last - 1),
        isa.encode("SH", scalar=24 - k - 9 * high),
        isa.encode("BP", address=256),
        isa.encode("GO"),
        isa.encode("END"),
    ]
    m.code[: len(words)] = words
    m.run()


@pytest.mark.parametrize("k", [7, 12, 23])
def test_an_update_is_the_references(k):
    rows, columns, lanes = 13, 20, 8
    m = machine(lanes=lanes)
    m.a[256 + rows : 272] = 0
    before = m.w[: 2 * columns].copy()
    update(m, k, columns, rows, lanes, rows - lanes)
    v, x = m.a[256 : 256 + rows].view(np.int8).astype(int), m.a[:columns].astype(int)
    drawn = lfsr.words(5 << 16 | 77, rows + columns)
    steps = shift_right(np.outer(v, x), k, "stochastic", drawn[:rows, None] ^ drawn[rows:])
    w = before.reshape(2, columns, lanes).transpose(0, 2, 1).reshape(-1, columns)[:rows].astype(int)
    got = m.w[: 2 * columns].reshape(2, columns, lanes).transpose(0, 2, 1).reshape(-1, columns)
    assert np.array_equal(got[:rows], np.clip(w - steps, -128, 127))
    padding = before.reshape(2, columns, lanes).transpose(0, 2, 1).reshape(-1, columns)[rows:]
    assert np.array_equal(got[rows:], padding)


def test_registers_run_on_and_draw_as_many_words_as_there_are_weights():
    m = machine(generator="register")
    m.draws.lanes, m.draws.scalars = 3, 4
    update(m, 12, 20, 13, 8, 5)
    assert m.draws.lanes == lfsr.words(3, 13)[-1]
    assert m.draws.scalars == lfsr.words(4, 20)[-1]


@pytest.mark.parametrize("k", [-9, 0, 9])
def test_a_bias_moves_by_two_bytes(k):
    n = 10
    serial = min(16 - k, 16)
    bias = 16 - serial
    m = machine(
        isa.encode("KEYLO", bits=9),
        isa.encode("SEED"),
        *loops((1, 0, 0, 0, 0), (n, 1, 0, 1, 1)),
        isa.encode(
            "CTL", b=B.ONE, scalar_signed=1, wide=1, wide16=1, update=1, prologue=Prologue.BIAS, inner=1
        ),
        isa.encode("SH", scalar=16 - k - serial, serial=serial, bias=bias),
        isa.encode("BP", address=64),
        isa.encode("BD", address=64),
        isa.encode("HIOFF", address=16),
        isa.encode("GO"),
    )
    value = m.a[64 : 64 + n] | m.a[80 : 80 + n].view(np.int8).astype(int) << 8
    g = m.a[:n].view(np.int8).astype(int)
    m.run()
    expected = np.clip(value - shift_right(g, k, "stochastic", lfsr.words(9, n)), -(1 << 15), (1 << 15) - 1)
    assert np.array_equal(m.a[64 : 64 + n] | m.a[80 : 80 + n].view(np.int8).astype(int) << 8, expected)


def test_a_violated_margin_fires_and_gives_its_errors():
    m = machine(
        *loops((2, 8, 1, 0, 0), (10, -8, 1, 1, 1)),
        isa.encode("CTL", a=A.VECTOR, dot=1, vector_stream=1, wide=1, score=1, inner=1),
        isa.encode("CTL2", exclude=1),
        isa.encode("SH", serial=8),
        isa.encode("MARGIN", value=64),
        isa.encode("BD", address=64),
        isa.encode("HIOFF", address=16),
        isa.encode("GO"),
        isa.encode("TRIG", slot=2),
        isa.encode("CTL", emit=1, to=To.BYTE, inner=1),
        isa.encode("BD", address=96),
        isa.encode("GO"),
    )
    m.run(label=3)
    z = shift_right(m.w[:20].reshape(10, 16).astype(int) @ m.a[:16].astype(int), 8, "half-up")
    z = np.clip(z, -2048, 2047)
    others = np.delete(np.arange(10), 3)
    rival = others[z[others].argmax()]
    fired = z[rival] > z[3] - 64
    assert m.flags == fired << 2
    assert m.a[96:106].view(np.int8).tolist() == [
        int(fired) * (int(n == rival) - int(n == 3)) for n in range(10)
    ]


def test_a_branch_skips_what_no_trigger_asks_for():
    branch = isa.encode("BRZ", flags=0b110, target=3)
    m = machine(isa.encode("TRIG", slot=2), branch, isa.encode("SH", bias=1))
    m.scores.best = -1
    m.run()
    assert m.registers.values["SH"]["bias"] == 0
    m.scores.best = 1
    m.run()
    assert m.registers.values["SH"]["bias"] == 1


def test_reading_what_the_nest_has_written_is_refused():
    copy = isa.encode("CTL", a=A.K0, b=B.VECTOR, vector_stream=1, inner=0)
    m = machine(*loops((4, 8, 0, 0, 8)), copy, isa.encode("BD", address=8), isa.encode("GO"))
    with pytest.raises(MachineError, match="a nest reads what it has written to A"):
        m.run()


def test_a_scalar_that_is_shifted_too_far_is_refused():
    m = machine(
        *loops((4, 1, 0, 0, 0)), isa.encode("SH", scalar=12), isa.encode("BD", address=64), isa.encode("GO")
    )
    m.a[:4] = 255
    with pytest.raises(MachineError, match=r"the shifted scalar is .* which 18 bits do not hold"):
        m.run()
