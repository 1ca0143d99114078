from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from insitu.experiment.record import Results
from insitu.report.tables import comparison_table, print_comparison, rows_markdown
from tests.report import factory


def printed(results: Results, width: int) -> str:
    console = Console(file=StringIO(), width=width, color_system=None)
    print_comparison(results, console)
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


@pytest.mark.parametrize("width", [80, 120, 200])
def test_no_number_is_cut(results: Results, width: int) -> None:
    text = printed(results, width)
    assert "…" not in text
    assert all(len(line.rstrip()) <= width for line in text.splitlines())
    for words in (*factory.RULES, *factory.NETWORKS, "97.00 ± 0.40", "× BP", "peak KiB"):
        assert words in text


def test_narrow_tables_drop_columns() -> None:
    found = factory.results()
    wide = [c.header for c in comparison_table(found, width=200).columns]
    narrow = [c.header for c in comparison_table(found, width=80).columns]
    assert {"weight", "feedback", "activation", "error", "label", "MACs", "s"} <= set(wide)
    assert set(narrow) < set(wide)
    assert narrow[:3] == ["rule", "accuracy %", "peak KiB"]


def test_labels_are_no_markup(results: Results) -> None:
    hostile = factory.changed(results, 0, label="[red]x[/red] | `y`")
    assert "[red]x[/red] | `y`" in printed(hostile, 200)
    assert r"\[red\]x\[/red\] \| \`y\`" in rows_markdown(hostile)


def test_unknown_and_diverged(results: Results) -> None:
    found = factory.changed(results, 1, test_accuracy=None, diverged=2, bytes_to_bp=None)
    text = printed(found, 120)
    line = next(line for line in text.splitlines() if line.strip().startswith("bp-checkpoint "))
    assert line.count("–") == 2
    assert "bp-checkpoint: 2 of 3 seeds diverged" in text


def test_no_rows_print_nothing(results: Results) -> None:
    assert printed(results.model_copy(update={"rows": []}), 80) == ""


def test_markdown_has_a_table_per_network(results: Results) -> None:
    text = rows_markdown(results)
    assert text.count("| :--- |") == 2
    body = [line for line in text.splitlines() if line.startswith("| ")]
    assert len({line.count("|") for line in body}) == 1
    assert len(body) == 2 * (2 + len(factory.RULES))


def test_a_row_at_chance_or_diverged_is_marked(results: Results) -> None:
    found = factory.changed(results, 0, majority=0.99, tested=100)
    found = factory.changed(found, 1, diverged=1)
    text = printed(found, 200)
    assert text.count("(chance)") == 1 and text.count("(diverged)") == 1
    assert "(chance)" in rows_markdown(found)
