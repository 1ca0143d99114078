"""Captures the forward network of a ``torch.nn.Module`` through ``torch.export``.

The module is exported in training mode, so that dropout and batch norm are seen, with a symbolic batch size.
Each ATen op becomes one :class:`Layer` by the table of ``aten``; what has no layer kind is refused with its place
and a remedy (``refusals``).
"""

from __future__ import annotations

import io
import logging
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from math import prod

import numpy as np
import torch
from torch import Tensor, fx, nn

from insitu.errors import NetworkError
from insitu.network.graph import INPUT, Layer, Network, chain
from insitu.network.torch.aten import known, shares_storage, supported, translate
from insitu.network.torch.calls import Place, in_place
from insitu.network.torch.graph import Draft
from insitu.network.torch.module import Sign
from insitu.network.torch.refusals import export_failure, refuse
from insitu.step.ir import Shape

__all__ = ["Sign", "capture"]  # importing Sign registers the op ``insitu::sign``


def capture(module: nn.Module, example_input: Tensor, name: str | None = None) -> Network:
    """The network that a module computes, with a copy of its parameters in float32.

    Args:
        module: stays as it is: mode, parameters and buffers are not changed.
        example_input: ``(batch, features)``, ``(batch, channels, length)`` or ``(batch, channels, height, width)``;
            any batch size, values do not matter. Sequences become maps of height 1: the network takes samples of
            shape ``(channels, 1, length)``, and the kernels of ``nn.Conv1d`` have a height of 1.
        name: of the network; by default the class of the module.

    Returns:
        Layers are named by module path (``features.0``), calls of functions by the calling module and the
        function (``block.add``), parameters as in ``state_dict``. A module without parameters may be used
        several times; the later uses are numbered (``relu_1``).

    Raises:
        NetworkError: the module has something that no layer kind expresses; the message names it, its place
            and what to use instead.
    """
    try:
        _check_example(example_input)
        _check_shared(module)
        program = _export(module, example_input)
        return _Reader(module, program).network(name or type(module).__name__)
    except NetworkError:
        _check_sequences(module)
        raise


def _check_sequences(module: nn.Module) -> None:
    """Refuses recurrent layers and attention by their names, whatever of them was refused first."""
    for path, m in module.named_modules():
        if isinstance(m, SEQUENCES) and type(m).__module__.startswith("torch.nn."):
            kind = type(m).__name__
            raise NetworkError(
                f"cannot capture {path or 'the module itself'!r} (nn.{kind}): it has no layer kind. "
                f"{supported().remedy(kind)}"
            )


SEQUENCES = (nn.RNNBase, nn.RNNCellBase, nn.MultiheadAttention, nn.TransformerEncoderLayer)
"""Layers whose forward is many calls: the first of them that has no layer kind says nothing to a user."""


def example(module: nn.Module, shape: Shape) -> Tensor:
    """Two samples of a shape that data have; (1, channels, length) is a sequence for layers over a length."""
    kinds = {type(m) for m in module.modules()}
    if len(shape) == 3 and 1 in shape[:2] and kinds & OVER_LENGTH and nn.Conv2d not in kinds:
        shape = (prod(shape[:2]), shape[2])
    return torch.zeros(2, *shape)


OVER_LENGTH = {nn.Conv1d, nn.MaxPool1d, nn.AvgPool1d, nn.AdaptiveMaxPool1d, nn.AdaptiveAvgPool1d}


def _check_example(x: Tensor) -> None:
    if x.dim() not in (2, 3, 4) or 0 in x.shape or not x.is_floating_point():
        raise NetworkError(
            f"the example input has shape {list(x.shape)} and type {x.dtype}; pass floating-point numbers "
            "of shape (batch, features), (batch, channels, length) or (batch, channels, height, width)"
        )


def _check_shared(module: nn.Module) -> None:
    """Refuses one parameter under two names."""
    seen: dict[int, str] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        first = seen.setdefault(id(parameter), name)
        if first != name:
            raise NetworkError(
                f"cannot capture {name!r}: it is the same parameter as {first!r} (tied weights). Give each "
                "layer parameters of its own"
            )


# Export


def _export(module: nn.Module, example: Tensor) -> torch.export.ExportedProgram:
    # Batches 0 and 1 are special to torch.export, and a batch norm needs two values.
    two = example.detach()[:1].repeat(2, *[1] * (example.dim() - 1))
    batch = ({0: torch.export.Dim.AUTO},)
    try:
        with _training(module), _quiet(), torch.random.fork_rng(devices=[]):
            return torch.export.export(module, (two,), dynamic_shapes=batch, strict=False)
    except Exception as error:
        raise NetworkError(export_failure(module, example, error, supported())) from error


