"""Networks by name, for experiments, costs and tests. No torch.

Every network ends in logits, without a softmax or sigmoid. Shapes are per sample, without the batch.

Deviations from the references that the op kinds ask for:

* TensorFlow's ``same`` padding at stride 2 pads one row and column more at the end than at the start; padding
  here is symmetric, so ``resnet8``, ``ds-cnn`` and ``mobilenet-v1-0.25`` see their strided windows shifted by
  one pixel. Output shapes, parameters and MACs are those of the MLPerf Tiny references. Batch norms have
  PyTorch's eps 1e-5 and momentum 0.1, not Keras's 1e-3 and 0.99.
* ``resnet20`` uses option B of He 2016 (a 1x1 convolution with batch norm where the shape changes): padding
  channels with zeros (option A) is no op kind.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from math import prod
from typing import Any

from insitu.errors import ConfigError, NetworkError
from insitu.network.build import Describe
from insitu.network.graph import WEIGHTED, Layer, Network
from insitu.ops.pointwise import FUNCTIONS
from insitu.step.ir import Shape

LEAKY_SLOPE = 0.01  # PyTorch's default, and that of Nøkland 2019
_PREFIX = {
    "dense": "fc",
    "conv2d": "conv",
    "batch_norm": "bn",
    "max_pool": "pool",
    "avg_pool": "pool",
    "reshape": "flatten",
    "dropout": "drop",
}


@dataclass(frozen=True)
class Options:
    """What a caller may change about a network; see :func:`build`."""

    classes: int
    activation: str
    batch_norm: bool
    dropout: float


class Sketch(Describe):
    """Describes a network under :class:`Options`, with readable layer names (``conv1``, ``bn1``, ``relu1``).

    Raises:
        NetworkError: where a layer would have an empty output, since the input is too small.
    """

    def __init__(self, name: str, input_shape: Shape, options: Options) -> None:
        super().__init__(name, input_shape)
        self.options = options
        self._numbers: dict[str, int] = {}

    def _add(self, kind: str, shape: Shape, *, name: str | None = None, **more: Any) -> str:
        if min(shape) < 1:
            raise NetworkError(
                f"network {self.name} does not fit an input of {_text(self.input_shape)}: its {kind} layer "
                f"after {self.here!r} ({_text(self.shape)}) would have no output. Use a larger input, or a "
                "network with fewer pools such as cnn-16-32"
            )
        return super()._add(kind, shape, name=name or self._next(kind, more), **more)

    def _next(self, kind: str, more: dict[str, Any]) -> str:
        prefix = more["fn"] if kind == "activation" else _PREFIX.get(kind, kind)
        if kind == "conv2d" and more["groups"] > 1:
            prefix = "dw"
        self._numbers[prefix] = self._numbers.get(prefix, 0) + 1
        return f"{prefix}{self._numbers[prefix]}"

    def act(self) -> str:
        """The network's activation function."""
        fn = self.options.activation
        return self.activation(fn, **({"slope": LEAKY_SLOPE} if fn == "leaky_relu" else {}))

    def norm(self) -> str:
        """A batch norm, unless it is switched off."""
        return self.batch_norm() if self.options.batch_norm else self.here

    def drop(self, p: float | None = None) -> str:
        """A dropout layer, unless the rate (by default the network's) is 0."""
        p = self.options.dropout if p is None else p
        return self.dropout(p) if p > 0 else self.here

    def hidden_dense(self, outputs: int, *, bias: bool = True) -> str:
        """Dense, batch norm, activation, dropout (the middle and last one if they are on)."""
        self.dense(outputs, bias=bias)
        self.norm()
        self.act()
        return self.drop()

    def hidden_conv(self, channels: int, kernel: Any, **geometry: Any) -> str:
        """Convolution, batch norm (if it is on), activation."""
        self.conv(channels, kernel, **geometry)
        self.norm()
        return self.act()

    def logits(self) -> str:
        """The last layer: one output per class."""
        return self.dense(self.options.classes)


