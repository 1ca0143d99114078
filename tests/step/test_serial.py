"""Step to JSON and back: equal in every field, for every rule."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from insitu.errors import StepError
from insitu.network import zoo
from insitu.network.builder import Builder
from insitu.numbers.formats import F32
from insitu.passes import lower
from insitu.passes.precision import make
from insitu.passes.quantize import quantize
from insitu.rules import RULES, emit_phases, make_rule
from insitu.step.ir import Op, Phase, Role, Step, Value
from insitu.step.serial import VERSION, from_dict, to_dict

NETWORKS = ("mlp-12-8-4", "cnn-4")
POLICIES = ("float32", "edge-latent-free-8", "w2a4", "niti-int8")
ACTIVATIONS = {"bp-stash": "relu"}


@cache
def steps(network: str, rule: str, precision: str) -> list[Step]:
    """The lowered steps of every phase; none where the precision has no integer form of the rule."""
    net, policy = zoo.build(network, activation=ACTIVATIONS.get(rule)), make(precision)
    try:
        emitted = emit_phases(make_rule(rule), net, 2)
        return [lower(quantize(step, policy, net.params) if policy else step) for step in emitted]
    except StepError:
        return []


def parts(thing: Any) -> Any:
    """A value or op by its fields; operands by name."""
    if isinstance(thing, Value):
        return {f.name: getattr(thing, f.name) for f in fields(thing)}
    if isinstance(thing, Op):
        own = {f.name: getattr(thing, f.name) for f in fields(thing)}
        return own | {"inputs": [v.name for v in thing.inputs], "outputs": list(map(parts, thing.outputs))}
    return [parts(x) for x in thing]


def check(step: Step) -> None:
    again = from_dict(json.loads(json.dumps(to_dict(step))))
    assert str(again) == str(step)
    assert (again.name, again.batch) == (step.name, step.batch)
    for name in ("inputs", "residents", "ops", "outputs"):
        assert repr(parts(getattr(again, name))) == repr(parts(getattr(step, name)))
        assert parts(getattr(again, name)) == parts(getattr(step, name))
    defined = {*again.inputs, *again.residents, *(v for op in again.ops for v in op.outputs)}
    assert {v for op in again.ops for v in op.inputs} <= defined  # the same objects, not equal ones


@pytest.mark.parametrize("precision", POLICIES)
@pytest.mark.parametrize("rule", sorted(RULES))
def test_a_step_comes_back_equal(rule: str, precision: str) -> None:
    found = [step for network in NETWORKS for step in steps(network, rule, precision)]
    for step in found:
        if any(op.kind == "call" for op in step.ops):
            with pytest.raises(StepError, match=r"op call at .*holds the Python function"):
                to_dict(step)
        else:
            check(step)
    assert found or precision != "float32"


def written() -> dict[str, Any]:
    return to_dict(steps("mlp-12-8-4", "bp", "edge-latent-free-8")[0])


def test_a_torch_function_is_refused_by_its_name_and_line() -> None:
    b = Builder(zoo.build("mlp-12-8-4"), 2, name="mine", real=F32)

    def halved(x: Any) -> Any:
        return x / 2

    b.call("half", halved, b.x, shapes=[b.x.shape], role=Role.ACTIVATION, phase=Phase.FORWARD)
    with pytest.raises(StepError, match=r"op call at test_serial.py:\d+ .*halved; use ops of the table"):
        to_dict(b.finish())


def other_version(data: dict[str, Any]) -> None:
    data["version"] = VERSION + 1


def unknown_kind(data: dict[str, Any]) -> None:
    data["ops"][0]["kind"] = "matmull"


def unknown_attribute(data: dict[str, Any]) -> None:
    data["ops"][0]["attrs"]["chunk"] = 1


def unknown_type(data: dict[str, Any]) -> None:
    data["inputs"][0]["format"]["type"] = "Posit"


def unknown_value(data: dict[str, Any]) -> None:
    data["ops"][0]["inputs"][0] = "nowhere"


def no_ops(data: dict[str, Any]) -> None:
    del data["ops"]


def a_list(data: dict[str, Any]) -> None:
    data["ops"] = [1]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (other_version, f"has version {VERSION + 1}, not {VERSION}; write it again"),
        (unknown_kind, "op kind 'matmull' at fc1 .* is unknown; known: activate"),
        (unknown_attribute, "op matmul at fc1 .*: there is no attribute 'chunk'; it takes format, chunks"),
        (unknown_type, "type 'Posit' is unknown; known: .*Fixed"),
        (unknown_value, "%nowhere is used before its definition"),
        (no_ops, r"is damaged \(KeyError: 'ops'\); write it again"),
        (a_list, r"is damaged \(TypeError"),
    ],
)
def test_what_is_wrong_is_said(spoil: Any, message: str) -> None:
    data = written()
    spoil(data)
    with pytest.raises(StepError, match=message):
        from_dict(data)


def test_the_documented_keys_are_those_that_are_written() -> None:
    page = (Path(__file__).parents[2] / "docs/step-program.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| (step|value|op|where|init)[^|]* \| (.*) \|$", page, re.MULTILINE))
    keys = {name: set(re.findall(r"`(\w+)`", row)) for name, row in rows.items()}
    data = written()
    assert set(data) == keys["step"]
    values = [*data["inputs"], *data["residents"], *(v for op in data["ops"] for v in op["outputs"])]
    assert {key for v in values for key in v} <= keys["value"]
    assert {key for op in data["ops"] for key in op} <= keys["op"]
    assert {key for op in data["ops"] for key in op["where"]} == keys["where"]
    assert {key for v in data["residents"] for key in v["init"]} <= keys["init"]
