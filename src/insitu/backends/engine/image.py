"""A program as an engine's memories: microcode with an entry for each step, addresses, constants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from insitu.backends.engine import isa
from insitu.backends.engine.build import PRECISION, Build
from insitu.backends.engine.emit import emit, refuse_kinds
from insitu.backends.engine.emit.emitter import Constants, Emitter
from insitu.backends.engine.layout import Layout, Place, StepLayout
from insitu.backends.engine.microcode import Code
from insitu.errors import ConfigError
from insitu.ops.update import Optimized
from insitu.ops.updates import BoundUpdate
from insitu.run.program import Program
from insitu.step.ir import Op, Step, Value
from insitu.step.liveness import roots
from insitu.step.triggers import triggers_of

WORST = Build(address_bits=isa.MOST_ADDRESS_BITS, a_words=1 << 12, w_words=1 << isa.MOST_ADDRESS_BITS)
"""An engine with as much memory as 8 lanes can address."""

SPARE = 32
"""Instructions that the microcode of another learning rate may have more: shifts that differ are written apart."""

FRACTION = {8: 24, 4: 22}
"""By bits of a weight: sums of 4-bit weights are shifted by less, so that the bytes of biases are shifted by more."""


@dataclass(frozen=True)
class Entry:
    """The microcode of a step.

    Attributes:
        step: what it runs.
        start, end: addresses of its first instruction, and behind its last.
        layout: where its values lie.
        triggers: names of its triggers, flag by flag.
    """

    step: Step
    start: int
    end: int
    layout: StepLayout
    triggers: tuple[str, ...]

    def place(self, name: str) -> Place | None:
        """Where an input lies; ``None``: this step does not read it from memory."""
        (value,) = (v for v in self.step.inputs if v.name == name)
        return self.layout.places.get(value)

    @property
    def output(self) -> tuple[Value, Place]:
        """The scores of inference."""
        (value,) = self.step.outputs
        return value, self.layout.places[value]


@dataclass(frozen=True, eq=False)
class Image:
    """What is loaded into an engine.

    Attributes:
        program, build: what it was made of.
        layout: where everything lies.
        code: the instructions.
        entries: training steps by phase, then inference.
        constants, constants_start: bytes of A that the microcode reads.
        table: exponentials of SOFTMAX; empty: none.
    """

    program: Program
    build: Build
    layout: Layout
    code: Code
    entries: tuple[Entry, ...]
    constants: bytes
    constants_start: int
    table: tuple[int, ...]

    @property
    def residents(self) -> Mapping[str, Place]:
        return self.layout.residents

    @property
    def a_bytes(self) -> int:
        """Bytes of A that are used."""
        return self.constants_start + len(self.constants)

    @property
    def w_words(self) -> int:
        """Words of W that are used."""
        return self.layout.w_words

    @property
    def peak_bytes(self) -> int:
        """Bytes of both memories that are used, padding included."""
        return self.a_bytes + self.w_words * self.build.lanes * self.build.weight_bits // 8

    @cached_property
    def words(self) -> npt.NDArray[np.int64]:
        return np.array(self.code.words, np.int64)

    @cached_property
    def full_table(self) -> npt.NDArray[np.int64]:
        """The table of SOFTMAX, filled up with its last entry."""
        table = self.table or (0,)
        return np.array([*table, *[table[-1]] * (isa.TABLE - len(table))], np.int64)


def assemble(program: Program, build: Build, lr: float | None = None) -> Image:
    """The image of a program for an engine.

    Args:
        lr: the learning rate whose shifts are written; the program's by default.

    Raises:
        ConfigError: an op has no microcode, or a memory is too small; names op, layer and remedy.
    """
    for step in (*program.steps, program.inference):
        refuse_kinds(step)
    layout, code = Layout(program, build), Code()
    constants = Constants(layout.a_bytes)
    entries: list[Entry] = []
    table: tuple[int, ...] = ()
    for step, placed in zip((*program.steps, program.inference), layout.steps):
        start, triggers = code.entry(), triggers_of(step)
        em = Emitter(
            build=build,
            layout=placed,
            code=code,
            constants=constants,
            lr=program.lr if lr is None else lr,
            slots=_slots(step, triggers),
            stashes=_stashes(step),
            losses=_losses(step),
            table=table,
        )
        emit(em, step)
        table = em.table
        entries.append(Entry(step, start, len(code.words), placed, tuple(triggers)))
    image = Image(program, build, layout, code, tuple(entries), constants.data, constants.start, table)
    _check_sizes(image)
    return image


def fitted(program: Program, lanes: int = 8, **options: object) -> Image:
    """The image of a program for an engine that is just large enough.

    Args:
        options: further parameters of the build.
    """
    worst = replace(WORST, lanes=lanes, a_words=(1 << isa.MOST_ADDRESS_BITS) // lanes, code_words=1 << 16)
    bits = weight_bits(program)
    options = {"generator": generator(program), "weight_bits": bits, "fraction": FRACTION[bits]} | options
    image = assemble(program, replace(worst, **options))  # type: ignore[arg-type]
    sizes = {
        "a_words": power(-(-image.a_bytes // lanes)),
        "w_words": power(image.w_words),
        "code_words": power(len(image.code.words) + SPARE),
    }
    bits = max(13, (sizes["a_words"] * lanes - 1).bit_length(), (sizes["w_words"] - 1).bit_length())
    build = replace(image.build, address_bits=bits, softmax=bool(image.table), **sizes)  # type: ignore[arg-type]
    return replace(image, build=build)


RATES = (0.01, 0.1, 0.001, 0.0001)


def typical(program: Program, lanes: int = 8) -> Image:
    """The image of a program without a learning rate, for the first of a few rates whose shifts the engine has.

    Raises:
        ConfigError: as of :func:`fitted`, with the first rate.
    """
    refused: ConfigError | None = None
    for rate in RATES:
        try:
            return fitted(replace(program, lr=rate), lanes)
        except ConfigError as error:
            refused = refused or error
    assert refused is not None
    raise refused


def weight_bits(program: Program) -> int:
    """4 where no weight has more bits, else 8."""
    matrices = (v for v in program.residents.values() if len(v.shape) > 1)
    return 4 if all(v.format.bits <= 4 for v in matrices) else 8


def generator(program: Program) -> str:
    """The generator of random words that a program is trained with.

    Raises:
        ConfigError: no engine has it.
    """
    steps = (*program.steps, program.inference)
    moves = (op.attrs.optimizer for step in steps for op in step.ops if isinstance(op.attrs, Optimized))
    found = {o.generator for o in moves if isinstance(o, BoundUpdate)} or {"register"}
    if not found <= {"lfsr", "register"}:
        raise ConfigError(
            f"{program.name} draws random words by the generator {', '.join(sorted(found))}; the engine has "
            f"shift registers: use --precision {PRECISION}"
        )
    return found.pop()


def power(n: int) -> int:
    """The next power of two, at least 2."""
    return 1 << max(n - 1, 1).bit_length()


def _slots(step: Step, triggers: Mapping[str, Op]) -> dict[Op, int]:
    if len(triggers) > isa.SLOTS:
        raise ConfigError(
            f"step {step.name} has {len(triggers)} triggers; the engine has {isa.SLOTS} flags: use a network of fewer "
            "layers"
        )
    return {op: slot for slot, op in enumerate(triggers.values())}


def _stashes(step: Step) -> frozenset[Value]:
    """What ``stash`` keeps, and views of it."""
    root = roots(step)
    kept = {op.outputs[0] for op in step.ops if op.kind == "stash"}
    return frozenset(v for v, r in root.items() if r in kept)


def _losses(step: Step) -> dict[Value, Op]:
    """Of scores the op that makes an error of them."""
    root = roots(step)
    return {root[op.inputs[0]]: op for op in step.ops if op.kind in ("violated", "softmax_error")}


def _check_sizes(image: Image) -> None:
    build = image.build
    for what, needed, there in (
        ("bytes of activations", image.a_bytes, build.a_words * build.lanes),
        ("words of weights", image.w_words, build.w_words),
        ("instructions", len(image.code.words), build.code_words),
    ):
        if needed > there:
            raise ConfigError(
                f"{image.program.name} needs {needed:,} {what}; the engine has {there:,}: use one of more memory, "
                "or a smaller network"
            )
