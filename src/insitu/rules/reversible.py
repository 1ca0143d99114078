"""Back-propagation that keeps no activations where a network can be run backwards."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

from insitu.network.builder import Builder, Trace
from insitu.network.graph import Block, Layer, Network
from insitu.rules.protocol import Citation, rule
from insitu.step.ir import Op, Phase, Role, Value


@rule
@dataclass(frozen=True)
class ReversibleBackprop:
    """Back-propagation through additive couplings, whose inputs are computed from their outputs.

    Of a block of couplings y = a + F(b) (zoo: ``rev-...``) the last two values alone are kept. Backwards each coupling
    is undone, a = y - F(b), by one more forward pass through F, which gives what the gradients of F read too. In
    integers the sums wrap around, so that a is the same bit for bit, and learning is that of ``bp``; in floats it
    differs by rounding. Blocks with fewer than two couplings are those of ``bp``.
    """

    name: ClassVar[str] = "bp-reversible"
    forward_only: ClassVar[bool] = False
    paper: ClassVar[Citation] = Citation(
        "Gomez, Ren, Urtasun, Grosse",
        2017,
        "The reversible residual network: backpropagation without storing activations",
        "NeurIPS 2017",
    )

    def emit(self, net: Network, b: Builder) -> None:
        traces = b.forward_all()
        error: Value | None = b.output_error(traces[-1].output)
        for k in reversed(range(len(traces))):
            assert error is not None
            again = _Again(b, traces[k]) if len(_couplings(traces[k].block)) > 1 else None
            error = b.backward(traces[k], error, want_input=k > 0, read=again.read if again else None)


def _couplings(block: Block) -> list[Layer]:
    return [layer for layer in block.layers if layer.kind == "couple"]


@dataclass
class _Again:
    """The values of a block as its backward pass has them: kept, or made again when they are asked for.

    Attributes:
        seen: what stands for each value of the forward pass.
    """

    b: Builder
    trace: Trace
    seen: dict[Value, Value] = field(default_factory=dict)

    def __post_init__(self) -> None:
        ops, layers = self.trace.ops, {x.name: x for x in self.trace.block.layers}
        ends = [n for n, op in enumerate(ops) if op.kind == "couple"]
        self.layers, self.made = layers, {v: op for op in ops for v in op.outputs}
        kept = [v for op in ops[ends[-1] :] for v in op.outputs]
        last = ops[ends[-2] + 1 : ends[-1]]  # F of the last coupling reads the other stream
        kept += [v for op in last for v in op.inputs if v not in {o for x in last for o in x.outputs}]
        self.seen = {v: v for v in (self.trace.input, *kept) if not v.resident}

    def read(self, op: Op) -> Op:
        """An op of the forward pass on the values that the backward pass has; a coupling is undone first."""
        if op.kind == "couple":
            self._undo(op)
        inputs = tuple(v if v.resident else self._value(v) for v in op.inputs)
        return replace(op, inputs=inputs, outputs=tuple(self.seen.get(v, v) for v in op.outputs))

    def _undo(self, op: Op) -> None:
        (a, f), (y,) = op.inputs, op.outputs
        style = {"role": Role.ACTIVATION, "phase": Phase.FORWARD, "name": f"{a.where.layer}.again"}
        with self.b.at(a.where.layer):
            self.seen[a] = self.b.emit1("couple", self._value(y), self._value(f), minus=True, **style)

    def _value(self, v: Value) -> Value:
        """What stands for a value; made again from the values below it, whose layers have not learned yet, if nothing
        does."""
        if v not in self.seen:
            op = self.made[v]
            sources = [self._value(x) for x in op.inputs if not x.resident]
            self.seen[v] = self.b.recompute(self.layers[op.where.layer or ""], sources)
        return self.seen[v]