@dataclass(frozen=True)
class Entry:
    """A family of networks.

    Attributes:
        pattern: regular expression of its names.
        names: the names to list; the first stands for the family.
        what: one line.
        paper: where it comes from.
        draw: adds the layers of the network; takes the sketch and the match of the name.
        input_shape: default, or a function of the match.
        classes: default, or a function of the match, and then the only value.
    """

    pattern: str
    names: tuple[str, ...]
    what: str
    paper: str
    draw: Callable[[Sketch, re.Match[str]], object]
    input_shape: Shape | Callable[[re.Match[str]], Shape]
    classes: int | Callable[[re.Match[str]], int] = 10
    activation: str = "relu"
    batch_norm: bool = False
    dropout: float = 0.0


def _sizes(match: re.Match[str]) -> list[int]:
    """``8-16-4`` of the name as numbers."""
    return [int(n) for n in match["sizes"].split("-")]


def _mlp(s: Sketch, match: re.Match[str]) -> None:
    first, *hidden, _ = _sizes(match)
    _check_features(s, first)
    for n in hidden:
        s.hidden_dense(n)
    s.logits()


def _check_features(s: Sketch, expected: int) -> None:
    found = prod(s.input_shape)
    if found != expected:
        raise NetworkError(
            f"network {s.name} takes {expected} inputs, but a sample of {_text(s.input_shape)} has {found}; "
            f"use a network for {found} inputs, such as mlp-{found}-100-{s.options.classes}"
        )


def _lenet5(s: Sketch, _match: re.Match[str]) -> None:
    """28x28 is padded to the 32x32 that the paper uses."""
    s.hidden_conv(6, 5, padding=2 if s.shape[1] < 32 else 0)
    s.avg_pool(2)
    s.hidden_conv(16, 5)
    s.avg_pool(2)
    s.hidden_dense(120)
    s.hidden_dense(84)
    s.logits()


def _cnn(s: Sketch, match: re.Match[str]) -> None:
    for channels in _sizes(match):
        s.hidden_conv(channels, 3, padding=1)
        s.drop()
        if min(s.shape[1:]) >= 2:
            s.max_pool(2)
    s.logits()


def _drtp_mnist(s: Sketch, _match: re.Match[str]) -> None:
    s.hidden_conv(32, 5, padding=2)
    s.max_pool(2)
    s.hidden_dense(1000)
    s.logits()


def _drtp_cifar(s: Sketch, _match: re.Match[str]) -> None:
    for channels in (64, 256):
        s.hidden_conv(channels, 3, padding=1)
        s.max_pool(2)
    s.hidden_dense(1000)
    s.hidden_dense(1000)
    s.logits()


_VGG: dict[str, tuple[int | str, ...]] = {
    "8": (128, 256, "M", 256, 512, "M", 512, "M", 512, "M"),
    "11": (128, 128, 128, 256, "M", 256, 512, "M", 512, 512, "M", 512, "M"),
}


def _vgg(s: Sketch, match: re.Match[str]) -> None:
    """A bias is left out before a batch norm, which has its own."""
    width = float(match["width"] or 1)
    bias = not s.options.batch_norm
    for item in _VGG[match["depth"]]:
        if isinstance(item, int):
            s.hidden_conv(_scaled(item, width), 3, padding=1, bias=bias)
            s.drop()
        else:
            s.max_pool(2)
    s.hidden_dense(_scaled(1024, width), bias=bias)
    s.logits()


def _scaled(n: int, width: float) -> int:
    return max(1, round(n * width))


def _residual(s: Sketch, channels: int, stride: int, *, bias: bool, norm_shortcut: bool) -> None:
    """Basic block of He 2016: two 3x3 convolutions, and a sum; a 1x1 convolution where the shape changes."""
    start, before = s.here, s.shape
    s.hidden_conv(channels, 3, stride=stride, padding=1, bias=bias)
    s.conv(channels, 3, padding=1, bias=bias)
    end = s.norm()
    shortcut = start
    if s.shape != before:
        s.goto(start)
        s.conv(channels, 1, stride=stride, bias=bias or not norm_shortcut)
        shortcut = s.norm() if norm_shortcut else s.here
    s.add(end, shortcut)
    s.act()


