"""Writes the C project of a program: kernel calls, the initial state, the kernels that it needs, a self-test.

The memory of the program is the plan's: one arena for everything transient, one block for what learning changes, and a
constant block for what it only reads (feedback matrices). Nothing else lives in RAM but a small structure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from zlib import crc32

import numpy as np

from insitu.backends.c import exits, forms, updates
from insitu.backends.c.calls import calls
from insitu.backends.c.emit import Constants, Emitter, Place, base_shift, form_of
from insitu.backends.c.interface import checks, header
from insitu.backends.c.memory import Memory, aligned, packed
from insitu.backends.c.schedule import schedule
from insitu.backends.c.templates import PREFIX, RUNTIME, template
from insitu.backends.protocol import check_folder
from insitu.backends.spec.document import document
from insitu.backends.spec.files import trace_files
from insitu.errors import ConfigError
from insitu.escape import c_string
from insitu.numbers.formats import Quantized
from insitu.ops.update import Optimized
from insitu.ops.updates import BoundUpdate
from insitu.passes.plan import Layout
from insitu.run.files import make_folder, write_atomic
from insitu.run.program import Program
from insitu.step.ir import Step, Value


def defines(program: Program) -> tuple[str, ...]:
    """What kernels may leave out where there is none: real weights, matrices of fewer than 8 bits, shift registers."""
    kept = program.residents.values()
    integers = all(isinstance(v.format, Quantized) for v in kept)
    whole = not any(v.format.bits < 8 for v in kept if len(v.shape) > 1)
    moves = [
        op.attrs.optimizer for step in program.steps for op in step.ops if isinstance(op.attrs, Optimized)
    ]
    shifting = any(isinstance(o, BoundUpdate) and o.random and o.generator != "counter" for o in moves)
    absent = {"INSITU_NO_REAL": integers, "INSITU_BYTES": whole, "INSITU_COUNTER": not shifting}
    return tuple(name for name, left_out in absent.items() if left_out)


@dataclass
class Source:
    """The generated text and what was found on the way; ``counted``: as of :class:`Emitter`, never in a project.

    Raises:
        ConfigError: phases of the program take unlike samples or labels; a caller hands over one kind of each.
    """

    program: Program
    counted: bool = False
    constants: Constants = field(default_factory=Constants)
    workspace: int = 0
    shared: int = 0

    def __post_init__(self) -> None:
        given = self.program.given
        for k, step in enumerate(self.program.steps):
            for value in step.inputs:
                if _words(value) != _words(given[value.name]):
                    raise ConfigError(
                        f"{self.program.name}: phase {k} takes %{value.name} as {_said(value)}, and an earlier one as "
                        f"{_said(given[value.name])}; C has one buffer of each: give every phase the same inputs"
                    )

    @cached_property
    def memory(self) -> Memory:
        """Where the program's arrays lie."""
        return Memory(self.program)

    def function(self, step: Step, layout: Layout, *, early: bool = False) -> list[str]:
        """The calls of a step; ``early``: with a test behind the scores of each exit."""
        transient = {name: Place("arena", offset) for name, offset in layout.offsets.items()}
        emitter = Emitter(step, {**transient, **self.memory.places}, self.constants, counted=self.counted)
        lines = calls(emitter, exits.tests(emitter) if early else None)
        self.workspace = max(self.workspace, emitter.workspace)
        return lines

    @cached_property
    def bodies(self) -> tuple[list[list[str]], list[str]]:
        """The bodies of the training phases, and that of inference."""
        p, memory = self.program, self.memory
        forward = self.function(p.inference, memory.inference_layout)
        self.early  # noqa: B018  # its constants serve without learning too
        self.shared = len(self.constants.texts)
        return [self.function(step, layout) for step, layout in zip(p.steps, memory.layouts)], forward

    @cached_property
    def early(self) -> list[str]:
        """The body of the forward pass with exits; empty without."""
        step, layout = self.program.exits, self.memory.exits_layout
        return [] if step is None or layout is None else self.function(step, layout, early=True)

    @cached_property
    def identity(self) -> int:
        """A number of the program, of 32 bits: of its steps, formats, layout and constants, what it only reads and
        how samples are read; not of its weights or comments. A saved state belongs to one such number."""
        p, memory = self.program, self.memory
        phases, forward = self.bodies
        calls = [
            line for body in (*phases, forward, self.early) for line in body if not line.startswith(_ASIDE)
        ]
        facts = [
            f"{n} {memory.places[n]} {v.shape} {v.format} {v.unit} {v.zero}" for n, v in p.residents.items()
        ]
        given = [f"{v.name} {v.shape} {v.format} {v.unit} {v.zero}" for v in p.given.values()]
        text = "\n".join([*calls, *self.constants.lines(), *facts, *given])
        digest = sha256(text.encode() + memory.block("rom", p.initial_state)).digest()
        return int.from_bytes(digest[:4], "little") or 1


