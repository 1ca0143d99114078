"""Each fusion on a program that is small enough to read."""

from __future__ import annotations

import pytest
import torch

import insitu.ops  # noqa: F401  (fills OPS)
from insitu.errors import StepError
from insitu.network import zoo
from insitu.network.graph import Network
from insitu.network.layers import Describe
from insitu.numbers.formats import F32
from insitu.ops.optimizers import Optimizer
from insitu.passes import fuse, lower
from insitu.passes.order import schedule
from insitu.rules import emit_step, make_rule
from insitu.run.torch_exec import TorchExecutor
from insitu.step.builder import Builder
from insitu.step.ir import Init, Phase, Role, Step, Value
from insitu.step.liveness import peak_bytes, storages

FORWARD = {"role": Role.ACTIVATION, "phase": Phase.FORWARD}
SCRATCH = {"role": Role.SCRATCH, "phase": Phase.GRADIENT}


def start() -> tuple[Builder, Value]:
    b = Builder("small", 2, F32)
    return b, b.input("x", (2, 4), Role.ACTIVATION)


def scaled(b: Builder, x: Value, name: str) -> Value:
    return b.emit1("scale", x, by=2.0, name=name, **FORWARD)


def taken(step: Step) -> dict[str, str]:
    """Which value each op's output took the place of."""
    return {op.outputs[0].name: op.inputs[op.inplace].name for op in step.ops if op.inplace is not None}


# --- errors of pooled maps ----------------------------------------------------------------------------------


def test_updates_alone_read_a_pooled_error_and_no_map_is_made() -> None:
    net = zoo.build("cnn-4-6", input_shape=(1, 8, 8), classes=4, activation="relu")
    step = lower(emit_step(make_rule("pred", {"limit": 16}), net, 1))
    kinds = [op.kind for op in step.ops]
    assert kinds.count("gated_conv2d_dw_update") == 2 and kinds.count("gated_sum_to_channels_update") == 2
    assert not {"unpool_gate", "avg_unpool", "gate"} & set(kinds)
    maps = [v for op in step.ops for v in op.outputs if v.role is Role.ERROR and len(v.shape) == 4]
    assert maps and max(v.size for v in maps) <= 16


def test_a_map_that_goes_further_down_is_made() -> None:
    """Back-propagation through an average pool: the convolution below reads the map of errors too."""
    net = zoo.build("lenet5", input_shape=(1, 16, 16), classes=4, activation="relu")
    step = lower(emit_step(make_rule("bp"), net, 1))
    kinds = [op.kind for op in step.ops]
    assert kinds.count("unpool_gate") == 1  # of the second; below the first there is nothing
    assert kinds.count("gated_conv2d_dw_update") == 1


# --- in place -----------------------------------------------------------------------------------------------


def test_an_operand_at_its_last_use_is_taken_over() -> None:
    b, x = start()
    b.output(scaled(b, scaled(b, scaled(b, x, "a"), "b"), "c"))
    step = fuse.in_place(b.finish())
    assert taken(step) == {"b": "a", "c": "b"}  # not x: it is the caller's
    assert [s.root.name for s in storages(step)] == ["x", "a"]


def test_an_operand_that_is_read_later_is_not_taken_over() -> None:
    b, x = start()
    a = scaled(b, x, "a")
    early = scaled(b, a, "early")
    b.output(b.emit1("add", early, a, name="sum", **FORWARD))
    assert taken(fuse.in_place(b.finish())) == {"sum": "early"}


def test_an_operand_whose_view_is_read_later_is_not_taken_over() -> None:
    b, x = start()
    a = scaled(b, x, "a")
    view = b.emit1("reshape", a, shape=(8,), name="view", **FORWARD)
    early = scaled(b, a, "early")
    b.output(early, scaled(b, view, "late"))
    assert taken(fuse.in_place(b.finish())) == {"late": "view"}


def test_a_view_hands_the_storage_on() -> None:
    b, x = start()
    view = b.emit1("reshape", scaled(b, x, "a"), shape=(8,), name="view", **FORWARD)
    b.output(scaled(b, view, "y"))
    step = fuse.in_place(b.finish())
    assert taken(step) == {"y": "view"}
    assert [s.root.name for s in storages(step)] == ["x", "a"]


def test_what_is_returned_is_not_taken_over() -> None:
    b, x = start()
    a = scaled(b, x, "a")
    b.output(a, scaled(b, a, "last"))
    assert taken(fuse.in_place(b.finish())) == {}


def test_a_returned_view_protects_its_storage() -> None:
    b, x = start()
    a = scaled(b, x, "a")
    view = b.emit1("reshape", a, shape=(8,), name="view", **FORWARD)
    c = scaled(b, a, "c")
    b.output(view, scaled(b, c, "d"))
    assert taken(fuse.in_place(b.finish())) == {"d": "c"}