def _resnet20(s: Sketch, _match: re.Match[str]) -> None:
    bias = not s.options.batch_norm
    s.hidden_conv(16, 3, padding=1, bias=bias)
    for channels in (16, 32, 64):
        for i in range(3):
            stride = 2 if channels > 16 and i == 0 else 1
            _residual(s, channels, stride, bias=bias, norm_shortcut=True)
    s.global_avg_pool()
    s.flatten()
    s.drop()
    s.logits()


def _resnet8(s: Sketch, _match: re.Match[str]) -> None:
    s.hidden_conv(16, 3, padding=1)
    for channels in (16, 32, 64):
        _residual(s, channels, 1 if channels == 16 else 2, bias=True, norm_shortcut=False)
    s.global_avg_pool()
    s.flatten()
    s.drop()
    s.logits()


def _separable(s: Sketch, channels: int, stride: int = 1) -> None:
    """Depthwise 3x3 and pointwise 1x1 convolution, each with batch norm and activation."""
    s.depthwise(3, stride=stride, padding=1)
    s.norm()
    s.act()
    s.hidden_conv(channels, 1)


def _ds_cnn(s: Sketch, _match: re.Match[str]) -> None:
    """Dropout is 0.2 after the first layer and twice that before the pool, as in the reference."""
    s.hidden_conv(64, (10, 4), stride=2, padding=(5, 1))
    s.drop()
    for _ in range(4):
        _separable(s, 64)
    s.drop(min(2 * s.options.dropout, 0.9))
    s.global_avg_pool()
    s.logits()


def _mobilenet(s: Sketch, _match: re.Match[str]) -> None:
    s.hidden_conv(8, 3, stride=2, padding=1)
    _separable(s, 16)
    for channels, blocks in ((32, 2), (64, 2), (128, 6), (256, 2)):
        for i in range(blocks):
            _separable(s, channels, 2 if i == 0 else 1)
    s.global_avg_pool()
    s.flatten()
    s.drop()
    s.logits()


def _autoencoder(s: Sketch, _match: re.Match[str]) -> None:
    _check_features(s, 640)
    for n in (128, 128, 128, 128, 8, 128, 128, 128, 128):
        s.hidden_dense(n)
    s.logits()


_MLPERF = "Banbury et al., MLPerf Tiny Benchmark, NeurIPS Datasets and Benchmarks 2021"
_DRTP = "Frenkel, Lefebvre, Bol, Learning without feedback, Frontiers in Neuroscience 2021"
_LES = "Nøkland, Eidnes, Training neural networks with local error signals, ICML 2019"

