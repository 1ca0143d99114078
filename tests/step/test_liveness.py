"""Who is alive when, in programs that are small enough to count by hand."""

from __future__ import annotations

from dataclasses import replace

import insitu.ops  # noqa: F401  (fills OPS)
from insitu.numbers.formats import F32, Fixed
from insitu.ops.optimizers import Optimizer
from insitu.step.builder import Builder
from insitu.step.ir import Counts, Init, Phase, Role, Step, Value
from insitu.step.liveness import births, peak_bytes, roots, storages, timeline

FORWARD = {"role": Role.ACTIVATION, "phase": Phase.FORWARD}


def chain() -> Step:
    """0: z = x w, 1: h = relu(z), 2: f = view(h), 3: e = 2 f, 4: w moves by g.

    Bytes: w and g 36, the others 24.
    """
    b = Builder("chain", 2, F32)
    x = b.input("x", (2, 3), Role.ACTIVATION)
    g = b.input("g", (3, 3), Role.SCRATCH)
    w = b.resident("w", (3, 3), Role.WEIGHT, Init("zeros"))
    z = b.emit1("matmul", x, w, name="z", **FORWARD)
    h = b.emit1("activate", z, fn="relu", name="h", **FORWARD)
    f = b.emit1("reshape", h, shape=(6,), name="f", **FORWARD)
    b.output(b.emit1("scale", f, by=2.0, name="e", role=Role.ERROR, phase=Phase.ERROR))
    b.emit("update", w, g, optimizer=Optimizer(), role=Role.WEIGHT, phase=Phase.UPDATE)
    return b.finish()


def spans(step: Step) -> dict[str, tuple[int, int]]:
    return {s.root.name: (s.birth, s.death) for s in storages(step)}


def totals(step: Step) -> list[int]:
    return [sum(row.values()) for row in timeline(step)]


def in_place(step: Step, i: int) -> Step:
    ops = list(step.ops)
    ops[i] = replace(ops[i], inplace=0)
    return replace(step, ops=tuple(ops)).verify()


def test_spans_of_a_chain() -> None:
    assert spans(chain()) == {
        "x": (-1, 0),
        "g": (-1, 4),  # an input is there from the beginning
        "w": (-1, 4),  # a resident to the end
        "z": (0, 1),
        "h": (1, 3),  # its view is read by op 3
        "e": (3, 4),  # returned
    }


def test_keeps_names_the_transients() -> None:
    assert chain().keeps() == {k: v for k, v in spans(chain()).items() if k != "w"}


def test_bytes_of_a_chain() -> None:
    #       w    g    x    z    h    e
    assert totals(chain()) == [
        36 + 36 + 24 + 24,
        36 + 36 + 24 + 24,
        36 + 36 + 24,
        36 + 36 + 24 + 24,
        36 + 36 + 24,
    ]
    assert peak_bytes(chain()) == 120


def test_a_view_shares_its_storage() -> None:
    step = chain()
    root = {v.name: r.name for v, r in roots(step).items()}
    assert root == {"x": "x", "g": "g", "w": "w", "z": "z", "h": "h", "f": "h", "e": "e"}


def test_births() -> None:
    born = {v.name: i for v, i in births(chain()).items()}
    assert born == {"x": -1, "g": -1, "w": -1, "z": 0, "h": 1, "f": 2, "e": 3}


def test_in_place_hands_the_storage_over() -> None:
    step = in_place(in_place(chain(), 1), 3)
    assert spans(step) == {"x": (-1, 0), "g": (-1, 4), "w": (-1, 4), "z": (0, 4)}
    assert totals(step) == [120, 96, 96, 96, 96]


def test_a_storage_has_the_role_of_its_holder() -> None:
    step = in_place(in_place(chain(), 1), 3)
    rows = timeline(step)
    assert [row[Role.ERROR] for row in rows] == [0, 0, 0, 24, 24]
    assert [row[Role.ACTIVATION] for row in rows] == [48, 24, 24, 0, 0]
    assert all(row[Role.WEIGHT] == 36 and row[Role.SCRATCH] == 36 for row in rows)


def test_an_output_that_nobody_reads_lives_for_its_op() -> None:
    b = Builder("unread", 2, F32)
    x = b.input("x", (2, 3), Role.ACTIVATION)
    y, r = b.emit("rms_norm", x, eps=1e-6, **FORWARD)
    b.output(b.emit1("scale", y, by=1.0, **FORWARD))
    step = b.finish()
    assert spans(step)[r.name] == (0, 0)
    assert totals(step) == [24 + 24 + 8, 24 + 24]


def test_an_input_that_nobody_reads_is_never_alive() -> None:
    b = Builder("unread", 2, F32)
    x = b.input("x", (2, 3), Role.ACTIVATION)
    b.input("label", (2,), Role.LABEL, Fixed(False, 8, 0))
    b.output(b.emit1("scale", x, by=1.0, **FORWARD))
    step = b.finish()
    assert spans(step)["label"] == (-1, -1)
    assert totals(step) == [48]


def test_a_value_that_is_returned_lives_to_the_end() -> None:
    b = Builder("early", 2, F32)
    x = b.input("x", (2, 3), Role.ACTIVATION)
    early = b.emit1("scale", x, by=1.0, name="early", **FORWARD)
    last = b.emit1("scale", x, by=2.0, name="last", **FORWARD)
    b.output(early)
    b.emit1("scale", last, by=2.0, name="end", **FORWARD)
    assert spans(b.finish()) == {"x": (-1, 1), "early": (0, 2), "last": (1, 2), "end": (2, 2)}


def test_packed_bytes_round_up() -> None:
    assert Value("m", (9,), Fixed(False, 1, 0), Role.SCRATCH).bytes == 2
    assert Value("w", (5,), Fixed(True, 2, 1), Role.WEIGHT).bytes == 3
    assert Value("loss", (), F32, Role.SCRATCH).bytes == 4


def test_an_empty_step() -> None:
    step = Builder("empty", 1, F32).finish()
    assert (storages(step), timeline(step), peak_bytes(step)) == ([], [], 0)


def test_counts_are_summed_by_phase() -> None:
    update = {Phase.UPDATE: 9}
    simple = {Phase.FORWARD: 6, Phase.ERROR: 6, Phase.UPDATE: 9}
    assert chain().counts() == Counts({Phase.FORWARD: 18, **update}, simple, 0)
