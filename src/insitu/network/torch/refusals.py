"""What cannot be captured, and what to use instead; every refusal names the module, its place and a remedy.

What *can* be captured follows from the table of :mod:`insitu.network.torch.aten`. A module is blamed only for what it
does itself: for a call in the exported graph that happens in it, or for an error that was raised inside its forward.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any, NoReturn

from torch import Tensor, fx, nn

from insitu.errors import NetworkError
from insitu.network.torch.calls import Place, op_name, short_name

PLAIN = "Use nn.Linear, nn.Conv2d or nn.BatchNorm2d with plain parameters, without weight norm or the like"
PAD = (
    "Use zeros around what an nn.Conv1d or nn.Conv2d reads: its own padding, or nn.ZeroPad2d right before it"
)
PLANE_MEAN = (
    "Use x.mean((2, 3)) or nn.AdaptiveAvgPool2d(1); of a sequence x.mean(2) or nn.AdaptiveAvgPool1d(1)"
)

FAMILIES: tuple[tuple[str, str], ...] = (
    ("weight_norm", "Remove the weight norm before capture"),
    ("softm(ax|in)", "Remove it: the losses work on logits"),
    ("lstm|gru|rnn", "Use a feed-forward network on a window of the sequence, such as nn.Conv2d over time"),
    (
        "attention|transformer|matmul|bmm|einsum",
        "Use convolutions; attention is not served by the learning rules",
    ),
    ("embedding", "Feed the numbers themselves, or one-hot codes to nn.Linear"),
    (
        "norm",
        "Use nn.BatchNorm1d on (batch, features) or sequences, nn.BatchNorm2d on images, or nn.RMSNorm over all "
        "features of a sample with elementwise_affine=False",
    ),
    ("fractional|lp_?pool", "Use nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d or nn.AvgPool2d"),
    ("dropout|bernoulli|rand", "Use nn.Dropout, or nn.Dropout2d for whole channels"),
    ("prelu", "Use nn.LeakyReLU, whose one slope is a constant"),
    ("^glu$", "Use nn.SiLU or nn.Hardswish, which keep the number of features"),
    ("fold|im2col|col2im", "Use nn.Conv2d, which reads the windows of a map"),
    ("channel_?shuffle", "Use nn.Conv2d with groups=1, which mixes all channels"),
    (
        "conv_?transpose|upsampl|pixel_?shuffle",
        "Use nn.Upsample by a whole factor (mode='nearest'), then nn.Conv2d: there is no transposed convolution",
    ),
    ("pad", PAD),
    ("conv|bilinear", "Use nn.Conv1d or nn.Conv2d"),
    ("pool3d", "Use nn.MaxPool2d or nn.AvgPool2d"),
    ("^(sum|amax|max|std|var)$", PLANE_MEAN),
    ("^(cat|concat|concatenate|stack)$", "Use a sum of two values of the same shape"),
    (
        "^mul$",
        "Scale and shift the data instead of a constant, and use a sum of two values instead of a gate",
    ),
    ("^(div|r?sub|neg)$", "Scale and shift the data instead, or let the weights of a layer do it"),
    ("detach|grad_enabled", "Remove it: the learning rule decides where errors stop"),
    ("autocast", "Remove the autocast: number formats are the precision's business"),
    ("cond|while_loop|scan|where", "Remove the condition: the same layers must run for every input"),
)
"""Words in the name of a module or an op, and what to use instead; the first that fits counts."""

_ONE_TENSOR = "its forward takes more than one input. Give it one tensor"
EXPORT_REMEDIES: dict[str, str] = {
    "DataDependent": (
        "its control flow depends on the values of the data. Remove the condition: the same layers must run "
        "for every input"
    ),
    "missing a required argument": _ONE_TENSOR,
    "required positional argument": _ONE_TENSOR,
}
"""Reasons and remedies by a word of the error's class or text."""


@dataclass(frozen=True)
class Supported:
    """What has a layer kind: classes of ``torch.nn`` by their names, those of them that are activation functions."""

    classes: tuple[str, ...]
    activations: tuple[str, ...]

    @property
    def text(self) -> str:
        return f"Use {_or_list(self.classes)}, and sums of two values"

    def remedy(self, *names: str, node: fx.Node | None = None) -> str:
        """What to use instead of something with one of these names, or else of a call of this form."""
        for name in names:
            for word, remedy in FAMILIES:
                if re.search(word, name.lower()):
                    return remedy
        return self.text if node is None else self._by_form(node)

    def _by_form(self, node: fx.Node) -> str:
        """A function of one array, of several, or another arrangement of the same numbers."""
        shapes = [n.meta["val"].shape for n in node.all_input_nodes if hasattr(n.meta.get("val"), "shape")]
        if len(shapes) > 1:
            return "Use a sum of two values of the same shape"
        if getattr(node.meta.get("val"), "shape", None) in shapes:
            return f"Use {_or_list(self.activations)}"
        return (
            "Keep (batch, channels, height, width), (batch, channels, length) or (batch, features), and flatten with "
            "x.flatten(1)"
        )


