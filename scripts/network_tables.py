"""The list in docs/own-network.md: which layers of PyTorch are captured."""

from __future__ import annotations

from insitu.network.torch.aten import supported


def layers() -> str:
    """Classes of ``torch.nn`` in the order of the table of ATen ops."""
    return ", ".join(f"`nn.{name}`" for name in supported().classes) + ".\n"


def parts() -> dict[str, str]:
    return {"torch layers": layers()}
