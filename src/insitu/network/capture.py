"""Captures the forward network of a ``torch.nn.Module`` through ``torch.export``.

The module is exported in training mode, so that dropout and batch norm are seen, with a symbolic batch size.
Each aten op becomes one :class:`Layer`; what has no layer kind is refused with its place and a remedy.
"""

from __future__ import annotations

import io
import logging
import operator
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor, fx, nn

from insitu.errors import NetworkError
from insitu.network.build import pair
from insitu.network.graph import INPUT, Layer, Network, chain
from insitu.network.module import Sign
from insitu.step.ir import Shape

__all__ = ["Sign", "capture"]  # importing Sign registers the op ``insitu::sign``

SUPPORTED = (
    "nn.Linear, nn.Conv2d, nn.BatchNorm1d or 2d, nn.RMSNorm, ReLU, LeakyReLU, Tanh, Sigmoid, Hardtanh, max "
    "and average pools, Dropout, Flatten, and sums of two values"
)

_ACTIVATION = "Use nn.ReLU, nn.LeakyReLU, nn.Tanh, nn.Sigmoid or nn.Hardtanh"
_SOFTMAX = "Remove it: the losses work on logits"
_CONV1D = "Use nn.Conv2d with a height of 1"
_POOL1D = "Use a 2d pool with a height of 1"
_RECURRENT = "Use a feed-forward network on a window of the sequence, such as nn.Conv2d over time"
_ATTENTION = "Use convolutions; attention is not served by the learning rules"
_NORM = "Use nn.BatchNorm2d, or nn.RMSNorm over all features of a sample with elementwise_affine=False"
_DROPOUT = "Use nn.Dropout"
_UPSAMPLE = "Use a network without up-sampling: there is no transposed convolution"
_PAD = "Use the padding of nn.Conv2d (zeros, the same on both sides)"
_SCALE = "Scale and shift the data instead, or let the weights of a layer do it"
_SHAPE = "Keep (batch, channels, height, width) or (batch, features), and flatten with x.flatten(1)"

_GROUPS: dict[str, str] = {
    _ACTIVATION: (
        "GELU SiLU ELU SELU CELU Mish Hardswish Hardsigmoid PReLU RReLU Softplus Softsign LogSigmoid "
        "Threshold GLU Tanhshrink Hardshrink Softshrink gelu silu elu selu celu mish hardswish "
        "hardsigmoid prelu rrelu softplus log_sigmoid threshold glu exp sin abs clamp_min maximum"
    ),
    "Use nn.ReLU or nn.Hardtanh": "ReLU6 relu6",
    _SOFTMAX: "Softmax LogSoftmax Softmin Softmax2d softmax log_softmax _softmax _log_softmax",
    _CONV1D: "Conv1d conv1d",
    "Use nn.Conv2d": "Conv3d conv3d LazyConv2d Bilinear bilinear",
    _POOL1D: (
        "MaxPool1d AvgPool1d AdaptiveAvgPool1d AdaptiveMaxPool1d max_pool1d avg_pool1d "
        "adaptive_avg_pool1d adaptive_max_pool1d max_pool1d_with_indices"
    ),
    _RECURRENT: "LSTM GRU RNN LSTMCell GRUCell RNNCell lstm gru rnn_tanh rnn_relu",
    _ATTENTION: "MultiheadAttention scaled_dot_product_attention matmul bmm einsum",
    "Feed the numbers themselves, or one-hot codes to nn.Linear": "Embedding EmbeddingBag embedding",
    _NORM: (
        "LayerNorm GroupNorm InstanceNorm1d InstanceNorm2d LocalResponseNorm BatchNorm3d "
        "SyncBatchNorm layer_norm group_norm instance_norm native_layer_norm"
    ),
    "Use nn.BatchNorm1d on (batch, features) or nn.BatchNorm2d on images": "batch_norm",
    _DROPOUT: (
        "Dropout1d Dropout2d Dropout3d AlphaDropout FeatureAlphaDropout feature_dropout alpha_dropout "
        "feature_alpha_dropout bernoulli rand_like native_dropout"
    ),
    _UPSAMPLE: (
        "ConvTranspose1d ConvTranspose2d Upsample UpsamplingNearest2d PixelShuffle conv_transpose1d "
        "conv_transpose2d upsample_nearest2d upsample_bilinear2d pixel_shuffle"
    ),
    _PAD: "ZeroPad2d ReflectionPad2d ReplicationPad2d CircularPad2d pad constant_pad_nd",
    "Remove the weight norm before capture": "_weight_norm _weight_norm_interface",
    "Use a sum of two values of the same shape": "cat concat concatenate stack",
    _SCALE: "mul div sub rsub neg pow sqrt",
    _SHAPE: "permute transpose t unsqueeze select slice unflatten Unflatten expand chunk",
    "Use x.mean((2, 3)) or nn.AdaptiveAvgPool2d(1)": "sum amax max std var",
    "Remove it: the learning rule decides where errors stop": "detach wrap_with_set_grad_enabled",
    "Remove the autocast: number formats are the precision's business": "wrap_with_autocast",
    "Remove the condition: the same layers must run for every input": "cond while_loop scan where",
}
"""Classes of ``torch.nn`` and aten ops that have no layer kind, by what to use instead."""

