"""What an op asks of hardware, before any hardware is chosen: products, element-wise operations, updates, random words.

One :class:`Work` is an additive part of an op. A product keeps the sizes of its loops and who its operands are, so that
an array can map it and a processor can count the loads of its kernels; everything else streams its operands once.

Legend: B batch, G groups, K output channels (of a group), C input channels (of a group), OY OX the plane of the
output, FY FX the kernel.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod

from insitu.numbers.formats import Float, Quantized
from insitu.ops.updates.executor import deferred
from insitu.step.ir import Format, Op, Phase, Value

PHASES = (*(p.value for p in Phase), "random", "rounding")
"""The phases of a bill: those of the step, random words, and requantization."""

ACCUMULATOR = 32
"""Bits of a sum where a step does not say: float32, and integers whose sum has no format of its own."""


Streams = tuple[tuple[Value, int], ...]


@dataclass(frozen=True)
class Operand:
    """What a product reads or makes.

    Attributes:
        value: where it is stored; ``None`` for what is made on the fly (a regenerated feedback matrix).
        elements: how many.
        bits: per element, as stored.
        width: per element, as it enters the multiplier.
    """

    value: Value | None
    elements: int
    bits: int
    width: int


@dataclass(frozen=True)
class Product:
    """The loop nest of a product.

    Attributes:
        form: ``forward`` (O = W * I), ``dx`` (O is the error below, W the weights, I the error above) or ``dw`` (O is
            the gradient, W the error, I the layer's input).
        sizes: B, G, K, C, OY, OX, FY, FX of the *forward* product.
        stride, dilation: along y and x.
        plane: height and width of the layer's input, without padding.
        made, stationary, streamed: the operands O, W and I.
        sum_bits: of a partial sum.
        added: O is added to what is stored there (a fused update).
    """

    form: str
    sizes: tuple[int, int, int, int, int, int, int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    plane: tuple[int, int]
    made: Operand
    stationary: Operand
    streamed: Operand
    sum_bits: int
    added: bool = False

    @property
    def macs(self) -> int:
        return prod(self.sizes)

    @property
    def kind(self) -> str:
        """``dense``, ``conv`` or ``depthwise``: the kernel of a processor that does it."""
        _, groups, _, c, oy, ox, fy, fx = self.sizes
        if oy * ox * fy * fx == 1:
            return "dense"
        return "depthwise" if groups > 1 and c == 1 else "conv"


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
        every: it is done once in so many executions of the op (gathered updates).
    """

    phase: str
    kind: str
    amount: int
    macs: int
    other: int
    widths: tuple[int, int]
    real: bool = False
    product: Product | None = None
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
    if op.kind == "matmul_dw_gather":
        return [_kept(op), *(replace(w, every=period(op)) for w in works(deferred(op)))]
    return [
        w for w in (*_main(op), *_moved(op), *_random(op), *_rounded(op)) if w.amount or w.reads or w.writes
    ]


def _width(op: Op, index: int, read: str | None = None) -> int:
    """Bits with which an operand enters the arithmetic."""
    how = op.attrs.get(read) if read else None
    if how is not None:
        return int(how.format.bits)
    if op.attrs.get("view") == "sign" and index == 1:
        return 1
    return op.inputs[index].format.bits


def _sum_bits(op: Op) -> int:
    fmt: Format | None = op.attrs.get("format")
    return fmt.bits if fmt is not None else ACCUMULATOR


def _operand(value: Value, width: int | None = None, elements: int | None = None) -> Operand:
    bits = value.format.bits
    return Operand(
        value, value.size if elements is None else elements, bits, bits if width is None else width
    )


# --- products ------------------------------------------------------------------------------------------------


def _dense(
    op: Op,
    form: str,
    batch: int,
    k: int,
    c: int,
    operands: tuple[Operand, Operand, Operand],
    added: bool = False,
) -> Product:
    made, stationary, streamed = operands
    sizes = (batch, 1, k, c, 1, 1, 1, 1)
    return Product(form, sizes, (1, 1), (1, 1), (1, 1), made, stationary, streamed, _sum_bits(op), added)


def _matmul(op: Op) -> Product:
    x, w, out = op.inputs[0], op.inputs[1], op.outputs[0]
    operands = (_operand(out), _operand(w, _width(op, 1, "read")), _operand(x))
    return _dense(op, "forward", x.shape[0], w.shape[0], w.shape[1], operands)


def _matmul_dx(op: Op) -> Product:
    d, w, out = op.inputs[0], op.inputs[1], op.outputs[0]
    operands = (_operand(out), _operand(w, _width(op, 1, "read")), _operand(d))
    return _dense(op, "dx", d.shape[0], w.shape[0], w.shape[1], operands)


def _written(op: Op) -> Value:
    """What a product makes: its output, or the weights that a fused update writes."""
    return op.outputs[0] if op.outputs else op.written[0]


def _matmul_dw(op: Op) -> Product:
    d, x = op.inputs[:2]
    operands = (_operand(_written(op)), _operand(d), _operand(x))
    return _dense(op, "dw", d.shape[0], d.shape[1], x.shape[1], operands, added=not op.outputs)


def _project(op: Op) -> Product:
    """δ = e B: as a dense layer with the outputs C and the inputs N, so that B is the stationary operand."""
    e, columns = op.inputs[0], op.attrs["columns"]
    count = e.shape[1] * columns
    if op.kind == "project":
        matrix = _operand(op.inputs[1], elements=count)
    else:
        fmt = op.attrs.get("matrix")
        width = fmt.bits if fmt is not None else op.outputs[0].format.bits
        matrix = Operand(None, count, width, width)
    operands = (_operand(op.outputs[0]), matrix, _operand(e))
    return _dense(op, "dx", e.shape[0], e.shape[1], columns, operands)


def _gram(op: Op) -> Product:
    x = op.inputs[0]
    operands = (_operand(op.outputs[0]), _operand(x), _operand(x))
    return _dense(op, "forward", x.shape[0], x.shape[0], x.size // x.shape[0], operands)


def _gram_dx(op: Op) -> Product:
    d, x = op.inputs
    operands = (_operand(op.outputs[0]), _operand(x), _operand(d))
    return _dense(op, "dx", x.shape[0], x.shape[0], x.size // x.shape[0], operands)


def _row_products(op: Op) -> Product:
    (x,), out = op.inputs, op.outputs[0]
    first, others = out.shape
    features = x.size // x.shape[0]
    operands = (
        _operand(out),
        _operand(x, elements=others * features),
        _operand(x, elements=first * features),
    )
    return _dense(op, "forward", first, others, features, operands)


def _row_products_dx(op: Op) -> Product:
    """Two products of one size in one nest: both halves of the rows."""
    d, x = op.inputs
    operands = (_operand(op.outputs[0]), _operand(x), _operand(d))
    return _dense(op, "dx", 2 * d.shape[0], d.shape[1], x.size // x.shape[0], operands)


def _conv(
    op: Op, d: Value, x: tuple[int, ...], w: tuple[int, ...], form: str, operands: tuple[Operand, ...]
) -> Product:
    """``d``: of the shape of the forward output; ``x``, ``w``: shapes of the forward input and of the kernel."""
    groups = op.attrs["groups"]
    sizes = (d.shape[0], groups, w[0] // groups, w[1], d.shape[2], d.shape[3], w[2], w[3])
    stride, dilation = ((op.attrs[k][0], op.attrs[k][1]) for k in ("stride", "dilation"))
    made, stationary, streamed = operands
    plane = (x[2], x[3])
    added = not op.outputs
    return Product(form, sizes, stride, dilation, plane, made, stationary, streamed, _sum_bits(op), added)


def _conv2d(op: Op) -> Product:
    x, w, out = op.inputs[0], op.inputs[1], op.outputs[0]
    return _conv(
        op, out, x.shape, w.shape, "forward", (_operand(out), _operand(w, _width(op, 1, "read")), _operand(x))
    )


def _conv2d_dx(op: Op) -> Product:
    d, w, out = op.inputs[0], op.inputs[1], op.outputs[0]
    return _conv(
        op, d, out.shape, w.shape, "dx", (_operand(out), _operand(w, _width(op, 1, "read")), _operand(d))
    )


def _conv2d_dw(op: Op) -> Product:
    d, x = op.inputs[:2]
    return _conv(
        op, d, x.shape, tuple(op.attrs["kernel"]), "dw", (_operand(_written(op)), _operand(d), _operand(x))
    )


PRODUCTS = {
    "matmul": _matmul,
    "matmul_dx": _matmul_dx,
    "matmul_dw": _matmul_dw,
    "matmul_dw_update": _matmul_dw,
    "project": _project,
    "random_project": _project,
    "gram": _gram,
    "gram_dx": _gram_dx,
    "row_products": _row_products,
    "row_products_dx": _row_products_dx,
    "conv2d": _conv2d,
    "conv2d_dx": _conv2d_dx,
    "conv2d_dw": _conv2d_dw,
    "conv2d_dw_update": _conv2d_dw,
}
"""Ops that are loop nests of multiply-accumulates."""


def _main(op: Op) -> Iterator[Work]:
    """Everything but the weight change, random words and requantization."""
    make = PRODUCTS.get(op.kind)
    if make is not None:
        yield _of_product(op, make(op))
    elif op.kind not in ROUNDINGS and op.kind != "update":
        yield from _streamed(op)


def _of_product(op: Op, product: Product) -> Work:
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
    counts = op.record.counts(op)
    moved = set(op.written) if op.kind in MOVES else set()
    values = tuple(v for v in (*op.inputs, *op.outputs) if v not in moved)
    width = max((v.format.bits for v in values if v.shape), default=ACCUMULATOR)
    real = any(isinstance(v.format, Float) for v in values)
    reads = tuple((v, _touched(op, v)) for v in op.inputs if v not in moved)
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


def _touched(op: Op, value: Value) -> int:
    """Elements of an operand that an op reads: of a stored feedback matrix the rows of the labels alone."""
    return op.outputs[0].size if op.kind == "select_rows" and value is op.inputs[0] else value.size


# --- updates, random words, requantization -------------------------------------------------------------------

MOVES = (
    "sum_to_channels_update",
    "bn_dgamma_update",
    "update",
    "matmul_dw_update",
    "conv2d_dw_update",
)
"""Ops that move a parameter by a gradient."""


def _moved(op: Op) -> Iterator[Work]:
    """The change of a parameter (and of the optimiser's state), once its gradient is there."""
    if op.kind not in MOVES:
        return
    weight, *state = op.written
    counts = op.record.counts(op)
    macs = counts.macs.get(Phase.UPDATE, 0)
    bits = weight.format.bits
    real = isinstance(weight.format, Float)
    fused = op.kind in PRODUCTS  # the product itself reads and writes the weights
    own = () if fused else (weight,)
    gradient = tuple(v for v in op.inputs if v not in op.written) if op.kind == "update" else ()
    other, kept = counts.other.get(Phase.UPDATE, 0), whole(*state)
    reads, writes = (*whole(*own, *gradient), *kept), (*whole(*own), *kept)
    yield Work("update", "update", weight.size, macs, other, (bits, bits), real, None, reads, writes)


def period(op: Op) -> int:
    """Executions of an update, each with an error, in which it moves its parameter once."""
    return int(op.attrs.get("gather", 1))


def _kept(op: Op) -> Work:
    """What every execution of a gathered update does: its error and its input are copied to their place."""
    d, x, _, errors, inputs, count = op.inputs
    bits, amount = max(d.format.bits, x.format.bits), d.size + x.size
    reads, writes = whole(d, x, count), ((errors, d.size), (inputs, x.size), (count, 1))
    return Work(op.phase.value, "elementwise", amount, 0, amount, (bits, bits), reads=reads, writes=writes)


def _random(op: Op) -> Iterator[Work]:
    """Random words, and the writing of an array that consists of them."""
    words = op.record.counts(op).random
    if words:
        yield Work("random", "random", words, 0, 0, (32, 32))


ROUNDINGS = ("requant", "exponent", "add_exponents")
"""Ops that are nothing but the change of a format."""


def _rounded(op: Op) -> Iterator[Work]:
    """Requantization: as an op of its own, or of the sums that leave a product."""
    if op.kind in ROUNDINGS:
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
    elif op.attrs.get("then") is not None:
        bits = _sum_bits(op)
        size = op.outputs[0].size
        yield Work("rounding", "rounding", size, 0, size, (bits, bits))


def macs_by_phase(parts: Iterable[Work]) -> Mapping[str, float]:
    """Multiply-accumulates of an execution, summed by phase."""
    found: dict[str, float] = {}
    for part in parts:
        found[part.phase] = found.get(part.phase, 0) + part.macs / part.every
    return found
