"""Random microcode: nests of every kind that an assembler writes, with random loops, addresses, shifts and flags.

``A`` is read around ``SOURCE`` and written around ``TARGET``, ``W`` is read and written around ``WEIGHTS``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from insitu.backends.engine import isa
from insitu.backends.engine.isa import A, B, Prologue, To
from insitu.backends.engine.machine import Machine, MachineError

SOURCE, TARGET, WEIGHTS = 1000, 3000, 250
KINDS = ("outer", "elementwise", "dot", "pool", "each", "kernel", "bias", "scores")
FORWARD = ("outer", "elementwise", "dot", "pool")

Nest = tuple[dict[str, int], dict[str, int], dict[str, int]]
"""Fields of CTL, CTL2 and SH."""


class Writer:
    """Random nests as words of microcode, for an engine of some lanes."""

    def __init__(self, seed: int, lanes: int = 8, learn: bool = True, operand_bits: int = 18) -> None:
        self.random = np.random.default_rng(seed)
        self.lanes, self.learn, self.constant = lanes, learn, 1 << operand_bits - 2

    def one(self, *choices: int) -> int:
        return choices[self.random.integers(len(choices))]

    def flip(self) -> int:
        return int(self.random.integers(2))

    def between(self, least: int, most: int) -> int:
        return int(self.random.integers(least, most + 1))

    def program(self, kind: str) -> list[int]:
        """A nest with all its registers; of scores with a trigger and errors, which a branch may leave out."""
        words = [isa.encode("SEED"), *self.nest(kind)]
        if kind != "scores":
            return words
        slot = self.between(0, isa.SLOTS - 1)
        errors = [
            isa.encode("BOUND", count=self.between(1, isa.CLASSES) - 1),
            isa.encode("DPD", d=1),
            *(isa.encode("BOUND", level) for level in range(1, isa.LEVELS)),
            *self.registers({"to": To.BYTE, "emit": 1, "inner": 0}, {}, {}, BD=TARGET),
        ]
        end = len(words) + 2 + len(errors)
        branch = isa.encode("BRZ", target=end, flags=1 << slot | self.between(0, 255))
        return [*words, isa.encode("TRIG", slot=slot), branch, *errors]

    def nest(self, kind: str) -> list[int]:
        ctl, ctl2, shift = getattr(self, f"_{kind}")()
        ctl = {"inner": self.between(1, 3), **ctl}
        vector, to_w = ctl.get("prologue") == Prologue.VECTOR, ctl.get("to") == To.WEIGHTS
        near_p = SOURCE if vector or not to_w else WEIGHTS
        start = {"BX": SOURCE, "BW": WEIGHTS, "BP": near_p, "BD": WEIGHTS if to_w else TARGET}
        ranges, same = {"x": 30, "w": 6, "p": 30, "d": 30}, ""
        if to_w:
            ranges |= {"d": 6, "p": 30 if vector else 6}
            same = "w" if ctl.get("each") else "p"
        elif ctl.get("update"):
            start["BD"], same = SOURCE, "p"
        ctl2 = {"words_level": self.between(ctl["inner"], isa.LEVELS - 1), **ctl2} if self.learn else {}
        return [*self.loops(same, **ranges), *self.registers(ctl, ctl2, shift, **start)]

    def loops(self, same: str = "", **ranges: int) -> list[int]:
        """Bounds and steps of all levels; ``same``: results move with that stream."""
        used, words = self.between(1, isa.LEVELS), []
        for level in range(isa.LEVELS):
            count = self.between(1, 4) if level < used else 1
            step = {s: self.between(-ranges.get(s, 0), ranges.get(s, 0)) for s in "xwpd"}
            step["d"] = step[same] if same else step["d"]
            words += [
                isa.encode("BOUND", level, count=count - 1, y=self.between(-2, 2), x=self.between(-2, 2)),
                isa.encode("DXW", level, x=step["x"], w=step["w"]),
                isa.encode("DPD", level, p=step["p"], d=step["d"]),
            ]
        return words

    def registers(self, ctl: Any, ctl2: Any, shift: Any, **start: int) -> list[int]:
        return [
            isa.encode("CTL", **ctl),
            isa.encode("CTL2", **ctl2),
            isa.encode("SH", **shift),
            *(isa.encode(k, value=self.between(-self.constant, self.constant)) for k in ("K0", "K1")),
            isa.encode("LIM", height=self.between(1, 12), width=self.between(1, 12)),
            isa.encode("BYX", y=self.between(-3, 6), x=self.between(-3, 6)),
            isa.encode("HIOFF", address=400),
            *([isa.encode("MARGIN", value=self.between(0, 300))] if self.learn else []),
            *(isa.encode(name, address=value) for name, value in start.items()),
            isa.encode("GO"),
        ]

    # --- kinds -------------------------------------------------------------------------------------------------

    def _outer(self) -> Nest:
        """A scalar times weights or a held vector, into a vector."""
        prologue = self.one(Prologue.NONE, Prologue.BIASES, *([Prologue.MASK, Prologue.VECTOR] * self.learn))
        b = B.VECTOR if prologue == Prologue.VECTOR else B.WEIGHTS
        ctl = {"a": self.one(A.SCALAR, A.K0, A.K1), "b": b, "high": self.flip(), "prologue": prologue}
        ctl |= {"mask": int(prologue == Prologue.MASK), "to": To.VECTOR, **self._signs()}
        return ctl, {}, {"scalar": self.between(0, 9)}

    def _signs(self) -> dict[str, int]:
        return {name: self.flip() for name in ("scalar_signed", "vector_signed", "out_signed")}

    def _elementwise(self) -> Nest:
        """A constant times vectors."""
        masked = self.flip() * self.learn
        ctl = {
            "a": A.K0,
            "b": B.VECTOR,
            "high": self.flip(),
            "vector_stream": 1,
            "to": To.VECTOR,
            **self._signs(),
        }
        return ctl | {"prologue": Prologue.MASK * masked, "mask": masked}, {}, {}

    def _dot(self) -> Nest:
        """Vectors times weights, summed over lanes, into a byte or two."""
        ctl = {"a": A.VECTOR, "b": B.WEIGHTS, "dot": 1, "vector_stream": 1, "to": To.BYTE, **self._signs()}
        ctl |= {"wide": self.flip(), "wide16": self.flip(), "prologue": Prologue.BIAS * self.flip()}
        return ctl, {}, {"serial": self.between(0, 18), "bias": self.between(0, 9)}

    def _scores(self) -> Nest:
        """The same as scores of at most 16 classes."""
        ctl, _, shift = self._dot()
        return ctl | {"wide": 1, "wide16": 0, "score": 1, "inner": 4}, {"exclude": self.flip()}, shift

    def _pool(self) -> Nest:
        signed = self.flip()
        ctl = {"b": B.VECTOR, "vector_stream": 1, "pool": 1, "inner": 2, "to": To.VECTOR}
        return ctl | {"scalar_signed": signed, "vector_signed": signed, "out_signed": signed}, {}, {}

    def _each(self) -> Nest:
        """An update of a matrix: a product a weight."""
        ctl = {
            "a": A.SCALAR,
            "b": B.VECTOR,
            "high": self.flip(),
            "prologue": Prologue.VECTOR,
            "to": To.WEIGHTS,
        }
        ctl |= {"update": 1, "each": 1, "words": 1, **self._signs(), "out_signed": 1}
        return ctl, {"last": self.between(0, self.lanes - 1)}, {"scalar": self.between(0, 9)}

    def _kernel(self) -> Nest:
        """An update of a kernel: a sum of products a weight."""
        ctl = {
            "a": A.SCALAR,
            "b": B.WEIGHTS,
            "high": self.flip(),
            "prologue": Prologue.WEIGHTS,
            "to": To.WEIGHTS,
        }
        ctl |= {"update": 1, "words": 1, "out_signed": 1, "scalar_signed": self.flip()}
        return ctl, {"last": self.between(0, self.lanes - 1)}, {"scalar": self.between(0, 9)}

    def _bias(self) -> Nest:
        """An update of biases, one by one."""
        ctl = {"a": A.SCALAR, "b": B.ONE, "wide": 1, "wide16": 1, "prologue": Prologue.BIAS, "update": 1}
        shift = {"scalar": self.between(0, 9), "serial": self.between(0, 8), "bias": self.between(0, 8)}
        return ctl | {"to": To.BYTE, "scalar_signed": self.flip()}, {}, shift


def runs(machine: Machine, words: list[int], label: int) -> int | None:
    """Cycles of a program on the machine; ``None``, and nothing changed, where hardware could not run it."""
    memories = machine.a.copy(), machine.w.copy()
    draws, scores = vars(machine.draws).copy(), vars(machine.scores).copy()
    flags = machine.flags
    machine.code[: len(words)] = words
    try:
        return machine.run(0, label)
    except MachineError:
        machine.a[:], machine.w[:] = memories
        vars(machine.draws).update(draws)
        vars(machine.scores).update(scores)
        machine.flags = flags
        return None
