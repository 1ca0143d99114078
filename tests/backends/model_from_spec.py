"""A second implementation of a training step, built from ``spec.md`` alone: it shares nothing with insitu.

It reads the tables of the specification and computes them: the ops of `etch` on dense layers, in plain integers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Ints = np.ndarray[Any, np.dtype[np.int64]]
Fields = dict[str, str]
WORD = 0xFFFFFFFF


# --- what is written in the specification -----------------------------------------------------------------------


@dataclass
class Row:
    """An op of the table: its number, what it reads and gives, and its named fields."""

    number: int
    kind: str
    reads: list[str]
    gives: list[str]
    fields: Fields

    def __getitem__(self, name: str) -> int:
        return int(self.fields[name], 0)


def cells(text: str, heading: str) -> Iterator[list[str]]:
    """The rows of the first table behind a heading."""
    behind = text.split(f"\n## {heading}", 1)[1]
    lines = behind[behind.index("\n|") + 1 :].splitlines()
    for line in lines[2:]:
        if not line.startswith("|"):
            return
        yield [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def names(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`(?!\s*\[)", cell)


@dataclass
class Spec:
    """The specification of a program, read from its text."""

    text: str

    def steps(self, part: str) -> list[Row]:
        found = []
        for number, kind, reads, gives, fields, _ in cells(self.text, f"`{part}`"):
            pairs = dict(pair.split("=", 1) for pair in fields.strip("`").split())
            found.append(Row(int(number), kind, names(reads), names(gives), pairs))
        return found

    def silent(self, part: str) -> dict[int, list[int]]:
        """The ops that are left out where others give zeros alone, each with those."""
        behind = self.text.split(f"\n## `{part}`", 1)[1].split("\n## ", 1)[0]
        found = re.findall(r"Where op ([\d, ]+) gives zeros alone, op ([\d, ]+) ", behind)
        return {int(op): [int(t) for t in of.split(",")] for of, ops in found for op in ops.split(",")}

    def fact(self, name: str) -> int:
        return int(re.search(rf"^\| {name} \| (\d+) \|", self.text, re.M)[1])  # type: ignore[index]

    @property
    def first_t(self) -> int:
        found = re.search(r"^\*\*t\*\* is (\d+) before", self.text, re.M)
        assert found is not None
        return int(found[1])

    def lows(self, heading: str) -> dict[str, int]:
        """The least integer of each array of a table of arrays."""
        return {
            names(row[0])[0]: int(re.search(r"(-?\d+)\.\.", row[1])[1])  # type: ignore[index]
            for row in cells(self.text, heading)
        }

    def tables(self) -> dict[str, Ints]:
        found = re.findall(r"^`(T\d+)`, \d+ entries.*\n\n```text\n([-\d\s]+)```", self.text, re.M)
        return {name: np.array(numbers.split(), np.int64) for name, numbers in found}


# --- numbers ------------------------------------------------------------------------------------------------------


def half_up(v: Ints, k: int) -> Ints:
    return (v + (1 << (k - 1))) >> k if k > 0 else v << -k


def sr(v: Ints, k: int, word: Ints) -> Ints:
    k = min(k, 32)
    return (v + (word >> (32 - k))) >> k if k > 0 else v << -k


def clip(v: Ints, row: Row) -> Ints:
    return np.clip(v, row["low"], row["high"])


def end(v: Ints, row: Row) -> Ints:
    """How a sum leaves its op."""
    if "sum_low" in row.fields:
        v = np.clip(v, row["sum_low"], row["sum_high"])
    if "shift" not in row.fields:
        return v
    assert row.fields["rounding"] == "half-up"
    return clip(half_up(v * int(row.fields.get("times", 1)), row["shift"]), row)


# --- random words -------------------------------------------------------------------------------------------------


def mix(x: int) -> int:
    x = (x ^ x >> 16) * 0x7FEB352D & WORD
    x = (x ^ x >> 15) * 0x846CA68B & WORD
    return x ^ x >> 16


def words(seed: int, stream: int, t: int, count: int) -> Ints:
    key = mix((mix(seed ^ stream) + t * 0x9E3779B9) & WORD)
    other = mix(key ^ 0x9E3779B9)
    return np.array([mix(mix((i + key) & WORD) ^ other) for i in range(count)], np.int64)


def shifted(state: int, count: int) -> Ints:
    drawn = np.zeros(count, np.int64)
    for i in range(count):
        for _ in range(2):
            state = (state << 16 | (state >> 16 ^ state >> 14 ^ state >> 10 ^ state >> 9) & 0xFFFF) & WORD
        drawn[i] = state
    return drawn


# --- ops ----------------------------------------------------------------------------------------------------------


def matmul(row: Row, x: Ints, w: Ints, b: Ints | None = None) -> Ints:
    z = x @ w.T
    return end(z if b is None else z + (b << row["bias_shift"]), row)


def violated(row: Row, z: Ints, label: Ints) -> Ints:
    assert row.fields["every"] == "no"
    e = np.zeros_like(z)
    for scores, error, y in zip(z, e, label):
        others = [j for j in range(len(scores)) if j != y]
        best = max(others, key=lambda j: (scores[j], -j))
        if scores[best] - scores[y] + row["margin"] > 0:
            error[best], error[y] = 1, -1
    return e


def requant(row: Row, x: Ints) -> Ints:
    return end(x, row)


@dataclass
class Model:
    """The state of a network that learns by its specification.

    Attributes:
        spec: what it is built from.
        state: residents by name; they change.
        t: training steps done.
    """

    spec: Spec
    state: dict[str, Ints]
    t: int

    def __post_init__(self) -> None:
        self.tables, self.seed = self.spec.tables(), self.spec.fact("seed")
        self.ops: dict[str, Callable[..., Ints]] = {
            "matmul": matmul,
            "violated": violated,
            "requant": requant,
            "matmul_dx": lambda row, d, w: end(d @ w, row),
            "gate": lambda _row, d, y: np.where(y > 0, d, 0),
            "mul": lambda _row, a, b: a * b,
        }

    def learn(self, part: str, x: Ints, label: Ints) -> Iterator[tuple[Row, str, Ints]]:
        """One training step: after every op, each array that it gave or moved."""
        yield from self._run(part, {"x": x, "label": label}, self.t)
        self.t += 1

    def infer(self, x: Ints) -> Iterator[tuple[Row, str, Ints]]:
        yield from self._run("forward", {"x": x}, 0)

    def _run(self, part: str, given: dict[str, Ints], t: int) -> Iterator[tuple[Row, str, Ints]]:
        arrays, silent, zeros = given | self.state, self.spec.silent(part), set[int]()
        for row in self.spec.steps(part):
            operands = [arrays[name] for name in row.reads]
            if row.kind.endswith("_update"):
                if row.number not in silent or not zeros.issuperset(silent[row.number]):
                    self._move(row, operands, t)
                arrays |= {name: self.state[name] for name in row.gives}
            elif row.kind == "lut":
                arrays[row.gives[0]] = self.tables[row.fields["table"]][operands[0] - self._least(part, row)]
            else:
                arrays[row.gives[0]] = self.ops[row.kind](row, *operands)
            zeros |= set() if arrays[row.gives[0]].any() else {row.number}
            for name in row.gives:
                yield row, name, arrays[name]

    def _least(self, part: str, row: Row) -> int:
        """Of the format of what a look-up reads, which the row that gave it says."""
        for other in cells(self.spec.text, f"`{part}`"):
            if names(other[3])[:1] == row.reads:
                return int(re.search(r"(-?\d+)\.\.", other[3])[1])  # type: ignore[index]
        return self.spec.lows("What is given")[row.reads[0]]

    def _move(self, row: Row, operands: list[Ints], t: int) -> None:
        """w ← clip(w - stride · sr(g, k, word)), a random word a row and a column."""
        assert row.fields["method"] == "stochastic"
        registers = operands.pop().copy() if row.fields["generator"] == "register" else None
        d, *rest, w = operands
        g = d.T @ rest[0] if row.kind == "matmul_dw_update" else d.sum(0)
        columns = w.shape[1] if w.ndim == 2 else 0
        if registers is None:
            r, c = np.split(words(self.seed, row["stream"], t, len(w) + columns), [len(w)])
        else:
            first = int(row.fields["lanes"] == "columns")
            r = self._registered(registers, first, row["stream"], len(w))
            c = self._registered(registers, 1 - first, row["stream"], columns)
            self.state[row.gives[1]] = registers
        moved = w - row["stride"] * sr(g, row["k"], r[:, None] ^ c if columns else r)
        self.state[row.gives[0]] = clip(moved, row)

    def _registered(self, registers: Ints, which: int, stream: int, count: int) -> Ints:
        """The next words of a register, which goes on."""
        key = mix((mix(self.seed ^ stream) + which * 0x9E3779B9) & WORD)
        drawn = shifted(int(registers[which]) or key or 0x9E3779B9, count)
        registers[which] = drawn[-1] if count else registers[which]
        return drawn


def model(folder: Path, initial: dict[str, Ints]) -> Model:
    """The model of an exported project, from given first values."""
    spec = Spec((folder / "spec.md").read_text(encoding="utf-8"))
    return Model(spec, initial, spec.first_t)