REMEDIES: dict[str, str] = {name: remedy for remedy, names in _GROUPS.items() for name in names.split()}

EXPORT_REMEDIES: dict[str, str] = {
    "DataDependent": (
        "its control flow depends on the values of the data. Remove the condition: the same layers must run "
        "for every input"
    ),
    "missing a required argument": "its forward takes more than one input. Give it one tensor",
    "required positional argument": "its forward takes more than one input. Give it one tensor",
}
"""Reasons and remedies by a word of the error's class or text."""


def capture(module: nn.Module, example_input: Tensor, name: str | None = None) -> Network:
    """The network that a module computes, with a copy of its parameters in float32.

    Args:
        module: stays as it is: mode, parameters and buffers are not changed.
        example_input: ``(batch, features)`` or ``(batch, channels, height, width)``; any batch size, values
            do not matter.
        name: of the network; by default the class of the module.

    Returns:
        Layers are named by module path (``features.0``), calls of functions by the calling module and the
        function (``block.add``), parameters as in ``state_dict``. A module without parameters may be used
        several times; the later uses are numbered (``relu_1``).

    Raises:
        NetworkError: the module has something that no layer kind expresses; the message names it, its place
            and what to use instead.
    """
    _check_example(example_input)
    _check_shared(module)
    program = _export(module, example_input)
    return _Reader(module, program).network(name or type(module).__name__)


def _check_example(x: Tensor) -> None:
    if x.dim() not in (2, 4) or 0 in x.shape or not x.is_floating_point():
        raise NetworkError(
            f"the example input has shape {list(x.shape)} and type {x.dtype}; pass floating-point numbers "
            "of shape (batch, features) or (batch, channels, height, width)"
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


def _export(module: nn.Module, example: Tensor) -> torch.export.ExportedProgram:
    # Batches 0 and 1 are special to torch.export, and a batch norm needs two values.
    two = example.detach()[:1].repeat(2, *[1] * (example.dim() - 1))
    batch = ({0: torch.export.Dim.AUTO},)
    try:
        with _training(module), _quiet(), torch.random.fork_rng(devices=[]):
            return torch.export.export(module, (two,), dynamic_shapes=batch, strict=False)
    except Exception as error:
        raise NetworkError(_export_failure(module, example, error)) from error


def _export_failure(module: nn.Module, example: Tensor, error: Exception) -> str:
    """Why the export failed, with a remedy if a known module or kind of error is behind it."""
    head = f"cannot capture {type(module).__name__}"
    for path, child in module.named_modules():
        what = f"{head}: {path or 'the module itself'!r} (nn.{type(child).__name__})"
        remedy = REMEDIES.get(type(child).__name__)
        if remedy:
            return f"{what} has no layer kind. {remedy}"
        if isinstance(child, nn.modules.batchnorm._BatchNorm) and child.momentum is None:
            return f"{what} averages plainly (momentum=None). Use a momentum such as 0.1"
    for kind, remedy in EXPORT_REMEDIES.items():
        if kind in type(error).__name__ or kind in str(error):
            return f"{head}: {remedy}"
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    first = re.sub(r"\bs\d+\b", "batch", first)  # torch's symbol for it
    return (
        f"{head}: it does not run on an input of shape {list(example.shape)}: {first.rstrip('.')}. Check the "
        "shape of the example input, and that the module takes one tensor"
    )


def _base(node: fx.Node) -> str:
    """``relu`` for both ``aten.relu.default`` and ``aten.relu_.default``."""
    target: Any = node.target
    if isinstance(target, torch._ops.OpOverload):
        return target._schema.name.split("::")[1].rstrip("_")
    return str(getattr(target, "__name__", target))


def _in_place(node: fx.Node) -> bool:
    """The op changes its first argument."""
    target: Any = node.target
    return isinstance(target, torch._ops.OpOverload) and target._schema.name.endswith("_")


def _arguments(node: fx.Node) -> dict[str, Any]:
    """The arguments by their names in the op's schema, defaults filled in."""
    target: Any = node.target
    schema = target._schema.arguments
    values = {a.name: a.default_value for a in schema}
    return values | dict(zip((a.name for a in schema), node.args)) | dict(node.kwargs)


def _class_name(kind: Any) -> str:
    return kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__qualname__}"


