"""Rows of a bill on a processor: cycles per unit of work by class, and the loads of register-blocked kernels.

Memory traffic is counted at the RAM: a kernel that keeps ``outputs`` x ``positions`` sums in registers loads every
operand once per block of what it does not depend on. Its energy is inside the energy per cycle, so traffic has none of
its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil

from insitu.hardware.bill import Row, Use, priced
from insitu.hardware.target import Processor
from insitu.hardware.work import Work, works
from insitu.ops.loops import LoopNest
from insitu.step.ir import Op, Value

LEVEL = "ram"


def row(target: Processor, index: int, op: Op, part: Work) -> Row:
    """One part of an op on a processor."""
    reads, writes = _traffic(target, part)
    cycles = dict(_cycles(target, op, part))
    return Row.of(
        index,
        op,
        part,
        reads={LEVEL: reads} if reads else {},
        writes={LEVEL: writes} if writes else {},
        uses=_energy(target, cycles),
        cycles=priced(target.entries(), cycles),
        cycle_uses=cycles,
    )


def _cycles(target: Processor, op: Op, part: Work) -> Iterator[tuple[Use, float]]:
    """Uses of the cycle entries."""
    kind = kernel(target, op, part)
    amount = float(part.amount)
    yield (f"cycles.{kind}", *_factor(part, kind)), amount
    if target.cycles.word is not None:
        yield from _packed(op, part)
    elif part.product is not None and not part.real and min(part.widths) < 8:
        yield ("cycles.unpack",), amount
    if target.cycles.call is not None:
        yield ("cycles.call",), 1.0


def _packed(op: Op, part: Work) -> Iterator[tuple[Use, float]]:
    """Words that are not whole bytes, where they are known apart: read and written once by an op, weights at every MAC.
    The gradient and the adjoint of a convolution have no other form than element by element for them."""
    if part.product is not None and op.kind.startswith("conv2d") and part.product.form != "forward":
        columns = op.attrs.stride[1] if part.product.form == "dw" else 1
        if columns != 1 or any(v.format.bits != 8 for v in op.inputs[:2]):
            yield ("cycles.unpack",), float(part.amount)
        values: tuple[Value, ...] = op.outputs
    else:
        weights = [v for v in op.inputs if _odd(v) and v.resident and part.product is not None]
        yield from [(("cycles.word",), float(part.amount))] * bool(weights)
        values = (*(v for v in op.inputs if not v.resident), *op.outputs)
    if part == works(op)[0]:
        yield ("cycles.word",), float(sum(v.size for v in values if _odd(v)))


def _odd(value: Value) -> bool:
    """Is it an array of words that are not whole bytes?"""
    return value.size > 1 and value.format.bits not in (8, 16, 32)


def kernel(target: Processor, op: Op, part: Work) -> str:
    """The class of a part: a key of the target's cycles; special kernels only where they are known apart."""
    general = "elementwise" if part.kind == "multiply" else part.kind
    return next((k for k in _special(op, part) if getattr(target.cycles, k, None) is not None), general)


def _special(op: Op, part: Work) -> Iterator[str]:
    """Classes that a target may know apart, the most special first."""
    product = part.product
    if part.kind == "update":
        if part.real:
            yield "float32_update"
        if op.kind.startswith("conv2d"):
            yield "conv_update"
    elif product is not None and product.form != "forward":
        yield f"{part.kind}_{product.form}"
    if part.kind == "conv" and product is not None:
        _, groups, _, c, _, _, fy, fx = product.sizes
        if fy * fx == 1:
            yield "pointwise"
        elif groups * c == 1:
            yield "single"


def _factor(part: Work, kind: str) -> tuple[str, ...]:
    """The entry that a width other than 8 bits multiplies by."""
    if part.product is not None:
        return ("cycles.float32",) if part.real else ("cycles.int16",) if max(part.widths) > 8 else ()
    return ("cycles.float32",) if part.real and kind in ("update", "conv_update") else ()


def _energy(target: Processor, cycles: dict[Use, float]) -> dict[Use, float]:
    """Cycles times the energy of one, or the energy per unit of work where that is what was measured."""
    if target.energy is None or target.energy.cycle is not None:
        return {(*use, "energy.cycle"): n for use, n in cycles.items()}
    return {(use[0].replace("cycles.", "energy."), *use[1:]): n for use, n in cycles.items()}


def _traffic(target: Processor, part: Work) -> tuple[int, int]:
    """Bits read from and written to the RAM."""
    read, written = (sum(n * v.format.bits for v, n in side) for side in (part.reads, part.writes))
    if part.product is not None:
        loaded, made = _loads(target, part.product)
        return read + loaded, written + made
    return read, written


def _loads(target: Processor, product: LoopNest) -> tuple[int, int]:
    """Loads of the operands of a product, and stores of what it makes (which a fused update loads first)."""
    b, _, k, c, oy, ox, fy, fx = product.sizes
    rows, columns = {  # of O: those that W depends on, those that I depends on
        "forward": (k, b * oy * ox),
        "dx": (c, b * oy * ox),
        "dw": (k, c * fy * fx),
    }[product.form]
    rows, columns = min(rows, target.blocking.outputs.count), min(columns, target.blocking.positions.count)
    w, i, o = product.stationary, product.streamed, product.made
    loaded = 0 if w.value is None else max(ceil(product.macs / columns), w.elements) * w.bits
    loaded += max(ceil(product.macs / rows), i.elements) * i.bits
    made = o.elements * o.bits
    return loaded + (made if product.added else 0), made
