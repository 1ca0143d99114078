"""The instruction set of the learning engine: microcode is a stream of register writes.

    word[35:30] register, word[29:0] data

Registers keep their value, so that a program writes what has changed and then GO, which runs one *nest*: six nested
loops that send a scalar, vectors of P bytes and words of P weights through P multipliers and accumulators. What a nest
computes is said by :mod:`insitu.backends.engine.machine`. Registers and fields that are marked *learning* do not exist
in an engine that only infers.

Legend: P lanes, S fraction bits of an accumulator, A the memory of activations (bytes), W the memory of weights (words
of P weights), x y w p d addresses of the streams X, W, P and D.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cache

from insitu.errors import ConfigError

WORD_BITS = 36
"""Of an instruction: a block RAM of 18 kbit gives 36 bits as cheaply as 32."""

DATA_BITS = 30
LEVELS = 6
"""Nested loops; level 0 is the innermost."""

MOST_ADDRESS_BITS = 15
MOST_COUNT = 1024
"""Rounds of one loop."""

SLOTS = 8
"""Flags of triggers that a program can branch on."""

CLASSES = 16
"""Most scores that the score unit compares."""

RESET_STATES = (0x2545F491, 0x9E3779B9)
"""Of the random registers, of lanes and scalars, after a reset until a host loads them."""

TABLE = 1024
"""Entries of the table of exponentials; a larger distance takes the last one."""


class A(IntEnum):
    """The first factor, field ``a``."""

    SCALAR = 0
    VECTOR = 1
    K0 = 2
    K1 = 3


class B(IntEnum):
    """The second factor, field ``b``."""

    WEIGHTS = 0
    VECTOR = 1
    ONE = 2


class To(IntEnum):
    """Where results go, field ``to``."""

    VECTOR = 0
    BYTE = 1
    WEIGHTS = 2


class Prologue(IntEnum):
    """What a round reads at address p before its products, field ``prologue``."""

    NONE = 0
    BIASES = 1
    BIAS = 2
    VECTOR = 3
    MASK = 4
    WEIGHTS = 5


@dataclass(frozen=True)
class Field:
    """Bits of a register.

    Attributes:
        name: as :func:`encode` takes it.
        at, bits: where.
        signed: two's complement.
        learning: an engine that only infers lacks it.
        doc: what it says.
    """

    name: str
    at: int
    bits: int
    doc: str
    signed: bool = False
    learning: bool = False

    @property
    def least(self) -> int:
        return -(1 << self.bits - 1) if self.signed else 0

    @property
    def greatest(self) -> int:
        return self.least + (1 << self.bits) - 1

    def put(self, value: int) -> int:
        return (value & ((1 << self.bits) - 1)) << self.at

    def take(self, data: int) -> int:
        raw = data >> self.at & ((1 << self.bits) - 1)
        return raw - (1 << self.bits) if self.signed and raw > self.greatest else raw


@dataclass(frozen=True)
class Register:
    """A register, or one of each of the six loops (``per_level``: the level is added to ``code``).

    Attributes:
        acts: writing it does something, so that it is written even where its data are the same.
    """

    name: str
    code: int
    doc: str
    fields: tuple[Field, ...]
    per_level: bool = False
    learning: bool = False
    acts: bool = False

    @property
    def codes(self) -> range:
        return range(self.code, self.code + (LEVELS if self.per_level else 1))


def _packed(*fields: tuple[str, int, str] | tuple[str, int, str, str]) -> tuple[Field, ...]:
    """Fields side by side from bit 0 on: name, bits, doc, and ``s`` signed or ``l`` learning."""
    placed, at = [], 0
    for name, bits, doc, *marks in fields:
        mark = "".join(marks)
        placed.append(Field(name, at, bits, doc, "s" in mark, "l" in mark))
        at += bits
    assert at <= DATA_BITS, (placed[0].name, at)
    return tuple(placed)


def _address(name: str, code: int, doc: str) -> Register:
    return Register(name, code, doc, _packed(("address", MOST_ADDRESS_BITS, doc)))


_ADDRESS = MOST_ADDRESS_BITS

REGISTERS = (
    Register("END", 0, "the program ends", (), acts=True),
    Register(
        "CTL",
        1,
        "what a nest computes",
        _packed(
            ("a", 2, "first factor: 0 the scalar, 1 V, 2 K0, 3 K1"),
            ("b", 2, "second factor: 0 weights, 1 V, 2 the constant 1 (lane 0 alone)"),
            ("scalar_signed", 1, "the scalar, V as first factor and V of a pool are signed"),
            ("vector_signed", 1, "V as second factor is signed"),
            ("high", 1, "weights or V as second factor are multiplied by 2**9"),
            ("dot", 1, "lane 0 sums the products of all lanes"),
            ("wide", 1, "the result is lane 0's, of two bytes: low at d, high at d + HIOFF"),
            ("wide16", 1, "of 16 bits, else of 12"),
            ("pool", 1, "the result is the largest V of a round, lane by lane"),
            ("position", 1, "of a pool, its number in the round (0 to 3) instead", "l"),
            ("out_signed", 1, "results are saturated to s8, else to u8"),
            ("to", 2, "results go to: 0 a vector of A, 1 a byte of A (lane 0's), 2 a word of W"),
            ("prologue", 3, "before a round: 0 nothing, 1 biases, 2 a bias, 3 V, 4 mask, 5 w"),
            ("inner", 3, "levels of a round: one result (or one vector of results)"),
            ("vector_stream", 1, "every issue loads V from address x"),
            ("score", 1, "results are scores: compared for the largest"),
            ("update", 1, "sums begin with ~w and random bits, results are inverted", "l"),
            ("each", 1, "every issue is a result of its own, w is the word at address w", "l"),
            ("words", 1, "the lanes draw random words", "l"),
            ("mask", 1, "results are 0 where the mask is", "l"),
            ("emit", 1, "results are the errors of a violated margin", "l"),
        ),
    ),
    Register(
        "SH",
        2,
        "shifts to the left",
        _packed(
            ("scalar", 5, "of the scalar; the shifted scalar has 18 bits"),
            ("serial", 5, "of lane 0's addend, in nests with dot or wide"),
            ("bias", 4, "of the bytes of a bias (prologue 2), before the serial shift"),
        ),
    ),
    Register(
        "K0", 3, "constant factor; of the low bytes of biases", _packed(("value", 18, "the constant", "s"))
    ),
    Register(
        "K1", 4, "constant factor; of the high bytes of biases", _packed(("value", 18, "the constant", "s"))
    ),
    Register(
        "LIM",
        5,
        "the plane: outside of it scalars are 0, and sums of dot",
        _packed(("height", 9, "rows"), ("width", 9, "columns")),
    ),
    _address("BX", 6, "start of x"),
    _address("BW", 7, "start of w"),
    _address("BP", 8, "start of p"),
    _address("BD", 9, "start of d"),
    Register(
        "BYX",
        10,
        "start of the position in the plane",
        _packed(("y", 10, "row", "s"), ("x", 10, "column", "s")),
    ),
    Register(
        "MARGIN",
        11,
        "that the label's score must lead by",
        _packed(("value", 12, "in units of scores", "l")),
        learning=True,
    ),
    Register(
        "CTL2",
        12,
        "more of what a nest computes",
        _packed(
            ("words_level", 3, "a loop of this level or above draws new words of the lanes", "l"),
            ("last", 5, "words less 1 that lanes draw in the last round of that loop; else P", "l"),
            ("exclude", 1, "the label's score is not compared, but kept less the margin", "l"),
            (
                "match",
                1,
                "the mask is where the two low bits equal the code, else where a byte is not 0",
                "l",
            ),
            ("code", 2, "of a match", "l"),
        ),
    ),
    _address("HIOFF", 13, "from the low byte of a bias or wide result to its high byte"),
    Register(
        "BOUND",
        16,
        "of a loop",
        _packed(
            ("count", 10, "rounds less 1"),
            ("y", 8, "step of the row in the plane", "s"),
            ("x", 8, "step of the column", "s"),
        ),
        per_level=True,
    ),
    Register(
        "DXW",
        24,
        "steps when a loop advances and all inside it begin anew",
        _packed(("x", _ADDRESS, "of x", "s"), ("w", _ADDRESS, "of w", "s")),
        per_level=True,
    ),
    Register(
        "DPD",
        32,
        "steps when a loop advances and all inside it begin anew",
        _packed(("p", _ADDRESS, "of p", "s"), ("d", _ADDRESS, "of d", "s")),
        per_level=True,
    ),
    Register(
        "KEYLO",
        40,
        "start state of the generator, low half; the host writes it each step (generator lfsr)",
        _packed(("bits", 16, "of the state", "l")),
        learning=True,
        acts=True,
    ),
    Register("KEYHI", 41, "high half", _packed(("bits", 16, "of the state", "l")), learning=True, acts=True),
    Register(
        "SEED",
        42,
        "both draw from the start state on (lfsr); the scalars' state is kept as their start (register)",
        _packed(
            ("skip", 12, "words passed over", "l"), ("lanes", 1, "by the lanes, else by the scalars", "l")
        ),
        learning=True,
        acts=True,
    ),
    Register("GO", 43, "runs the nest", _packed(("number", 8, "for readers")), acts=True),
    Register(
        "TRIG",
        44,
        "a flag is set if another score is above the label's less the margin, else cleared",
        _packed(("slot", 3, "the flag", "l")),
        learning=True,
        acts=True,
    ),
    Register(
        "BRZ",
        45,
        "goes on elsewhere if none of some flags is set",
        _packed(("target", 16, "address of an instruction", "l"), ("flags", SLOTS, "bit by bit", "l")),
        learning=True,
        acts=True,
    ),
    Register(
        "SHIFT",
        47,
        "both random registers go on by one word, each with a bit XORed into its lowest: how a host loads them",
        _packed(("lanes", 1, "of the lanes' register", "l"), ("scalars", 1, "of the scalars' register", "l")),
        learning=True,
        acts=True,
    ),
    Register(
        "SOFTMAX",
        46,
        "errors of a softmax: loops go over classes: scores at p (high bytes at p + HIOFF), errors at d",
        (),
        learning=True,
        acts=True,
    ),
)
"""All registers. Codes from 16 to 39 are three banks of eight: bits [5:3] select the bank, bits [2:0] the level."""

BY_NAME = {r.name: r for r in REGISTERS}
_BY_CODE = {code: (r, code - r.code) for r in REGISTERS for code in r.codes}


def encode(name: str, level: int = 0, **fields: int) -> int:
    """The word that writes a register; fields that are not given are 0.

    Raises:
        ConfigError: the register or a field does not exist, or a value does not fit its field.
    """
    register = BY_NAME[name]
    data = 0
    for field in register.fields:
        value = int(fields.pop(field.name, 0))
        if not field.least <= value <= field.greatest:
            raise ConfigError(
                f"{value} does not fit field {field.name} of register {name}: "
                f"use {field.least} to {field.greatest}"
            )
        data |= field.put(value)
    if fields:
        raise ConfigError(f"register {name} has no field {', '.join(fields)}")
    return register.codes[level] << DATA_BITS | data


def split(word: int) -> tuple[int, int]:
    """Register code and data of a word."""
    return word >> DATA_BITS, word & ((1 << DATA_BITS) - 1)


def moved(words: Sequence[int], by: int) -> list[int]:
    """Microcode for an address that is further on: branches have other targets."""
    found = []
    for word in words:
        register, _, fields = decode(word)
        branch = register.name == "BRZ"
        found.append(encode("BRZ", **fields | {"target": fields["target"] + by}) if branch else word)
    return found


@cache
def decode(word: int) -> tuple[Register, int, dict[str, int]]:
    """Register, level and fields of a word.

    Raises:
        ConfigError: no register has that code.
    """
    code, data = split(word)
    if code not in _BY_CODE:
        raise ConfigError(f"no register has code {code}: the word {word:#011x} is no instruction")
    register, level = _BY_CODE[code]
    return register, level, {f.name: f.take(data) for f in register.fields}


def disassemble(words: Sequence[int], start: int = 0) -> Iterator[str]:
    """A line a word: address (from ``start`` on), word, register and what of its fields is not 0."""
    for address, word in enumerate(words, start):
        register, level, fields = decode(word)
        name = f"{register.name}{level}" if register.per_level else register.name
        shown = " ".join(f"{k}={v}" for k, v in fields.items() if v or len(fields) == 1)
        yield f"{address:5d}  {word:09x}  {name:8s}{shown}".rstrip()
