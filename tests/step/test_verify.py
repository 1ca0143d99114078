"""Each way in which a program can be wrong, and what is said about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

import insitu.ops  # noqa: F401  (fills OPS)
from insitu.errors import StepError
from insitu.numbers.formats import F32, F64
from insitu.ops.common import Factor, Shaped
from insitu.ops.integer_products import Product
from insitu.ops.optimizers import Optimizer
from insitu.step.builder import Builder
from insitu.step.ir import Init, Op, Phase, Role, Step, Value, Where


def program() -> Step:
    """x → matmul → relu → matmul → scale; the first weight is updated by a given gradient."""
    b = Builder("good", 2, F32)
    x = b.input("x", (2, 3), Role.ACTIVATION)
    g = b.input("g", (3, 3), Role.SCRATCH)
    w = b.resident("w", (3, 3), Role.WEIGHT, Init("zeros"))
    forward = {"role": Role.ACTIVATION, "phase": Phase.FORWARD}
    with b.at("fc1"):
        z = b.emit1("matmul", x, w, name="z", **forward)
    with b.at("act"):
        h = b.emit1("activate", z, fn="relu", name="h", **forward)
    with b.at("fc2"):
        y = b.emit1("matmul", h, w, name="y", **forward)
        e = b.emit1("scale", y, by=2.0, name="e", **forward)
        b.emit("update", w, g, optimizer=Optimizer(), role=Role.WEIGHT, phase=Phase.UPDATE)
    b.output(e)
    return b.finish()


def swap(step: Step, i: int, **changes: object) -> Step:
    """The program with op ``i`` changed."""
    ops = list(step.ops)
    ops[i] = replace(ops[i], **changes)  # type: ignore[arg-type]
    return replace(step, ops=tuple(ops))


def named(step: Step, name: str) -> Value:
    values = (*step.inputs, *step.residents, *(v for op in step.ops for v in op.outputs))
    return next(v for v in values if v.name == name)


def resized(step: Step, i: int, **changes: object) -> Step:
    """Op ``i`` declares another output; its readers follow."""
    old = step.ops[i].outputs[0]
    new = replace(old, **changes)  # type: ignore[arg-type]
    ops = [
        replace(
            op,
            inputs=tuple(new if v is old else v for v in op.inputs),
            outputs=tuple(new if v is old else v for v in op.outputs),
        )
        for op in step.ops
    ]
    return replace(step, ops=tuple(ops))


def write_transient(step: Step) -> Step:
    return swap(step, 4, inputs=(named(step, "g"), named(step, "w")))


def stale_read(step: Step) -> Step:
    """relu takes over z, and z is read behind it."""
    late = Op(
        "scale", (named(step, "z"),), (Value("late", (2, 3), F32, Role.ERROR),), Factor(by=1.0), Phase.ERROR
    )
    taken = swap(step, 1, inplace=0)
    return replace(taken, ops=(*taken.ops, late))


def stale_view(step: Step) -> Step:
    """A view of z is read behind the op that takes z over."""
    view = Value("view", (3, 2), F32, Role.ACTIVATION)
    out = Value("late", (3, 2), F32, Role.ERROR)
    reshape = Op("reshape", (named(step, "z"),), (view,), Shaped(shape=(3, 2)), Phase.FORWARD)
    late = Op("scale", (view,), (out,), Factor(by=1.0), Phase.ERROR)
    taken = swap(step, 1, inplace=0)
    return replace(taken, ops=(taken.ops[0], reshape, *taken.ops[1:], late))


def over_resident(step: Step) -> Step:
    out = Value("late", (3, 3), F32, Role.ERROR)
    late = Op("scale", (named(step, "w"),), (out,), Factor(by=1.0), Phase.ERROR, inplace=0)
    return replace(step, ops=(*step.ops, late))


def over_view_of_resident(step: Step) -> Step:
    view = Value("flat", (9,), F32, Role.WEIGHT)
    out = Value("late", (9,), F32, Role.ERROR)
    reshape = Op("reshape", (named(step, "w"),), (view,), Shaped(shape=(9,)), Phase.FORWARD)
    late = Op("scale", (view,), (out,), Factor(by=1.0), Phase.ERROR, inplace=0)
    return replace(step, ops=(*step.ops, reshape, late))


def returned_and_taken(step: Step) -> Step:
    taken = swap(step, 3, inplace=0)
    return replace(taken, outputs=(named(step, "y"),))


CASES: dict[str, tuple[Callable[[Step], Step], str]] = {
    "use before definition": (
        lambda s: replace(s, ops=(s.ops[1], s.ops[0], *s.ops[2:])),
        "uses %z before its definition; move the op down",
    ),
    "use of what nothing defines": (
        lambda s: replace(s, ops=s.ops[1:]),
        "uses %z before its definition",
    ),
    "double definition": (
        lambda s: replace(s, ops=(s.ops[0], *s.ops)),
        "defines %z twice; every value has one definition",
    ),
    "two values of one name": (
        lambda s: resized(s, 1, name="z"),
        "defines %z twice",
    ),
    "a name of an input": (
        lambda s: resized(s, 1, name="x"),
        "defines %x twice",
    ),
    "two inputs of one name": (
        lambda s: replace(s, inputs=(*s.inputs, s.inputs[0])),
        "defines %x twice",
    ),
    "wrong shape": (
        lambda s: resized(s, 1, shape=(2, 4)),
        "declares outputs [((2, 4), 'f32')], but its record infers [((2, 3), 'f32')]",
    ),
    "wrong format": (
        lambda s: resized(s, 1, format=F64),
        "declares outputs [((2, 3), 'f64')], but its record infers",
    ),
    "missing output": (
        lambda s: swap(s, 3, outputs=()),
        "declares outputs [], but its record infers",
    ),
    "attributes of another op": (
        lambda s: swap(s, 3, attrs=Product()),
        "has attributes of Product, not of Factor",
    ),
    "operands that do not fit": (
        lambda s: swap(
            s, 3, kind="matmul", attrs=Product(), inputs=(named(s, "w"), named(s, "g"), named(s, "x"))
        ),
        "the bias must have one element per output",
    ),
    "write to a transient": (write_transient, "writes %g, which is not resident; only residents change"),
    "read after take-over": (stale_read, "reads %z, overwritten by `%h: f32[2,3] activation = activate(%z)"),
    "read of a view after take-over": (stale_view, "reads %view, overwritten by `%h"),
    "take-over, then return": (returned_and_taken, "returns %y, but its storage was taken over"),
    "in place of a resident": (over_resident, "would overwrite the resident %w"),
    "in place of a view of a resident": (over_view_of_resident, "would overwrite the resident %w"),
    "in place of an operand that is needed": (
        lambda s: swap(s, 0, inplace=0),
        "cannot work in place of its input 0",
    ),
    "unknown kind": (
        lambda s: swap(s, 1, kind="gelu"),
        "op kind 'gelu' has no record; register it in insitu.ops",
    ),
    "return of nothing": (
        lambda s: replace(s, outputs=(Value("ghost", (2,), F32, Role.ERROR),)),
        "returns %ghost, which nothing defines; emit it first",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_refusal(name: str) -> None:
    break_it, message = CASES[name]
    with pytest.raises(StepError) as refused:
        break_it(program()).verify()
    assert message in str(refused.value)
    assert str(refused.value).startswith("step good")


def test_the_good_program_passes() -> None:
    step = program()
    assert step.verify() is step
    swap(step, 1, inplace=0).verify()


def test_a_refusal_names_the_op_its_layer_and_line() -> None:
    step = program()
    broken = swap(resized(step, 1, shape=(2, 4)), 1, where=Where("act", "rules/mine.py:7"))
    with pytest.raises(StepError, match=r"op `%h: .* # forward act rules/mine\.py:7`: declares"):
        broken.verify()
