"""``spec.md`` and ``--trace`` are enough: another implementation built from them computes the same bits."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from insitu.backends.c.memory import Memory, packed
from insitu.backends.c.project import write
from insitu.backends.spec.document import document, sections
from insitu.backends.spec.examples import example
from insitu.backends.spec.files import trace_files
from insitu.errors import ConfigError
from insitu.network import zoo
from insitu.network.graph import Network
from insitu.network.layers import Describe
from insitu.run.integer import FUNCTIONS
from insitu.run.integer_updates import MEANINGS
from insitu.run.program import Program
from insitu.run.samples import as_integers
from insitu.run.trace import Place, trace
from insitu.step.ir import Value
from insitu.step.triggers import jumps
from tests.backends import model_from_spec
from tests.backends.model_from_spec import model
from tests.backends.programs import program
from tests.run.cases import samples

STATIC = "edge-latent-free-8:error_exponent=static,headroom=1"
STEPS = 6


def traced(
    rule: str, network: str | Network, policy: str = STATIC, steps: int = STEPS, **options: object
) -> Program:
    """A program with the samples of a self-test."""
    net, made = program(rule, network, policy, **options)
    batches = []
    for t in range(steps):
        step = made.steps[t % len(made.steps)]
        x, y = samples(net, step.batch, t)
        batches.append((as_integers(step.inputs[0], x), y))
    return replace(made, batches=tuple(batches), t=1000)


@pytest.mark.parametrize(
    ("activation", "policy"), [("relu", STATIC), ("tanh", STATIC), ("relu", f"{STATIC},generator=register")]
)
def test_a_model_built_from_the_specification_computes_the_bits_of_every_op(
    tmp_path: Path, activation: str, policy: str
) -> None:
    net = zoo.build("mlp-64-32-10", activation=activation)
    write(traced("etch", net, policy, lr=0.05), tmp_path, trace=STEPS)
    told = dict(np.load(tmp_path / "trace.npz"))
    initial = {k.removeprefix("initial/"): v[0] for k, v in told.items() if k.startswith("initial/")}
    mine = model(tmp_path, dict(initial))
    for n in range(STEPS):
        for row, name, array in mine.learn("learn_0", told["learn_0/in.x"][n], told["learn_0/in.label"][n]):
            assert np.array_equal(array, told[f"learn_0/{row.number:03}.{name}"][n]), (n, row)
    for row, name, array in mine.infer(told["forward/in.x"][0]):
        assert np.array_equal(array, told[f"forward/{row.number:03}.{name}"][0]), row
    moved = [k for k, v in initial.items() if not np.array_equal(v, mine.state[k])]
    assert len(moved) == len(initial)


def test_the_model_shares_nothing_with_insitu_and_is_short() -> None:
    text = Path(model_from_spec.__file__).read_text()
    found = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import | ast.ImportFrom)]
    modules = {getattr(node, "module", None) or node.names[0].name for node in found}
    assert not any(name.startswith(("insitu", "tests")) for name in modules)
    assert len(text.splitlines()) <= 250


def test_a_wrong_shift_is_found_at_the_op_that_has_it(tmp_path: Path) -> None:
    write(traced("etch", zoo.build("mlp-64-32-10", activation="relu")), tmp_path, trace=1)
    text = (tmp_path / "spec.md").read_text()
    shift = re.search(r"\| 0 \| matmul .*? shift=(\d+) rounding", text)
    assert shift is not None
    (tmp_path / "spec.md").write_text(text[: shift.start(1)] + str(int(shift[1]) + 1) + text[shift.end(1) :])
    told = dict(np.load(tmp_path / "trace.npz"))
    mine = model(tmp_path, {k[8:]: v[0] for k, v in told.items() if k.startswith("initial/")})
    wrong = [
        row.number
        for row, name, array in mine.learn("learn_0", told["learn_0/in.x"][0], told["learn_0/in.label"][0])
        if not np.array_equal(array, told[f"learn_0/{row.number:03}.{name}"][0])
    ]
    assert wrong[0] == 0


# --- files --------------------------------------------------------------------------------------------------------


def test_hexadecimal_words_are_those_of_the_arrays(tmp_path: Path) -> None:
    made = traced("etch", "mlp", "edge-latent-free-4:error_exponent=static")
    write(made, tmp_path, trace=3)
    told = np.load(tmp_path / "trace.npz")
    for place, array in trace(made, 3).items():
        name = f"{place.part}/" + (
            "" if place.part == "initial" else "in." if place.op is None else f"{place.op:03}."
        )
        lines = (tmp_path / "trace" / f"{name}{place.value.name}.hex").read_text().splitlines()
        words = np.array([int(line, 16) for line in lines if not line.startswith("//")])
        bits = place.value.format.bits
        assert words.max() < 1 << bits
        signed = words - ((words >> (bits - 1)) << bits) if array.min() < 0 else words
        assert np.array_equal(signed, array.ravel())
        assert np.array_equal(told[name + place.value.name], array)


def test_the_same_program_gives_the_same_bytes_and_an_earlier_trace_goes(tmp_path: Path) -> None:
    made = traced("pred", "mlp", "edge-latent-free-8")
    one, two = tmp_path / "a", tmp_path / "b"
    for folder in (one, two):
        write(made, folder, trace=2)
    files = {p.relative_to(one): p.read_bytes() for p in one.rglob("*") if p.is_file()}
    assert files == {p.relative_to(two): p.read_bytes() for p in two.rglob("*") if p.is_file()}
    assert any(path.suffix == ".hex" for path in files)
    write(made, one)
    assert not list(one.rglob("*.hex")) and not (one / "trace.npz").exists() and (one / "spec.md").exists()


def test_a_trace_of_more_steps_than_samples_is_refused() -> None:
    with pytest.raises(ConfigError, match="use 1 to 6"):
        trace(traced("etch", "mlp"), 7)


# --- C -------------------------------------------------------------------------------------------------------------


DUMP = """
#include <stdint.h>
#include <stdio.h>
static void dump(const uint8_t *block, unsigned offset, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        printf("%02x", block[offset + i]);
    printf("\\n");
}
"""


def instrumented(text: str, made: Program, memory: Memory) -> tuple[str, list[Place]]:
    """The program of a project with a dump of every array that an op gave or changed, and what is dumped."""
    head, body = text.split("static void learn_0(", 1)
    body, tail = body.split("net->clock.t++;", 1)
    called = [i for i, op in enumerate(made.steps[0].ops) if not op.record.alias]
    lines, shown, number = [], [], count()
    for line in body.splitlines():
        lines.append(line)
        if not re.match(r"\s*\{ (fired_\d+ = )?insitu_\w+\(.*\); \}$", line):
            continue
        at = called[next(number)]
        op = made.steps[0].ops[at]
        for value in (*op.outputs, *op.written):
            block, _, offset = memory.place("learn_0", value).partition(" + ")
            what = f'printf("%u {len(shown)} ", (unsigned)net->clock.t)'
            lines.append(f"    {what}; dump({block}, {offset}u, {value.bytes}u);")
            shown.append(Place("learn_0", at, value))
    return DUMP + head + "static void learn_0(" + "\n".join(lines) + "net->clock.t++;" + tail, shown


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
@pytest.mark.parametrize(
    ("rule", "network", "policy"),
    [("etch", "lenet", STATIC), ("pred", "mlp", "w4a8")],
)
def test_c_has_every_array_of_the_trace_after_every_op(
    tmp_path: Path, rule: str, network: str, policy: str
) -> None:
    """Ops that a silent sample jumps over give nothing in C; there the trace has zeros."""
    made = traced(rule, network, policy, steps=3)
    write(made, tmp_path, trace=3)
    net = tmp_path / "insitu_net.c"
    text, shown = instrumented(net.read_text(), made, Memory(made))
    net.write_text(text)
    done = subprocess.run(["make", "test", "CFLAGS=-O0"], cwd=tmp_path, capture_output=True, text=True)
    assert "self-test: all equal" in done.stdout, done.stderr[-2000:]
    told, seen = trace(made, 3), set()
    for line in re.findall(r"^\d+ \d+ [0-9a-f]+$", done.stdout, re.M):
        t, number, data = line.split()
        place, n = shown[int(number)], int(t) - made.t
        seen.add((place, n))
        assert data == packed(place.value, told[place][n]).hex(), place
    quiet = jumps(made.steps[0])
    for place, n in {(place, n) for place in shown for n in range(3)} - seen:
        triggers = quiet[made.steps[0].ops[place.op or 0]]
        numbers = [made.steps[0].ops.index(op) for op in triggers]
        assert not any(told[Place("learn_0", i, op.outputs[0])][n].any() for i, op in zip(numbers, triggers))
    assert len(seen) > len(shown)


# --- the specification --------------------------------------------------------------------------------------------


def test_every_op_and_update_has_a_definition() -> None:
    assert sections("definitions.md").keys() == FUNCTIONS.keys()
    assert sections("methods.md").keys() == {*MEANINGS, "master"}


CASES = [
    ("bp", "rms", "edge-latent-free-8"),
    ("bp", "spread", "edge-latent-free-8:per_channel=true"),
    ("bp-stash", "lenet", "w4a8"),
    ("pred", "separable", "edge-latent-free-4:update=error-feedback"),
    ("dfa", "mlp-tanh", "w1a8-free:update=bop,gamma=2,flip=40"),
    ("pepita", "mlp", "edge-latent-free-2:update=dst"),
    ("forward-forward", "mlp", "edge-latent-free-8:generator=lfsr"),
    ("greedy", "mlp", "edge-latent-free-4:error_exponent=static,defer=3"),
    ("drtp", "resnet", "nitro"),
    ("lls", "mlp", "wpo4a8"),
]


def nowhere(_part: str, _value: Value) -> str:
    return ""


@pytest.mark.parametrize(("rule", "network", "policy"), CASES)
def test_a_specification_names_every_op_and_field(rule: str, network: str, policy: str) -> None:
    made = traced(rule, network, policy, steps=2)
    _, said = trace_files(made, 2)
    text = document(made, nowhere, said)
    assert "$" not in text.replace("`$readmemh`", "")
    for step in (*made.steps, made.inference):
        for number, op in enumerate(step.ops):
            assert f"| {number} | {op.kind} |" in text and f"**`{op.kind}`.**" in text
    assert not re.search(r"=(None|True|False|\w+\()", text)


def test_names_of_layers_stay_in_their_cells(tmp_path: Path) -> None:
    net = zoo.build("mlp-12-10-4", activation="relu")
    made = traced("bp", net)
    nasty = "a|b`c/../*d\n"
    step = made.steps[0]
    swapped = {v: replace(v, name=v.name.replace("fc1", nasty)) for v in step.residents}
    ops = tuple(replace(op, inputs=tuple(swapped.get(v, v) for v in op.inputs)) for op in step.ops)
    made = replace(
        made,
        steps=(replace(step, residents=tuple(swapped.values()), ops=ops),),
        initial_state={
            **made.initial_state,
            **{swapped[v].name: made.initial_state[v.name] for v in swapped},
        },
    )
    files, said = trace_files(made, 2)
    assert all(re.fullmatch(r"[A-Za-z0-9_.~/-]+", name) and ".." not in Path(name).parts for name in files)
    text = document(made, nowhere, said)
    rows = [line for line in text.splitlines() if line.startswith("| ") and "a~7C~b" in line]
    widths = {len(re.split(r"(?<!\\)\|", line)) for line in rows}
    assert widths and widths <= {7, 8}


def of_layers_that_lenet_lacks() -> Network:
    d = Describe("layers", (1, 6, 6))
    d.conv(2, 3)
    d.activation("clipped_relu", high=0.5)
    d.dropout(0.3, channels=True)
    d.upsample(2)
    d.conv(2, 3)
    d.activation("relu")
    d.flatten()
    d.dense(3)
    return d.network(1)


@pytest.mark.parametrize(("rule", "network"), [("etch", "lenet"), ("bp", of_layers_that_lenet_lacks())])
def test_examples_are_small_and_say_something(rule: str, network: str | Network) -> None:
    made = traced(rule, network, "edge-latent-free-8:error_exponent=static")
    for op in made.steps[0].ops:
        found = example(op, made)
        assert sum(a.size for a in (*found.given, *found.after)) < 200
        assert any(a.any() for a in found.after), op.kind
