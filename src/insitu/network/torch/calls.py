"""What a call in an exported graph says of itself: the op, its arguments, and the module it happens in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import fx


def op_name(node: fx.Node) -> str:
    """``relu`` for both ``aten.relu.default`` and ``aten.relu_.default``."""
    target: Any = node.target
    if isinstance(target, torch._ops.OpOverload):
        return target._schema.name.split("::")[1].rstrip("_")
    return str(getattr(target, "__name__", target))


def in_place(node: fx.Node) -> bool:
    """The op changes its first argument."""
    target: Any = node.target
    return isinstance(target, torch._ops.OpOverload) and target._schema.name.endswith("_")


def arguments(node: fx.Node) -> dict[str, Any]:
    """The arguments by their names in the op's schema, defaults filled in."""
    target: Any = node.target
    schema = target._schema.arguments
    values = {a.name: a.default_value for a in schema}
    return values | dict(zip((a.name for a in schema), node.args)) | dict(node.kwargs)


def short_name(kind: str) -> str:
    """``Linear`` of ``torch.nn.modules.linear.Linear``."""
    return kind.rpartition(".")[2]


def _class_name(kind: Any) -> str:
    return kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__qualname__}"


@dataclass(frozen=True)
class Place:
    """Where a call happens: the innermost module's path and class, and all classes from there outwards."""

    path: str
    kind: str
    kinds: tuple[str, ...]

    @classmethod
    def of(cls, node: fx.Node) -> Place:
        stack = list((node.meta.get("nn_module_stack") or {}).values())
        if not stack:
            return cls("", "", ())
        kinds = tuple(_class_name(k) for _, k in reversed(stack))
        return cls(stack[-1][0].split("@")[0], kinds[0], kinds)

    @property
    def builtin(self) -> bool:
        """One of PyTorch's layers, which are one call."""
        return self.kind.startswith("torch.nn.modules.") and "container" not in self.kind

    def text(self, call: str) -> str:
        where = repr(self.path) if self.path else "the module itself"
        short = short_name(self.kind)
        return f"{where} (nn.{short})" if self.builtin else f"the call of {call} in {where} ({short})"