@contextmanager
def _training(module: nn.Module) -> Iterator[None]:
    """Every submodule in training mode, and back; their ``train`` methods are not called."""
    before = [(m, m.training) for m in module.modules()]
    try:
        for m, _ in before:
            m.training = True
        yield
    finally:
        for m, mode in before:
            m.training = mode


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences what torch.export logs and prints about a failure that is raised anyway."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


# Reading


class _Reader:
    """Walks an exported graph in order; keeps track of what is alive and of what shares its memory."""

    def __init__(self, module: nn.Module, program: torch.export.ExportedProgram) -> None:
        self.graph = program.graph
        self.state = module.state_dict()
        self.parameters = dict(module.named_parameters())
        self.draft = Draft(module, program)
        self.roots: dict[fx.Node, fx.Node] = {self.draft.input: self.draft.input}
        self.order = {node: i for i, node in enumerate(self.graph.nodes)}
        self.live = self._live()
        self.draft.calls = Counter(Place.of(n).path for n in self.live if known(n))

    def network(self, name: str) -> Network:
        for node in self.graph.nodes:
            if node in self.live and not _is_constant(node):
                self._read(node)
        layers = self._needed(self._result())
        if not layers:
            raise NetworkError(f"cannot capture {name}: its output is its input. Add a layer with weights")
        params = {x.param(s): self._array(x.param(s)).reshape(x.params[s]) for x in layers for s in x.params}
        frozen = frozenset(n for n, p in self.parameters.items() if n in params and not p.requires_grad)
        if frozen and not any(n in self.parameters and n not in frozen for n in params):
            raise NetworkError(
                f"cannot capture {name}: no parameter has requires_grad, so nothing can learn. Set it for one"
            )
        return Network(name, self.draft.shapes[INPUT], chain(layers), params, frozen)

    def _live(self) -> set[fx.Node]:
        """Nodes that the output depends on, and changes in place of anything but buffers (batch counters)."""
        changes = [n for n in self.graph.nodes if in_place(n) and not self.draft.target(n.args[0])]
        todo = [*self.graph.output_node().all_input_nodes, *changes]
        alive: set[fx.Node] = set()
        while todo:
            node = todo.pop()
            if node not in alive:
                alive.add(node)
                todo += node.all_input_nodes
        return alive

    def _result(self) -> str:
        """The layer that gives the output."""
        (outputs,) = self.graph.output_node().args
        if len(outputs) != 1 or outputs[0] not in self.draft.values:
            raise NetworkError(
                f"cannot capture the module: in training mode it gives back {len(outputs)} values. Return "
                "one tensor, the logits, and leave auxiliary outputs to the learning rule"
            )
        return self.draft.values[outputs[0]]

    def _needed(self, result: str) -> list[Layer]:
        """The layers that the result depends on."""
        needed, todo = {INPUT}, [result]
        while todo:
            name = todo.pop()
            if name not in needed:
                needed.add(name)
                todo += self.draft.layers[name].inputs
        return [x for x in self.draft.layers.values() if x.name in needed]

    def _array(self, name: str) -> np.ndarray:
        if name not in self.state:
            raise NetworkError(f"cannot capture {name!r}: it is not in the state_dict. Make it persistent")
        return self.state[name].detach().to("cpu", torch.float32).numpy().copy()

    def _read(self, node: fx.Node) -> None:
        draft = self.draft
        draft.values[node] = translate(draft, node)
        source = node.args[0]
        self.roots[node] = self.roots[source] if shares_storage(draft, node) else node
        if in_place(node):
            self._rebind(node, draft.value(node, source))

    def _rebind(self, node: fx.Node, before: str) -> None:
        """After a change in place, every name of the storage means the new value."""
        values = self.draft.values
        for other, root in self.roots.items():
            if root is not self.roots[node] or other is node:
                continue
            if values[other] == before:
                values[other] = values[node]
            elif values[other] != values[node] and self._used_after(other, node):
                refuse(node, "it changes in place what is also used in another shape", "Use inplace=False")

    def _used_after(self, value: fx.Node, node: fx.Node) -> bool:
        later = (user for user in value.users if self.order[user] > self.order[node])
        return any(user in self.live or user.op == "output" for user in later)


def _is_constant(node: fx.Node) -> bool:
    """Parameters, buffers, constants and sizes are not computed by layers."""
    return node.op in ("placeholder", "get_attr") or isinstance(node.meta.get("val"), (int, torch.SymInt))
