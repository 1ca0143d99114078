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
from insitu.hardware.work import Product, Work
from insitu.step.ir import Op

LEVEL = "ram"


def row(target: Processor, index: int, op: Op, part: Work) -> Row:
    """One part of an op on a processor."""
    reads, writes = _traffic(target, part)
    cycles = dict(_cycles(target, part))
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


def _cycles(target: Processor, part: Work) -> Iterator[tuple[Use, float]]:
    """Uses of the cycle entries."""
    kind = kernel(target, part)
    amount = float(part.amount)
    yield (f"cycles.{kind}", *_factor(part, kind)), amount
    if part.product is not None and not part.real and min(part.widths) < 8:
        yield ("cycles.unpack",), amount


def kernel(target: Processor, part: Work) -> str:
    """The class of a part: a key of the target's cycles; special kernels only where they are known apart."""
    known = target.cycles
    if part.kind == "multiply":
        return "elementwise"
    if part.kind == "update" and part.real and known.float32_update is not None:
        return "float32_update"
    if part.kind == "conv" and part.product is not None:
        _, groups, _, c, _, _, fy, fx = part.product.sizes
        if fy * fx == 1 and known.pointwise is not None:
            return "pointwise"
        if groups * c == 1 and known.single is not None:
            return "single"
    return part.kind


def _factor(part: Work, kind: str) -> tuple[str, ...]:
    """The entry that a width other than 8 bits multiplies by."""
    if part.product is not None:
        return ("cycles.float32",) if part.real else ("cycles.int16",) if max(part.widths) > 8 else ()
    return ("cycles.float32",) if kind == "update" and part.real else ()


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


def _loads(target: Processor, product: Product) -> tuple[int, int]:
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
