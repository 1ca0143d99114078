"""The tables of docs/onnx.md: which operators of ONNX are read, and which ops of a forward pass are written."""

from __future__ import annotations

from insitu.backends.onnx.kinds import KINDS
from insitu.network.onnx.nodes import RANGES, TABLE
from insitu.network.onnx.refusals import FAMILIES


def onnx_read() -> str:
    """Operators that the reader takes."""
    return f"{', '.join(f'`{op}`' for op in sorted(TABLE))}. `Clip` to {RANGES}.\n"


def onnx_refused() -> str:
    """Operators that are refused with an own remedy."""
    rows = "".join(
        f"| {', '.join(f'`{op}`' for op in ops)} | {remedy} |\n" for remedy, ops in FAMILIES.items()
    )
    return "| operators | what to use |\n| --- | --- |\n" + rows


def onnx_written() -> str:
    """Ops that the export takes."""
    return ", ".join(f"`{kind}`" for kind in sorted(KINDS)) + ".\n"


def parts() -> dict[str, str]:
    return {"onnx read": onnx_read(), "onnx refused": onnx_refused(), "onnx written": onnx_written()}
