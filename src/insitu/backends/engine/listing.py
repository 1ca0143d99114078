"""Microcode for readers: ``insitu show microcode``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from insitu.backends.engine import cycles, isa
from insitu.backends.engine.image import Entry, Image

ALL = (1 << isa.SLOTS) - 1
"""Every trigger fires."""


@dataclass(frozen=True)
class Row:
    """A nest, or an instruction that takes more than a cycle.

    Attributes:
        address: of its GO.
        name: of what it does.
        words: instructions since the one before, its own included.
        issues, rounds: cycles in which the multipliers have operands, and results (or vectors of them).
        cycles: with its instructions.
    """

    address: int
    name: str
    words: int
    issues: int
    rounds: int
    cycles: int


def rows(image: Image, entry: Entry) -> list[Row]:
    """What a step does where every trigger fires, in order."""
    names, walk, found = dict(image.code.nests), cycles.Walk(image.build), []
    first, taken = entry.start, 0
    for at in range(entry.start, entry.end):
        taken += walk.instruction(image.code.words[at])
        name = isa.decode(image.code.words[at])[0].name
        if name in ("GO", "SOFTMAX"):
            nest = walk.nest
            found.append(Row(at, names.get(at, "softmax"), at - first + 1, nest.issues, nest.rounds, taken))
            first, taken = at + 1, 0
    return found


def listing(image: Image, words: bool = False) -> str:
    """An image as text: its memory, and a line for every nest of each step.

    Args:
        words: every instruction as well.
    """
    return (
        "\n".join([*_head(image), *(line for entry in image.entries for line in _entry(image, entry, words))])
        + "\n"
    )


def _head(image: Image) -> Iterator[str]:
    b, program = image.build, image.program
    engine = f"{b.lanes} lanes, S = {b.fraction}, generator {b.generator}"
    yield f"{program.name}: {len(image.words)} instructions for {engine}"
    c = max((*program.peaks, 0))
    yield f"A {image.a_bytes:,} bytes, W {image.w_words:,} words: {image.peak_bytes:,} bytes (the plan of C: {c:,})"
    yield ""
    yield f"{'memory':>6} {'from':>6} {'size':>6}  resident"
    for name, place in image.residents.items():
        yield f"{'W' if place.weights else 'A':>6} {place.start:6} {place.form.size:6}  {name}: {place.form}"


def _entry(image: Image, entry: Entry, words: bool) -> Iterator[str]:
    quiet, full = (cycles.work(image.code.words, entry.start, image.build, fired) for fired in (0, ALL))
    silent = f", {quiet.cycles:,} where no trigger fires" if entry.triggers else ""
    yield f"\n{entry.step.name}: from {entry.start}, {full.cycles:,} cycles{silent}"
    yield f"{'address':>9} {'words':>5} {'issues':>8} {'rounds':>7} {'cycles':>8}  nest"
    for row in rows(image, entry):
        yield f"{row.address:9} {row.words:5} {row.issues:8,} {row.rounds:7,} {row.cycles:8,}  {row.name}"
    if words:
        yield from isa.disassemble(image.words[entry.start : entry.end].tolist(), entry.start)