def _words(v: Value) -> tuple[object, ...]:
    """What a caller has to know of an input."""
    return v.shape, v.format, v.unit, v.zero


def _said(v: Value) -> str:
    unit = "" if v.unit is None else f" in units of {v.unit:g}"
    return f"{'x'.join(map(str, v.shape))} {v.format}{unit}"


_ASIDE = ("    /*", "    insitu_host_")
"""Beginnings of lines that compute nothing: comments, counts of a host."""

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
    for k, (body, step, layout) in enumerate(zip(phases, p.steps, source.memory.layouts)):
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
    copies = _copies(p.inference, source.memory.inference_layout, {"x": "x"})
    functions += [
        "static void forward(insitu_net *net, const uint8_t *x)\n{",
        *LOCALS,
        "    clock.t = 0; /* the random words of inference are the same at every sample */",
        *copies,
        *forward,
        "}",
        "",
    ]
    if p.exits is not None and source.memory.exits_layout is not None:
        copies = _copies(p.exits, source.memory.exits_layout, {"x": "x"})
        functions += exits.function(p, LOCALS, copies, source.early)
    cases = [f"    case {k}u: learn_{k}(net, x, label); break;" for k in range(len(phases))]
    scores = p.inference.outputs[0]
    bits, form = form_of(scores)
    offset = source.memory.inference_layout.offsets[_root(p.inference, scores)]
    return template(
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
            "step": f"{p.t & 0xFFFFFFFF}u",
            "checks": "\n".join(checks(source)),
            "early": exits.defined(p),
            **schedule(p, source.constants.moves),
        },
    )


def _root(step: Step, value: Value) -> str:
    from insitu.step.liveness import roots

    return roots(step)[value].name


def data_source(source: Source) -> str:
    """``insitu_data.c``: the initial state and what is only read."""
    p, memory = source.program, source.memory
    blocks = {
        "insitu_initial_state": memory.block("state", p.initial_state),
        "insitu_rom": memory.block("rom", p.initial_state),
    }
    text = "\n".join(
        f"const uint8_t {name}[{max(len(data), 1)}] = {{{_numbers(data)}}};" for name, data in blocks.items()
    )
    if p.classes:
        names = ", ".join(map(c_string, p.classes))
        text += f"\nconst char *const insitu_class_names[INSITU_CLASSES] = {{{names}}};"
    return template("insitu_data.c.in", {"blocks": text})


def _numbers(data: bytes | bytearray) -> str:
    rows = [data[i : i + 24] for i in range(0, len(data), 24)]
    return "\n" + ",\n".join("    " + ", ".join(map(str, row)) for row in rows) + "\n" if data else "0"


# --- the golden trace --------------------------------------------------------------------------------------------


def golden_source(source: Source) -> str:
    """``golden.h`` of the self-test: packed samples and labels, a batch after the other; the CRC-32 of the state after
    each training step; and the scores of the first sample after them."""
    p, found = source.program, source.program.golden
    x, label = bytearray(), bytearray()
    for t, (samples, labels) in enumerate(p.batches):
        given = {v.name: v for v in p.steps[t % len(p.steps)].inputs}
        x += packed(given["x"], samples)
        label += packed(given["label"], labels) if "label" in given else b""
    sums = [crc32(source.memory.block("state", arrays)) for arrays in found.states]
    return template(
        "golden.h.in",
        {
            "steps": str(len(sums)),
            "x": _numbers(x),
            "label": _numbers(label),
            "state": ", ".join(f"{n:#010x}u" for n in sums),
            "scores": ", ".join(str(int(n)) for n in found.scores.ravel()),
            "left": exits.golden(p),
        },
    )


# --- writing -----------------------------------------------------------------------------------------------------


def kernels_of(texts: Iterable[str]) -> list[Path]:
    """The kernel files that define what some C text calls, what they call in turn, and the headers of all of them.

    Forms of a kernel for the processors of hosts are not among them: those headers are in ``runtime/host``.
    """
    kernels, headers = (sorted((RUNTIME / "kernels").glob(pattern)) for pattern in ("*.c", "*.h"))
    sources = {path: path.read_text(encoding="utf-8") for path in (*kernels, *headers, *updates.sources())}
    defined = {name: path for path, text in sources.items() for name in _DEFINED.findall(text)}
    defined |= {path.name: path for path in headers}
    found: set[Path] = set()
    queue = list(texts)
    while queue:
        text = queue.pop()
        for name in {*_CALLED.findall(_PROTOTYPE.sub("", text)), *_INCLUDED.findall(text)}:
            path = defined.get(name)
            if path is not None and path not in found:
                found.add(path)
                queue.append(sources[path])
    return sorted(found)