@dataclass(frozen=True)
class _Place:
    """Where a call happens: the innermost module's path and class, and all classes from there outwards."""

    path: str
    kind: str
    kinds: tuple[str, ...]

    @classmethod
    def of(cls, node: fx.Node) -> _Place:
        stack = list((node.meta.get("nn_module_stack") or {}).values())
        kinds = tuple(_class_name(k) for _, k in reversed(stack))
        return cls(stack[-1][0].split("@")[0] if stack else "", kinds[0] if kinds else "", kinds)

    @property
    def builtin(self) -> bool:
        """One of PyTorch's layers, which are one call."""
        return self.kind.startswith("torch.nn.modules.") and "container" not in self.kind

    def text(self, call: str) -> str:
        where = repr(self.path) if self.path else "the module itself"
        short = self.kind.rpartition(".")[2]
        return f"{where} (nn.{short})" if self.builtin else f"the call of {call} in {where} ({short})"


def _refuse(node: fx.Node, reason: str, remedy: str) -> NoReturn:
    raise NetworkError(f"cannot capture {_Place.of(node).text(_base(node))}: {reason}. {remedy}")


def _refuse_kind(node: fx.Node) -> NoReturn:
    """No layer kind; the remedy is that of the innermost module that has one, or of the op."""
    kinds = _Place.of(node).kinds
    if any(k.startswith("torch.nn.utils.parametri") for k in kinds):
        remove = "torch.nn.utils.parametrize.remove_parametrizations"
        _refuse(node, "a weight is computed from others", f"Remove that with {remove}")
    keys = [k.rpartition(".")[2] for k in kinds if k.startswith("torch.nn.")]
    known = next((k for k in [*keys, _base(node)] if k in REMEDIES), None)
    inner = _Place.of(node).builtin and known not in keys
    reason = f"its {_base(node)} has no layer kind" if inner else "it has no layer kind"
    _refuse(node, reason, REMEDIES[known] if known else f"Use {SUPPORTED}")