def _or_list(classes: Iterable[str]) -> str:
    *names, last = (f"nn.{c}" for c in classes)
    return f"{', '.join(names)} or {last}"


def refuse(node: fx.Node, reason: str, remedy: str) -> NoReturn:
    """Refuses one call."""
    raise NetworkError(f"cannot capture {Place.of(node).text(op_name(node))}: {reason}. {remedy}")


def refuse_kind(node: fx.Node, supported: Supported) -> NoReturn:
    """No layer kind: the module's own fault if its class has none, else that of the op that it calls."""
    place, op = Place.of(node), op_name(node)
    if any(k.startswith("torch.nn.utils.parametri") for k in place.kinds):
        remove = "torch.nn.utils.parametrize.remove_parametrizations"
        refuse(node, "a weight is computed from others", f"Remove that with {remove}")
    if place.builtin and short_name(place.kind) in supported.classes:
        refuse(node, f"its {op} has no layer kind", supported.remedy(op, node=node))
    names = [short_name(place.kind)] if place.builtin else []
    refuse(node, "it has no layer kind", supported.remedy(*names, op, node=node))


def export_failure(module: nn.Module, example: Tensor, error: Exception, supported: Supported) -> str:
    """Why the export failed: the error, in the module whose forward raised it, with a remedy."""
    head = f"cannot capture {type(module).__name__}"
    failed = next(_running(error), None)
    if failed is not None and _builtin(failed.module):
        trouble = _own_trouble(failed.module, supported)
        if trouble:
            return f"{head}: {failed.name_in(module)} {trouble}"
    for kind, remedy in EXPORT_REMEDIES.items():
        if kind in type(error).__name__ or kind in str(error):
            return f"{head}: {remedy}"
    where = f"{failed.name_in(module)}, on inputs of {failed.shapes}" if failed else "the module itself"
    return (
        f"{head}: it does not run on an input of shape {list(example.shape)}: {_batched(_first_line(error))}, in "
        f"{where}. Check the shape of the example input, the sizes of this layer and of those before it, and that "
        "the module takes one tensor"
    )


def _builtin(module: nn.Module) -> bool:
    return type(module).__module__.startswith("torch.nn.modules.") and not any(module.children())


def _own_trouble(module: nn.Module, supported: Supported) -> str:
    """Why a module by itself cannot be captured, and the remedy; else an empty text."""
    name = type(module).__name__
    if name not in supported.classes:
        return f"has no layer kind. {supported.remedy(name)}"
    if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.momentum is None:
        return "averages plainly (momentum=None). Use a momentum such as 0.1"
    return ""


@dataclass(frozen=True)
class _Call:
    """A module whose forward was running, and the shapes of its inputs."""

    module: nn.Module
    shapes: str

    def name_in(self, root: nn.Module) -> str:
        path = next((path for path, m in root.named_modules() if m is self.module), "")
        kind = f"nn.{type(self.module).__name__}" if _builtin(self.module) else type(self.module).__name__
        return f"{path or 'the module itself'!r} ({kind})"

    @classmethod
    def of(cls, frame: FrameType) -> _Call | None:
        code = frame.f_code
        given = [frame.f_locals.get(name) for name in code.co_varnames[: code.co_argcount]]
        if code.co_name != "forward" or not given or not isinstance(given[0], nn.Module):
            return None
        shapes = [f"[{', '.join(map(str, x.shape))}]" for x in given[1:] if isinstance(x, Tensor)]
        return cls(given[0], _batched(" and ".join(shapes)))


def _running(error: BaseException | None) -> Iterator[_Call]:
    """The modules of the user that were running when an error was raised, innermost first."""
    while error is not None:
        frames: list[FrameType] = []
        trace: Any = error.__traceback__
        while trace is not None:
            frames.append(trace.tb_frame)
            trace = trace.tb_next
        calls = (_Call.of(frame) for frame in reversed(frames))
        yield from (c for c in calls if c is not None and not _of_export(c.module))
        error = error.__cause__ or error.__context__


def _of_export(module: nn.Module) -> bool:
    """A wrapper that torch.export puts around the user's module."""
    return type(module).__module__.startswith(("torch.export", "torch._export"))


def _first_line(error: Exception) -> str:
    lines = (line.strip() for line in str(error).splitlines())
    return next(filter(None, lines), type(error).__name__).rstrip(".")


def _batched(text: str) -> str:
    """torch's symbol for the batch size, such as s77, by its name."""
    return re.sub(r"\bs\d+\b", "batch", text)