def test_a_returned_value_that_took_over_is_protected() -> None:
    b, x = start()
    second = scaled(b, scaled(b, x, "first"), "second")
    b.output(second)
    scaled(b, second, "last")
    assert taken(fuse.in_place(b.finish())) == {"second": "first"}


def test_the_second_operand_is_taken_over_where_the_first_lives_on() -> None:
    b, x = start()
    a, c = scaled(b, x, "a"), scaled(b, x, "c")
    total = b.emit1("add", a, c, name="sum", **FORWARD)
    b.output(total, a)
    step = fuse.in_place(b.finish())
    assert taken(step) == {"sum": "c"}
    ones = [torch.ones(2, 4)]
    assert torch.equal(TorchExecutor(step, {}).run(ones)[0], torch.full((2, 4), 4.0))


def test_an_operand_that_is_used_twice_is_not_taken_over() -> None:
    b, x = start()
    a = scaled(b, x, "a")
    b.output(b.emit1("mul", a, a, name="square", **FORWARD))
    assert taken(fuse.in_place(b.finish())) == {}


def test_residents_are_not_taken_over() -> None:
    b, _ = start()
    w = b.resident("w", (2, 4), Role.WEIGHT, Init("zeros"))
    b.output(scaled(b, w, "y"))
    assert taken(fuse.in_place(b.finish())) == {}


def test_shapes_and_formats_must_agree() -> None:
    b, x = start()
    z = scaled(b, x, "z")
    label = b.input("label", (2,), Role.LABEL)
    (e,) = b.emit("xent_error", z, label, scale=1.0, with_loss=False, name="e", **FORWARD)
    b.output(e)
    assert taken(fuse.in_place(b.finish())) == {"e": "z"}


# --- updates ------------------------------------------------------------------------------------------------


def dense_update(*, twice: bool = False, returned: bool = False, given: bool = False) -> Step:
    """w moves by dᵀx; the gradient may have a second use."""
    b, x = start()
    d = b.input("d", (2, 3), Role.ERROR)
    w = b.resident("w", (3, 4), Role.WEIGHT, Init("zeros"))
    m = b.resident("w.m", (3, 4), Role.STATE, Init("zeros"))
    g = b.input("g", (3, 4), Role.SCRATCH) if given else b.emit1("matmul_dw", d, x, name="g", **SCRATCH)
    style = {"role": Role.WEIGHT, "phase": Phase.UPDATE}
    b.emit("update", w, g, m, optimizer=Optimizer("momentum"), **style)
    if twice:
        b.output(b.emit1("sign", g, **SCRATCH))
    if returned:
        b.output(g)
    return b.finish()


def test_gradient_and_update_become_one() -> None:
    (op,) = fuse.fuse_updates(dense_update()).ops
    assert op.kind == "matmul_dw_update"
    assert [v.name for v in op.inputs] == ["d", "x", "w", "w.m"]
    assert [v.name for v in op.written] == ["w", "w.m"]
    assert op.phase == Phase.GRADIENT


@pytest.mark.parametrize(
    "step",
    [dense_update(twice=True), dense_update(returned=True), dense_update(given=True)],
    ids=["used twice", "returned", "given"],
)
def test_gradient_with_another_use_stays(step: Step) -> None:
    assert [op.kind for op in fuse.fuse_updates(step).ops] == [op.kind for op in step.ops]


# --- gates before unpools -----------------------------------------------------------------------------------


def pooled(fn: str = "relu", kernel: int = 2, stride: int = 2) -> Network:
    d = Describe("net", (1, 8, 8))
    d.conv(4, 3, padding=1, name="conv")
    d.activation(fn, name="act")
    d.max_pool(kernel, stride, name="pool")
    d.dense(3, name="fc")
    return d.network()


def kinds(step: Step) -> list[str]:
    return [op.kind for op in step.ops]


def test_the_gate_moves_before_the_unpool() -> None:
    step = emit_step(make_rule("bp"), pooled(), 2)
    eager = [k for k in kinds(step) if k in ("max_unpool", "gate")]
    fused = fuse.gate_before_unpool(step)
    assert eager == ["max_unpool", "gate"]
    assert [k for k in kinds(fused) if k in ("max_unpool", "gate")] == ["gate", "max_unpool"]
    (gate,) = [op for op in fused.ops if op.kind == "gate"]
    assert gate.outputs[0].shape == (2, 4, 4, 4)  # a quarter of the elements
    assert gate.inputs[1].name == "pool"


def test_the_activation_before_the_pool_dies_at_the_pool() -> None:
    step = emit_step(make_rule("bp"), pooled(), 2)
    fused = fuse.gate_before_unpool(step)
    pool = next(i for i, op in enumerate(fused.ops) if op.kind == "max_pool")
    assert step.keeps()["act"][1] > pool
    assert fused.keeps()["act"][1] == pool
    assert peak_bytes(lower(step)) < peak_bytes(step)


