"""What cannot be captured is refused with its type, its place and a remedy."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from insitu.errors import NetworkError
from insitu.network.torch import refusals
from insitu.network.torch.aten import supported
from insitu.network.torch.capture import capture

FLAT, IMAGE = torch.zeros(2, 4), torch.zeros(2, 1, 8, 8)


class Calls(nn.Module):
    """A linear layer, then a function of its output, in a module called ``block``."""

    class Block(nn.Module):
        def __init__(self, function: Callable[[Tensor], object]) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 4)
            self.function = function

        def forward(self, x: Tensor) -> object:
            return self.function(self.fc(x))

    def __init__(self, function: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.block = self.Block(function)

    def forward(self, x: Tensor) -> object:
        return self.block(x)


def net(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(*layers)


LAYERS = [
    (net(nn.Linear(4, 2), nn.Softmax(1)), FLAT, r"'1' \(nn.Softmax\).*remove it: the losses work on logits"),
    (net(nn.Linear(4, 2), nn.LogSoftmax(1)), FLAT, r"'1' \(nn.LogSoftmax\).*logits"),
    (net(nn.Linear(4, 2), nn.ELU()), FLAT, r"'1' \(nn.ELU\).*use nn.ReLU, nn.LeakyReLU"),
    (
        net(nn.Hardtanh(0, 5000)),
        FLAT,
        r"'0' \(nn.Hardtanh\): its range is 0 to 5000. Use .*nn.Hardtanh\(0, c\)",
    ),
    (net(nn.Hardtanh(1, 2)), FLAT, r"'0' \(nn.Hardtanh\): its range is 1 to 2. Use .*nn.Hardtanh\(0, c\)"),
    (net(nn.GELU("tanh")), FLAT, r"'0' \(nn.GELU\): it is approximated by tanh. Use nn.GELU\(\)"),
    (net(nn.Hardtanh(-2, 2)), FLAT, r"range is -2.* to 2.*nn.Hardtanh\(-1, 1\)"),
    (net(nn.Linear(4, 2), nn.LayerNorm(2)), FLAT, r"'1' \(nn.LayerNorm\).*nn.RMSNorm"),
    (net(nn.RMSNorm(4)), FLAT, r"'0' \(nn.RMSNorm\): it has weights.*elementwise_affine=False"),
    (net(nn.GroupNorm(1, 1)), IMAGE, r"'0' \(nn.GroupNorm\).*nn.BatchNorm2d"),
    (net(nn.BatchNorm2d(1, momentum=None)), IMAGE, r"'0' \(nn.BatchNorm2d\).*momentum"),
    (net(nn.BatchNorm2d(1, track_running_stats=False)), IMAGE, r"no running statistics.*track_running_stats"),
    (net(nn.AlphaDropout(0.1)), IMAGE, r"'0' \(nn.AlphaDropout\).*use nn.Dropout"),
    (net(nn.Dropout2d(1.0)), IMAGE, r"'0' \(nn.Dropout2d\).*everything.*below 1"),
    (net(nn.Conv2d(1, 1, 2, padding="same")), IMAGE, r"even kernel \[2, 2\].*odd"),
    (net(nn.Conv2d(1, 1, 3, padding_mode="circular", padding=1)), IMAGE, r"'0' \(nn.Conv2d\).*padding"),
    (net(nn.ReflectionPad2d(1), nn.Conv2d(1, 1, 3)), IMAGE, r"'0' \(nn.ReflectionPad2d\).*zeros around"),
    (net(nn.ConstantPad2d(1, 2.0), nn.Conv2d(1, 1, 3)), IMAGE, r"'0' \(nn.ConstantPad2d\).*zeros around"),
    (net(nn.ZeroPad2d(-1), nn.Conv2d(1, 1, 3)), IMAGE, r"'0' \(nn.ZeroPad2d\).*zeros around"),
    (net(nn.ZeroPad2d(1), nn.MaxPool2d(2)), IMAGE, r"'1' \(nn.MaxPool2d\).*zeros around it.*right before"),
    (net(nn.Conv2d(1, 1, 3), nn.ZeroPad2d(1)), IMAGE, r"'1' \(nn.ZeroPad2d\).*gives back.*right before"),
    (
        net(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(1, 1, 3, 2)),
        IMAGE,
        r"'1' \(nn.Conv2d\).*both sides.*ZeroPad2d\(1\)",
    ),
    (net(nn.ConvTranspose2d(1, 1, 3)), IMAGE, r"'0' \(nn.ConvTranspose2d\).*transposed"),
    (net(nn.MaxPool2d(3, ceil_mode=True)), IMAGE, r"'0' \(nn.MaxPool2d\): ceil_mode"),
    (net(nn.MaxPool2d(2, dilation=2)), IMAGE, r"dilated.*dilation=1"),
    (net(nn.AvgPool2d(3, padding=1, count_include_pad=False)), IMAGE, r"count_include_pad=True"),
    (net(nn.AvgPool2d(2, divisor_override=3)), IMAGE, r"divisor_override"),
    (
        net(nn.Upsample(scale_factor=1.5)),
        IMAGE,
        r"'0' \(nn.Upsample\): it makes \[12, 12\] of \[8, 8\].*whole factor",
    ),
    (
        net(nn.Upsample(scale_factor=2.1)),
        IMAGE,
        r"'0' \(nn.Upsample\): it makes \[16, 16\] of .*whole factor",
    ),
    (
        net(nn.Upsample(scale_factor=2, mode="bilinear")),
        IMAGE,
        r"'0' \(nn.Upsample\).*whole factor \(mode='nearest'",
    ),
    (net(nn.PReLU()), FLAT, r"'0' \(nn.PReLU\).*use nn.LeakyReLU"),
    (net(nn.GLU(1)), FLAT, r"'0' \(nn.GLU\).*use nn.SiLU"),
    (net(nn.InstanceNorm2d(1)), IMAGE, r"'0' \(nn.InstanceNorm2d\).*nn.BatchNorm2d"),
    (net(nn.LPPool2d(2, 2)), IMAGE, r"'0' \(nn.LPPool2d\).*use .*nn.MaxPool2d"),
    (net(nn.Unfold(2)), IMAGE, r"'0' \(nn.Unfold\).*use nn.Conv2d"),
    (net(nn.Linear(8, 2)), IMAGE, r"'0' \(nn.Linear\): its input has shape.*x.flatten\(1\)"),
    (net(nn.Unflatten(1, (1, 2, 2)), nn.Conv2d(1, 1, 1)), FLAT, r"'0' \(nn.Unflatten\)"),
    (net(nn.utils.parametrizations.weight_norm(nn.Linear(4, 2))), FLAT, r"computed.*remove_parametrizations"),
    (net(nn.Flatten(0), nn.Linear(8, 1)), FLAT, r"'0' \(nn.Flatten\): .*batch.*[Tt]reat each sample"),
    (nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect"), IMAGE, r"the module itself \(nn.Conv2d\)"),
]


@pytest.mark.parametrize(("module", "example", "message"), LAYERS)
def test_layers(module: nn.Module, example: Tensor, message: str) -> None:
    with pytest.raises(NetworkError, match=f"(?i)^cannot capture .*{message}"):
        capture(module, example)


CALLS = [
    (lambda x: x + 1, "add.*the constant 1.*bias"),
    (lambda x: 2 * x, "mul.*scale and shift the data"),
    (lambda x: x + torch.ones(4), "ones"),
    (lambda x: torch.add(x, x, alpha=2), "add.*alpha=2"),
    (lambda x: x + x.mean(1, keepdim=True), "mean.*over the dimensions"),
    (lambda x: F.elu(x), "elu.*nn.ReLU"),
    (lambda x: F.softmax(x, 1), "softmax.*logits"),
    (lambda x: torch.cat((x, x), 1), "cat.*sum of two values"),
    (lambda x: x.detach(), "detach.*learning rule decides"),
    (lambda x: x.double(), "to.*float64"),
    (lambda x: x.t(), "t.*x.flatten"),
    (lambda x: x.view(-1, 2, 2), "view.*x.flatten"),
    (lambda x: x.view(x.size(0) * 2, 2), "view.*batch as the first"),
    (lambda x: x.clamp(min=1), "clamp.*nn.ReLU"),
    (lambda x: F.linear(x, torch.eye(4)), "eye"),
]


@pytest.mark.parametrize(("function", "message"), CALLS)
def test_calls(function: Callable[[Tensor], object], message: str) -> None:
    with pytest.raises(NetworkError, match=f"(?i)^cannot capture the call of {message}") as error:
        capture(Calls(function), FLAT)
    assert "in 'block' (Block)" in str(error.value)


def condition(x: Tensor) -> Tensor:
    return x if x.sum() > 0 else torch.relu(x)


def no_gradient(x: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.relu(x)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (condition, "control flow depends on the values.*same layers must run"),
        (no_gradient, "wrap_with_set_grad_enabled.*learning rule decides"),
        (lambda x: (x, torch.relu(x)), "2 values.*one tensor"),
        (lambda x: x.view(2, 4), r"view.*batch as the first.*without a fixed batch"),
        (lambda x: x @ torch.zeros(3, 3), "does not run on an input of shape .2, 4.*check the shape"),
    ],
)
def test_whole_modules(function: Callable[[Tensor], object], message: str) -> None:
    with pytest.raises(NetworkError, match=f"(?i)^cannot capture .*{message}"):
        capture(Calls(function), FLAT)


SEQUENCE = torch.zeros(2, 3, 8)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (nn.Conv1d(3, 2, 3, padding=1, padding_mode="circular"), r"\(nn.Conv1d\).*padding"),
        (nn.Conv1d(3, 2, 2, padding="same"), r"\(nn.Conv1d\): padding='same' of an even kernel .* Use odd"),
        (nn.MaxPool1d(2, dilation=2), r"\(nn.MaxPool1d\): its window is dilated"),
        (nn.AvgPool1d(3, padding=1, count_include_pad=False), r"\(nn.AvgPool1d\).*count_include_pad=True"),
        (nn.ConvTranspose1d(3, 2, 3), r"\(nn.ConvTranspose1d\).*transposed"),
        (nn.Linear(8, 2), r"\(nn.Linear\): its input has shape \['batch', 3, 8\].*x.flatten\(1\)"),
        (nn.LPPool1d(2, 2), r"\(nn.LPPool1d\).*nn.MaxPool1d"),
        (nn.InstanceNorm1d(3), r"\(nn.InstanceNorm1d\).*nn.BatchNorm1d on .*sequences"),
    ],
)
def test_layers_of_sequences(module: nn.Module, message: str) -> None:
    with pytest.raises(NetworkError, match=message):
        capture(module, SEQUENCE)


def test_a_sequence_for_a_vector() -> None:
    with pytest.raises(NetworkError, match=r"\(nn.Conv1d\).*\(batch, channels, height, width\)"):
        capture(net(nn.Linear(4, 2), nn.Conv1d(2, 2, 1)), FLAT)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_recurrent_layers(kind: type[nn.Module]) -> None:
    with pytest.raises(NetworkError, match=rf"{kind.__name__}\).*feed-forward"):
        capture(kind(4, 3, batch_first=True), FLAT)


def test_attention() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.attention(x, x, x)[0]

    with pytest.raises(NetworkError, match=r"'attention' \(nn.MultiheadAttention\).*convolutions"):
        capture(Net(), FLAT)


def test_a_refusal_is_all_that_is_said(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(NetworkError):
        capture(Calls(condition), FLAT)
    assert capfd.readouterr() == ("", "")


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.fc(x))


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)
        self.b.weight = self.a.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(x))


class Named(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.input = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.input(x)


class OwnWeights(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.zeros(2, 4))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.matrix)


class TwoInputs(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


class ViewThenInPlace(nn.Module):
    """A change in place of something that is used in another shape afterwards."""

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(x)
        flat = x.view(x.size(0), -1)
        torch.relu_(x)
        return flat


@pytest.mark.parametrize(
    ("module", "example", "message"),
    [
        (Twice(), FLAT, r"'fc' \(nn.Linear\): it is used more than once. Give each use a layer"),
        (Tied(), FLAT, r"'b.weight': it is the same parameter as 'a.weight'"),
        (Named(), FLAT, r"'input' \(nn.Linear\).*Rename"),
        (OwnWeights(), FLAT, r"linear in the module itself \(OwnWeights\).*'matrix'.*nn.Linear"),
        (TwoInputs(), FLAT, r"TwoInputs: its forward takes more than one input"),
        (ViewThenInPlace(), IMAGE, r"changes in place.*inplace=False"),
        (nn.Identity(), FLAT, r"Identity: its output is its input"),
    ],
)
def test_structures(module: nn.Module, example: Tensor, message: str) -> None:
    with pytest.raises(NetworkError, match=message):
        capture(module, example)


def test_a_fixed_batch() -> None:
    class Fixed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(x.view(2, 4))

    with pytest.raises(NetworkError, match=r"one batch size only.*x\.flatten|without a fixed batch"):
        capture(Fixed(), FLAT)


@pytest.mark.parametrize("shape", [(4,), (2, 3, 4, 5, 6), (0, 4)])
def test_examples_of_another_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(NetworkError, match="example input has shape"):
        capture(nn.Linear(4, 2), torch.zeros(shape))


def test_examples_of_integers() -> None:
    with pytest.raises(NetworkError, match="floating-point"):
        capture(nn.Embedding(4, 2), torch.zeros(2, 4, dtype=torch.int64))


def test_a_wrong_example_says_so() -> None:
    with pytest.raises(NetworkError, match=r"does not run on an input of shape .2, 4.*example"):
        capture(nn.Sequential(nn.BatchNorm1d(4), nn.Linear(5, 2)), FLAT)


@pytest.mark.parametrize(
    ("module", "example", "message"),
    [
        (
            net(nn.Linear(4, 6), nn.ELU(), nn.Linear(5, 2)),
            FLAT,
            r"\[batch, 6\] X \[5, 2\], in '2' \(nn.Linear\)",
        ),
        (
            net(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(10, 2)),
            IMAGE,
            r"in '2' \(nn.Linear\).*\[batch, 72\]",
        ),
        (net(nn.Conv2d(3, 2, 3)), IMAGE, r"in '0' \(nn.Conv2d\).*\[batch, 1, 8, 8\]"),
    ],
)
def test_a_shape_mismatch_is_told_with_the_layer_that_it_happens_in(
    module: nn.Module, example: Tensor, message: str
) -> None:
    """No other layer of the network is blamed, with a layer kind or without."""
    with pytest.raises(NetworkError, match=message) as refused:
        capture(module, example)
    assert "has no layer kind" not in str(refused.value)


def test_a_layer_without_kind_is_blamed_for_an_error_of_its_own() -> None:
    with pytest.raises(NetworkError, match=r"'1' \(nn.Embedding\) has no layer kind. .*one-hot"):
        capture(net(nn.Linear(4, 2), nn.Embedding(4, 2)), FLAT)


def test_what_is_supported_follows_from_the_table() -> None:
    """Every class that a row names is one of PyTorch's, and the remedies tell of it."""
    assert {"Linear", "Conv2d", "ReLU", "Dropout"} < set(supported().classes)
    assert all(issubclass(getattr(nn, name), nn.Module) for name in supported().classes)
    assert all(f"nn.{name}" in supported().text for name in supported().classes)


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (nn.GRU(4, 3), r"'the module itself' \(nn.GRU\).*such as nn.Conv2d over time"),
        (nn.Sequential(nn.LSTM(4, 3)), r"'0' \(nn.LSTM\).*such as nn.Conv2d over time"),
        (nn.TransformerEncoderLayer(4, 2), r"nn.TransformerEncoderLayer\).*Use convolutions"),
    ],
)
def test_sequence_layers_are_refused_by_name_for_inputs_of_any_rank(module: nn.Module, said: str) -> None:
    for shape in ((2, 5, 4), (2, 4)):
        with pytest.raises(NetworkError, match=said):
            capture(module, torch.zeros(shape))


NAMED = re.compile(r"\bnn\.([A-Z]\w*)")
MODULES = sorted(n for n, m in vars(nn).items() if isinstance(m, type) and issubclass(m, nn.Module))


@pytest.mark.parametrize("name", MODULES)
def test_a_remedy_names_only_layers_that_are_captured(name: str) -> None:
    known = supported()
    if name not in known.classes:
        assert set(NAMED.findall(known.remedy(name))) <= set(known.classes)


def test_every_remedy_in_the_sources_names_only_layers_that_are_captured() -> None:
    """Also those of single calls, such as the geometry of a pool."""
    sources = [p.read_text() for p in Path(refusals.__file__).parent.glob("*.py")]
    texts = [n.value for s in sources for n in ast.walk(ast.parse(s)) if isinstance(n, ast.Constant)]
    named = {c for t in texts if isinstance(t, str) and not t.startswith("_") for c in NAMED.findall(t)}
    assert "AdaptiveAvgPool2d" in named
    assert named <= {*supported().classes, "Module", "Sequential"}