ENTRIES: tuple[Entry, ...] = (
    Entry(
        r"mlp-(?P<sizes>[1-9]\d*(-[1-9]\d*)+)",
        ("mlp-784-1000-10", "mlp-64-100-10", "mlp-784-500-500-10"),
        "dense layers of these sizes: mlp-IN-H-...-OUT, tanh",
        "Frenkel et al. 2021 and Nøkland 2016 use 784-1000-10",
        _mlp,
        lambda m: (_sizes(m)[0],),
        lambda m: _sizes(m)[-1],
        activation="tanh",
    ),
    Entry(
        r"cnn-(?P<sizes>[1-9]\d*(-[1-9]\d*)*)",
        ("cnn-16-32", "cnn-8-16"),
        "3x3 convolutions with these channels, each with a 2x2 max pool, for small images: cnn-C1-C2-...",
        "none: a small network for the built-in digits",
        _cnn,
        (1, 8, 8),
    ),
    Entry(
        "lenet5",
        ("lenet5",),
        "6c5-2p-16c5-2p-120-84-10, tanh, average pools",
        "LeCun et al., Gradient-based learning applied to document recognition, Proc. IEEE 1998",
        _lenet5,
        (1, 28, 28),
        activation="tanh",
    ),
    Entry(
        "drtp-conv-mnist",
        ("drtp-conv-mnist",),
        "32c5-2p-1000-10, tanh",
        _DRTP,
        _drtp_mnist,
        (1, 28, 28),
        activation="tanh",
    ),
    Entry(
        "drtp-conv-cifar",
        ("drtp-conv-cifar",),
        "64c3-2p-256c3-2p-1000-1000-10, tanh",
        _DRTP,
        _drtp_cifar,
        (3, 32, 32),
        activation="tanh",
    ),
    Entry(
        r"vgg(?P<depth>8)b(-x(?P<width>\d+(\.\d+)?))?",
        ("vgg8b", "vgg8b-x0.25"),
        "six 3x3 convolutions with batch norm and a dense layer; -xW scales the widths",
        _LES,
        _vgg,
        (3, 32, 32),
        batch_norm=True,
    ),
    Entry(
        r"vgg(?P<depth>11)b(-x(?P<width>\d+(\.\d+)?))?",
        ("vgg11b", "vgg11b-x0.25"),
        "nine 3x3 convolutions with batch norm and a dense layer; -xW scales the widths",
        _LES,
        _vgg,
        (3, 32, 32),
        batch_norm=True,
    ),
    Entry(
        "resnet20",
        ("resnet20",),
        "residual network for 32x32 images: three stages of three basic blocks, 16-32-64 channels",
        "He, Zhang, Ren, Sun, Deep residual learning for image recognition, CVPR 2016",
        _resnet20,
        (3, 32, 32),
        batch_norm=True,
    ),
    Entry(
        "resnet8",
        ("resnet8",),
        "MLPerf Tiny image classification: three basic blocks, 16-32-64 channels",
        _MLPERF,
        _resnet8,
        (3, 32, 32),
        batch_norm=True,
    ),
    Entry(
        "ds-cnn",
        ("ds-cnn",),
        "MLPerf Tiny keyword spotting: four depthwise-separable blocks of 64 channels",
        _MLPERF,
        _ds_cnn,
        (1, 49, 10),
        12,
        batch_norm=True,
        dropout=0.2,
    ),
    Entry(
        r"mobilenet-v1-0\.25",
        ("mobilenet-v1-0.25",),
        "MLPerf Tiny visual wake words: thirteen depthwise-separable blocks",
        _MLPERF,
        _mobilenet,
        (3, 96, 96),
        2,
        batch_norm=True,
    ),
    Entry(
        "autoencoder",
        ("autoencoder",),
        "MLPerf Tiny anomaly detection: 640-128-128-128-128-8-128-128-128-128-640; train it with mse",
        _MLPERF,
        _autoencoder,
        (640,),
        lambda _m: 640,
        batch_norm=True,
    ),
)


def names() -> tuple[str, ...]:
    """The listed names; ``mlp-...``, ``cnn-...`` and ``vgg..b-xW`` take other sizes too."""
    return tuple(name for entry in ENTRIES for name in entry.names)


def build(
    name: str,
    *,
    input_shape: Shape | None = None,
    classes: int | None = None,
    activation: str | None = None,
    batch_norm: bool | None = None,
    dropout: float | None = None,
    seed: int = 0,
) -> Network:
    """The network of that name, with initial values drawn from ``seed``.

    Args:
        name: such as ``mlp-784-1000-10``, ``lenet5``, ``vgg8b-x0.25``; see :func:`names`.
        input_shape: per sample, ``(features,)`` or ``(channels, height, width)``.
        classes: number of outputs.
        activation: of all hidden layers: ``relu``, ``leaky_relu`` (slope 0.01), ``tanh``, ``sigmoid``,
            ``hardtanh`` or ``sign``.
        batch_norm: a batch norm between each weighted hidden layer and its activation.
        dropout: rate. After every hidden activation (``mlp``, ``cnn``, ``vgg``, ``autoencoder``), after the
            dense ones (``lenet5``, ``drtp-conv``), before the last layer (``resnet``, ``mobilenet``); in
            ``ds-cnn`` after the first layer, and twice the rate before the pool.
        seed: of the initial values.

    ``None`` leaves an option at the network's own default.

    Raises:
        ConfigError: an unknown name or activation, or an option out of range.
        NetworkError: the network does not fit the input shape.
    """
    return _sketch(name, input_shape, classes, activation, batch_norm, dropout).network(seed)


