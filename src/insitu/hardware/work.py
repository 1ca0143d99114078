"""What an op asks of hardware, before any hardware is chosen: products, element-wise operations, updates, random words.

One :class:`Work` is an additive part of an op. A product keeps its loop nest (:mod:`insitu.ops.loops`), so that
an array can map it and a processor can count the loads of its kernels; everything else streams its operands once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from insitu.numbers.formats import Float, Quantized
from insitu.ops.integer_products import epilogue
from insitu.ops.loops import ACCUMULATOR, LoopNest, loops, sum_bits
from insitu.ops.update import Gated
from insitu.step.ir import Op, Phase, Trait, Value

PHASES = (*(p.value for p in Phase), "random", "rounding")
"""The phases of a bill: those of the step, random words, and requantization."""

Streams = tuple[tuple[Value, int], ...]


@dataclass(frozen=True)
class Work:
    """One additive part of an op.

    Attributes:
        phase: of :data:`PHASES`.
        kind: ``dense``, ``conv``, ``depthwise`` (amount in MACs), ``elementwise`` (operations), ``multiply``
            (element-wise multiply-accumulates), ``update`` (weights), ``random`` (32-bit words), ``rounding``
            (elements).
        amount: how many.
        macs, other: multiply-accumulates and other operations in it, as :meth:`insitu.step.ir.Step.counts` has them
            (and an operation per requantized sum).
        widths: bits of the two factors of a MAC; of anything else the width, twice.
        real: floating point.
        product: the loop nest, of products.
        reads, writes: values that are streamed and how many elements of each; of a product, what it reads beside its
            operands (biases, magnitudes of a sign view, run-time exponents).
        every: it is done once in so many executions of the op (deferred updates).
    """

    phase: str
    kind: str
    amount: int
    macs: int
    other: int
    widths: tuple[int, int]
    real: bool = False
    product: LoopNest | None = None
    reads: Streams = ()
    writes: Streams = ()
    every: int = 1

    @property
    def label(self) -> str:
        """The widths as printed: ``8x4``, ``f32``."""
        return f"f{max(self.widths)}" if self.real else "x".join(map(str, self.widths))


def works(op: Op) -> list[Work]:
    """The parts of an op; nothing for views."""
    if op.record.alias:
        return []
    if op.record.deferred is not None:
        done, every = op.record.deferred(op)
        return [_kept(op), *(replace(w, every=every) for w in works(done))]
    return [
        w for w in (*_main(op), *_moved(op), *_random(op), *_rounded(op)) if w.amount or w.reads or w.writes
    ]


def _main(op: Op) -> Iterator[Work]:
    """Everything but the weight change, random words and requantization."""
    nest = loops(op)
    if nest is not None:
        yield _of_product(op, nest)
    elif Trait.ROUNDS not in op.record.traits and not _plain_update(op):
        yield from _streamed(op)


def _of_product(op: Op, product: LoopNest) -> Work:
    widths = (product.stationary.width, product.streamed.width)
    counts = op.record.counts(op)
    other = sum(n for p, n in counts.other.items() if p is not Phase.UPDATE)
    real = not isinstance(op.inputs[0].format, Quantized)  # integers, whatever the weights are stored as
    operands = (product.made.value, product.stationary.value, product.streamed.value, *op.written)
    beside = whole(*(v for v in op.inputs if v not in operands))
    return Work(
        op.phase.value, product.kind, product.macs, product.macs, other, widths, real, product, beside
    )


def _streamed(op: Op) -> Iterator[Work]:
    """An op that goes over its elements: every operand once."""
    counts, touched = op.record.counts(op), op.record.touched
    moved = set(op.written) if _moves(op) else set()
    values = tuple(v for v in (*op.inputs, *op.outputs) if v not in moved)
    width = max((v.format.bits for v in values if v.shape), default=ACCUMULATOR)
    real = any(isinstance(v.format, Float) for v in values)
    reads = tuple(
        (v, touched(op, i) if touched else v.size) for i, v in enumerate(op.inputs) if v not in moved
    )
    writes = whole(*op.outputs, *(v for v in op.written if v not in moved))
    macs, other = (
        sum(n for p, n in c.items() if not (moved and p is Phase.UPDATE)) for c in (counts.macs, counts.other)
    )
    if macs:
        yield Work(op.phase.value, "multiply", macs, macs, 0, (width, width), real, None, reads, writes)
        reads = writes = ()
    yield Work(op.phase.value, "elementwise", other, 0, other, (width, width), real, None, reads, writes)


def whole(*values: Value) -> Streams:
    """All elements of some values."""
    return tuple((v, v.size) for v in values)


# --- updates, random words, requantization -------------------------------------------------------------------


def _moves(op: Op) -> bool:
    """Does it move a parameter by a gradient?"""
    return Trait.MOVES in op.record.traits


def _plain_update(op: Op) -> bool:
    """Does it nothing else?"""
    return _moves(op) and op.record.fuses is None and not isinstance(op.attrs, Gated)


def _moved(op: Op) -> Iterator[Work]:
    """The change of a parameter (and of the optimiser's state), once its gradient is there."""
    if not _moves(op):
        return
    weight, *state = op.written
    counts = op.record.counts(op)
    macs = counts.macs.get(Phase.UPDATE, 0)
    bits = weight.format.bits
    real = isinstance(weight.format, Float)
    fused = loops(op) is not None  # the product itself reads and writes the weights
    own = () if fused else (weight,)
    gradient = tuple(v for v in op.inputs if v not in op.written) if _plain_update(op) else ()
    other, kept = counts.other.get(Phase.UPDATE, 0), whole(*state)
    reads, writes = (*whole(*own, *gradient), *kept), (*whole(*own), *kept)
    yield Work("update", "update", weight.size, macs, other, (bits, bits), real, None, reads, writes)


def period(op: Op) -> int:
    """Executions of an update, each with an error, in which it moves its parameter once."""
    return 1 if op.record.deferred is None else op.record.deferred(op)[1]


def _kept(op: Op) -> Work:
    """What every execution of a deferred update does: its error and its input are copied to their place."""
    d, x, _, errors, inputs, count = op.inputs
    bits, amount = max(d.format.bits, x.format.bits), d.size + x.size
    reads, writes = whole(d, x, count), ((errors, d.size), (inputs, x.size), (count, 1))
    return Work(op.phase.value, "elementwise", amount, 0, amount, (bits, bits), reads=reads, writes=writes)


def _random(op: Op) -> Iterator[Work]:
    """Random words, and the writing of an array that consists of them."""
    words = op.record.counts(op).random
    if words:
        yield Work("random", "random", words, 0, 0, (32, 32))


def _rounded(op: Op) -> Iterator[Work]:
    """Requantization: as an op of its own, or of the sums that leave a product."""
    if Trait.ROUNDS in op.record.traits:
        x = op.inputs[0]
        bits = x.format.bits
        yield Work(
            "rounding",
            "rounding",
            x.size,
            0,
            x.size,
            (bits, bits),
            False,
            None,
            whole(*op.inputs),
            whole(*op.outputs),
        )
    elif epilogue(op.attrs) is not None:
        bits = sum_bits(op)
        size = op.outputs[0].size
        yield Work("rounding", "rounding", size, 0, size, (bits, bits))


def macs_by_phase(parts: Iterable[Work]) -> Mapping[str, float]:
    """Multiply-accumulates of an execution, summed by phase."""
    found: dict[str, float] = {}
    for part in parts:
        found[part.phase] = found.get(part.phase, 0) + part.macs / part.every
    return found
