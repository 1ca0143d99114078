"""The architectures of the zoo: one function that draws each family, and the table of families. No torch.

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
from collections.abc import Callable
from dataclasses import dataclass
from math import prod

from insitu.errors import NetworkError
from insitu.network.zoo.builder import Sketch, size_text
from insitu.step.ir import Shape


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
            f"network {s.name} takes {expected} inputs, but a sample of {size_text(s.input_shape)} has {found}; "
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
    for stage in match["sizes"].split("-"):
        channels, _, count = stage.partition("x")
        for _ in range(int(count or 1)):
            s.hidden_conv(int(channels), 3, padding=1)
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


def _layerwise(s: Sketch, match: re.Match[str]) -> None:
    """The second layer halves the map and doubles the width: 2x2 space-to-depth and 3x3 are one convolution of 6x6."""
    width, bias = int(match["width"]), not s.options.batch_norm
    for i in range(int(match["depth"])):
        if i == 1:
            s.hidden_conv(2 * width, 6, stride=2, padding=2, bias=bias)
        else:
            s.hidden_conv(width if i == 0 else 2 * width, 3, padding=1, bias=bias)
        s.drop()
    s.avg_pool([max(1, n // 2) for n in s.shape[1:]])
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
    s.pooled_logits()


def _resnet8(s: Sketch, _match: re.Match[str]) -> None:
    s.hidden_conv(16, 3, padding=1)
    for channels in (16, 32, 64):
        _residual(s, channels, 1 if channels == 16 else 2, bias=True, norm_shortcut=False)
    s.pooled_logits()


def _reversible(s: Sketch, match: re.Match[str]) -> None:
    """Stages of couplings: two streams, of which each in turn is changed by a 3x3 convolution of the other's ReLU."""
    for item in match["sizes"].split("-"):
        channels, count = map(int, item.split("x"))
        one = s.conv(channels, 3, padding=1)
        s.act()
        other = s.conv(channels, 3, padding=1)
        for _ in range(count):
            s.goto(other)
            s.act()
            change = s.conv(channels, 3, padding=1)
            one, other = other, s.couple(one, change)
        s.act()
        s.max_pool(2)
    s.flatten()
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
    s.pooled_logits()


def _autoencoder(s: Sketch, _match: re.Match[str]) -> None:
    _check_features(s, 640)
    for n in (128, 128, 128, 128, 8, 128, 128, 128, 128):
        s.hidden_dense(n)
    s.logits()


_MLPERF = "Banbury et al., MLPerf Tiny Benchmark, NeurIPS Datasets and Benchmarks 2021"
_DRTP = "Frenkel, Lefebvre, Bol, Learning without feedback, Frontiers in Neuroscience 2021"
_LES = "Nøkland, Eidnes, Training neural networks with local error signals, ICML 2019"


def _vgg_entry(depth: int, convolutions: str) -> Entry:
    return Entry(
        rf"vgg(?P<depth>{depth})b(-x(?P<width>\d+(\.\d+)?))?",
        (f"vgg{depth}b", f"vgg{depth}b-x0.25"),
        f"{convolutions} 3x3 convolutions with batch norm and a dense layer; -xW scales the widths",
        _LES,
        _vgg,
        input_shape=(3, 32, 32),
        batch_norm=True,
    )