def describe() -> list[dict[str, Any]]:
    """The zoo as rows: ``name``, ``what``, ``input_shape``, ``parameters``, ``macs`` (per sample), ``paper``.

    ``parameters`` counts weights and biases, not running statistics.
    """
    rows = []
    for entry in ENTRIES:
        sketch = _sketch(entry.names[0])
        row = {"name": entry.names[0], "what": entry.what, "input_shape": sketch.input_shape}
        counts = {"parameters": parameters(sketch.layers), "macs": macs(sketch.layers)}
        rows.append({**row, **counts, "paper": entry.paper})
    return rows


def parameters(layers: Iterable[Layer]) -> int:
    """Number of weights and biases."""
    trained = (shape for x in layers for suffix, shape in x.params.items() if "running" not in suffix)
    return sum(map(prod, trained))


def macs(layers: Iterable[Layer]) -> int:
    """Multiply-accumulates of the weighted layers in one forward pass of one sample, padding counted."""
    return sum(prod(x.shape) * prod(x.params["weight"][1:]) for x in layers if x.kind in WEIGHTED)


def _sketch(
    name: str,
    input_shape: Shape | None = None,
    classes: int | None = None,
    activation: str | None = None,
    batch_norm: bool | None = None,
    dropout: float | None = None,
) -> Sketch:
    entry, match = _find(name)
    options = Options(
        _classes(name, entry, match, classes),
        _activation(activation or entry.activation),
        entry.batch_norm if batch_norm is None else batch_norm,
        _rate(entry.dropout if dropout is None else dropout),
    )
    default = entry.input_shape(match) if callable(entry.input_shape) else entry.input_shape
    sketch = Sketch(name, _input(name, default, input_shape), options)
    entry.draw(sketch, match)
    return sketch


def _find(name: str) -> tuple[Entry, re.Match[str]]:
    for entry in ENTRIES:
        match = re.fullmatch(entry.pattern, name)
        if match and float(match.groupdict().get("width") or 1) > 0:
            return entry, match
    near = get_close_matches(name, names(), n=3, cutoff=0.5)
    near = near or [n for n in names() if n.split("-")[0] == name.split("-")[0]]
    hint = f"did you mean {' or '.join(near)}?" if near else f"use one of {', '.join(names())}"
    raise ConfigError(f"network {name!r} is unknown; {hint} 'insitu list networks' shows all")


def _classes(name: str, entry: Entry, match: re.Match[str], asked: int | None) -> int:
    if callable(entry.classes):
        fixed = entry.classes(match)
        if asked in (None, fixed):
            return fixed
        raise ConfigError(f"network {name} has {fixed} outputs, not {asked};use one with {asked}")
    n = entry.classes if asked is None else asked
    if n < 1:
        raise ConfigError(f"network {name} cannot have {n} classes; give 1 or more")
    return n


def _activation(fn: str) -> str:
    if fn not in FUNCTIONS:
        near = get_close_matches(fn, FUNCTIONS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"use one of {', '.join(FUNCTIONS)}"
        raise ConfigError(f"activation {fn!r} is unknown; {hint}")
    return fn


def _rate(p: float) -> float:
    if not 0 <= p < 1:
        raise ConfigError(f"dropout {p} is out of range; use a rate from 0 up to, not including, 1")
    return p


def _input(name: str, default: Shape, asked: Shape | None) -> Shape:
    shape = default if asked is None else tuple(asked)
    if len(shape) not in (1, 3) or min(shape) < 1:
        raise NetworkError(
            f"network {name} cannot take an input of shape {_text(shape)}; "
            "use (features,) or (channels, height, width)"
        )
    if len(default) == 3 and len(shape) != 3:
        raise NetworkError(
            f"network {name} takes images (channels, height, width), but a sample has shape {_text(shape)}; "
            f"use image data, or an mlp such as mlp-{shape[0]}-100-10"
        )
    return shape


def _text(shape: Shape) -> str:
    return "x".join(map(str, shape))
