"""The engine's class in C++ against the executor of microcode: memories, cycles, triggers and random states."""

import numpy as np
import pytest

from insitu.backends.engine import isa
from insitu.backends.engine.build import PRECISION, Build
from insitu.backends.engine.machine import Machine
from insitu.backends.systemc.device import Model, missing
from insitu.errors import StepError
from insitu.experiment.config import RunConfig
from insitu.experiment.train import train
from tests.backends.engine import pairs
from tests.backends.rtl.programs import KINDS, Writer, runs

pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))

PLAIN = {"generator": "register", "a_words": 512, "w_words": 512}
BUILDS = {
    "8 lanes": {},
    "4 lanes of 4 bits": {"lanes": 4, "weight_bits": 4, "a_words": 1024},
    "4 lanes, operands of 16 bits": {"lanes": 4, "operand_bits": 16, "fraction": 16, "a_words": 1024},
    "16 lanes": {"lanes": 16},
    "32 lanes": {"lanes": 32, "a_words": 256},
}


class Pair:
    """A model and the executor, with the same random memories."""

    def __init__(self, **build):
        self.machine = Machine(Build(**PLAIN | build))
        self.model = Model(self.machine.build)
        random, m, bits = np.random.default_rng(3), self.machine, self.machine.build.weight_bits
        m.a[:] = random.integers(0, 256, m.a.shape)
        m.w[:] = random.integers(-(1 << bits - 1), 1 << bits - 1, m.w.shape)
        self.model.write("a", 0, m.a)
        self.model.write("w", 0, m.w)
        m.states = isa.RESET_STATES

    def run(self, words, label):
        self.model.write("code", 0, np.array(words))
        return self.model.run(0, label)

    def differs(self):
        """What is not the same."""
        m, model = self.machine, self.model
        same = {
            "a": np.array_equal(model.read("a", 0, len(m.a)), m.a),
            "w": np.array_equal(model.read("w", 0, len(m.w)), m.w),
            "class": model.platform.get("CLASS") == m.scores.best_class,
            "random": model.states == m.states,
            "flags": model.flags == m.flags,
        }
        return [name for name, equal in same.items() if not equal]


@pytest.mark.parametrize("build", BUILDS.values(), ids=BUILDS)
def test_random_nests_do_what_the_executor_does(build):
    pair, ran = Pair(**build), dict.fromkeys(KINDS, 0)
    for seed in range(400):
        kind = KINDS[seed % len(KINDS)]
        writer = Writer(seed, build.get("lanes", 8), True, build.get("operand_bits", 18))
        words = [*writer.program(kind), isa.encode("END")]
        cycles = runs(pair.machine, words, seed % 16)
        if cycles is None:
            continue
        assert pair.run(words, seed % 16) == cycles, (seed, kind)
        assert pair.differs() == [], (seed, kind)
        ran[kind] += 1
    assert min(ran.values()) > 20, ran


RUNNING = (
    "bp",
    "bp-checkpoint",
    "bp-stash",
    "shallow",
    "bp-reversible",
    "fa",
    "dfa",
    "drtp",
    "pred",
    "greedy",
)
RUNNING += ("dgl", "dbl", "mono-forward", "etch")


@pytest.mark.parametrize("rule", RUNNING)
def test_a_rule_learns_what_the_integer_reference_does(rule):
    """An independent definition: the reference knows no microcode."""
    pair = with_model(rule, "mlp-64-32-10")
    assert list(pair.learn(25)) == []
    found, expected = pair.scores()
    assert np.array_equal(found, expected)


@pytest.mark.parametrize(("rule", "lanes"), [("etch", 8), ("bp-stash", 16), ("drtp", 4), ("pred", 32)])
def test_convolutions(rule, lanes):
    pair = with_model(rule, "cnn-8-16", lanes)
    assert list(pair.learn(6)) == []
    found, expected = pair.scores()
    assert np.array_equal(found, expected)


def with_model(rule, network, lanes=8):
    """The reference beside the model, whose host loads the program by the bus."""
    pair = pairs.pair(rule, network, lanes)
    pair.machine = Model(pair.image.build)
    pair.host = type(pair.host)(pair.image, pair.machine)
    return pair


def test_a_run_trains_through_the_model_as_through_c():
    named = {"network": "mlp-64-16-10", "rule": "etch", "precision": PRECISION, "batch": 1, "epochs": 1}
    more = {"network_options": {"activation": "relu"}, "limit_train": 60, "limit_test": 40}
    found = [train(RunConfig(**named, **more, engine=engine)) for engine in ("systemc", "c")]
    assert found[0].metrics == found[1].metrics
    assert all(np.array_equal(found[0].params[k], found[1].params[k]) for k in found[1].params)


HOSTILE = {
    "no END": ([isa.encode("BRZ", target=0, flags=0)], "has not ended after 268435456 cycles"),
    "a branch out of memory": (
        [isa.encode("BRZ", target=60_000, flags=0)],
        "goes on at 60000, behind its end",
    ),
    "an endless nest": (
        [*(isa.encode("BOUND", level, count=1023) for level in range(6)), isa.encode("GO")],
        "has not ended",
    ),
    "an address behind A": (
        [isa.encode("BD", address=0x1FFF), isa.encode("CTL", to=1, b=2, a=2), isa.encode("GO")],
        "uses address 8191 of A",
    ),
    "an address behind W": (
        [isa.encode("BW", address=0x1FFF), isa.encode("CTL", a=2), isa.encode("GO")],
        "uses address 8191 of W",
    ),
    "dot and high": ([isa.encode("CTL", dot=1, high=1), isa.encode("GO")], "both dot and high"),
    "a sum too large": (
        [
            isa.encode("BX", address=0),
            isa.encode("SH", scalar=9, serial=31),
            isa.encode("CTL", wide=1, to=1, b=2, inner=1),
            isa.encode("BOUND", 0, count=9),
            isa.encode("LIM", height=511, width=511),
            isa.encode("GO"),
        ],
        "too large for 48 bits",
    ),
}


@pytest.mark.parametrize(("words", "said"), HOSTILE.values(), ids=HOSTILE)
def test_microcode_that_hardware_cannot_run_is_a_failure_by_name(words, said):
    model = Model(Build(**PLAIN))
    model.write("a", 0, np.full(64, 255))
    model.write("code", 0, np.array([*words, isa.encode("END")]))
    with pytest.raises(StepError, match=said):
        model.run(0, 0)
    model.write("code", 0, np.array([isa.encode("END")]))
    assert model.run(0, 0) == 4  # nothing is lost: the next program runs
