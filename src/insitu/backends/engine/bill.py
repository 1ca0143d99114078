"""What a step costs on a target that is an engine: cycles of each op by the closed form, blocks by its memories."""

from __future__ import annotations

from math import ceil

from insitu.backends.engine import cycles, isa
from insitu.backends.engine.build import Build
from insitu.backends.engine.cycles import TIMING
from insitu.backends.engine.image import Entry, Image, typical
from insitu.hardware.mapped import Mapped
from insitu.hardware.target import Engine
from insitu.run.program import Program
from insitu.step.ir import Op

SHAPES = ((512, 36), (1024, 18), (2048, 9), (4096, 4), (8192, 2), (16384, 1))
"""Words and bits of a block RAM of 18 kbit."""


def mapped(program: Program, target: Engine) -> list[Mapped]:
    """Of each training step and of inference: the cycles of every op, and what the engine takes of the FPGA.

    Raises:
        ConfigError: an op has no microcode.
    """
    image = typical(program, target.lanes.count)
    learns = len(image.entries) > 1
    found = []
    for entry in image.entries:
        taken = by_op(image, entry)
        taken[next(iter(taken))] += fetch(entry, target)
        found.append(Mapped(taken, _fabric(image.build, target, learns)))
    return found


def fetch(entry: Entry, target: Engine) -> int:
    """Cycles in which DMA brings a sample and its label; 0: a host writes them."""
    place = entry.place("x")
    return (
        0 if target.dma is None or place is None else cycles.dma(place.form.size + 1, target.dma.count // 8)
    )


def by_op(image: Image, entry: Entry) -> dict[Op, int]:
    """Cycles of each op where it is done; the first op has the start and the end of the program too.

    A branch over a group of ops takes more cycles where it is taken. It is charged to the first op of all, as if it
    were taken, and what it takes less where it is not, to the first op of the group: sums over shares are exact.
    """
    taken = cycles_at(image, entry)
    found: dict[Op, int] = {}
    shared, fall = TIMING.start, 0
    for at, n in taken.items():
        op = image.code.owners.get(at)
        if op is None:
            branch = isa.decode(image.code.words[at])[0].name == "BRZ"
            shared, fall = shared + n + TIMING.taken * branch, TIMING.taken * branch
        else:
            found[op], fall = found.get(op, 0) + n - fall, 0
    first = next(iter(found))
    found[first] += shared
    return found


def cycles_at(image: Image, entry: Entry) -> dict[int, int]:
    """Cycles of the instruction at each address, where every branch falls through."""
    walk = cycles.Walk(image.build)
    return {at: walk.instruction(image.code.words[at]) for at in range(entry.start, entry.end)}


def _fabric(build: Build, target: Engine, learns: bool) -> dict[str, int]:
    """Multipliers, block RAMs and, where they are known, LUTs."""
    memories = [
        (build.a_words, 8 * build.lanes),
        (build.w_words, build.weight_bits * build.lanes),
        (build.code_words, isa.WORD_BITS),
        *([(isa.TABLE, 16)] if build.softmax else []),
    ]
    found = {"dsp": build.lanes, "bram": sum(blocks(*memory) for memory in memories)}
    cells = target.cells
    lut = cells.inference if not learns else cells.softmax if build.softmax else cells.learning
    return found | ({} if lut is None else {"lut": round(lut.value)})


def blocks(words: int, bits: int) -> int:
    """Block RAMs of a memory: of the shape that takes fewest."""
    return min(ceil(words / depth) * ceil(bits / width) for depth, width in SHAPES)
