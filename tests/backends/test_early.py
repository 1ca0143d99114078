"""Early exits in C: the class and the exit of the reference, checks of arguments, and nothing for who did not ask."""

from __future__ import annotations

import ctypes
import shutil
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from insitu.backends.c.host import Engine, self_test
from insitu.backends.c.memory import Memory, packed
from insitu.backends.c.project import Source, generated, golden_source
from insitu.network.graph import Network
from insitu.passes import lower
from insitu.passes.fuse import in_place
from insitu.passes.precision import make
from insitu.passes.quantize import quantize
from insitu.rules.protocol import emit_exits, make_rule
from insitu.run.exits import NEVER, early, leaving, margin
from insitu.run.integer import run
from insitu.run.program import Program
from insitu.run.samples import as_integers
from insitu.step.context import StepContext
from tests.backends.programs import Pair, program
from tests.run.cases import samples

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="the C engine needs gcc")

POLICY = "edge-latent-free-8:error_exponent=static"
NO_ARGUMENT, NOT_INITIALISED = -1, -2


def with_exits(rule: str, network: str, policy: str = POLICY, **options: Any) -> tuple[Network, Program]:
    net, made = program(rule, network, policy, **options)
    found = make(policy)
    emitted = emit_exits(make_rule(rule, options), net, 1)
    assert found is not None and emitted is not None
    step = lower(quantize(emitted, found, net.params), order=in_place)
    return net, replace(made, exits=step, thresholds=(NEVER,) * (len(step.outputs) - 1))


def asked(both: Pair, x: np.ndarray, thresholds: list[int]) -> tuple[int, int]:
    """Exit and class of a sample by C."""
    data = np.frombuffer(packed(both.program.inference.inputs[0], x), np.uint8).copy()
    left = ctypes.c_uint32(99)
    numbers = (ctypes.c_int32 * len(thresholds))(*thresholds)
    net = both.engine.host
    found = both.engine.c.insitu_infer_early(
        net, ctypes.c_void_p(data.ctypes.data), numbers, ctypes.byref(left)
    )
    return left.value, found


@pytest.mark.parametrize(
    ("rule", "network", "policy", "options"),
    [
        ("etch", "mlp", POLICY, {}),
        ("etch", "lenet", POLICY.replace("-8", "-4"), {"limit": 32, "sketch": 16, "vote": 1}),
        ("pred", "lenet", POLICY, {"limit": 64}),
    ],
)
def test_class_and_exit_are_those_of_the_reference(
    rule: str, network: str, policy: str, options: dict[str, Any]
) -> None:
    net, made = with_exits(rule, network, policy, **options)
    both = Pair(net, made, Engine(made))
    assert next(both.learn(12), None) is None
    assert made.exits is not None
    integers = as_integers(made.inference.inputs[0], samples(net, 24, 999)[0])
    scores = [np.concatenate(s) for s in zip(*(_scores(both, one) for one in integers))]
    usual = [int(np.median(margin(s))) for s in scores[:-1]]
    exits = set()
    one_exit = [[t if k == j else NEVER for j, t in enumerate(usual)] for k in range(len(usual))]
    for thresholds in (usual, *one_exit, [NEVER] * len(usual)):
        both.program = replace(made, thresholds=tuple(thresholds))
        taken = leaving(scores, thresholds)
        for n, one in enumerate(integers):
            assert asked(both, one[None], thresholds) == early(both.program, both.plain, one[None])
            assert asked(both, one[None], thresholds)[0] == taken[n]
        exits |= set(taken.tolist())
    assert exits == set(range(len(scores)))
    mine, theirs = both.scores()
    assert (mine == theirs).all()  # the forward pass without exits is as it was


def _scores(both: Pair, one: np.ndarray) -> list[np.ndarray]:
    assert both.program.exits is not None
    return run(
        both.program.exits, both.plain, one[None], None, StepContext(both.program.lr, both.program.seed, 0)
    )


def test_what_is_asked_is_checked() -> None:
    _, made = with_exits("etch", "mlp")
    engine = Engine(made)
    x = (ctypes.c_uint8 * engine.sizes["sample_bytes"])()
    numbers = (ctypes.c_int32 * 2)()
    call = engine.c.insitu_infer_early
    assert call(None, x, numbers, None) == NO_ARGUMENT
    assert call(engine.host, None, numbers, None) == NO_ARGUMENT
    assert call(engine.host, x, None, None) == NO_ARGUMENT
    assert call((ctypes.c_uint8 * 256)(), x, numbers, None) == NOT_INITIALISED
    assert call(engine.host, x, numbers, None) >= 0  # who does not want to know the exit


def test_the_self_test_asks_for_exits_too() -> None:
    net, made = with_exits("etch", "mlp")
    batches = tuple(
        (as_integers(made.inference.inputs[0], x), y) for x, y in (samples(net, 1, t) for t in range(4))
    )
    made = replace(made, batches=batches, thresholds=(200, 200))
    assert "golden_exit" in golden_source(Source(made))
    assert "all equal" in self_test(made)
    wrong = replace(made, thresholds=(0, 0))
    object.__setattr__(wrong, "golden", replace(made.golden, left=tuple((2, c) for _, c in made.golden.left)))
    assert "wrong exit" in self_test(wrong)


def test_without_exits_nothing_is_added() -> None:
    _, plain = program("etch", "mlp", POLICY)
    _, made = with_exits("etch", "mlp")
    assert not [name for name, text in generated(Source(plain)).items() if "early" in text or "EXITS" in text]
    assert Memory(plain).size("state") == Memory(made).size("state")
    assert Memory(plain).size("state", inference=True) < Memory(made).size("state", inference=True)
