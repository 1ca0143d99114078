"""Microcode from loop nests: registers that hold what they should are not written again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from insitu.backends.engine import isa
from insitu.backends.engine.isa import LEVELS, MOST_COUNT, encode
from insitu.errors import ConfigError
from insitu.step.ir import Op

STREAMS = ("x", "w", "p", "d", "row", "column")


@dataclass(frozen=True)
class Loop:
    """A loop of a nest: rounds, and what every round adds to each stream, wherever the loops inside have gone.

    ``words``: each of its rounds begins with new random words of the lanes.
    """

    count: int
    x: int = 0
    w: int = 0
    p: int = 0
    d: int = 0
    row: int = 0
    column: int = 0
    words: bool = False

    def strides(self) -> tuple[int, ...]:
        return tuple(getattr(self, name) for name in STREAMS)

    def split(self) -> list[Loop]:
        """Loops of at most 1024 rounds.

        Raises:
            ConfigError: the number of rounds has no divisor that helps.
        """
        if self.count <= MOST_COUNT:
            return [self]
        inner = next((n for n in range(MOST_COUNT, 1, -1) if self.count % n == 0), 0)
        if inner < self.count / MOST_COUNT or self.words:
            raise ConfigError(f"a loop of {self.count} rounds cannot be split into loops of {MOST_COUNT}")
        outer = {name: getattr(self, name) * inner for name in STREAMS}
        first = replace(self, count=inner)
        return [first, *Loop(self.count // inner, **outer).split()]


@dataclass
class Nest:
    """What an op asks for; :class:`Code` writes what the registers do not hold yet.

    Attributes:
        name: for readers.
        round: loops of one result, the innermost first.
        rounds: loops around them.
        control, more: fields of CTL and CTL2.
        starts: addresses of the streams that are used, by ``x``, ``w``, ``p``, ``d``.
        shifts: fields of SH.
        constants: of K0, K1, HIOFF, MARGIN, where they are used.
        plane: height and width, and the place where the nest begins; ``None``: nothing is outside.
    """

    name: str
    round: Sequence[Loop]
    rounds: Sequence[Loop]
    control: dict[str, int]
    starts: dict[str, int]
    more: dict[str, int] = field(default_factory=dict)
    shifts: dict[str, int] = field(default_factory=dict)
    constants: dict[str, int] = field(default_factory=dict)
    plane: tuple[int, int, int, int] | None = None

    def levels(self) -> tuple[list[Loop], int]:
        """Loops of more than one round, the innermost first, and how many of them make a round."""
        inner = [part for loop in self.round if loop.count > 1 for part in loop.split()]
        outer = [part for loop in self.rounds if loop.count > 1 or loop.words for part in loop.split()]
        if len(inner) + len(outer) > LEVELS:
            raise ConfigError(f"{self.name} needs {len(inner) + len(outer)} loops; the engine has {LEVELS}")
        return inner + outer, len(inner)


@dataclass
class Code:
    """Instructions in the making.

    Attributes:
        words: the instructions.
        nests: address of each GO, and the name of what it does.
        keys: where the words of a key lie, and of which stream.
        owners: of each instruction the op that it is of; ``None``: a branch, or the end of a program.
    """

    words: list[int] = field(default_factory=list)
    nests: list[tuple[int, str]] = field(default_factory=list)
    keys: list[tuple[int, str]] = field(default_factory=list)
    owners: dict[int, Op] = field(default_factory=dict)
    _known: dict[tuple[str, int, str], int] = field(default_factory=dict)

    def entry(self) -> int:
        """A program begins: no register is known. Its address."""
        self._known = {}
        return len(self.words)

    def act(self, name: str, **fields: int) -> None:
        """An instruction that does something."""
        self.words.append(encode(name, **fields))

    def put(self, name: str, level: int = 0, **fields: int) -> None:
        """Writes a register if a field that matters is not known to hold its value; others keep theirs."""
        known = {f.name: self._known.get((name, level, f.name)) for f in isa.BY_NAME[name].fields}
        if all(known[k] == v for k, v in fields.items()):
            return
        values = {k: v or 0 for k, v in known.items()} | fields
        self.words.append(encode(name, level, **values))
        self._known |= {(name, level, k): v for k, v in values.items()}

    def run(self, nest: Nest) -> None:
        """Sets the registers of a nest and runs it."""
        self.prepare(nest)
        self.nests.append((len(self.words), nest.name))
        self.act("GO", number=len(self.nests) & 255)

    def prepare(self, nest: Nest) -> None:
        """Sets the registers of a nest."""
        loops, inner = nest.levels()
        self._loops(loops, nest)
        words = next((i for i, loop in enumerate(loops) if loop.words), None)
        more = nest.more | ({} if words is None else {"words_level": words})
        self.put("CTL", **_all("CTL", nest.control | {"inner": inner, "words": int(words is not None)}))
        if more:
            self.put("CTL2", **more)
        if nest.shifts:
            self.put("SH", **nest.shifts)
        for name, value in nest.constants.items():
            self.put(name, **{isa.BY_NAME[name].fields[0].name: value})
        for stream, address in nest.starts.items():
            self.put(f"B{stream.upper()}", address=address & ((1 << isa.MOST_ADDRESS_BITS) - 1))

    def _loops(self, loops: list[Loop], nest: Nest) -> None:
        height, width, row, column = nest.plane or (511, 511, 0, 0)
        self.put("LIM", height=height, width=width)
        self.put("BYX", y=row, x=column)
        for level, (count, steps) in enumerate(_steps(loops)):
            self.put("BOUND", level, count=count - 1, y=steps["row"], x=steps["column"])
            if level < len(loops):
                self.put("DXW", level, **{s: steps[s] for s in "xw" if s in nest.starts})
                self.put("DPD", level, **{s: steps[s] for s in "pd" if s in nest.starts})

    @contextmanager
    def unless_silent(self, flags: int) -> Iterator[None]:
        """What is written inside is passed over where none of some flags is set (0: it always runs)."""
        if not flags:
            yield
            return
        at, before = len(self.words), dict(self._known)
        self.words.append(0)
        yield
        self.words[at] = encode("BRZ", target=len(self.words), flags=flags)
        self._known = {k: v for k, v in self._known.items() if before.get(k) == v}


def _all(name: str, fields: dict[str, int]) -> dict[str, int]:
    """Every field of a register: 0 where it is not given."""
    return {f.name: 0 for f in isa.BY_NAME[name].fields} | fields


def _steps(loops: list[Loop]) -> Iterator[tuple[int, dict[str, int]]]:
    """Of all levels the rounds, and the step of each stream when it advances: its stride less what is inside it."""
    inside = dict.fromkeys(STREAMS, 0)
    for level in range(LEVELS):
        loop = loops[level] if level < len(loops) else Loop(1)
        strides = dict(zip(STREAMS, loop.strides()))
        yield loop.count, {k: _wrapped(v - inside[k]) for k, v in strides.items()}
        inside = {k: v + (loop.count - 1) * strides[k] for k, v in inside.items()}


def _wrapped(step: int) -> int:
    """A step as the signed number of an address register: addresses are taken modulo a power of two."""
    half = 1 << isa.MOST_ADDRESS_BITS - 1
    return (step + half) % (2 * half) - half