ENTRIES: tuple[Entry, ...] = (
    Entry(
        r"mlp-(?P<sizes>[1-9]\d*(-[1-9]\d*)+)",
        ("mlp-784-1000-10", "mlp-64-100-10", "mlp-784-500-500-10"),
        "dense layers of these sizes: mlp-IN-H-...-OUT, tanh",
        "Frenkel et al. 2021 and Nøkland 2016 use 784-1000-10",
        _mlp,
        input_shape=lambda m: (_sizes(m)[0],),
        classes=lambda m: _sizes(m)[-1],
        activation="tanh",
    ),
    Entry(
        r"cnn-(?P<sizes>[1-9]\d*(x[1-9]\d*)?(-[1-9]\d*(x[1-9]\d*)?)*)",
        ("cnn-16-32", "cnn-8-16", "cnn-16x2-32x2-64x2"),
        "3x3 convolutions with these channels, each with a 2x2 max pool, for small images: cnn-C1-C2-...; "
        "with CxN, N of them before a pool",
        "none: a small network for the built-in digits; a plain stack to see what depth does",
        _cnn,
        input_shape=(1, 8, 8),
    ),
    Entry(
        r"rev-(?P<sizes>[1-9]\d*x[1-9]\d*(-[1-9]\d*x[1-9]\d*)*)",
        ("rev-16x4-32x4",),
        "stages CxN: two 3x3 convolutions of C channels, N additive couplings, a 2x2 max pool: each stage can be run "
        "backwards (rule bp-reversible)",
        "Gomez, Ren, Urtasun, Grosse, The reversible residual network, NeurIPS 2017 (the coupling)",
        _reversible,
        input_shape=(3, 32, 32),
    ),
    Entry(
        "lenet5",
        ("lenet5",),
        "6c5-2p-16c5-2p-120-84-10, tanh, average pools",
        "LeCun et al., Gradient-based learning applied to document recognition, Proc. IEEE 1998",
        _lenet5,
        input_shape=(1, 28, 28),
        activation="tanh",
    ),
    Entry(
        "drtp-conv-mnist",
        ("drtp-conv-mnist",),
        "32c5-2p-1000-10, tanh",
        _DRTP,
        _drtp_mnist,
        input_shape=(1, 28, 28),
        activation="tanh",
    ),
    Entry(
        "drtp-conv-cifar",
        ("drtp-conv-cifar",),
        "64c3-2p-256c3-2p-1000-1000-10, tanh",
        _DRTP,
        _drtp_cifar,
        input_shape=(3, 32, 32),
        activation="tanh",
    ),
    _vgg_entry(8, "six"),
    _vgg_entry(11, "nine"),
    Entry(
        r"layerwise-(?P<depth>[1-9]\d*)x(?P<width>[1-9]\d*)",
        ("layerwise-4x64",),
        "LxW: L convolutions of W channels, from the second on 2W at half the size, 2x2 average pool, linear",
        "Belilovsky, Eickenberg, Oyallon, Greedy layerwise learning can scale to ImageNet, ICML 2019",
        _layerwise,
        input_shape=(3, 32, 32),
        batch_norm=True,
    ),
    Entry(
        "resnet20",
        ("resnet20",),
        "residual network for 32x32 images: three stages of three basic blocks, 16-32-64 channels",
        "He, Zhang, Ren, Sun, Deep residual learning for image recognition, CVPR 2016",
        _resnet20,
        input_shape=(3, 32, 32),
        batch_norm=True,
    ),
    Entry(
        "resnet8",
        ("resnet8",),
        "MLPerf Tiny image classification: three basic blocks, 16-32-64 channels",
        _MLPERF,
        _resnet8,
        input_shape=(3, 32, 32),
        batch_norm=True,
    ),
    Entry(
        "ds-cnn",
        ("ds-cnn",),
        "MLPerf Tiny keyword spotting: four depthwise-separable blocks of 64 channels",
        _MLPERF,
        _ds_cnn,
        input_shape=(1, 49, 10),
        classes=12,
        batch_norm=True,
        dropout=0.2,
    ),
    Entry(
        r"mobilenet-v1-0\.25",
        ("mobilenet-v1-0.25",),
        "MLPerf Tiny visual wake words: thirteen depthwise-separable blocks",
        _MLPERF,
        _mobilenet,
        input_shape=(3, 96, 96),
        classes=2,
        batch_norm=True,
    ),
    Entry(
        "autoencoder",
        ("autoencoder",),
        "MLPerf Tiny anomaly detection: 640-128-128-128-128-8-128-128-128-128-640; train it with mse",
        _MLPERF,
        _autoencoder,
        input_shape=(640,),
        classes=lambda _m: 640,
        batch_norm=True,
    ),
)
