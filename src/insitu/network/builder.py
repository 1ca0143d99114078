"""The builder that learning rules write with: layers, errors, adjoints and updates of one network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from insitu.errors import NetworkError
from insitu.network.graph import INPUT, WEIGHTED, Block, Layer, Network, first_value
from insitu.numbers.formats import F32, Float, unsigned
from insitu.ops.loss import LOSSES, mean_scale
from insitu.ops.optimizers import Optimizer
from insitu.step.builder import Builder as StepBuilder
from insitu.step.ir import Hole, Init, Op, Phase, Role, Shape, Step, Value

Read = Callable[[Op], Op]
"""A forward op as its backward pass sees it: on values that were made again, say."""

Through = Callable[[Op, Value], Value]
"""``(linear op, its error) -> the error below it``: how a rule passes an error through a weighted layer."""


@dataclass(frozen=True)
class Trace:
    """What the forward pass of one block emitted.

    Attributes:
        values: output value of each layer by its name.
        ops: the forward ops, in order.
    """

    block: Block
    input: Value
    output: Value
    values: dict[str, Value]
    ops: tuple[Op, ...]

    @property
    def activation(self) -> Value:
        """Output of the block's activation (see :attr:`Block.activation`)."""
        return self.values[self.block.activation.name]


class Builder(StepBuilder):
    """Emits the training step of one network.

    Args:
        net: the network.
        batch: samples per step.
        optimizer: how gradients change weights.
        loss: ``xent``, ``bce``, ``mse`` or ``hinge``.
        targets: labels are class indices (``False``) or arrays of the output's shape (``True``).
        with_loss: the step also returns the loss (for learning curves; not part of a deployed step).
        real: format of all real numbers.
        training: batch statistics and dropout; else running statistics and none (see :meth:`frozen`).
        phase: of a rule with a schedule over time (see :class:`insitu.network.phases.Phases`).
        start: the block whose input the step takes as ``x``; 0 the samples.
    """

    def __init__(
        self,
        net: Network,
        batch: int,
        *,
        name: str = "step",
        optimizer: Optimizer | None = None,
        loss: str = "xent",
        targets: bool = False,
        with_loss: bool = False,
        real: Float = F32,
        training: bool = True,
        phase: int = 0,
        start: int = 0,
    ) -> None:
        super().__init__(name, batch, real)
        if loss not in LOSSES:
            raise NetworkError(f"loss {loss!r} is unknown; use one of {', '.join(LOSSES)}")
        self.net = net
        self.optimizer = optimizer or Optimizer()
        self.loss = loss
        self.targets = targets
        self.with_loss = with_loss
        self.training = training
        self.phase = phase
        self.start = start
        self.classes = net.outputs
        self._heads: dict[str, bool] = {}
        shape = net.blocks[start - 1].shape if start else net.input_shape
        self.x = self.input("x", (batch, *shape), Role.ACTIVATION)
        self._label: Value | None = None
        self._taken |= {"label", "feedback"}  # names of the program's own, whatever layers are called

    # --- forward -------------------------------------------------------------------------------------------

    def resident(self, name: str, shape: Shape, role: Role, init: Init) -> Value:
        """As of :class:`StepBuilder`; what a run starts from has the value that it had there."""
        given = self.net.heads.get(name)
        if given is None:
            return super().resident(name, shape, role, init)
        if given.shape != tuple(shape):
            raise NetworkError(
                f"the start has {name!r} of shape {list(given.shape)}, and rule {self.name} needs {list(shape)}; use "
                "the rule options of the run that it is from, or an .npz without it"
            )
        return super().resident(name, shape, role, replace(init, kind="param", key=name, times=1.0))

    @property
    def label(self) -> Value:
        """The labels: class indices [B], or targets of the output's shape."""
        if self._label is None:
            shape = (self.batch, *self.net.blocks[-1].shape) if self.targets else (self.batch,)
            fmt = self.real if self.targets else unsigned(max(self.classes, 2))
            self._taken.discard("label")
            self._label = self.input("label", shape, Role.LABEL, fmt)
        return self._label

    def param(self, layer: Layer, suffix: str) -> Value:
        """A parameter (role weight, in a head: head) or running statistic (role state) of a layer."""
        name = layer.param(suffix)
        if layer.name in self._heads:
            init = first_value(layer, suffix, zero=self._heads[layer.name])
            return self.resident(name, layer.params[suffix], Role.HEAD, init)
        role = Role.STATE if suffix.startswith("running_") else Role.WEIGHT
        init = Init("param", name, frozen=name in self.net.frozen)
        return self.resident(name, layer.params[suffix], role, init)

    def forward(self, block: Block, x: Value, *, again: bool = False, to_activation: bool = False) -> Trace:
        """Emits the forward pass of a block.

        Args:
            again: a recomputation, which tracks no running statistics.
            to_activation: stop behind :attr:`Block.activation`; :meth:`resume` emits the rest.
        """
        count = block.layers.index(block.activation) + 1 if to_activation else len(block.layers)
        return self._emit_layers(Trace(block, x, x, {}, ()), block.layers[:count], again)

    def head(self, layers: Sequence[Layer], h: Value, *, zero: bool = False) -> Trace:
        """Emits auxiliary layers on a value; what they hold and give has the role ``head``.

        Args:
            layers: in order, with names that no layer of the network has.
            zero: weights start at zero; else at PyTorch's default distribution.
        """
        self._heads |= {layer.name: zero for layer in layers}
        block = Block(tuple(layers))
        return self._emit_layers(Trace(block, h, h, {}, ()), layers, False)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """What is emitted inside does not learn: running statistics, no dropout."""
        before, self.training = self.training, False
        try:
            yield
        finally:
            self.training = before

    def forward_all(self) -> list[Trace]:
        """Emits the forward pass of the whole network; a trace per block."""
        return self.forward_chain(self.net.blocks, self.x)

    def forward_chain(self, blocks: Sequence[Block], x: Value) -> list[Trace]:
        """Emits the forward pass of consecutive blocks; a trace per block."""
        traces: list[Trace] = []
        for block in blocks:
            traces.append(self.forward(block, traces[-1].output if traces else x))
        return traces

    def recompute(self, layer: Layer, sources: Sequence[Value]) -> Value:
        """A layer once more, on given values; running statistics stay."""
        with self.at(layer.name):
            return self._layer_forward(layer, list(sources), True)

    def resume(self, trace: Trace, count: int | None = None) -> Trace:
        """Emits what :meth:`forward` left out, or only its first ``count`` layers."""
        return self._emit_layers(trace, trace.block.layers[len(trace.values) :][:count], False)

    def _emit_layers(self, trace: Trace, layers: Sequence[Layer], again: bool) -> Trace:
        start = len(self.ops)
        values = dict(trace.values)
        output = trace.output
        for layer in layers:
            sources = [values.get(name, trace.input) for name in layer.inputs]
            with self.at(layer.name):
                output = values[layer.name] = self._layer_forward(layer, sources, again)
        return Trace(trace.block, trace.input, output, values, (*trace.ops, *self.ops[start:]))

    def _layer_forward(self, layer: Layer, sources: list[Value], again: bool) -> Value:
        role = Role.HEAD if layer.name in self._heads else Role.ACTIVATION
        style: dict[str, Any] = {"role": role, "phase": Phase.FORWARD, "name": layer.name}
        params = [self.param(layer, s) for s in ("weight", "bias") if s in layer.params]
        (x, *_) = sources
        if layer.kind == "dense":
            return self.emit1("matmul", x, *params, **style)
        if layer.kind == "conv2d":
            return self.emit1("conv2d", x, *params, **layer.attrs, **style)
        if layer.kind == "batch_norm":
            return self._batch_norm(layer, x, params, style, again)
        if layer.kind == "dropout":
            if not self.training or layer.attrs["p"] == 0:
                return x
            more = {"each": prod(x.shape[2:])} if layer.attrs.get("channels") else {}
            return self.emit1(
                "dropout", x, p=layer.attrs["p"], stream=f"{layer.name}.dropout", **more, **style
            )
        if layer.kind == "reshape":
            return self.emit1("reshape", x, shape=(x.shape[0], *layer.shape), **style)
        kind = {"activation": "activate"}.get(layer.kind, layer.kind)
        return self.emit(kind, *sources, **layer.attrs, **style)[0]

    def _batch_norm(
        self, layer: Layer, x: Value, params: list[Value], style: dict[str, Any], again: bool
    ) -> Value:
        running = [self.param(layer, s) for s in ("running_mean", "running_var")]
        eps = layer.attrs["eps"]
        if not self.training:
            return self.emit1("bn_apply", x, *running, *params, eps=eps, frozen=True, **style)
        stats = self.emit("bn_stats", x, **(style | {"name": f"{layer.name}.stats"}))
        if not again:
            count = x.size // x.shape[1]
            momentum = layer.attrs["momentum"]
            operands = (*stats, *running)
            self.emit(
                "bn_track", *operands, momentum=momentum, count=count, role=Role.STATE, phase=Phase.UPDATE
            )
        return self.emit1("bn_apply", x, *stats, *params, eps=eps, frozen=False, **style)

    def output_error(self, z: Value) -> Value:
        """e = ∂L/∂z of the loss, averaged as PyTorch does (see :func:`insitu.ops.loss.mean_scale`)."""
        with self.at("output"):
            outputs = self._error(self.loss, z, self.label, 1.0, self.with_loss)
        if self.with_loss:
            self.output(outputs[1])
        return outputs[0]

    def loss_of(self, z: Value) -> Value:
        """The loss itself, a scalar, for rules that learn from nothing else."""
        style: dict[str, Any] = {"role": Role.SCRATCH, "phase": Phase.FORWARD, "name": "loss"}
        with self.at("output"):
            return self.emit1(
                f"{self.loss}_loss", z, self.label, scale=mean_scale(self.loss, z.shape), **style
            )

    def local_error(
        self, z: Value, target: Value | None = None, *, loss: str | None = None, weight: float = 1.0
    ) -> Value:
        """weight · ∂L/∂z of a loss inside the network, averaged as PyTorch does; the step does not return this loss.

        Args:
            target: an array of z's shape; the labels where ``None``.
            loss: the network's own loss where ``None``.
        """
        with self.at(z.where.layer):
            return self._error(loss or self.loss, z, target or self.label, weight, False)[0]

    def _error(self, loss: str, z: Value, target: Value, weight: float, with_loss: bool) -> tuple[Value, ...]:
        return self.emit(
            f"{loss}_error",
            z,
            target,
            scale=weight * mean_scale(loss, z.shape),
            with_loss=with_loss,
            role=Role.ERROR,
            phase=Phase.ERROR,
            name="error",
        )

    # --- backward ------------------------------------------------------------------------------------------

    def backward(
        self,
        trace: Trace,
        error: Value,
        *,
        at: Value | None = None,
        want_input: bool = True,
        through: Through | None = None,
        read: Read | None = None,
    ) -> Value | None:
        """Emits the adjoint of a block and the updates of its parameters.

        Each layer's update comes right behind its own adjoint, so that its gradient dies at once and the adjoint
        still sees the old weights.

        Args:
            error: ∂L/∂(value ``at``).
            at: a value of the block; its output where ``None``.
            want_input: also emit the error at the block's input.
            through: how the error passes a weighted layer; its own transpose where ``None``.
            read: each op as its adjoint and its update see it, asked for in backward order.

        Returns:
            The error at the block's input, or ``None``.
        """
        wanted = self._differentiable(trace, want_input)
        pending: dict[Value, list[Value]] = {at or trace.output: [error]}
        for op in reversed(trace.ops):
            parts = [pending.pop(out, []) for out in op.outputs]
            if not any(parts):
                continue
            cotangents = [self.add_cotangents(p) if p else None for p in parts]
            needs = [i for i, v in enumerate(op.inputs) if v in wanted]
            seen = read(op) if read is not None else op
            for i, value in self._pass_down(seen, cotangents, needs, through):
                pending.setdefault(op.inputs[i], []).append(value)
            self._learn(seen, cotangents)
        errors = pending.get(trace.input)
        return self.add_cotangents(errors) if want_input and errors else None

    def backward_chain(self, traces: Sequence[Trace], error: Value, *, at: Value | None = None) -> None:
        """Back-propagation through consecutive blocks; nothing is passed to what lies before them.

        Args:
            error: ∂L/∂(value ``at`` of the last block).
            at: its output where ``None``.
        """
        below: Value | None = error
        for k in reversed(range(len(traces))):
            assert below is not None
            entry = at if k == len(traces) - 1 else None
            below = self.backward(traces[k], below, at=entry, want_input=k > 0)

    def _differentiable(self, trace: Trace, want_input: bool) -> set[Value]:
        """Values of the block through which an error must pass."""
        wanted = {trace.input} if want_input else set()
        for op in trace.ops:
            if isinstance(op.record.adjoint, Hole):
                continue
            if any(v in wanted or self.learns(v) for v in op.inputs):
                wanted.update(op.outputs)
        return wanted

    def learns(self, value: Value) -> bool:
        """A weight, or one of a head, that is not frozen."""
        learning = value.role in (Role.WEIGHT, Role.HEAD) and value.name not in self.net.frozen
        return value.resident and learning

    def _pass_down(
        self, op: Op, cotangents: list[Value | None], needs: list[int], through: Through | None
    ) -> Iterable[tuple[int, Value]]:
        """The error below each of the operands ``needs``, with its number."""
        if not needs:
            return
        if through is not None and op.record.error_below is not None:
            (d,) = cotangents
            assert d is not None
            with self.at(op.where.layer):
                yield 0, through(op, d)
            return
        yield from self.adjoint(op, cotangents, needs).items()

    def _learn(self, op: Op, cotangents: list[Value | None]) -> None:
        needs = [i for i, v in enumerate(op.inputs) if self.learns(v)]
        if not needs:
            return
        gradients = self.adjoint(op, cotangents, needs)
        for i, gradient in gradients.items():
            with self.at(op.where.layer):
                self.update(op.inputs[i], gradient)

    def linear_dx(self, op: Op, d: Value, matrix: Value, *more: Value, **view: Any) -> Value:
        """The error below a weighted layer through another matrix (or a view of it) in place of its weights."""
        assert op.record.error_below is not None
        return op.record.error_below(self, op, d, matrix, *more, **view)

    def update(self, param: Value, gradient: Value) -> None:
        """Changes a parameter by its gradient, unless it is frozen; the optimiser's state becomes resident."""
        if param.name in self.net.frozen:
            return
        states = [
            self.resident(f"{param.name}.{s}", param.shape, Role.STATE, Init("zeros"))
            for s in self.optimizer.states
        ]
        self.emit(
            "update",
            param,
            gradient,
            *states,
            optimizer=self.optimizer,
            role=Role.WEIGHT,
            phase=Phase.UPDATE,
        )


def inference_step(net: Network, batch: int, *, real: Float = F32, blocks: int | None = None) -> Step:
    """The forward pass alone, with running statistics and without dropout; returns the outputs.

    Args:
        blocks: only so many of the network's first blocks.
    """
    b = Builder(net, batch, name=f"infer-{net.name}", real=real, training=False)
    h = b.x
    for block in net.blocks[:blocks]:
        h = b.forward(block, h).output
    b.output(h)
    return b.finish()


__all__ = ["INPUT", "WEIGHTED", "Builder", "Trace", "inference_step"]
