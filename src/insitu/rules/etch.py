"""Our own rule: layers that learn in the forward pass where a margin of their own is violated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, Literal

from insitu.errors import ConfigError
from insitu.network.builder import Builder, Trace
from insitu.network.graph import Block, Layer, Network
from insitu.rules.backprop import stashed
from insitu.rules.local import check_limit, decoder, pooled, walk_back
from insitu.rules.protocol import Citation, ask_labels, rule
from insitu.step.ir import Init, Op, Phase, Role, Value

_FORWARD: dict[str, Any] = {"role": Role.HEAD, "phase": Phase.FORWARD}


@rule
@dataclass(frozen=True)
class Etch:
    """Event-triggered code-margin Hebbian learning: a block learns only from samples that its own head finds too close.

    Block l scores the classes, s = A_l q(h_l). With j* the highest class beside the label y, nothing happens if
    s_y - s_j* >= m + r |h_l|_1 / sqrt(n); else e = 1 at j*, -1 at y, and the block learns from the error A_l^T e that
    passes its active units: W_l moves against (A_l^T e) x^T, A_l against e h^T. Nothing is passed back to an earlier
    block, so that a block's input dies at once. In integers e is in {-1, 0, 1} (one violator), and the words move by
    stochastic rounding and are the only copy (see docs/own-rule.md). Serves batch 1.

    Args:
        margin: m, in units of the scores.
        relative: r, a part of the margin that grows with the layer's output. With ``margin`` 0 a silent layer has no
            margin, and layers fall silent (docs/own-rule.md). Both 0: a block learns from its mistakes alone.
        head: ``trained``, or ``fixed``: random signs in the precision's feedback format, which are never written.
        violators: of the classes that violate the margin, ``one``: the highest alone; ``mean``: all share an error of
            1; ``all`` have one each. A single rival changes from sample to sample, and over many layers of convolutions
            that noise buries the signal: take ``mean`` there.
        gate: the error stops at units that are off; ``False``: it moves them too.
        vote: heads of so many of the last hidden blocks whose scores are added to the network's own prediction.
        limit: features of a head at most; larger maps are average-pooled.
        shared: the last hidden block has no head: the output layer passes its error back to it, and no further.
        sketch: a trained head reads so many sums of its features with random signs (feature hashing: nothing is stored
            for them); 0: the features.
        group: so many blocks share the head behind the last of them; inside a group the error goes back over one bit of
            each activation, as in ``bp-stash``. From so many as the network has on, that is BP with this error.
    """

    margin: float = 1.0
    relative: float = 0.0
    head: Literal["trained", "fixed"] = "trained"
    violators: Literal["one", "mean", "all"] = "one"
    gate: bool = True
    vote: int = 0
    limit: int = 2048
    shared: bool = False
    sketch: int = 0
    group: int = 1

    name: ClassVar[str] = "etch"
    paper: ClassVar[Citation] = Citation(
        "insitu", 2026, "Event-triggered code-margin Hebbian learning", "docs/own-rule.md"
    )

    def __post_init__(self) -> None:
        check_limit(self.name, self.limit)
        for name in ("margin", "relative"):
            if getattr(self, name) < 0:
                raise ConfigError(f"rule etch has {name}={getattr(self, name):g}; use 0 or more")
        if self.group < 1 or (self.group > 1 and self.shared):
            raise ConfigError(
                f"rule etch has group={self.group}, shared={self.shared}; use 1 or more, and more than 1 without shared"
            )
        for name in ("vote", "sketch"):
            if getattr(self, name) < 0:
                raise ConfigError(f"rule etch has {name}={getattr(self, name)}; use 0 or more")

    @property
    def forward_only(self) -> bool:
        """Not with an error that goes back to another block."""
        return self.group == 1 and not self.shared

    def emit(self, net: Network, b: Builder) -> None:
        ask_labels(self.name, b, "its margins are between classes")
        h = b.x
        *hidden, last = self._groups(net)
        for blocks in hidden:
            traces = self._forward(b, blocks, h, to_activation=True)
            with b.at(blocks[-1].name):
                error = self._signal(b, traces[-1].activation)
            b.backward_chain(traces, error, at=self._entry(traces[-1]))
            h = b.resume(traces[-1]).output
        traces = self._forward(b, last, h)
        end = traces[-1]
        b.backward_chain(traces, self._error(b, end.output, end.ops, output=True))

    def _forward(
        self, b: Builder, blocks: Sequence[Block], h: Value, *, to_activation: bool = False
    ) -> list[Trace]:
        """The forward pass of a group, as its backward pass reads it."""
        if self.group > 1 and len(blocks) > 1:
            return stashed(self.name, blocks, h, b, 1.0, to_activation=to_activation)
        if to_activation:
            return [b.forward(blocks[0], h, to_activation=True)]
        return b.forward_chain(blocks, h)

    def emit_inference(self, net: Network, b: Builder) -> None:
        *_, scores = self._predictions(net, b, self.vote)
        b.output(scores)

    def emit_exits(self, net: Network, b: Builder) -> None:
        b.output(*self._predictions(net, b, len(net.blocks)))

    def _predictions(self, net: Network, b: Builder, heads: int) -> list[Value]:
        """Scores of the heads of so many of the last hidden blocks, and then the network's with its votes."""
        h, found = b.x, []
        *hidden, last = self._groups(net)
        for n, (*inner, block) in enumerate(hidden):
            trace = b.forward(block, b.forward_chain(inner, h)[-1].output if inner else h, to_activation=True)
            if n >= len(hidden) - heads:
                with b.at(block.name):
                    found.append(self._scores(b, trace.activation))
            h = b.resume(trace).output
        scores = b.forward_chain(last, h)[-1].output
        for more in reversed(found[-self.vote :] if self.vote else ()):
            scores = b.emit1("add", scores, more, **_FORWARD)
        return [*found, scores]

    def _groups(self, net: Network) -> list[Sequence[Block]]:
        """The blocks that share a head, each time; the last ones learn from the output's error."""
        count = len(net.blocks)
        own = max(count - (2 if self.shared else 1), 0) if self.group == 1 else count - 1
        cuts = [*range(0, own + 1, self.group), count]
        return [net.blocks[i:j] for i, j in pairwise(cuts)]

    def _signal(self, b: Builder, h: Value) -> Value:
        """The error at a block's activation; a trained head learns too."""
        start = len(b.ops)
        if self.head == "trained":
            head = b.head(self._head(b.layer or "", h, b.classes), h, zero=True)
            error = b.backward(head, self._error(b, head.output, head.ops))
            assert error is not None
            return error
        scores = self._scores(b, h)
        chain = b.ops[start:]
        return walk_back(b, chain, self._error(b, scores, chain))

    def _scores(self, b: Builder, h: Value) -> Value:
        """s = A_l q(h), h pooled to at most ``limit`` features."""
        block = b.layer or ""
        if self.head == "trained":
            return b.head(self._head(block, h, b.classes), h, zero=True).output
        layers = pooled(block, h.shape[1:], self.limit).layers
        rows = b.head(layers, h).output if layers else h
        stream = f"{block}.codes"
        init = Init("uniform", stream, float(rows.shape[1] ** -0.5))
        codes = b.resident(stream, (b.classes, rows.shape[1]), Role.FEEDBACK, init)
        return b.emit1("matmul", rows, codes, **_FORWARD)

    def _head(self, block: str, h: Value, classes: int) -> list[Layer]:
        return decoder(block, h.shape[1:], classes, self.limit, self.sketch)

    def _error(self, b: Builder, scores: Value, ops: Sequence[Op], *, output: bool = False) -> Value:
        """e of the scores that a chain of ops ends in."""
        h = next(op for op in reversed(ops) if scores in op.outputs).inputs[0]
        with b.at("output" if output else scores.where.layer):
            error, *loss = b.emit(
                "violation_error",
                scores,
                b.label,
                *((h,) if self.relative else ()),
                relative=self.relative * float((h.size // h.shape[0]) ** -0.5),
                margin=self.margin,
                every=self.violators != "one",
                **({"mean": True} if self.violators == "mean" else {}),
                scale=1.0 / b.batch,
                with_loss=output and b.with_loss,
                role=Role.ERROR,
                phase=Phase.ERROR,
                name="error",
            )
        b.output(*loss)
        return error

    def _entry(self, trace: Trace) -> Value:
        """Where the error enters a block: behind its activation, or in front of it."""
        made = next(op for op in reversed(trace.ops) if trace.activation in op.outputs)
        return trace.activation if self.gate or made.kind != "activate" else made.inputs[0]