class _Reader:
    """Walks an exported graph in order and makes the layers."""

    def __init__(self, module: nn.Module, program: torch.export.ExportedProgram) -> None:
        self.graph = program.graph
        self.state = module.state_dict()
        self.targets: dict[str, str] = {}
        self.values: dict[fx.Node, str] = {}
        self.roots: dict[fx.Node, fx.Node] = {}
        self.layers: dict[str, Layer] = {}
        self.shapes: dict[str, Shape] = {}
        self.taken = {path for path, _ in module.named_modules() if path} | {INPUT}
        self.leaves = {path for path, m in module.named_modules() if path and not any(m.children())}
        self.order = {node: i for i, node in enumerate(self.graph.nodes)}
        self._read_inputs(program)
        self.live = self._live()
        self.calls = Counter(_Place.of(n).path for n in self.live if _base(n) in HANDLERS)

    def network(self, name: str) -> Network:
        for node in self.graph.nodes:
            if node in self.live and node.op != "placeholder":
                self._node(node)
        result = self._result()
        needed = self._needed(result)
        layers = [x for x in self.layers.values() if x.name in needed]
        if not layers:
            raise NetworkError(f"cannot capture {name}: its output is its input. Add a layer with weights")
        params = {x.param(s): self._array(x.param(s)) for x in layers for s in x.params}
        return Network(name, self.shapes[INPUT], chain(layers), params)

    # Inputs, outputs and what is alive

    def _read_inputs(self, program: torch.export.ExportedProgram) -> None:
        kind = torch.export.graph_signature.InputKind
        nodes = {n.name: n for n in self.graph.nodes if n.op == "placeholder"}
        inputs = []
        for spec in program.graph_signature.input_specs:
            if spec.kind is kind.USER_INPUT:
                inputs.append(nodes[spec.arg.name])
            elif spec.target is not None:
                self.targets[spec.arg.name] = spec.target
        (x,) = inputs
        self.batch = x.meta["val"].shape[0]
        if not isinstance(self.batch, torch.SymInt):
            raise NetworkError(
                "cannot capture the module: it works for one batch size only. Keep the batch free: "
                "x.flatten(1) or x.view(x.size(0), -1) instead of a fixed number"
            )
        self.values[x], self.roots[x] = INPUT, x
        self.shapes[INPUT] = self._shape(x)

    def _live(self) -> set[fx.Node]:
        """Nodes that the output depends on, and changes in place of anything but buffers (batch counters)."""
        output = self.graph.output_node()
        todo = [output.args[0]] + [n for n in self.graph.nodes if _in_place(n) and not self._on_buffer(n)]
        alive: set[fx.Node] = set()
        while todo:
            item = todo.pop()
            if isinstance(item, (tuple, list)):
                todo += item
            elif isinstance(item, fx.Node) and item not in alive:
                alive.add(item)
                todo += item.all_input_nodes
        return alive

    def _on_buffer(self, node: fx.Node) -> bool:
        return bool(self._target(node.args[0]))

    def _target(self, argument: Any) -> str:
        """The ``state_dict`` name of a parameter or buffer, else an empty text."""
        is_input = isinstance(argument, fx.Node) and argument.op == "placeholder"
        return self.targets.get(argument.name, "") if is_input else ""

    def _result(self) -> str:
        outputs = self.graph.output_node().args[0]
        if len(outputs) != 1 or not isinstance(outputs[0], fx.Node) or outputs[0] not in self.values:
            raise NetworkError(
                f"cannot capture the module: in training mode it gives back {len(outputs)} values. Return "
                "one tensor, the logits, and leave auxiliary outputs to the learning rule"
            )
        return self.values[outputs[0]]

    def _needed(self, result: str) -> set[str]:
        needed, todo = {INPUT}, [result]
        while todo:
            name = todo.pop()
            if name not in needed:
                needed.add(name)
                todo += self.layers[name].inputs
        return needed

    def _array(self, name: str) -> np.ndarray:
        if name not in self.state:
            raise NetworkError(f"cannot capture {name!r}: it is not in the state_dict. Make it persistent")
        return self.state[name].detach().to("cpu", torch.float32).numpy().copy()

    # One node

    def _node(self, node: fx.Node) -> None:
        base = _base(node)
        if node.op == "get_attr" or isinstance(node.meta.get("val"), (int, torch.SymInt)):
            return
        if base not in HANDLERS or _Place.of(node).kind.rpartition(".")[2] in _WHOLE:
            _refuse_kind(node)
        value = HANDLERS[base](self, node)
        self.values[node] = value
        source = node.args[0]
        shared = base in _VIEWS or _in_place(node) or (base == "dropout" and value == self.values[source])
        self.roots[node] = self.roots[source] if shared else node
        if _in_place(node):
            self._rebind(node, source)

    def _rebind(self, node: fx.Node, changed: fx.Node) -> None:
        """After a change in place, every name of the storage means the new value."""
        before = self.value(node, changed)
        for other, root in self.roots.items():
            if root is not self.roots[node] or other is node:
                continue
            if self.values[other] == before:
                self.values[other] = self.values[node]
            elif self.values[other] != self.values[node] and self._used_after(other, node):
                _refuse(node, "it changes in place what is also used in another shape", "Use inplace=False")

    def _used_after(self, value: fx.Node, node: fx.Node) -> bool:
        later = (user for user in value.users if self.order[user] > self.order[node])
        return any(user in self.live or user.op == "output" for user in later)

    def value(self, node: fx.Node, argument: Any) -> str:
        """Name of the layer whose output an argument is."""
        if isinstance(argument, fx.Node) and argument in self.values:
            return self.values[argument]
        _refuse(
            node,
            "it works on a constant or a parameter, not on the outputs of layers",
            "Scale and shift the data instead, or use the bias of a layer",
        )

    def _shape(self, node: fx.Node) -> Shape:
        """Output shape per sample."""
        val = node.meta["val"]
        val = val[0] if isinstance(val, (tuple, list)) else val
        first, *rest = val.shape or (0,)
        same = isinstance(first, torch.SymInt) and first.node.expr == self.batch.node.expr
        if not same or not rest or not all(isinstance(n, int) for n in rest):
            _refuse(
                node,
                f"its output {[str(n) for n in val.shape]} does not keep the batch as the first dimension",
                "Treat each sample by itself: x.flatten(1), or x.view(x.size(0), -1) without a fixed batch",
            )
        return tuple(rest)

    def emit(
        self,
        node: fx.Node,
        kind: str,
        inputs: tuple[str, ...],
        attrs: Mapping[str, Any] | None = None,
        *,
        name: str | None = None,
        params: Mapping[str, Shape] | None = None,
        shape: Shape | None = None,
    ) -> str:
        """Adds a layer; a layer without parameters gets its name here."""
        shape = self._shape(node) if shape is None else shape
        attrs = dict(attrs or {})
        if name is None:
            name = self._name(node, _CALLS.get(kind, attrs.get("fn", kind)))
        self.layers[name] = Layer(name, kind, inputs, shape, attrs, dict(params or {}))
        self.shapes[name] = shape
        return name

    def _name(self, node: fx.Node, call: str) -> str:
        place = _Place.of(node)
        one_call = place.path in self.leaves and self.calls[place.path] == 1
        if place.path and (place.builtin or one_call):
            if place.path == INPUT:
                self._refuse_input_name(node)
            return place.path if place.path not in self.layers else self._unique(place.path)
        return self._unique(f"{place.path}.{call}" if place.path else call)

    def _unique(self, name: str) -> str:
        candidate, n = name, 0
        while candidate in self.taken or candidate in self.layers:
            n += 1
            candidate = f"{name}_{n}"
        return candidate

    def _refuse_input_name(self, node: fx.Node) -> NoReturn:
        _refuse(node, f"the name {INPUT!r} stands for the input of the network", "Rename the layer")

    def parameters(self, node: fx.Node, **arguments: Any) -> tuple[str, dict[str, Shape]]:
        """The layer's name and parameter shapes, from the arguments that are not ``None``."""
        params: dict[str, Shape] = {}
        names = set()
        for suffix, argument in arguments.items():
            if argument is None:
                continue
            prefix, dot, last = (f".{self._target(argument)}").rpartition(".")
            if last != suffix or not dot:
                self._refuse_parameter(node, suffix, self._target(argument))
            names.add(prefix[1:])
            params[suffix] = tuple(argument.meta["val"].shape)
        if len(names) != 1:
            _refuse(node, f"its parameters belong to {sorted(names)}", _PLAIN)
        (name,) = names
        if name in self.layers:
            _refuse(node, "it is used more than once", "Give each use a layer of its own")
        if name == INPUT:
            self._refuse_input_name(node)
        return name, params

    def _refuse_parameter(self, node: fx.Node, suffix: str, target: str) -> NoReturn:
        what = f"the parameter {target!r}" if target else "a computed or constant tensor"
        _refuse(node, f"its {suffix} is {what}", _PLAIN)

    def flat(self, node: fx.Node, argument: Any) -> str:
        """The value of an argument of shape (batch, features)."""
        name = self.value(node, argument)
        if len(self.shapes[name]) != 1:
            _refuse(
                node,
                f"its input has shape {['batch', *self.shapes[name]]}, not (batch, features)",
                "Flatten it first: x.flatten(1)",
            )
        return name

    def image(self, node: fx.Node, argument: Any) -> str:
        """The value of an argument of shape (batch, channels, height, width)."""
        name = self.value(node, argument)
        if len(self.shapes[name]) != 3:
            _refuse(
                node,
                f"its input has shape {['batch', *self.shapes[name]]}, not (batch, channels, height, width)",
                "Give it an image, for instance of height 1",
            )
        return name