def test_a_derivative_that_is_read_from_the_input_stays() -> None:
    step = emit_step(make_rule("bp"), pooled("sign"), 2)
    assert str(fuse.gate_before_unpool(step)) == str(step)


def stashes(step: Step) -> list[str]:
    return [op.inputs[0].name for op in step.ops if op.kind == "stash"]


def test_bits_are_taken_behind_the_pool() -> None:
    step = emit_step(make_rule("bp-stash"), pooled(), 2)
    fused = fuse.gate_before_unpool(step)
    assert stashes(step) == ["act", "pool"]  # for the gate, and for the weights behind the pool
    assert stashes(fused) == ["pool"]
    (gate,) = [op for op in fused.ops if op.kind == "gate"]
    assert gate.inputs[1].name == "pool.stash" and gate.inputs[1].shape == (2, 4, 4, 4)


def pooled_bits(*, again: bool = False) -> Step:
    """gate(max_unpool(d), stash(h)), and no stash of the pooled map; the bits of h may have another use."""
    b = Builder("small", 1, F32)
    x, d = b.input("x", (1, 1, 4, 4), Role.ACTIVATION), b.input("d", (1, 1, 2, 2), Role.ERROR)
    h = b.emit1("activate", x, fn="relu", name="h", **FORWARD)
    bits = b.emit1("stash", h, scale=0.5, **FORWARD)
    _, index = b.emit("max_pool", h, kernel=(2, 2), stride=(2, 2), padding=(0, 0), name="y", **FORWARD)
    e = b.emit1("max_unpool", d, index, shape=(1, 1, 4, 4), **SCRATCH)
    b.output(b.emit1("gate", e, bits, fn="relu", **SCRATCH))
    if again:
        b.output(b.emit1("gate", x, bits, fn="relu", **SCRATCH))
    return b.finish()


def test_bits_that_only_a_gate_reads_move_behind_the_pool() -> None:
    step = pooled_bits()
    fused = fuse.gate_before_unpool(step)
    assert (stashes(step), stashes(fused)) == (["h"], ["y"])
    assert kinds(fused) == ["activate", "max_pool", "stash", "gate", "max_unpool"]
    x, d = torch.randn(1, 1, 4, 4), torch.randn(1, 1, 2, 2)
    before, after = (TorchExecutor(s, {}).run([x.clone(), d.clone()])[0] for s in (step, fused))
    assert torch.equal(before, after)


def test_bits_with_another_use_stay_in_front_of_the_pool() -> None:
    assert kinds(fuse.gate_before_unpool(pooled_bits(again=True))) == kinds(pooled_bits(again=True))


def gate_after_unpool(*, returned: bool = False, twice: bool = False, other: bool = False) -> Step:
    """gate(max_unpool(d), h); the unpooled error may have another use, or the gate read another value."""
    b = Builder("small", 1, F32)
    x = b.input("x", (1, 1, 4, 4), Role.ACTIVATION)
    d = b.input("d", (1, 1, 2, 2), Role.ERROR)
    h = b.emit1("activate", x, fn="relu", **FORWARD)
    _, index = b.emit("max_pool", h, kernel=(2, 2), stride=(2, 2), padding=(0, 0), **FORWARD)
    error = {"role": Role.ERROR, "phase": Phase.ERROR}
    e = b.emit1("max_unpool", d, index, shape=(1, 1, 4, 4), **error)
    b.output(b.emit1("gate", e, x if other else h, fn="relu", **error))
    if twice:
        b.output(b.emit1("sign", e, **error))
    if returned:
        b.output(e)
    return b.finish()


def test_the_gate_of_a_small_program_moves() -> None:
    assert kinds(fuse.gate_before_unpool(gate_after_unpool())) == [
        "activate",
        "max_pool",
        "gate",
        "max_unpool",
    ]


@pytest.mark.parametrize(
    "step",
    [gate_after_unpool(returned=True), gate_after_unpool(twice=True), gate_after_unpool(other=True)],
    ids=["returned", "used twice", "another activation"],
)
def test_the_gate_stays_where_it_must(step: Step) -> None:
    assert kinds(fuse.gate_before_unpool(step)) == kinds(step)


def test_positions_that_are_given_are_left_alone() -> None:
    b = Builder("small", 1, F32)
    d, h = (b.input(n, (1, 1, s, s), Role.ERROR) for n, s in (("d", 2), ("h", 4)))
    index = b.input("index", (1, 1, 2, 2), Role.ACTIVATION)
    e = b.emit1("max_unpool", d, index, shape=(1, 1, 4, 4), **SCRATCH)
    b.output(b.emit1("gate", e, h, fn="relu", **SCRATCH))
    step = b.finish()
    assert kinds(fuse.gate_before_unpool(step)) == kinds(step)


