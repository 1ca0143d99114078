"""Writes ``spec.md``: a program as a specification that another implementation can be built from, bit by bit."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from string import Template
from textwrap import wrap
from typing import Any

import numpy as np

from insitu.backends.spec.examples import Example, example
from insitu.backends.spec.tables import Drawn, Rows, constant, drawn, label, orders, plain, typed
from insitu.escape import markdown
from insitu.numbers import lfsr, prng
from insitu.numbers.rounding import Rounding
from insitu.ops.integer_products import epilogue
from insitu.ops.updates import BoundUpdate
from insitu.run.integer import shift_right
from insitu.run.program import Program
from insitu.step.ir import Op, Step, Value
from insitu.step.triggers import jumps

HERE = Path(__file__).parent

Place = Callable[[str, Value], str]
"""Of a part (``learn_0``, ``forward``) and a value: where its array lies in the project's memory."""


def document(program: Program, place: Place, trace: str = "") -> str:
    """The text of ``spec.md``.

    Args:
        place: where arrays lie, a short text.
        trace: what is said about a trace, if there is one.
    """
    rows = Rows(program)
    parts = {f"learn_{i}": step for i, step in enumerate(program.steps)} | {"forward": program.inference}
    if program.exits is not None:
        parts["early"] = program.exits
    steps = "\n\n".join([*(_part(rows, part, step, place) for part, step in parts.items()), *_exits(program)])
    ops = [op for step in parts.values() for op in step.ops]
    values = {
        "title": markdown(program.name),
        "facts": _table(_facts(program)),
        **_primitives(),
        "mix_values": _mix_values(program),
        "t": str(program.t),
        "streams": _table(_streams(parts)) or "| none | | | |",
        "stream_values": _stream_values(program, parts),
        "rate": _rate(program),
        "given": _given(program),
        "residents": _residents(program, place),
        "steps": steps,
        "definitions": _definitions(program, ops),
        "methods": _methods(ops),
        "tables": _entries(rows.tables),
        "trace": trace,
    }
    text = Template((HERE / "spec.md.in").read_text(encoding="utf-8")).substitute(values)
    return re.sub(r"\n{3,}", "\n\n", text)


def _exits(program: Program) -> Iterator[str]:
    """What is to be done with the scores of ``early``."""
    if program.exits is not None:
        scores = _names(program.exits.outputs)
        told = ", ".join(map(str, program.thresholds))
        yield (
            f"`early` may end behind each of its outputs ({scores}): where the highest score minus the next is at "
            f"least {told}, in this order, the class is that of the highest score, of equal ones the first. The last "
            "output has no threshold."
        )


def _table(rows: Iterable[Iterable[object]]) -> str:
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in rows)


def _names(values: Iterable[Value]) -> str:
    return ", ".join(f"`{label(v)}`" for v in values)


def _rate(program: Program) -> str:
    """The learning rate, and what it is later."""
    later = ", ".join(f"{np.float32(rate):.9g} from t = {t} on" for t, rate in program.later)
    return f"{np.float32(program.lr):.9g}" + (f" (then {later})" if later else "")


def _facts(program: Program) -> Iterator[tuple[str, str]]:
    yield "seed", f"{program.seed & prng.MASK}"
    yield "samples of a training step", str(program.steps[0].batch)
    yield "training steps", " then ".join(f"`learn_{i}`" for i in range(len(program.steps)))
    if program.classes:
        yield "classes", ", ".join(f"{i} {markdown(name)}" for i, name in enumerate(program.classes[:20]))
    ops = enumerate(program.steps[0].ops)
    random = {(w.stream, i * op.attrs.registers): w.count for i, op in ops for w in drawn(op) if not w.fixed}
    yield "random words of a step at most", f"{sum(random.values()):,}"


# --- test values ------------------------------------------------------------------------------------------------


def _primitives() -> dict[str, str]:
    def values(how: Rounding, cases: Iterable[tuple[int, ...]]) -> str:
        found = [
            (case, shift_right(np.array(case[0]), case[1], how, *map(np.int64, case[2:]))) for case in cases
        ]
        return ", ".join(f"{_call(case)} = {result}" for case, result in found)

    near = [(-3, 1), (-5, 2), (-6, 2), (5, 1), (6, 2), (7, 0), (7, -2)]
    word = 0x9ABCDEF0
    drops = [
        (1000, 4, word),
        (-1000, 4, word),
        (5, 1, word),
        (-5, 3, 0),
        (1, 32, word),
        (-1, 40, word),
        (3, 0, word),
    ]
    return {
        "half_up": values(Rounding.HALF_UP, near),
        "floor": values(Rounding.FLOOR, near),
        "sr": values(Rounding.STOCHASTIC, [*drops, (-3, -2, word)]),
    }


