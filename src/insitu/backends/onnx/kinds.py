"""Which ops of a forward pass have a form in ONNX, and why others have none. Needs no package onnx."""

from __future__ import annotations

from insitu.numbers.rounding import Rounding
from insitu.step.ir import Op

KINDS = frozenset(
    (
        "matmul",
        "conv2d",
        "requant",
        "activate",
        "leaky",
        "lut",
        "add",
        "offset",
        "reshape",
        "max_pool",
        "sum_pool",
        "sum_unpool",
    )
)


def unfit(op: Op) -> str | None:
    """Why an op cannot be written, with place and remedy; ``None``: it can."""
    if op.kind not in KINDS:
        return (
            f"{op.kind} at {op.where} has no form in ONNX; use a network of {', '.join(sorted(KINDS))}, such as "
            "one with network_options.norm=fold, or export c"
        )
    if op.kind == "requant" and len(op.inputs) > 1:
        return f"{op.kind} at {op.where} has a run-time exponent; use activation_exponent=static"
    how = op.attrs if op.kind == "requant" else getattr(op.attrs, "epilogue", None)
    if how is not None and how.rounding == Rounding.STOCHASTIC:
        return f"{op.kind} at {op.where} rounds at random; use rounding=half-up"
    return None
