"""Operands that do not fit are refused, and the message says what was given and what is needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

import insitu.ops  # noqa: F401  (fills OPS)
from insitu.errors import StepError
from insitu.numbers.formats import F64, Fixed
from insitu.step.builder import Builder
from insitu.step.ir import OPS, Phase, Role

from .rows import ROWS

PLAIN = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1}
POOL = {"kernel": (3, 3), "stride": (3, 3), "padding": (0, 0)}


@dataclass(frozen=True)
class Refusal:
    """Shapes that an op does not take, and a part of what it says."""

    kind: str
    shapes: tuple[tuple[int, ...], ...]
    message: str
    attrs: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.kind}{list(self.shapes)}"


def no(kind: str, *shapes: tuple[int, ...], says: str, **attrs: Any) -> Refusal:
    return Refusal(kind, shapes, says, attrs)


REFUSALS = [
    no("stash", (2, 3), says="a stash takes one bit, not u7.1", format=Fixed(False, 7, 1)),
    no("stash", (2, 3), says="a bit cannot stand for -0.5; use a positive scale", scale=-0.5),
    no("matmul", (2, 3), (4, 5), says="x [B,I] and weights [O,I], got [2, 3] and [4, 5]"),
    no("matmul", (2, 3, 4), (4, 4), says="flatten the input"),
    no("matmul", (2, 3), (4, 3), (3,), says="the bias must have one element per output"),
    no("matmul_dx", (2, 3), (4, 5), says="the error [2, 3] does not fit the matrix [4, 5]"),
    no("matmul_dw", (2, 3), (4, 5), says="of one batch, got [2, 3] and [4, 5]"),
    no("matmul_dw", (2, 3, 1), (2, 5), says="needs an error [B,O] and an input [B,I]"),
    no("sum_to_channels", (3,), says="needs [B,C] or [B,C,...], got [3]"),
    no("conv2d", (2, 3, 5, 5), (4, 2, 3, 3), says="got [2, 3, 5, 5] and [4, 2, 3, 3]", **PLAIN),
    no("conv2d", (2, 75), (4, 3, 3, 3), says="needs x [B,C,H,W]", **PLAIN),
    no("conv2d", (2, 3, 2, 5), (4, 3, 3, 3), says="[3, 3] is larger than the padded plane [2, 5]", **PLAIN),
    no("conv2d", (2, 3, 5, 5), (4, 3, 3, 3), (3,), says="one element per output channel", **PLAIN),
    no("conv2d", (2, 4, 5, 5), (3, 2, 3, 3), says="do not divide into 2 groups", **PLAIN | {"groups": 2}),
    no(
        "conv2d_dx",
        (2, 5, 3, 3),
        (4, 3, 3, 3),
        says="error [2, 5, 3, 3] does not fit the kernel [4, 3, 3, 3]",
        shape=(2, 3, 5, 5),
        **PLAIN,
    ),
    no("conv2d_dx", (2, 4, 2, 3), (4, 3, 3, 3), says="must be [2, 4, 3, 3]", shape=(2, 3, 5, 5), **PLAIN),
    no("conv2d_dw", (2, 4, 3, 3), (3, 3, 5, 5), says="must be [3, 4, 3, 3]", kernel=(4, 3, 3, 3), **PLAIN),
    no("conv2d_dw", (2, 4, 3, 3), (2, 2, 5, 5), says="with groups=1", kernel=(4, 3, 3, 3), **PLAIN),
    no("activate", (2, 3), says="activation function 'mish' is unknown; use relu", fn="mish"),
    no("gate", (2, 3), (2, 4), says="the error [2, 3] does not fit the activation [2, 4]", fn="relu"),
    no("add", (2, 3), (2, 4), says="the shapes must be equal, got [2, 3] and [2, 4]"),
    no("mul", (2, 3), (3, 2), says="the shapes must be equal, got [2, 3] and [3, 2]"),
    no("reshape", (2, 3), says="cannot view [2, 3] as [2, 4]", shape=(2, 4)),
    no("max_pool", (2, 9), says="pooling needs [B,C,H,W], got [2, 9]", **POOL),
    no("max_pool", (2, 1, 2, 4), says="the window (3, 3) is larger than the plane [2, 4]", **POOL),
    no("avg_pool", (2, 9), says="pooling needs [B,C,H,W], got [2, 9]", **POOL),
    no("avg_pool", (2, 1, 4, 2), says="the window (3, 3) is larger than the plane [4, 2]", **POOL),
    no("max_unpool", (2, 1, 2, 2), (2, 1, 2, 3), says="positions [2, 1, 2, 3]", shape=(2, 1, 4, 4)),
    no("max_unpool", (2, 1, 2, 2), (2, 1, 2, 2), says="plane [2, 3, 4, 4]", shape=(2, 3, 4, 4)),
    no("bn_stats", (1, 3), says="use a batch of 2 or more, or an RMS norm"),
    no("bn_stats", (1, 3, 1, 1), says="more than one value per channel"),
    no("bn_stats", (3,), says="needs [B,C] or [B,C,...], got [3]"),
    no(
        "bn_apply",
        (4, 3),
        (3,),
        (4,),
        says="[4] must have one element per channel [3]",
        eps=1e-5,
        frozen=True,
    ),
    no("bn_dgamma", (4,), (4,), (3,), (3,), says="needs [B,C] or [B,C,...], got [4]", eps=1e-5),
    no(
        "xent_error", (4, 3), (3,), says="labels [3] do not fit the output [4, 3]", scale=1.0, with_loss=False
    ),
    no("mse_error", (4, 3), (4, 2), says="labels [4, 2] do not fit the output", scale=1.0, with_loss=False),
    no("bce_error", (4, 3, 2), (4,), says="labels [4] do not fit the output", scale=1.0, with_loss=False),
    no("hinge_error", (4, 3, 2), (4,), says="labels [4] do not fit", scale=1.0, with_loss=False),
    no("upsample", (2, 3), says="needs [B,C,H,W], got [2, 3]", factor=(2, 2)),
    no("upsample_dx", (1, 2, 5, 4), says="an error [1, 2, 5, 4] is not that of a map", factor=(2, 2)),
    no("dropout", (2, 3), says="a dropout rate of 1 keeps nothing", p=1.0, stream="s"),
    no("dropout", (2, 3), says="a dropout rate of -0.1", p=-0.1, stream="s"),
    no("dropout", (2, 3), says="6 elements are no groups of 4", p=0.1, stream="s", each=4),
    no("random_project", (2, 3, 4), says="must be [B,C], got [2, 3, 4]", columns=3, stream="s", bound=1.0),
    no("random_rows", (2, 3), says="use dfa for regression", columns=3, stream="s", bound=1.0, format=F64),
    no("select_rows", (5, 4), (2, 3), says="needs class labels [B]", columns=3),
    no("select_rows", (5, 4), (2,), says="[5, 4] has fewer than 7 columns", columns=7),
    no("project", (2, 3), (5, 4), says="[2, 3] does not fit the feedback matrix [5, 4]", columns=4),
    no("project", (2, 5), (5, 4), says="[5, 4] has fewer than 7 columns", columns=7),
]


@pytest.mark.parametrize("refusal", REFUSALS, ids=str)
def test_operands_that_do_not_fit(refusal: Refusal) -> None:
    b = Builder("refused", 2, F64)
    values = [b.input(f"v{i}", shape, Role.ACTIVATION) for i, shape in enumerate(refusal.shapes)]
    with b.at("fc1"), pytest.raises(StepError) as refused:
        b.emit(refusal.kind, *values, role=Role.ACTIVATION, phase=Phase.FORWARD, **refusal.attrs)
    message = str(refused.value)
    assert refusal.message in message
    assert message.startswith(f"{refusal.kind}(%v0 [")
    assert "at fc1 test_refusals.py:" in message
    assert b.ops == []


@pytest.mark.parametrize("kind", sorted({row.kind for row in ROWS if not callable(OPS[row.kind].adjoint)}))
def test_ops_without_adjoint_say_so(kind: str) -> None:
    from .harness import program

    row = next(row for row in ROWS if row.kind == kind)
    b = Builder("refused", 2, F64)
    op = program(row).op
    with pytest.raises(StepError, match=f"^{kind} at .* has no adjoint: not differentiable"):
        b.adjoint(op, [None] * len(op.outputs), [0])


def test_max_pool_positions_take_few_bits() -> None:
    for side, bits in ((16, 8), (17, 16)):
        b = Builder("pool", 1, F64)
        x = b.input("x", (1, 1, side, side), Role.ACTIVATION)
        _, index = b.emit("max_pool", x, role=Role.ACTIVATION, phase=Phase.FORWARD, **POOL)
        assert index.format == Fixed(False, bits, 0)
