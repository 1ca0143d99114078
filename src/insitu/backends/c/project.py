"""Writes the C project of a program: the list of kernel calls, the first state, the kernels that it needs, a self-test.

The memory of the program is the plan's: one arena for everything transient, one block for what learning changes, and a
constant block for what it only reads (feedback matrices). Nothing else lives in RAM but a small structure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import numpy.typing as npt

from insitu.backends.c.calls import calls
from insitu.backends.c.emit import Constants, Emitter, Place, base_shift, form_of
from insitu.errors import ConfigError
from insitu.escape import c_comment
from insitu.numbers.formats import Quantized
from insitu.numbers.packing import pack
from insitu.passes.plan import Layout, plan
from insitu.run.files import make_folder, write_atomic
from insitu.run.integer import Clock, run
from insitu.step.ir import Step, Value

RUNTIME = Path(__file__).parent / "runtime"
ALIGN = 4
"""Bytes that every array starts at a multiple of: what a Cortex-M reads in one go."""

Bytes = npt.NDArray[np.uint8]
Arrays = Mapping[str, npt.NDArray[Any]]


def packed(value: Value, array: npt.NDArray[Any]) -> bytes:
    """The bytes of an array of integers (or of a real weight) as C holds it."""
    if not isinstance(value.format, Quantized):
        return np.ascontiguousarray(array, dtype="<f4").tobytes()
    fmt: Any = value.format
    integers = np.asarray(array, np.int64).ravel()
    words = (
        integers if value.unit is None else fmt.from_integers(integers)
    )  # labels and positions are their own words
    return pack(words, fmt).tobytes()


def aligned(size: int) -> int:
    return -(-size // ALIGN) * ALIGN


@dataclass(frozen=True)
class Program:
    """What is exported.

    Attributes:
        steps: the lowered training step of every phase of the rule.
        inference: the lowered forward pass of one sample.
        first: first values of all residents: integers, or float32.
        lr, seed: the learning rate and the seed of the run.
    """

    name: str
    steps: tuple[Step, ...]
    inference: Step
    first: Arrays
    lr: float
    seed: int

    @cached_property
    def layouts(self) -> tuple[Layout, ...]:
        return tuple(plan(step, align=ALIGN) for step in self.steps)

    @cached_property
    def inference_layout(self) -> Layout:
        return plan(self.inference, align=ALIGN)

    @cached_property
    def residents(self) -> dict[str, Value]:
        """All residents by name, in the order of their first appearance."""
        found: dict[str, Value] = {}
        for step in (*self.steps, self.inference):
            for value in step.residents:
                found.setdefault(value.name, value)
        return found

    @property
    def defines(self) -> tuple[str, ...]:
        """What kernels may leave out where there is none: real weights, matrices of fewer than 8 bits, remainders."""
        kept = self.residents.values()
        integers = all(isinstance(v.format, Quantized) for v in kept)
        whole = not any(v.format.bits < 8 for v in kept if len(v.shape) > 1)
        moves = [op.attrs.get("optimizer") for step in self.steps for op in step.ops]
        carries = any(getattr(o, "kind", "") == "carry" for o in moves)
        absent = {"INSITU_NO_REAL": integers, "INSITU_BYTES": whole, "INSITU_NO_CARRY": not carries}
        return tuple(name for name, left_out in absent.items() if left_out)

    @cached_property
    def places(self) -> dict[str, Place]:
        """Where each resident lies: ``state`` where a step writes it, else ``rom``; first what inference reads."""
        written = {v.name for step in self.steps for op in step.ops for v in op.written}
        read = {v.name for v in self.inference.residents}
        ends = {"state": 0, "rom": 0}
        found = {}
        for name, value in sorted(self.residents.items(), key=lambda item: item[0] not in read):
            region = "state" if name in written else "rom"
            found[name] = Place(region, ends[region])
            ends[region] += aligned(value.bytes)
        return found

    def block(self, region: str, arrays: Arrays) -> bytes:
        """The bytes of a region with given values of the residents."""
        out = bytearray(self.size(region))
        for name, place in self.places.items():
            if place.region == region:
                data = packed(self.residents[name], arrays[name])
                out[place.offset : place.offset + len(data)] = data
        return bytes(out)

    def size(self, region: str, *, inference: bool = False) -> int:
        """Bytes of a region; or of the part of it that inference reads."""
        names = [v.name for v in self.inference.residents] if inference else list(self.residents)
        places = [(self.places[n], self.residents[n]) for n in names if self.places[n].region == region]
        return max((p.offset + aligned(v.bytes) for p, v in places), default=0)

    @property
    def training_arena(self) -> int:
        return aligned(max(layout.arena_bytes for layout in self.layouts))

    @property
    def inference_arena(self) -> int:
        return aligned(self.inference_layout.arena_bytes)


@dataclass
class Source:
    """The generated text and what was found on the way; ``counted``: as of :class:`Emitter`, never in a project."""

    program: Program
    counted: bool = False
    constants: Constants = field(default_factory=Constants)
    workspace: int = 0
    shared: int = 0

    def function(self, step: Step, layout: Layout) -> list[str]:
        """The calls of a step."""
        transient = {name: Place("arena", offset) for name, offset in layout.offsets.items()}
        emitter = Emitter(step, {**transient, **self.program.places}, self.constants, counted=self.counted)
        lines = calls(emitter)
        self.workspace = max(self.workspace, emitter.workspace)
        return lines

    @cached_property
    def bodies(self) -> tuple[list[list[str]], list[str]]:
        """The bodies of the training phases, and that of inference."""
        p = self.program
        forward = self.function(p.inference, p.inference_layout)
        self.shared = len(self.constants.texts)
        return [self.function(step, layout) for step, layout in zip(p.steps, p.layouts)], forward


LOCALS = (
    "    uint8_t *const arena = net->arena;",
    "    uint8_t *const state = net->state;",
    "    uint8_t *const rom = (uint8_t *)(uintptr_t)insitu_rom;",
    "    uint8_t *const workspace = arena + (INSITU_ARENA_BYTES - INSITU_WORKSPACE_BYTES);",
    "    insitu_clock clock = net->clock;",
    "    (void)arena; (void)state; (void)rom; (void)workspace; (void)clock;",
)


def _copies(step: Step, layout: Layout, names: Mapping[str, str]) -> list[str]:
    """Copies of what the caller gives into the arena."""
    lines = []
    for value in step.inputs:
        offset = layout.offsets.get(value.name)
        if offset is not None:
            lines.append(
                f"    insitu_copy_bytes(net->arena + {offset}u, {names[value.name]}, {value.bytes}u);"
            )
    return lines


def net_source(source: Source) -> str:
    """``insitu_net.c``: constants, and one function per phase of training and for inference."""
    p = source.program
    phases, forward = source.bodies
    functions = []
    for k, (body, step, layout) in enumerate(zip(phases, p.steps, p.layouts)):
        copies = _copies(step, layout, {"x": "x", "label": "label"})
        head = f"static void learn_{k}(insitu_net *net, const uint8_t *x, const uint8_t *label)\n{{"
        used = ["    (void)x; (void)label;", *copies]
        functions += [
            "#ifndef INSITU_NO_LEARN",
            head,
            *LOCALS,
            *used,
            *body,
            "    net->clock.t++;",
            "}",
            "#endif",
            "",
        ]
    copies = _copies(p.inference, p.inference_layout, {"x": "x"})
    functions += [
        "static void forward(insitu_net *net, const uint8_t *x)\n{",
        *LOCALS,
        "    clock.t = 0; /* the random words of inference are the same at every sample */",
        *copies,
        *forward,
        "}",
        "",
    ]
    cases = [f"    case {k}u: learn_{k}(net, x, label); break;" for k in range(len(phases))]
    scores = p.inference.outputs[0]
    bits, form = form_of(scores)
    offset = p.inference_layout.offsets[_root(p.inference, scores)]
    return _template(
        "insitu_net.c.in",
        {
            "constants": "\n".join(source.constants.lines()[: source.shared]),
            "learning": "\n".join(source.constants.lines()[source.shared :]),
            "functions": "\n".join(functions),
            "cases": "\n".join(cases),
            "shifts": ", ".join(str(base_shift(o, p.lr)) for o in source.constants.moves) or "0",
            "scores": f"{{net->arena + {offset}u, {scores.size}u, {bits}u, {form}}}",
            "rate": f"{float(np.float32(p.lr)).hex()}f",
            "seed": f"{p.seed & 0xFFFFFFFF}u",
        },
    )


def _root(step: Step, value: Value) -> str:
    from insitu.step.liveness import roots

    return roots(step)[value].name


def header(source: Source) -> str:
    """``insitu_net.h``: sizes and the interface."""
    p = source.program
    source.bodies  # noqa: B018  # finds the workspace and the number of updates
    given = {v.name: v for v in p.steps[0].inputs}
    label = given.get("label")
    x = p.inference.inputs[0]
    sizes = {
        "TRAINING_ARENA_BYTES": p.training_arena,
        "INFERENCE_ARENA_BYTES": p.inference_arena,
        "WORKSPACE_BYTES": aligned(source.workspace),
        "TRAINING_STATE_BYTES": p.size("state"),
        "INFERENCE_STATE_BYTES": max(p.size("state", inference=True), ALIGN),
        "ROM_BYTES": p.size("rom"),
        "SAMPLE_BYTES": x.bytes,
        "BATCH": p.steps[0].batch,
        "BATCH_BYTES": given["x"].bytes if "x" in given else 0,
        "LABEL_BYTES": label.bytes if label is not None else 0,
        "CLASSES": p.inference.outputs[0].size // p.inference.batch,
        "PHASES": len(p.steps),
        "UPDATES": max(len(source.constants.moves), 1),
    }
    lines = "\n".join(f"#define INSITU_{name} {n}u" for name, n in sizes.items())
    return _template("insitu_net.h.in", {"sizes": lines, "name": c_comment(p.name)})


def data_source(source: Source) -> str:
    """``insitu_data.c``: the first state and what is only read."""
    p = source.program
    blocks = {"insitu_first_state": p.block("state", p.first), "insitu_rom": p.block("rom", p.first)}
    text = "\n".join(
        f"const uint8_t {name}[{max(len(data), 1)}] = {{{_numbers(data)}}};" for name, data in blocks.items()
    )
    return _template("insitu_data.c.in", {"blocks": text})


def _numbers(data: bytes) -> str:
    rows = [data[i : i + 24] for i in range(0, len(data), 24)]
    return "\n" + ",\n".join("    " + ", ".join(map(str, row)) for row in rows) + "\n" if data else "0"


def _template(name: str, values: Mapping[str, str]) -> str:
    text = (RUNTIME / name).read_text(encoding="utf-8")
    return re.sub(r"@(\w+)@", lambda m: values[m[1]], text)


# --- the golden trace --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Golden:
    """What the self-test repeats: samples, labels, and the check sums that the reference gives.

    Attributes:
        x, label: packed, a batch after the other.
        state: CRC-32 of the state after each training step.
        scores: of the forward pass of the first sample after them.
        last: the residents after the last step.
    """

    x: tuple[bytes, ...]
    label: tuple[bytes, ...]
    state: tuple[int, ...]
    scores: tuple[int, ...]
    last: Arrays = field(default_factory=dict)


def golden(program: Program, batches: Sequence[tuple[npt.NDArray[Any], npt.NDArray[Any]]]) -> Golden:
    """Runs the integer reference; ``batches`` of integer samples and labels, one per training step (phases in turn)."""
    arrays = {name: np.array(a) for name, a in program.first.items()}
    xs, labels, sums = [], [], []
    for t, (x, label) in enumerate(batches):
        step = program.steps[t % len(program.steps)]
        given = {v.name: v for v in step.inputs}
        run(
            step,
            arrays,
            np.asarray(x, np.int64),
            np.asarray(label, np.int64),
            Clock(program.lr, program.seed, t),
        )
        xs.append(packed(given["x"], x))
        labels.append(packed(given["label"], label) if "label" in given else b"")
        sums.append(crc32(program.block("state", arrays)))
    sample = np.asarray(batches[0][0][: program.inference.batch], np.int64)
    (scores,) = run(program.inference, arrays, sample, None, Clock(program.lr, program.seed, 0))
    return Golden(tuple(xs), tuple(labels), tuple(sums), tuple(int(n) for n in scores.ravel()), arrays)


def golden_source(found: Golden) -> str:
    """``golden.h`` of the self-test."""
    x, label = (b"".join(parts) for parts in (found.x, found.label))
    return _template(
        "golden.h.in",
        {
            "steps": str(len(found.state)),
            "x": _numbers(x),
            "label": _numbers(label),
            "state": ", ".join(f"{n:#010x}u" for n in found.state),
            "scores": ", ".join(map(str, found.scores)),
        },
    )


# --- writing -----------------------------------------------------------------------------------------------------


def kernels_of(texts: Iterable[str]) -> list[Path]:
    """The kernel files that define what some C text calls, and what they call in turn."""
    sources = {path: path.read_text(encoding="utf-8") for path in sorted((RUNTIME / "kernels").glob("*.c"))}
    defined = {name: path for path, text in sources.items() for name in _DEFINED.findall(text)}
    found: set[Path] = set()
    queue = list(texts)
    while queue:
        for name in set(_CALLED.findall(queue.pop())):
            path = defined.get(name)
            if path is not None and path not in found:
                found.add(path)
                queue.append(sources[path])
    return sorted(found)


_DEFINED = re.compile(r"^\w[\w ]*[ *](insitu_\w+)\([^;{]*\)\s*\{", re.MULTILINE)
_CALLED = re.compile(r"\b(insitu_\w+)\s*\(")

FIXED = ("insitu_kernels.h", "state.c")
"""Runtime files that every program is compiled with."""


def generated(source: Source) -> dict[str, str]:
    """The program's own files and those of the runtime beside them, without kernels, by name."""
    own = {
        "insitu_net.c": net_source(source),
        "insitu_net.h": header(source),
        "insitu_data.c": data_source(source),
    }
    return own | {name: (RUNTIME / name).read_text(encoding="utf-8") for name in FIXED}


def tested(source: Source, found: Golden) -> dict[str, str]:
    """The same with the self-test."""
    test = (RUNTIME / "test.c").read_text(encoding="utf-8")
    return generated(source) | {"golden.h": golden_source(found), "test.c": test}


def write(program: Program, folder: Path, found: Golden) -> int:
    """The whole project; returns the bytes of its workspace.

    Raises:
        ConfigError: an op has no kernel, or the folder holds something else.
    """
    source = Source(program)
    files = tested(source, found)
    if folder.exists() and any(folder.iterdir()) and not (folder / "insitu_net.h").exists():
        raise ConfigError(
            f"{folder} holds other files than an exported project; pass an empty folder with -o"
        )
    for path in (*kernels_of(files.values()), *(RUNTIME / "kernels").glob("*.h")):
        files[f"kernels/{path.name}"] = path.read_text(encoding="utf-8")
    files["Makefile"] = _template("Makefile.in", {"config": " ".join(f"-D{x}" for x in program.defines)})
    files["README.md"] = (RUNTIME / "README.md").read_text(encoding="utf-8")
    make_folder(folder / "kernels")
    for name, content in files.items():
        write_atomic(folder / name, content)
    return aligned(source.workspace)
