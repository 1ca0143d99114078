"""The RTL in simulation against the executor of microcode: memories, cycles, triggers and random states."""

import numpy as np
import pytest

pytest.importorskip("amaranth", reason="the extra 'fpga' is not installed")

from insitu.backends.engine import isa
from insitu.backends.engine.build import Build
from insitu.backends.engine.machine import Machine
from insitu.backends.rtl import sim
from insitu.backends.rtl.parameters import Parameters
from insitu.backends.rtl.sim import Simulation
from insitu.errors import StepError
from tests.backends.rtl.programs import FORWARD, KINDS, Writer, runs

pytestmark = pytest.mark.skipif(sim.missing() is not None, reason=str(sim.missing()))

PLAIN = {"generator": "register", "softmax": False, "positions": False, "a_words": 512, "w_words": 512}
BUILDS = {
    "8 lanes": {},
    "4 lanes of 4 bits": {"lanes": 4, "weight_bits": 4, "a_words": 1024},
    "4 lanes, operands of 16 bits": {"lanes": 4, "operand_bits": 16, "fraction": 16, "a_words": 1024},
    "8 lanes that infer": {"learn": False},
}


class Pair:
    """An engine and its executor, with the same random memories."""

    def __init__(self, **build):
        build = PLAIN | build
        self.sim, self.machine = Simulation(Parameters(**build)), Machine(Build(**build))
        random, m, bits = np.random.default_rng(3), self.machine, self.machine.build.weight_bits
        m.a[:] = random.integers(0, 256, m.a.shape)
        m.w[:] = random.integers(-(1 << bits - 1), 1 << bits - 1, m.w.shape)
        self.sim.write("a", 0, m.a)
        self.sim.write("w", 0, m.w)
        if m.build.learn:
            m.draws.lanes, m.draws.scalars = self.sim.random

    def differs(self):
        """What is not the same."""
        m, s = self.machine, self.sim
        found = {
            "a": np.array_equal(s.read("a").ravel(), m.a),
            "w": np.array_equal(s.read("w").view(np.int8), m.w),
        }
        found["class"] = s.best_class == m.scores.best_class
        if m.build.learn:
            found |= {"random": s.random == (m.draws.lanes, m.draws.scalars), "flags": s.fired == m.flags}
        return [name for name, same in found.items() if not same]


@pytest.mark.parametrize("build", BUILDS.values(), ids=BUILDS)
def test_random_nests_do_what_the_executor_does(build):
    pair, ran = Pair(**build), dict.fromkeys(KINDS, 0)
    learn = build.get("learn", True)
    for seed in range(240):
        kind = (KINDS if learn else FORWARD)[seed % len(KINDS if learn else FORWARD)]
        writer = Writer(seed, build.get("lanes", 8), learn, build.get("operand_bits", 18))
        words = [*writer.program(kind), isa.encode("END")]
        label = seed % 16
        cycles = runs(pair.machine, words, label)
        if cycles is None:
            continue
        pair.sim.write("code", 0, np.array(words))
        assert pair.sim.run(0, label) == cycles, (seed, kind)
        assert pair.differs() == [], (seed, kind)
        ran[kind] += 1
    assert all(ran[kind] > 10 for kind in (KINDS if learn else FORWARD)), ran


def test_a_reset_in_the_middle_of_a_program_leaves_memories_and_an_engine_that_runs():
    pair = Pair()
    words = [*Writer(4).program("each"), isa.encode("END")]
    cycles = runs(pair.machine, words, 0)
    pair.sim.write("code", 0, np.array(words))
    before = pair.sim.read("w").view(np.int8)
    pair.sim.interrupted(0, 0, cycles // 2)
    present = pair.sim.read("w").view(np.int8)
    assert np.all((present == before) | (present == pair.machine.w)) and pair.sim.run(0, 0) == cycles


def test_a_program_without_end_is_given_up():
    pair = Pair()
    pair.sim.write("code", 0, np.array([isa.encode("BRZ", target=0, flags=0)]))
    with pytest.raises(StepError, match="has not ended after 500 cycles"):
        pair.sim.run(limit=500)
