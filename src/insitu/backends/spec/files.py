"""A trace as files: ``trace.npz`` for Python, ``trace/*/*.hex`` for ``$readmemh`` and everything else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path
from string import Template
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import numpy as np
import numpy.typing as npt

from insitu.backends.spec.tables import label
from insitu.numbers.formats import Quantized
from insitu.run.program import Program
from insitu.run.trace import Place, trace, triggered
from insitu.step.ir import Value

Array = npt.NDArray[Any]


def stem(place: Place) -> str:
    """The name of an array in a trace: ``learn_0/003.error`` is what op 3 gave, ``learn_0/in.x`` was given."""
    return f"{place.part}/{_before(place)}{label(place.value)}"


def _before(place: Place) -> str:
    if place.op is not None:
        return f"{place.op:03}."
    return "" if place.part == "initial" else "in."


def npz(found: Mapping[Place, Array]) -> bytes:
    """An ``.npz`` file: int64 or float32, the first axis counts steps. The same arrays give the same bytes."""
    buffer = BytesIO()
    with ZipFile(buffer, "w") as archive:
        for place, array in found.items():
            entry = ZipInfo(f"{stem(place)}.npy")  # with a date of its own: 1980
            entry.compress_type = ZIP_DEFLATED
            with archive.open(entry, "w") as stream:
                np.lib.format.write_array(stream, np.ascontiguousarray(array), allow_pickle=False)
    return buffer.getvalue()


def hex_text(value: Value, array: Array) -> str:
    """A word a line, two digits a byte: two's complement in the bits of the format, the bits above are 0."""
    bits = value.format.bits
    shape = ",".join(map(str, value.shape))
    head = f"// {label(value)}: {value.format} [{shape}], {bits} bits a word, {value.size} words a step\n"
    size = max((bits + 7) // 8, 1)
    words = _words(value, array).astype(">u8").view(np.uint8).reshape(-1, 8)[:, 8 - size :]
    lines = words.tobytes().hex("\n", size).split("\n")
    step = value.size
    parts = (f"// step {n}\n" + "\n".join(lines[n * step : (n + 1) * step]) for n in range(len(array)))
    return head + "\n".join(parts) + "\n"


def _words(value: Value, array: Array) -> npt.NDArray[np.uint64]:
    """Unsigned words of the format's bits."""
    fmt: Any = value.format
    if not isinstance(fmt, Quantized):
        return np.ascontiguousarray(array, "<f4").view("<u4").ravel().astype(np.uint64)
    words = array if value.unit is None else fmt.from_integers(array)
    return np.asarray(words & ((1 << fmt.bits) - 1), np.int64).ravel().astype(np.uint64)


def trace_files(program: Program, steps: int) -> tuple[dict[str, bytes], str]:
    """The files of a trace by name, and what ``spec.md`` says about them."""
    found = trace(program, steps)
    files = {"trace.npz": npz(found)}
    files |= {f"trace/{stem(p)}.hex": hex_text(p.value, a).encode() for p, a in found.items()}
    return files, "\n".join(_said(program, steps, found))


def _said(program: Program, steps: int, found: Mapping[Place, Array]) -> Iterator[str]:
    text = (Path(__file__).parent / "trace.md.in").read_text(encoding="utf-8")
    yield Template(text).substitute({"steps": steps, "t": program.t})
    if any(op.record.trigger for step in program.steps for op in step.ops):
        yield "| step | t | part | ops that triggered |\n| --- | --- | --- | --- |"
        for n, ops in triggered(program, steps, found):
            part = f"`learn_{n % len(program.steps)}`"
            yield f"| {n} | {program.t + n} | {part} | {', '.join(map(str, ops)) or 'none'} |"