_DEFINED = re.compile(r"^\w[\w ]*[ *](insitu_\w+)\([^;{]*\)\s*\{", re.MULTILINE)
_PROTOTYPE = re.compile(r"^\w[^{}();=]*\([^{};]*\);", re.MULTILINE)
_CALLED = re.compile(r"\b(insitu_\w+)(?:\s*\(|\)(?= \\|$))", re.MULTILINE)
"""Calls, and entries of the lists of ``insitu_updates.h``."""
_INCLUDED = re.compile(r'^#include "(\w+\.h)"', re.MULTILINE)

FIXED = ("insitu_kernels.h", "input.c", "state.c")
"""Runtime files that every program is compiled with."""


def generated(source: Source) -> dict[str, str]:
    """The program's own files and those of the runtime beside them, without kernels, by name."""
    own = {
        "insitu_net.c": net_source(source),
        "insitu_net.h": header(source),
        "insitu_data.c": data_source(source),
        "insitu_updates.h": updates.header(updates.used(source.program.steps)),
    }
    return own | {name: (RUNTIME / name).read_text(encoding="utf-8") for name in FIXED}


def tested(source: Source) -> dict[str, str]:
    """The same with the self-test."""
    test = (RUNTIME / "test.c").read_text(encoding="utf-8")
    return generated(source) | {"golden.h": golden_source(source), "test.c": test}


@dataclass(frozen=True)
class Project:
    """A written project.

    Attributes:
        folder: where it is.
        program: what it computes.
        workspace: bytes of the arena's end that kernels gather windows in.
        name: what its symbols begin with.
        form: how it is laid out.
        said: what was done in it with the tools of this machine; may be empty.
    """

    folder: Path
    program: Program
    workspace: int
    name: str = PREFIX
    form: str = "plain"
    said: str = ""

    @cached_property
    def planned(self) -> dict[str, int]:
        """Bytes by the plan: of the arena, of what learning changes, of constants."""
        memory = Memory(self.program)
        return {
            "training_arena": memory.training_arena,
            "inference_arena": memory.inference_arena,
            "state": memory.size("state"),
            "rom": memory.size("rom"),
            "workspace": self.workspace,
        }


def specification(source: Source, trace: int) -> dict[str, str | bytes]:
    """``spec.md``, and the files of a trace of so many training steps; none for 0."""
    files, said = trace_files(source.program, trace) if trace else ({}, "")
    return {"spec.md": document(source.program, source.memory.place, said), **files}


def write(program: Program, folder: Path, name: str = PREFIX, trace: int = 0, form: str = "plain") -> Project:
    """Writes the whole project.

    Args:
        trace: training steps of which every array after every op is written too.
        name: what every symbol, macro and file of the project begins with, so that several link into one firmware.
        form: how it is laid out (:mod:`insitu.backends.c.forms`).

    Raises:
        ConfigError: an op has no kernel, the name is none in C, the form does not fit, or the folder holds something
            else.
    """
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,31}", name):
        raise ConfigError(
            f"name {name!r} cannot begin symbols of C; use a letter and then letters, digits and _, at most 32"
        )
    laid, source = forms.find(form), Source(program)
    files = tested(source)
    for path in kernels_of(files.values()):
        files[f"kernels/{path.name}"] = path.read_text(encoding="utf-8")
    arranged = laid.arrange(files, forms.Facts(name, program, defines(program)))
    for mark in laid.marks:
        check_folder(folder, mark)
    told = specification(source, trace)
    made = {renamed(file, name): renamed(text, name) for file, text in arranged.items()}
    _write_files(folder, {**made, **told}, laid.marks[0])
    said = laid.finish(folder) if laid.finish is not None else ""
    return Project(folder, program, aligned(source.workspace), name, form, said)


def _write_files(folder: Path, files: Mapping[str, str | bytes], mark: str) -> None:
    """Writes the files, and removes those of an earlier trace; first the one with the mark, which says what the folder
    is, if this is cut short."""
    for path in (folder / "trace.npz", *(folder / "trace").glob("*/*.hex")):
        if path.relative_to(folder).as_posix() not in files:
            path.unlink(missing_ok=True)
    for part in {(folder / file).parent for file in files}:
        make_folder(part)
    for file in sorted(files, key=lambda f: "/" in f or not f.endswith(mark)):
        write_atomic(folder / file, files[file])


def renamed(text: str, name: str) -> str:
    """The text of a project, or a file's name, with another prefix: ``insitu_learn`` becomes ``wake_learn``,
    ``INSITU_BATCH`` ``WAKE_BATCH``."""
    return re.sub(r"\binsitu_", f"{name}_", re.sub(r"(\b|-D)INSITU_", rf"\g<1>{name.upper()}_", text))
