"""Calls that wait for a trigger are jumped over without one, and no bit of the state shows it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from insitu.backends.c.firmware import on_board
from insitu.backends.c.jumps import Blocks
from insitu.backends.c.project import Source, generated, write
from insitu.network import zoo
from insitu.run.integer import run
from insitu.run.program import Program
from insitu.run.samples import as_integers
from insitu.step.context import StepContext
from insitu.step.triggers import jumps, silences, triggers_of
from tests.backends.programs import Pair, pair, program
from tests.backends.test_boards import emulated
from tests.run.test_integer import POLICIES

EDGE = "edge-latent-free-8"
MORE = (
    *(f"{EDGE}:{more}" for more in ("error_exponent=static", "generator=lfsr", "hidden=4,update=threshold")),
    *(
        f"{EDGE}:update={method}"
        for method in ("round-robin,slices=3,window=4", "dst", "integer-sgd,decay=4")
    ),
    *("edge-latent-free-4:update=error-feedback", "edge-latent-free-4:error_exponent=static,defer=4"),
    *("w1a1:update=bop,gamma=3,flip=2", "w4a8:rounding=stochastic"),
)
needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="the C engine needs gcc")


def shares(both: Pair, steps: int) -> list[float]:
    """Of the samples for which each trigger fires, over some steps that equal the reference."""
    assert next(both.learn(steps), None) is None
    return [n / (steps * both.program.steps[0].batch) for n in both.engine.fired.tolist()]


@needs_gcc
@pytest.mark.parametrize("policy", [*POLICIES, *MORE])
def test_a_learner_that_falls_silent_equals_the_reference(policy: str) -> None:
    """Heads that begin with zeros and have no margin are silent; the output layer learns from its mistakes alone."""
    *heads, output = shares(pair("etch", "mlp", policy, margin=0.0), 60)
    assert not any(heads) and 0 < output < 1


@needs_gcc
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(
    "policy", [EDGE, "niti-int8", "w8a8", f"{EDGE}:update=round-robin,slices=3,window=4"]
)
def test_a_hinge_loss_jumps_over_the_backward_pass(policy: str, batch: int) -> None:
    (share,) = shares(pair("bp", "mlp", policy, batch, loss="hinge"), 80)
    assert 0 < share <= 1 and (share < 1 or "round-robin" in policy)  # which learns too slowly for that


@needs_gcc
def test_convolutions_jump_too() -> None:
    assert max(shares(pair("etch", "lenet", EDGE, margin=0.05), 12)) > 0


# --- which calls -----------------------------------------------------------------------------------------------


def test_all_learning_of_etch_waits() -> None:
    step = program("etch", "mlp", EDGE)[1].steps[0]
    assert jumps(step) == silences(step) and len(triggers_of(step)) == 3


def test_what_is_read_without_a_trigger_is_made() -> None:
    """Accumulators that take turns move by their window: the errors that they read are made for every sample."""
    step = program("etch", "mlp", f"{EDGE}:update=round-robin,slices=3,window=4")[1].steps[0]
    waits, silent = jumps(step), silences(step)
    assert set(waits) < set(silent)
    for op in step.ops:
        if op not in waits:
            assert not {v for v in op.inputs for other in waits if v in other.outputs}
    assert {op.kind for op in set(silent) - set(waits)} >= {"matmul_dx", "exponent", "requant", "gate"}
    assert {v.name for op in waits for v in op.written} == {
        f"{layer}.bias" for layer in ("fc1", "fc1.head", "fc2", "fc2.head", "fc3")
    }


def test_a_block_is_of_calls_side_by_side() -> None:
    step = program("etch", "mlp", EDGE)[1].steps[0]
    blocks = Blocks(step)
    for op in step.ops:
        blocks.add(op, op.kind, [f"{op.kind}()"])
    lines = [line.strip() for line in blocks.end()]
    assert [line for line in lines if line.startswith("if")] == [f"if (fired_{k} != 0u) {{" for k in range(3)]
    assert lines.count("}") == 3 and lines[-1] == "}"
    inside = {line.split("(")[0] for line in lines[lines.index("if (fired_2 != 0u) {") :] if "()" in line}
    assert inside == {"{ matmul_dw_update", "{ sum_to_channels_update"}


@pytest.mark.parametrize("rule", ["bp", "drtp", "pred"])
def test_a_rule_without_triggers_has_no_jump(rule: str) -> None:
    text = generated(Source(program(rule, "mlp", EDGE)[1]))["insitu_net.c"]
    assert "fired" not in text


# --- what it saves ---------------------------------------------------------------------------------------------

STEPS = 6


def labelled(made: Program, x: np.ndarray, *, silent: bool) -> Program:
    """A program that learns a sample of the class that it predicts, or of another one."""
    sample = as_integers(made.steps[0].inputs[0], x)
    first = {name: np.array(a) for name, a in made.initial_state.items()}
    (scores,) = run(made.inference, first, sample, None, StepContext(made.lr, made.seed, 0))
    label = scores.argmax() if silent else scores.argmin()
    return replace(made, batches=((sample, np.array([int(label)])),) * STEPS)


@emulated
@pytest.mark.parametrize(("network", "most"), [("mlp-64-32-10", 1.35), ("cnn-8-16", 1.15)])
def test_a_silent_step_is_an_inference_pass_heads_and_triggers(
    network: str, most: float, tmp_path: Path
) -> None:
    """In instructions of a Cortex-M4. The head of the MLP's hidden layer alone is 0.135 of its inference's products."""
    shape = {} if network.startswith("mlp") else {"input_shape": (1, 8, 8), "classes": 10}
    net = zoo.build(network, activation="relu", **shape)
    made = program("etch", net, EDGE, margin=0.0)[1]
    x = np.random.default_rng(1).random((1, *net.input_shape)).astype(np.float32)
    spent = {}
    for silent in (True, False):
        project = write(labelled(made, x, silent=silent), tmp_path / f"silent-{silent}")
        found = on_board(project, "m4", run=True)
        assert found.equal and found.per_step and found.per_inference
        spent[silent] = found.per_step / found.per_inference
    assert 1 < spent[True] < most and spent[True] < spent[False]
