"""Networks as people bring them: which are captured, which refused and with what remedy, and rules that train them.

    python benchmarks/own_networks.py [--out benchmarks/results/own_networks.json]

For every module that is captured, the training step of eight rules is emitted and lowered: in float32 for batches of
two, in words of 8 bits, batch norms folded, for one sample. Accuracy is not looked at.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import insitu
from insitu.errors import InsituError
from insitu.network.norms import folded
from insitu.passes import lower
from insitu.passes.precision import make
from insitu.passes.quantize import quantize
from insitu.rules.protocol import emit_step, make_rule

RULES = ("bp", "bp-stash", "dfa", "drtp", "pred", "etch", "mono-forward", "dgl")
MAP, SEQUENCE, FEATURES = (1, 16, 12), (6, 64), (20,)
CLASSES = 5


class Applied(nn.Module):
    """Layers, and a function of the sample that calls them by number."""

    def __init__(self, layers: Sequence[nn.Module], forward: Callable[..., Tensor]) -> None:
        super().__init__()
        self.layers, self.function = nn.ModuleList(layers), forward

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, *self.layers)


def on_map(*middle: nn.Module, channels: int = 6) -> nn.Module:
    """A convolution, what is asked for, and a read-out of the mean over the map."""
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES))
    return nn.Sequential(nn.Conv2d(1, 6, 3, stride=2, padding=1), *middle, *head)


def dense(*middle: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(20, 12), *middle, nn.Linear(12, CLASSES))


def conv_norm(i: int, o: int, k: int = 3, s: int = 1, g: int = 1, act: Any = nn.ReLU) -> list[nn.Module]:
    return [nn.Conv2d(i, o, k, s, k // 2, groups=g, bias=False), nn.BatchNorm2d(o), act()]


def residual(x: Tensor, first: Any, second: Any, last: Any) -> Tensor:
    h = F.relu(first(x))
    return last(F.relu(second(h) + h).mean((2, 3)))


def inverted(act: Any) -> nn.Module:
    """A stem, an inverted residual and a head, as in MobileNetV2."""
    body = nn.Sequential(
        *conv_norm(6, 12, 1, act=act), *conv_norm(12, 12, 3, g=12, act=act), nn.Conv2d(12, 6, 1)
    )
    layers = [nn.Sequential(*conv_norm(1, 6, 3, 2, act=act)), body, nn.Linear(6, CLASSES)]

    def forward(x: Tensor, stem: Any, block: Any, last: Any) -> Tensor:
        h = stem(x)
        return last((h + block(h)).mean((2, 3)))

    return Applied(layers, forward)


def excited(x: Tensor, conv: Any, down: Any, up: Any, last: Any) -> Tensor:
    h = torch.relu(conv(x))
    return last((h * torch.sigmoid(up(torch.relu(down(F.adaptive_avg_pool2d(h, 1)))))).mean((2, 3)))


def joined(x: Tensor, one: Any, other: Any, last: Any) -> Tensor:
    return last(torch.cat([torch.relu(one(x)), torch.tanh(other(x))], 1))


def twice(x: Tensor, first: Any, middle: Any, last: Any) -> Tensor:
    return last(torch.relu(middle(torch.relu(middle(torch.relu(first(x)))))))


def branch(x: Tensor, one: Any, other: Any) -> Tensor:
    return one(x) if x.mean() > 0 else other(x)


def recurrent(kind: Any) -> nn.Module:
    return Applied(
        [kind(64, 8, batch_first=True), nn.Linear(8, CLASSES)], lambda x, cell, last: last(cell(x)[0][:, -1])
    )


def frozen() -> nn.Module:
    net = on_map(nn.ReLU())
    next(net.parameters()).requires_grad_(False)
    return net


def separable() -> nn.Module:
    def block(i: int, o: int) -> list[nn.Module]:
        return [*conv_norm(i, i, 3, g=i), *conv_norm(i, o, 1)]

    return nn.Sequential(
        *conv_norm(1, 6, 3, 2),
        *block(6, 6),
        *block(6, 8),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(8 * 4 * 3, CLASSES),
    )


def autoencoder() -> nn.Module:
    return nn.Sequential(
        nn.Linear(20, 12),
        nn.ReLU(),
        nn.Linear(12, 4),
        nn.ReLU(),
        nn.Linear(4, 12),
        nn.ReLU(),
        nn.Linear(12, 20),
    )


Made = tuple[Callable[[], nn.Module], tuple[int, ...]]
MODULES: dict[str, Made] = {
    "dense, ReLU": (lambda: dense(nn.ReLU()), FEATURES),
    "dense, batch norm, dropout": (lambda: dense(nn.BatchNorm1d(12), nn.ReLU(), nn.Dropout(0.1)), FEATURES),
    "autoencoder": (autoencoder, FEATURES),
    "conv, max pool": (lambda: on_map(nn.ReLU(), nn.MaxPool2d(2)), MAP),
    "conv, padding='same', dilation 2": (
        lambda: on_map(nn.Conv2d(6, 6, 3, padding="same", dilation=2), nn.ReLU()),
        MAP,
    ),
    "adaptive pool to 4x3": (
        lambda: nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d((4, 3)),
            nn.Flatten(),
            nn.Linear(72, CLASSES),
        ),
        MAP,
    ),
    "DS-CNN, batch norm": (separable, MAP),
    "inverted residual, ReLU": (lambda: inverted(nn.ReLU), MAP),
    "inverted residual, ReLU6": (lambda: inverted(nn.ReLU6), MAP),
    "residual, functional": (
        lambda: Applied(
            [nn.Conv2d(1, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1), nn.Linear(6, CLASSES)], residual
        ),
        MAP,
    ),
    "frozen first layer": (frozen, MAP),
    "Conv1d, MaxPool1d": (
        lambda: nn.Sequential(
            nn.Conv1d(6, 8, 5, padding=2), nn.ReLU(), nn.MaxPool1d(4), nn.Flatten(), nn.Linear(128, CLASSES)
        ),
        SEQUENCE,
    ),
    "Conv1d, batch norm, mean": (
        lambda: nn.Sequential(
            nn.Conv1d(6, 8, 5, 2),
            nn.BatchNorm1d(8),
            nn.ReLU(),
            nn.AdaptiveAvgPool1d(1),
            nn.Flatten(),
            nn.Linear(8, CLASSES),
        ),
        SEQUENCE,
    ),
    "upsampling by copies": (lambda: on_map(nn.ReLU(), nn.Upsample(scale_factor=2), nn.Conv2d(6, 6, 3)), MAP),
    "ZeroPad2d": (lambda: nn.Sequential(nn.ZeroPad2d(2), *on_map(nn.ReLU())), MAP),
    "Dropout2d": (lambda: on_map(nn.ReLU(), nn.Dropout2d(0.2)), MAP),
    **{
        name: (lambda act=act: on_map(act(), nn.Conv2d(6, 6, 3), act()), MAP)
        for name, act in {
            "LeakyReLU": nn.LeakyReLU,
            "Tanh": nn.Tanh,
            "Sigmoid": nn.Sigmoid,
            "Hardswish": nn.Hardswish,
            "Hardsigmoid": nn.Hardsigmoid,
            "SiLU": nn.SiLU,
            "GELU": nn.GELU,
            "ELU": nn.ELU,
            "PReLU": nn.PReLU,
        }.items()
    },
    "Hardtanh(0, 4)": (lambda: on_map(nn.Hardtanh(0, 4)), MAP),
    "RMSNorm": (lambda: dense(nn.RMSNorm(12, elementwise_affine=False), nn.ReLU()), FEATURES),
    "LayerNorm": (lambda: dense(nn.LayerNorm(12), nn.ReLU()), FEATURES),
    "GroupNorm": (lambda: on_map(nn.GroupNorm(2, 6), nn.ReLU()), MAP),
    "squeeze and excite": (
        lambda: Applied(
            [nn.Conv2d(1, 6, 3), nn.Conv2d(6, 2, 1), nn.Conv2d(2, 6, 1), nn.Linear(6, CLASSES)], excited
        ),
        MAP,
    ),
    "concatenation": (
        lambda: Applied([nn.Linear(20, 6), nn.Linear(20, 6), nn.Linear(12, CLASSES)], joined),
        FEATURES,
    ),
    "transposed convolution": (lambda: on_map(nn.ReLU(), nn.ConvTranspose2d(6, 6, 2, 2)), MAP),
    "softmax at the end": (lambda: nn.Sequential(dense(nn.ReLU()), nn.Softmax(1)), FEATURES),
    "log-softmax at the end": (lambda: nn.Sequential(dense(nn.ReLU()), nn.LogSoftmax(1)), FEATURES),
    "one layer used twice": (
        lambda: Applied([nn.Linear(20, 12), nn.Linear(12, 12), nn.Linear(12, CLASSES)], twice),
        FEATURES,
    ),
    "a branch on the data": (
        lambda: Applied([nn.Linear(20, CLASSES), nn.Linear(20, CLASSES)], branch),
        FEATURES,
    ),
    "embedding": (lambda: nn.Sequential(nn.Embedding(30, 4), nn.Flatten(), nn.Linear(80, CLASSES)), FEATURES),
    "GRU": (lambda: recurrent(nn.GRU), SEQUENCE),
    "LSTM": (lambda: recurrent(nn.LSTM), SEQUENCE),
    "transformer": (
        lambda: Applied(
            [nn.TransformerEncoderLayer(64, 2, 16, batch_first=True), nn.Linear(64, CLASSES)],
            lambda x, layer, last: last(layer(x).mean(1)),
        ),
        SEQUENCE,
    ),
}


def captured(name: str) -> insitu.network.graph.Network | str:
    """The network, or why it is refused."""
    factory, shape = MODULES[name]
    torch.manual_seed(1)
    try:
        return insitu.capture(factory().eval(), torch.zeros(2, *shape), "net")
    except InsituError as error:
        return str(error)


def served(net: Any, precision: str | None) -> tuple[list[str], str]:
    """Rules whose step is emitted and lowered, and why the last of the others is refused."""
    found, reason = [], ""
    for rule in RULES:
        try:
            step = emit_step(
                make_rule(rule), net if precision is None else folded(net), 2 if precision is None else 1
            )
            lower(step if precision is None else quantize(step, make(precision), net.params))
            found.append(rule)
        except InsituError as error:
            reason = str(error)
    return found, reason


def row(name: str) -> dict[str, Any]:
    net = captured(name)
    if isinstance(net, str):
        return {"refused": net}
    (real, _), (words, reason) = served(net, None), served(net, "edge-latent-free-8")
    return {"float32": real, "8-bit": words, "reason": reason}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "own_networks.json")
    args = parser.parse_args()
    found = {name: row(name) for name in MODULES}
    for name, entry in found.items():
        print(
            name, entry.get("refused") or (len(entry["float32"]), len(entry["8-bit"]), entry["reason"][:160])
        )
    args.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
