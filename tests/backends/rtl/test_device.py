"""Assembled programs on the RTL beside the executor of microcode: every byte of both memories after every step."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("amaranth", reason="the extra 'fpga' is not installed")

from insitu.backends.engine import isa, registers
from insitu.backends.engine.host import Host
from insitu.backends.engine.image import fitted
from insitu.backends.rtl import sim
from insitu.backends.rtl.device import Hardware
from insitu.errors import StepError
from insitu.numbers import lfsr
from tests.backends.engine.pairs import Pair, made
from tests.part import ALL

pytestmark = pytest.mark.skipif(sim.missing() is not None, reason=str(sim.missing()))

SOFTMAX = {"a_words": 64, "w_words": 512, "code_words": 512, "softmax": True, "positions": True}
"""One build for all rules on mlp-64-32-10: each is compiled."""


class Beside:
    """An engine beside the executor; both memories are full of random bytes before anything is loaded (poison)."""

    def __init__(self, rule, net="mlp-64-32-10", lanes=8, **build):
        image = fitted(made(rule, net), lanes)
        image = replace(image, build=replace(image.build, **build))
        self.pair = Pair(image)
        self.hardware = Hardware(image.build)
        m = self.pair.machine
        self.hardware.write("a", 0, m.a)
        self.hardware.write("w", 0, m.w)
        self.host = Host(image, self.hardware)

    def step(self):
        """What differs after a step."""
        pair, p, hardware, m = self.pair, self.pair.image.program, self.hardware, self.pair.machine
        phase, x, label = pair.sample()
        told = [host.learn(x, label, phase, p.lr, pair.t) for host in (pair.host, self.host)]
        pair.t += 1
        same = {
            "triggers": told[0] == told[1],
            "cycles": pair.host.cycles == self.host.cycles,
            "a": np.array_equal(hardware.sim.read("a").ravel(), m.a),
            "w": np.array_equal(hardware.sim.read("w").view(np.int8), m.w),
            "random": hardware.states == m.states,
        }
        return [name for name, equal in same.items() if not equal]


@pytest.mark.parametrize("rule", ["etch", "drtp", "pred", "bp-stash", "bp"])
def test_rules_do_what_the_executor_does(rule):
    beside = Beside(rule, **SOFTMAX)
    for t in range(25):
        assert beside.step() == [], t
    x = beside.pair.sample()[1]
    assert np.array_equal(beside.host.infer(x), beside.pair.host.infer(x))
    assert beside.host.cycles == beside.pair.host.cycles


def test_a_network_with_convolutions_does_what_the_executor_does():
    beside = Beside("bp-stash", "cnn-8-16")
    for t in range(4):
        assert beside.step() == [], t


def test_a_host_loads_any_state_of_the_random_registers():
    random = np.random.default_rng(0)
    for state, target in random.integers(1, 1 << 32, (50, 2)).tolist():
        present = state
        for bit in registers.injections(state, target):
            present = lfsr.advance(present) ^ bit
        assert present == target


def test_a_flipped_bit_in_a_resident_or_an_instruction_breaks_the_golden_trace():
    beside = Beside("etch", **SOFTMAX)
    first, random = dict(beside.pair.image.program.initial_state), np.random.default_rng(2)
    golden, code = _trace(beside, first), beside.hardware.code.copy()
    assert _trace(beside, first) == golden
    for name, array in first.items():
        changed = np.array(array)
        changed.flat[random.integers(changed.size)] ^= 1
        assert _trace(beside, first | {name: changed}) != golden, name
    training = range(beside.pair.image.entries[0].end)
    for at in [at for at in training if isa.decode(int(code[at]))[0].name in ("GO", "K0")]:
        beside.hardware.write("code", at, code[at : at + 1] ^ 1 << isa.DATA_BITS)
        assert _trace(beside, first) != golden, at
        beside.hardware.write("code", at, code[at : at + 1])


def test_a_flipped_bit_in_a_constant_breaks_the_golden_trace():
    """Of those in A that a step reads, and of an exponential that every softmax takes: that of the best class."""
    beside = Beside("bp-stash", **SOFTMAX)
    image, first = beside.pair.image, dict(beside.pair.image.program.initial_state)
    golden = _trace(beside, first)
    assert image.constants and len(image.table)
    for at, byte in enumerate(image.constants):
        beside.hardware.write("a", image.constants_start + at, np.array([byte ^ 16]))
        assert _trace(beside, first) != golden, at
        beside.hardware.write("a", image.constants_start + at, np.array([byte]))
    beside.hardware.write("table", 0, image.full_table[:1] ^ 1 << 7)
    assert _trace(beside, first) != golden
    beside.hardware.write("table", 0, image.full_table[:1])
    assert _trace(beside, first) == golden


@pytest.mark.skipif(not ALL, reason="a minute of compiling; INSITU_TESTS=all runs it")
def test_the_netlist_for_an_ice40_learns_as_c_does():
    program = made("etch", "mlp-64-32-10")
    image = fitted(program, 4, operand_bits=16, fraction=16, positions=False)
    pair, hardware = Pair(image), Hardware(image.build, "ice40")
    host = Host(image, hardware)
    for t in range(20):
        phase, x, label = pair.sample()
        for each in (pair.host, host):
            each.learn(x, label, phase, program.lr, t)
        assert np.array_equal(hardware.sim.read("w").view(np.int8), pair.machine.w), t


def _trace(beside, state):
    """The state after each of 8 steps from a first state; what of them there was, where a program does not end."""
    host, p = beside.host, beside.pair.image.program
    host.load(state)
    random, found = np.random.default_rng(7), []
    for t in range(8):
        x = random.integers(0, 256, p.steps[0].inputs[0].shape)
        try:
            host.learn(x, random.integers(0, 10, 1), 0, p.lr, t)
        except StepError:
            break
        found.append({name: array.tolist() for name, array in host.state.items()})
    return found
