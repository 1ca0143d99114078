"""Generated parts of docs/fpga.md: the instruction set, what runs on the engine, and the cycles of a step."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cache

from insitu.backends.engine import cycles, isa
from insitu.backends.engine.build import PRECISION
from insitu.backends.engine.image import Image, fitted
from insitu.backends.engine.listing import ALL
from insitu.errors import InsituError
from insitu.experiment.design_point import DesignPoint
from insitu.experiment.design_program import program
from insitu.ops.loops import loops
from insitu.rules import RULES
from insitu.rules.facts import integer_ready
from insitu.rules.protocol import make_rule
from insitu.run.program import Program
from insitu.step.ir import Step

NETWORKS = {"mlp-64-32-10": None, "mlp-784-128-10": None, "cnn-8-16": (1, 8, 8), "lenet5": (1, 28, 28)}
OPTIONS: dict[str, tuple[tuple[str, str], ...]] = {"lls": (("wave", "square"),)}
"""Options that a rule needs on integers."""

LR = 0.01


def instruction_table() -> str:
    """Every register with its fields."""
    lines = ["| code | register | field | bits | what |", "| --- | --- | --- | --- | --- |"]
    for r in isa.REGISTERS:
        code = f"{r.code}–{r.codes[-1]}" if r.per_level else str(r.code)
        lines.append(f"| {code} | **{r.name}**{_learning(r.learning)} | | | {r.doc} |")
        for f in r.fields:
            where = f"{f.at + f.bits - 1}:{f.at}" if f.bits > 1 else str(f.at)
            signed = ", signed" if f.signed else ""
            lines.append(
                f"| | | `{f.name}`{_learning(f.learning and not r.learning)} | {where}{signed} | {f.doc} |"
            )
    return "\n".join(lines) + "\n"


def _learning(mark: bool) -> str:
    return " *" if mark else ""


@cache
def _program(rule: str, network: str) -> Program:
    shape = NETWORKS[network]
    point = DesignPoint(
        network, rule, PRECISION, "", 1, "keep", OPTIONS.get(rule, ()), activation="relu",
        input_shape=shape, classes=10 if shape else None,
    )  # fmt: skip
    return replace(program(point), lr=LR)


def rules_table() -> str:
    """Which rules of integers run, and why others do not."""
    lines = ["| rule | a dense network | a convolutional one |", "| --- | --- | --- |"]
    ready = [rule for rule in RULES if integer_ready(make_rule(rule, dict(OPTIONS.get(rule, ()))))]
    for rule in ready:
        cells = [_runs(rule, network) for network in ("mlp-64-32-10", "cnn-8-16")]
        lines.append(f"| `{rule}` | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _runs(rule: str, network: str) -> str:
    try:
        fitted(_program(rule, network))
    except InsituError as error:
        reason = re.sub(r" at rules/\S+| rules/\S+", "", str(error))
        return f"refused: {reason.split(';')[0].split(': use')[0]}"
    return "runs"


CASES = (
    *(("mlp-64-32-10", rule) for rule in ("etch", "drtp", "pred", "bp-stash")),
    *(("mlp-784-128-10", rule) for rule in ("etch", "bp")),
    *(("cnn-8-16", rule) for rule in ("etch", "drtp", "bp-stash")),
    ("lenet5", "etch"),
)


def cycle_table() -> str:
    """Cycles of inference and of a step, and memory, for 8 and 16 lanes."""
    lines = [
        "| network | rule | lanes | inference | silent step | step | lanes busy | instructions | A bytes | W words |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [row for network, rule in CASES for row in _cycle_rows(network, rule)]
    return "\n".join(lines) + "\n"


def _cycle_rows(network: str, rule: str) -> Iterator[str]:
    made = _program(rule, network)
    for lanes in (8, 16):
        image = fitted(made, lanes)
        step, inference = image.entries[0], image.entries[-1]
        full, quiet = _work(image, step.start, ALL), _work(image, step.start, 0)
        silent = f"{quiet:,}" if step.triggers else "–"
        busy = _products(made.steps[0]) / lanes / full
        cells = [f"{_work(image, inference.start, 0):,}", silent, f"{full:,}", f"{100 * busy:.0f} %"]
        sizes = [len(image.words), image.a_bytes, image.w_words]
        yield f"| {network} | `{rule}` | {lanes} | {' | '.join(cells + [f'{n:,}' for n in sizes])} |"


def access_table() -> str:
    """Accesses of a step where everything fires, over those of an inference, 8 lanes."""
    names = {"a_reads": "A read", "a_writes": "A written", "w_reads": "W read", "w_writes": "W written"}
    names |= {"products": "products", "updates": "updates"}
    lines = [f"| network | rule | run | {' | '.join(names.values())} |", "| --- " * (3 + len(names)) + "|"]
    for network, rule in CASES:
        image = fitted(_program(rule, network))
        for what, entry in (("inference", image.entries[-1]), ("step", image.entries[0])):
            found = cycles.work(image.code.words, entry.start, image.build, ALL).accesses
            cells = [f"{getattr(found, name):,}" for name in names]
            lines.append(f"| {network} | `{rule}` | {what} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _work(image: Image, start: int, fired: int) -> int:
    return cycles.work(image.code.words, start, image.build, fired).cycles


def _products(step: Step) -> int:
    """Multiply-accumulates of a step's products and gradients."""
    return sum(nest.macs for op in step.ops if (nest := loops(op)) is not None)


def parts() -> dict[str, str]:
    """All generated parts by name."""
    return {
        "engine instructions": instruction_table(),
        "engine rules": rules_table(),
        "engine cycles": cycle_table(),
        "engine accesses": access_table(),
    }
