"""An adaptation as a table and as a page."""

from __future__ import annotations

import re
from typing import Any

from rich.console import Console

from insitu.experiment.adapt.record import AdaptCurve, AdaptResults, AdaptRow
from insitu.experiment.record import Spread
from insitu.report.adapt import adaptation_markdown, columns, print_adaptation, render, verdict


def row(label: str, old: list[float], new: list[float], lr: float | None = 0.01) -> AdaptRow:
    curves = [
        AdaptCurve(
            seed=seed,
            samples=[0, 10],
            new=[0.5, n],
            old=[0.9, o],
            domains=[[0.5], [n]],
            prequential=[None, 0.6],
        )
        for seed, (o, n) in enumerate(zip(old, new), 1)
    ]
    spreads: dict[str, Any] = {
        "new_before": Spread.of([0.5] * len(old)),
        "new": Spread.of(new),
        "last": Spread.of(new),
        "old_before": Spread.of([0.9] * len(old)),
        "old": Spread.of(old),
        "forgotten": Spread.of([0.9 - o for o in old]),
        "prequential": Spread.of([0.6] * len(old)),
    }
    return AdaptRow(
        label=label,
        rule=label,
        precision="edge",
        lr=lr,
        seeds=[1, 2],
        peak_bytes=3000,
        replay_bytes=0,
        inference_bytes=2000,
        writes_per_weight=1.0,
        energy_pj=(1e6, 2e6, 3e6),
        energy_to_inference=2.0,
        seconds=1.0,
        curves=curves,
        paper="",
        **spreads,
    )


def results(*rows: AdaptRow, domains: tuple[str, ...] = ("x",)) -> AdaptResults:
    return AdaptResults(
        insitu="0",
        created="2026-01-01T00:00:00",
        command="insitu adapt",
        environment={"torch": "2"},
        config={"scenario": "rotated", "regime": "single", "replay": 0},
        what="images",
        data="digits",
        network="mlp",
        domains=list(domains),
        goal=list(domains),
        pretrained_on=100,
        stream=10,
        tested_old=50,
        tested_new=50,
        held_old=20,
        held_new=20,
        target="stm32l4r5-c",
        engine="c",
        rows=list(rows),
    )


FROZEN = row("frozen", [0.9, 0.9], [0.5, 0.5], None)
GOOD = row("<good>", [0.9, 0.9], [0.8, 0.8])
BAD = row("bad", [0.5, 0.6], [0.8, 0.8])


def test_forgetting_is_said() -> None:
    assert verdict(results(FROZEN)) == "Nothing learned."
    assert "2 of 2" in verdict(results(FROZEN, GOOD, BAD)) and "1 forget" in verdict(results(GOOD, BAD))
    assert "all of them forget" in verdict(results(FROZEN, BAD))
    noise = row("noise", [0.7, 1.0], [0.5, 0.5])
    assert "0 of 1" in verdict(results(noise)) and "0 forget" in verdict(results(noise))


def test_the_table() -> None:
    text = adaptation_markdown(results(FROZEN, BAD))
    assert "50.0 → 80.0 ± 0.0" in text and "90.0 → 55.0 ± 7.1" in text and "2 µJ" in text
    titles = [c.title for c in columns(results(BAD))]
    assert "last domain %" not in titles
    assert "last domain %" in [c.title for c in columns(results(BAD, domains=("x", "y")))]


def test_a_narrow_table_keeps_what_matters() -> None:
    console = Console(width=70, record=True, file=None, force_terminal=False)
    with console.capture() as captured:
        print_adaptation(results(FROZEN, BAD), console)
    shown = captured.get()
    assert "90.0 → 55.0 ± 7.1" in shown and "…" not in shown
    assert max(map(len, shown.splitlines())) <= 70


def test_the_page_is_whole_and_escaped() -> None:
    page = render(results(FROZEN, GOOD, BAD))
    assert page.count("<figure>") == 3 and page.count('class="curve"') == 9
    assert "<good>" not in page and "&lt;good&gt;" in page
    assert not re.search(r"(src|href)=", page)
    assert all(head in page for head in ("New domain", "Old domain", "insitu adapt"))