def gate_after_spread(*, again: bool = False, stride: int = 2) -> Step:
    """gate(avg_unpool(d), h) behind a max pool of h; the spread error may have another use, or windows overlap."""
    b = Builder("small", 1, F32)
    x = b.input("x", (1, 3, 4, 4), Role.ACTIVATION)
    window = {"kernel": (2, 2), "stride": (stride, stride), "padding": (0, 0)}
    small = 4 // stride if stride == 2 else 3
    d = b.input("d", (1, 3, small, small), Role.ERROR)
    error = {"role": Role.ERROR, "phase": Phase.ERROR}
    h = b.emit1("activate", x, fn="relu", name="h", **FORWARD)
    y, _ = b.emit("max_pool", h, kernel=(2, 2), stride=(2, 2), padding=(0, 0), name="y", **FORWARD)
    e = b.emit1("avg_unpool", d, shape=(1, 3, 4, 4), **window, **error)
    b.output(b.emit1("gate", e, h, fn="relu", name="gated", **error), y)
    if again:
        b.output(b.emit1("sign", e, **error))
    return b.finish()


def test_a_spread_error_is_made_where_the_activation_lay() -> None:
    step = gate_after_spread()
    fused = lower(step)
    assert kinds(fused) == ["activate", "max_pool", "unpool_gate"]
    assert taken(fused)["gated"] == "h"
    x, d = torch.randn(1, 3, 4, 4), torch.randn(1, 3, 2, 2)
    before, after = (TorchExecutor(s, {}).run([x.clone(), d.clone()]) for s in (step, fused))
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize("step", [gate_after_spread(again=True), gate_after_spread(stride=1)])
def test_a_spread_error_stays_where_it_must(step: Step) -> None:
    assert kinds(fuse.unpool_into_gate(step)) == kinds(step)


def test_positions_that_nothing_reads_are_not_made() -> None:
    (pool,) = [op for op in fuse.drop_positions(gate_after_spread()).ops if op.kind == "max_pool"]
    assert len(pool.outputs) == 1
    step = gate_after_unpool()
    assert str(fuse.drop_positions(step)) == str(step)


# --- order and views ----------------------------------------------------------------------------------------


def test_a_view_of_a_resident_is_read_before_the_resident_changes() -> None:
    b, x = start()
    w = b.resident("w", (2, 4), Role.WEIGHT, Init("ones"))
    view = b.emit1("reshape", w, shape=(4, 2), name="view", **FORWARD)
    b.output(b.emit1("scale", view, by=1.0, name="old", **FORWARD))
    b.emit("update", w, x, optimizer=Optimizer(), role=Role.WEIGHT, phase=Phase.UPDATE)
    b.output(b.emit1("scale", view, by=1.0, name="new", **FORWARD))
    step = b.finish()
    backwards = schedule(step, lambda _growth, i: (-i,))
    assert [op.kind for op in backwards.ops] == ["reshape", "scale", "update", "scale"]
    for program in (step, backwards):
        old, new = TorchExecutor(program, {"w": torch.ones(2, 4)}).run([torch.ones(2, 4)], lr=0.25)
        assert torch.equal(old, torch.ones(4, 2))
        assert torch.equal(new, torch.full((4, 2), 0.75))


def test_independent_ops_follow_the_key() -> None:
    b, x = start()
    b.output(*(scaled(b, x, name) for name in "abc"))
    backwards = schedule(b.finish(), lambda _growth, i: (-i,))
    assert [op.outputs[0].name for op in backwards.ops] == ["c", "b", "a"]


def test_growth_is_what_an_op_makes_less_what_it_frees() -> None:
    seen: dict[int, set[int]] = {}

    def key(growth: int, i: int) -> tuple[int, ...]:
        seen.setdefault(i, set()).add(growth)
        return (i,)

    b, x = start()
    a = scaled(b, x, "a")  # 32 bytes made, x lives on
    c = scaled(b, x, "c")  # 32 made, x (32) freed
    b.output(b.emit1("add", a, c, name="sum", **FORWARD))  # 32 made, 64 freed
    schedule(b.finish(), key)
    assert seen == {0: {32}, 1: {32, 0}, 2: {-32}}


def test_unknown_view() -> None:
    with pytest.raises(StepError, match="view 'fast' is unknown; use one of fused, eager"):
        lower(dense_update(), "fast")


def test_eager_is_the_step_as_it_was_emitted() -> None:
    step = dense_update()
    assert lower(step, "eager") is step


def test_a_pass_does_not_change_its_argument() -> None:
    step = emit_step(make_rule("bp"), pooled(), 2)
    before = str(step)
    lower(step)
    assert str(step) == before