# One function an op: it returns the name of the value that the node gives


def _linear(r: _Reader, node: fx.Node) -> str:
    a = _arguments(node)
    x = r.flat(node, a["input"])
    name, params = r.parameters(node, weight=a["weight"], bias=a["bias"])
    return r.emit(node, "dense", (x,), name=name, params=params)


def _conv2d(r: _Reader, node: fx.Node) -> str:
    a = _arguments(node)
    x = r.image(node, a["input"])
    name, params = r.parameters(node, weight=a["weight"], bias=a["bias"])
    dilation = _pair(a["dilation"])
    geometry = {
        "stride": _pair(a["stride"]),
        "padding": _padding(node, a["padding"], params["weight"][2:], dilation),
        "dilation": dilation,
        "groups": a["groups"],
    }
    return r.emit(node, "conv2d", (x,), geometry, name=name, params=params)


def _pair(n: Any) -> tuple[int, int]:
    """A scalar, one or two numbers as (vertical, horizontal)."""
    return pair(n[0] if isinstance(n, (list, tuple)) and len(n) == 1 else n)


def _padding(node: fx.Node, padding: Any, kernel: Shape, dilation: tuple[int, int]) -> tuple[int, int]:
    if padding == "valid":
        return (0, 0)
    if padding != "same":
        return _pair(padding)
    total = [d * (k - 1) for d, k in zip(dilation, kernel)]
    if any(n % 2 for n in total):
        _refuse(node, f"padding='same' of an even kernel {list(kernel)} is not symmetric", "Use odd sizes")
    return (total[0] // 2, total[1] // 2)


def _batch_norm(r: _Reader, node: fx.Node) -> str:
    a = _arguments(node)
    x = r.value(node, a["input"])
    if len(r.shapes[x]) not in (1, 3):
        _refuse_kind(node)
    if a["running_mean"] is None or not a["training"]:
        _refuse(node, "it keeps no running statistics in training mode", "Use track_running_stats=True")
    if a["bias"] is not None and a["weight"] is None:
        _refuse(node, "it has a bias but no weight", "Use affine=True or affine=False")
    arrays = {k: a[k] for k in ("weight", "bias", "running_mean", "running_var")}
    name, params = r.parameters(node, **arrays)
    attrs = {"eps": a["eps"], "momentum": a["momentum"]}
    return r.emit(node, "batch_norm", (x,), attrs, name=name, params=params)


def _activation(fn: str) -> Callable[[_Reader, fx.Node], str]:
    def read(r: _Reader, node: fx.Node) -> str:
        a = _arguments(node)
        attrs = {"fn": fn, "slope": a["negative_slope"]} if fn == "leaky_relu" else {"fn": fn}
        return r.emit(node, "activation", (r.value(node, node.args[0]),), attrs)

    return read


def _hardtanh(r: _Reader, node: fx.Node) -> str:
    """Also ``clamp``, which has other names for the bounds."""
    a = _arguments(node)
    low, high = a.get("min_val", a.get("min")), a.get("max_val", a.get("max"))
    if (low, high) == (0, 6):
        _refuse(node, "it is a ReLU6", REMEDIES["ReLU6"])
    if (low, high) != (-1, 1):
        _refuse(node, f"its range is {low} to {high}", "Use nn.Hardtanh(-1, 1) or nn.ReLU")
    return r.emit(node, "activation", (r.value(node, node.args[0]),), {"fn": "hardtanh"})


def _pool(kind: str) -> Callable[[_Reader, fx.Node], str]:
    def read(r: _Reader, node: fx.Node) -> str:
        a = _arguments(node)
        x = r.image(node, node.args[0])
        _check_pool(r, node, a)
        kernel = _pair(a["kernel_size"])
        attrs = {"kernel": kernel, "stride": _pair(a["stride"] or kernel), "padding": _pair(a["padding"])}
        if a["ceil_mode"]:
            _check_ceil(r, node, r.shapes[x], attrs)
        return r.emit(node, kind, (x,), attrs)

    return read


def _check_pool(_r: _Reader, node: fx.Node, a: Mapping[str, Any]) -> None:
    if "dilation" in a and _pair(a["dilation"]) != (1, 1):
        _refuse(node, "its window is dilated", "Use dilation=1")
    if a.get("divisor_override") is not None:
        _refuse(node, "it divides by another number than the size of its window", "Use divisor_override=None")
    if a.get("count_include_pad") is False and _pair(a["padding"]) != (0, 0):
        _refuse(node, "it does not count its padding", "Use count_include_pad=True or no padding")


def _check_ceil(r: _Reader, node: fx.Node, before: Shape, attrs: Mapping[str, Any]) -> None:
    """Rounding up is the same as rounding down where the windows fit."""
    sizes = zip(before[1:], attrs["kernel"], attrs["stride"], attrs["padding"])
    if tuple((n + 2 * p - k) // s + 1 for n, k, s, p in sizes) != r._shape(node)[1:]:
        _refuse(node, "ceil_mode=True makes partial windows here", "Use ceil_mode=False and padding")


def _adaptive_pool(kind: str) -> Callable[[_Reader, fx.Node], str]:
    def read(r: _Reader, node: fx.Node) -> str:
        x = r.image(node, node.args[0])
        before, after = r.shapes[x][1:], r._shape(node)[1:]
        if any(n % m for n, m in zip(before, after)):
            return r.emit(node, kind, (x,), {"size": tuple(after)})
        kernel = (before[0] // after[0], before[1] // after[1])
        return r.emit(node, kind, (x,), {"kernel": kernel, "stride": kernel, "padding": (0, 0)})

    return read


def _mean(r: _Reader, node: fx.Node) -> str:
    """The mean over height and width is an average pool over the whole plane."""
    a = _arguments(node)
    x = r.value(node, node.args[0])
    dims = a.get("dim") or []
    if len(r.shapes[x]) != 3 or {d % 4 for d in dims} != {2, 3}:
        _refuse(
            node,
            f"it is a mean over the dimensions {list(dims)}",
            "Use x.mean((2, 3)) or nn.AdaptiveAvgPool2d(1)",
        )
    channels, *plane = r.shapes[x]
    attrs = {"kernel": tuple(plane), "stride": tuple(plane), "padding": (0, 0)}
    pooled = r.emit(node, "avg_pool", (x,), attrs, shape=(channels, 1, 1))
    if a["keepdim"]:
        return pooled
    return r.emit(node, "reshape", (pooled,), name=r._unique(f"{pooled}_flatten"))


def _reshape(r: _Reader, node: fx.Node) -> str:
    x = r.value(node, node.args[0])
    shape = r._shape(node)
    if shape == r.shapes[x]:
        return x
    if len(shape) != 1:
        _refuse(
            node, f"it makes the shape {['batch', *shape]}", "Only x.flatten(1) to (batch, features) is known"
        )
    return r.emit(node, "reshape", (x,))


def _dropout(r: _Reader, node: fx.Node) -> str:
    a = _arguments(node)
    x = r.value(node, node.args[0])
    if a["p"] == 0 or not a["train"]:
        return x
    if a["p"] >= 1:
        _refuse(node, "it drops everything", "Use a rate below 1")
    return r.emit(node, "dropout", (x,), {"p": a["p"]})


def _add(r: _Reader, node: fx.Node) -> str:
    a = _arguments(node)
    if not isinstance(a["other"], fx.Node):
        _refuse(
            node, f"it adds the constant {a['other']}", "Use the bias of the layer before, or shift the data"
        )
    inputs = (r.value(node, a["self"]), r.value(node, a["other"]))
    if a["alpha"] != 1:
        _refuse(node, f"it scales by alpha={a['alpha']}", "Add without a factor")
    shapes = [r.shapes[i] for i in inputs]
    if shapes[0] != shapes[1]:
        _refuse(node, f"it adds {shapes[0]} and {shapes[1]} per sample", "Make both shapes equal")
    return r.emit(node, "add", inputs)


def _rms_norm(r: _Reader, node: fx.Node) -> str:
    a = _arguments(node)
    x = r.value(node, a["input"])
    if a["weight"] is not None:
        _refuse(node, "it has weights", "Use nn.RMSNorm(..., elementwise_affine=False)")
    if tuple(a["normalized_shape"]) != r.shapes[x]:
        _refuse(
            node,
            f"it normalises over {list(a['normalized_shape'])} of {list(r.shapes[x])}",
            "Normalise over all features of a sample",
        )
    eps = torch.finfo(node.meta["val"].dtype).eps if a["eps"] is None else a["eps"]
    return r.emit(node, "rms_norm", (x,), {"eps": eps})


def _same(r: _Reader, node: fx.Node) -> str:
    """The same numbers; a change of type is refused."""
    x = r.value(node, node.args[0])
    source: Any = node.args[0]
    if node.meta["val"].dtype != source.meta["val"].dtype:
        _refuse(
            node, f"it changes the type to {node.meta['val'].dtype}", "Leave number formats to the precision"
        )
    return x


def _item(r: _Reader, node: fx.Node) -> str:
    """The first of several results; the others (indices of a pool) are no values of the network."""
    if node.args[1] != 0:
        _refuse(node, "it uses the indices of a pool", "Use the pooled values only")
    return r.value(node, node.args[0])


HANDLERS: dict[str, Callable[[_Reader, fx.Node], str]] = {
    "linear": _linear,
    "conv2d": _conv2d,
    "batch_norm": _batch_norm,
    "relu": _activation("relu"),
    "leaky_relu": _activation("leaky_relu"),
    "tanh": _activation("tanh"),
    "sigmoid": _activation("sigmoid"),
    "sign": _activation("sign"),
    "hardtanh": _hardtanh,
    "clamp": _hardtanh,
    "max_pool2d": _pool("max_pool"),
    "max_pool2d_with_indices": _pool("max_pool"),
    "avg_pool2d": _pool("avg_pool"),
    "adaptive_max_pool2d": _adaptive_pool("max_pool"),
    "adaptive_avg_pool2d": _adaptive_pool("avg_pool"),
    "mean": _mean,
    "flatten": _reshape,
    "view": _reshape,
    "reshape": _reshape,
    "squeeze": _reshape,
    "dropout": _dropout,
    "add": _add,
    "rms_norm": _rms_norm,
    "contiguous": _same,
    "clone": _same,
    "alias": _same,
    "to": _same,
    "_to_copy": _same,
    operator.getitem.__name__: _item,
}

_PLAIN = "Use nn.Linear, nn.Conv2d or nn.BatchNorm with plain parameters, without weight norm or the like"
_VIEWS = ("flatten", "view", "reshape", "squeeze", "contiguous", "alias", "to", "getitem")
_CALLS = {"reshape": "flatten"}
_WHOLE = ("MultiheadAttention", "LSTM", "GRU", "RNN", "LSTMCell", "GRUCell", "RNNCell")
"""Modules that call ops which exist as layers, but mean something else together."""