def _call(case: tuple[int, ...]) -> str:
    return f"({', '.join(map(str, case[:2]))}{f', {case[2]:#x}' if len(case) > 2 else ''})"


def _mix_values(program: Program) -> str:
    tried = [1, 2, 0xFFFFFFFF, program.seed & prng.MASK]
    return "Test values: " + ", ".join(f"mix({x:#x}) = {int(prng.mix(x)):#010x}" for x in tried) + "."


def _streams(parts: Mapping[str, Step]) -> Iterator[tuple[object, ...]]:
    used: dict[Drawn, list[str]] = {}
    for part, step in parts.items():
        for i, op in enumerate(step.ops):
            for words in drawn(op):
                used.setdefault(words, []).append(f"`{part}` op {i}")
    for words, places in used.items():
        fixed = ", fixed" if words.fixed else ""
        yield f"`{constant(words.stream):#010x}`", ", ".join(places), words.count, words.order + fixed


def _stream_values(program: Program, parts: Mapping[str, Step]) -> str:
    """Words of the first stream, by both generators."""
    found = [w for step in parts.values() for op in step.ops for w in drawn(op)]
    if not found:
        return "This program draws no random words."
    stream, t = found[0].stream, 0 if found[0].fixed else program.t
    key = prng.key(program.seed, stream, t)
    words = [int(w) for w in prng.words(key, np.arange(4, dtype=np.uint64))]
    shifted = [int(w) for w in lfsr.words(key, 3)]
    return (
        f"Test values: of stream `{constant(stream):#010x}` at t = {t} the key is {key:#010x}, "
        f"words 0 to 3 are {_hex(words)}. "
        f"A shift register seeded with that key gives {_hex(shifted)}."
    )


def _hex(words: Iterable[int]) -> str:
    return ", ".join(f"{w:#010x}" for w in words)


# --- arrays -----------------------------------------------------------------------------------------------------


def _given(program: Program) -> str:
    rows = [(f"`{label(v)}`", typed(v), _meaning(v)) for v in program.given.values()]
    return "| array | format, shape, integers | |\n| --- | --- | --- |\n" + _table(rows)


def _meaning(value: Value) -> str:
    if value.unit is None:
        return "classes"
    return f"a real number is (integer - {value.zero}) · {value.unit:.9g}"


def _residents(program: Program, place: Place) -> str:
    head = "| array | format, shape, integers | role | place | changes |\n| --- | --- | --- | --- | --- |\n"
    return head + _table(
        (f"`{label(v)}`", typed(v), v.role, place("", v), "yes" if name in program.written else "no")
        for name, v in program.residents.items()
    )


# --- steps ------------------------------------------------------------------------------------------------------


def _part(rows: Rows, part: str, step: Step, place: Place) -> str:
    what = "the forward pass of a sample" if part == "forward" else "a training step"
    titles = "| op | kind | reads | gives | with | layer, phase |\n" + "| --- " * 6 + "|\n"
    head = f"## `{part}`: {what}\n\n{titles}"
    table = _table(_row(rows, part, i, op, place) for i, op in enumerate(step.ops))
    gives = f"Gives {_names(step.outputs)}." if step.outputs else ""
    if part == "forward" and step.outputs:
        gives += " The class of a sample is that of the highest score, of equal ones the first."
    return "\n\n".join(text for text in (head + table, gives, _order(step), _silence(step)) if text)


def _row(rows: Rows, part: str, number: int, op: Op, place: Place) -> tuple[object, ...]:
    given = [f"`{label(v)}`: {typed(v)}{_at(place(part, v))}" for v in op.outputs]
    gives = "; ".join(given) if given else f"moves {_names(op.written)}"
    fields = " ".join(f"{name}={text}" for name, text in rows.of(op).items())
    layer = ", ".join(part for part in (markdown(op.where.layer or ""), op.phase.value) if part)
    return number, op.kind, _names(op.inputs), gives, f"`{fields}`" if fields else "", layer


def _at(text: str) -> str:
    return f", {text}" if text else ""


