"""Describes networks layer by layer, with shapes inferred: what the zoo is written in. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log2, prod
from typing import Any

from insitu.errors import ConfigError
from insitu.inputs import bounds
from insitu.network.graph import INPUT, Layer, Network, chain, with_initial
from insitu.ops.conv import plane
from insitu.step.ir import Shape


def pair(n: int | Sequence[int]) -> tuple[int, int]:
    """``n`` as (vertical, horizontal)."""
    return (n, n) if isinstance(n, int) else (n[0], n[1])


class Describe:
    """Adds layers one after another; each method returns the layer's name, to branch from.

    Args:
        name: the network's name.
        input_shape: per sample, ``(features,)`` or ``(channels, height, width)``.
        head: these are layers that a rule adds, at the block ``name``; for what a refusal says.
    """

    def __init__(self, name: str, input_shape: Shape, *, head: bool = False) -> None:
        self.name = name
        self._refused = (
            ("the rule's head at", ", or smaller options of the rule") if head else ("network", "")
        )
        self.input_shape = tuple(input_shape)
        self.layers: list[Layer] = []
        self._shapes: dict[str, Shape] = {INPUT: self.input_shape}
        self._at = INPUT
        self._parameters = 0

    @property
    def shape(self) -> Shape:
        """Shape of the latest value."""
        return self._shapes[self._at]

    @property
    def here(self) -> str:
        """Name of the latest value."""
        return self._at

    def _add(
        self,
        kind: str,
        shape: Shape,
        *,
        name: str | None = None,
        inputs: tuple[str, ...] | None = None,
        **more: Any,
    ) -> str:
        name = name or str(len(self.layers))
        params = more.pop("params", {})
        self._bounded(shape, params)
        self.layers.append(Layer(name, kind, inputs or (self._at,), tuple(shape), more, params))
        self._shapes[name] = tuple(shape)
        self._at = name
        return name

    def _bounded(self, shape: Shape, params: Mapping[str, Shape]) -> None:
        """Refuses what is too large, before there are any numbers of it."""
        self._parameters += sum(map(prod, params.values()))
        for what, count, bound in (
            ("layers", len(self.layers) + 1, bounds.LAYERS),
            ("parameters", self._parameters, bounds.PARAMETERS),
            ("values in a layer's output", prod(shape), bounds.FEATURES),
        ):
            try:
                bound.check(count)
            except ValueError as error:
                whose, remedy = self._refused
                raise ConfigError(
                    f"{whose} {self.name}: {count:,} {what} {error}; use a smaller network{remedy}"
                ) from None

    def goto(self, name: str) -> None:
        """The next layer reads this value."""
        self._at = name

    def dense(self, outputs: int, *, bias: bool = True, name: str | None = None) -> str:
        if len(self.shape) != 1:
            self.flatten()
        params: dict[str, Shape] = {"weight": (outputs, self.shape[0])}
        if bias:
            params["bias"] = (outputs,)
        return self._add("dense", (outputs,), name=name, params=params)

    def conv(
        self,
        channels: int,
        kernel: int | Sequence[int],
        *,
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        bias: bool = True,
        name: str | None = None,
    ) -> str:
        c, *size = self.shape
        k, s, p, d = pair(kernel), pair(stride), pair(padding), pair(dilation)
        out = [plane(size[i], k[i], s[i], p[i], d[i]) for i in (0, 1)]
        params: dict[str, Shape] = {"weight": (channels, c // groups, *k)}
        if bias:
            params["bias"] = (channels,)
        geometry = {"stride": s, "padding": p, "dilation": d, "groups": groups}
        return self._add("conv2d", (channels, *out), name=name, params=params, **geometry)

    def depthwise(self, kernel: int, *, stride: int = 1, padding: int = 0, bias: bool = True) -> str:
        c = self.shape[0]
        return self.conv(c, kernel, stride=stride, padding=padding, groups=c, bias=bias)

    def activation(self, fn: str, *, name: str | None = None, **attrs: Any) -> str:
        return self._add("activation", self.shape, name=name, fn=fn, **attrs)

    def _pool(self, kind: str, kernel: Any, stride: Any, padding: Any, name: str | None) -> str:
        k, s, p = pair(kernel), pair(stride or kernel), pair(padding)
        c, *size = self.shape
        out = [plane(size[i], k[i], s[i], p[i]) for i in (0, 1)]
        return self._add(kind, (c, *out), name=name, kernel=k, stride=s, padding=p)

    def max_pool(self, kernel: Any, stride: Any = None, padding: Any = 0, *, name: str | None = None) -> str:
        return self._pool("max_pool", kernel, stride, padding, name)

    def avg_pool(self, kernel: Any, stride: Any = None, padding: Any = 0, *, name: str | None = None) -> str:
        return self._pool("avg_pool", kernel, stride, padding, name)

    def upsample(self, factor: int | Sequence[int], *, name: str | None = None) -> str:
        """Copies of rows and columns."""
        c, *size = self.shape
        rows, columns = pair(factor)
        shape = (c, size[0] * rows, size[1] * columns)
        return self._add("upsample", shape, name=name, factor=(rows, columns))

    def global_avg_pool(self, *, name: str | None = None) -> str:
        return self.avg_pool(self.shape[1:], name=name)

    def batch_norm(self, *, name: str | None = None, affine: bool = True) -> str:
        c = (self.shape[0],)
        params = {"weight": c, "bias": c} if affine else {}
        params |= {"running_mean": c, "running_var": c}
        return self._add("batch_norm", self.shape, name=name, params=params, eps=1e-5, momentum=0.1)

    def rms_norm(self, *, name: str | None = None, eps: float = 1e-6) -> str:
        return self._add("rms_norm", self.shape, name=name, eps=eps)

    def dropout(self, p: float, *, channels: bool = False, name: str | None = None) -> str:
        """``channels``: of a map, whole channels are dropped."""
        more = {"channels": True} if channels else {}
        return self._add("dropout", self.shape, name=name, p=p, **more)

    def sketch(self, columns: int, stream: str, *, name: str | None = None) -> str:
        """So many sums of the features, with random signs; as large as one of them."""
        shift = round(log2(self.shape[0] / columns) / 2)
        return self._add("sketch", (columns,), name=name, columns=columns, stream=stream, shift=shift)

    def flatten(self, *, name: str | None = None) -> str:
        return self._add("reshape", (prod(self.shape),), name=name)

    def add(self, a: str, b: str, *, name: str | None = None) -> str:
        """Residual sum of two values."""
        return self._add("add", self._shapes[a], name=name, inputs=(a, b))

    def couple(self, a: str, f: str, *, name: str | None = None) -> str:
        """Additive coupling a + f, which is undone by a subtraction: f may not come from a."""
        return self._add("couple", self._shapes[a], name=name, inputs=(a, f))

    def network(self, seed: int = 0) -> Network:
        """The finished network, with PyTorch's default initial distribution."""
        return with_initial(Network(self.name, self.input_shape, chain(self.layers), {}), seed)