def _order(step: Step) -> str:
    """Which reads must come before a weight moves, and which after."""
    lines = []
    for value, (before, moved, after) in orders(step.ops).items():
        old = f"before it in op {_numbers(before)}" if before else ""
        new = f"after it in op {_numbers(after)}" if after else ""
        if old or new:
            reads = " and ".join(text for text in (old, new) if text)
            lines.append(f"- `{label(value)}` moves in op {_numbers(moved)}; it is read {reads}.")
    if not lines:
        return ""
    head = "**Orders that matter.** Operands name the order; what reads a weight that moves has to see the right one:"
    tail = "All other orders are free: updates of different arrays do not depend on each other, nor terms of a sum."
    if any(op.attrs.registers for op in step.ops):
        tail = "Updates draw from the registers in the order of the ops. All other orders are free."
    return "\n".join([head, "", *lines, "", tail])


def _silence(step: Step) -> str:
    """Which ops do nothing where a trigger gives zeros."""
    number = {op: i for i, op in enumerate(step.ops)}
    drawing = any(op.attrs.registers for op in step.ops)
    waiting: dict[tuple[int, ...], list[int]] = {}
    for op, triggers in jumps(step).items():
        waiting.setdefault(tuple(sorted(number[t] for t in triggers)), []).append(number[op])
    lines = [
        f"- Where op {_numbers(list(triggers))} gives zeros alone, op {_numbers(ops)} "
        + (
            "are left out: they draw nothing."
            if drawing
            else "may be left out: they give zeros, and move nothing."
        )
        for triggers, ops in sorted(waiting.items())
    ]
    return "\n".join(["**Silent samples.**", "", *lines]) if lines else ""


def _numbers(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers))


# --- definitions ------------------------------------------------------------------------------------------------


@cache
def sections(file: str) -> Mapping[str, str]:
    """The text of each heading of a file beside this one."""
    text = (HERE / file).read_text(encoding="utf-8")
    found = (part.partition("\n") for part in re.split(r"^## ", text, flags=re.MULTILINE) if part.strip())
    return {name.strip(): body.strip() for name, _, body in found}


def _definitions(program: Program, ops: list[Op]) -> str:
    first: dict[str, Op] = {}
    for op in ops:
        first.setdefault(op.kind, op)
    texts = []
    for kind, op in sorted(first.items()):
        texts.append(f"**`{kind}`.** {sections('definitions.md')[kind]}\n\n{_worked(example(op, program))}")
    return "\n\n".join(texts)


def _worked(found: Example) -> str:
    operands = ", ".join(map(_numbers_of, found.given)) or "none"
    results = ", ".join(map(_numbers_of, found.after))
    what = "operands become" if not found.op.outputs else "gives"
    geometry = _geometry(found.op)
    shape = f" (`{geometry}`)" if geometry else ""
    return f"Example{shape}: operands {operands}; {what} {results}."


def _geometry(op: Op) -> str:
    """Attributes of an example that are not those of the table."""
    found = {n: plain(getattr(op.attrs, n)) for n in OWN if getattr(op.attrs, n, None) is not None}
    last = epilogue(op.attrs)
    found |= {} if last is None else {"shift": str(last.shift)}
    return " ".join(f"{name}={text}" for name, text in found.items())


OWN = (
    *("kernel", "stride", "padding", "dilation", "groups"),
    *("shape", "columns", "classes", "defer", "start", "count"),
)
"""Attributes of examples that depend on their shapes."""


def _numbers_of(array: np.ndarray[Any, Any]) -> str:
    if array.dtype.kind == "f":
        return str([float(f"{x:.9g}") for x in array.ravel().tolist()])
    return str(array.tolist())


def _methods(ops: list[Op]) -> str:
    found: dict[str, str] = {}
    for op in ops:
        o = getattr(op.attrs, "optimizer", None)
        if o is None:
            continue
        name = o.method.name if isinstance(o, BoundUpdate) else "master"
        known = sections("methods.md")
        found[name] = (
            known[name] if name in known else f"A method from outside insitu: {markdown(o.method.summary)}"
        )
    return "\n\n".join(f"**`{name}`.** {text}" for name, text in sorted(found.items())) or "Nothing moves."


def _entries(tables: Mapping[str, tuple[int, ...]]) -> str:
    lines = ["", "## Tables", ""] if tables else []
    for name, entries in tables.items():
        lines += [f"`{name}`, {len(entries)} entries from index 0 on:", "", "```text"]
        lines += wrap(" ".join(map(str, entries)), 150)
        lines += ["```", ""]
    return "\n".join(lines)
