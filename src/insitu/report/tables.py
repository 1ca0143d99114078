"""The comparison as a table: in the terminal, and in Markdown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from insitu.escape import markdown
from insitu.experiment.record import Results, Row
from insitu.report.measure import Measure, bytes_cost, measure_of, pareto
from insitu.report.palette import ROLES
from insitu.report.units import count_text, decimals, energy_text, kib, ratio, spread_text

WIDTH = 120
"""Columns of a table that nobody gave a width."""

GAP = 3
"""Columns that rich puts between two cells, and around the table."""


@dataclass(frozen=True)
class Column:
    """One column; when space is short, the one with the highest ``drop`` goes first (0: never)."""

    title: str
    cell: Callable[[Row], str]
    drop: int = 0


def _role_column(role: str, drop: int) -> Column:
    return Column(role, lambda row: kib(getattr(row.peak_bytes, role)), drop)


def _columns(rows: Sequence[Row]) -> list[Column]:
    """All columns that say something about these rows; bytes are KiB."""
    measure, over_inference = measure_of(rows), bytes_cost(rows)
    title = f"{measure.title.removeprefix('test ')} {measure.unit}".rstrip()
    used = [role for role in ROLES if any(getattr(r.peak_bytes, role) for r in rows)]
    drops = {"label": 12, "scratch": 11, "head": 10, "state": 9, "error": 8, "weight": 7}
    roles = [_role_column(role, drops.get(role, 5)) for role in used]
    return [
        Column("rule", lambda row: row.label),
        Column(title, lambda row: _score(row, measure)),
        Column("peak KiB", lambda row: kib(row.peak_bytes.total)),
        *roles,
        Column("× inf.", lambda row: ratio(over_inference.of(row))),
        Column("× BP", lambda row: ratio(row.bytes_to_bp)),
        Column("MACs", lambda row: count_text(row.macs_per_sample.total), 3),
        Column("MACs × inf.", lambda row: ratio(row.macs_to_inference), 6),
        *_hardware_columns(rows),
        Column("s", lambda row: decimals(row.seconds), 2),
    ]


def _score(row: Row, measure: Measure) -> str:
    """The figure of merit, with what speaks against it."""
    shown = spread_text(measure.of(row), measure.factor, measure.digits)
    return f"{shown} ({row.warning})" if row.warning else shown


def _hardware_columns(rows: Sequence[Row]) -> list[Column]:
    """Energy per training sample on the target, if there is one."""

    def energy(row: Row) -> str:
        found = row.hardware.energy_pj if row.hardware is not None else None
        return energy_text(found[1] if found is not None else None)

    if not any(row.hardware is not None for row in rows):
        return []
    of_bp = Column("energy × BP", lambda row: ratio(row.hardware.energy_to_bp if row.hardware else None), 1)
    return [Column("energy", energy), of_bp]


def _narrowed(columns: list[Column], cells: dict[int, list[str]], width: int) -> list[Column]:
    """Leaves out columns until the rest fits."""

    def size(column: Column) -> int:
        return max(cell_len(text) for text in [column.title, *cells[id(column)]]) + GAP

    kept = list(columns)
    while sum(map(size, kept)) + GAP > width and any(c.drop for c in kept):
        kept.remove(max(kept, key=lambda c: c.drop))
    return kept


def comparison_table(results: Results, network: str | None = None, width: int = WIDTH) -> Table:
    """The rows of one network (the first, unless named), in ``width`` columns of text.

    Bytes are KiB at the peak of the fused step; rules on the Pareto front of accuracy against bytes are bold.
    """
    name = network if network is not None else results.rows[0].network
    rows = [row for row in results.rows if row.network == name]
    front = {id(row) for row in pareto(rows, measure_of(rows))}
    columns = _columns(rows)
    cells = {id(column): [column.cell(row) for row in rows] for column in columns}
    kept = _narrowed(columns, cells, width)
    table = Table(title=Text(_title(rows)), box=SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for i, column in enumerate(kept):
        table.add_column(column.title, justify="right" if i else "left", no_wrap=True, overflow="ellipsis")
    for n, row in enumerate(rows):
        style = "bold" if id(row) in front else None
        table.add_row(*(Text(cells[id(column)][n]) for column in kept), style=style)
    return table


def _title(rows: Sequence[Row]) -> str:
    first = rows[0]
    seeds = f"{len(first.seeds)} seed" + ("s" if len(first.seeds) > 1 else "")
    return (
        f"{first.network} on {first.data}, {first.precision}, batch {first.batch}, {seeds}, "
        f"{count_text(first.samples)} samples"
    )


def networks(results: Results) -> list[str]:
    """The networks in the order of the rows."""
    return list(dict.fromkeys(row.network for row in results.rows))


def print_comparison(results: Results, console: Console) -> None:
    """Prints a table per network, as wide as the console."""
    for network in networks(results):
        console.print(comparison_table(results, network, console.width))
        _print_diverged([row for row in results.rows if row.network == network and row.diverged], console)
    if results.rows:
        legend = "bytes: KiB at the peak of the fused step; MACs per sample; bold: on the Pareto front"
        console.print(Text(legend, style="dim"))


def _print_diverged(rows: Sequence[Row], console: Console) -> None:
    for row in rows:
        console.print(Text(f"{row.label}: {row.diverged} of {len(row.seeds)} seeds diverged", style="yellow"))


def rows_markdown(results: Results) -> str:
    """A Markdown table per network, each under its title in bold."""
    parts = []
    for network in networks(results):
        rows = [row for row in results.rows if row.network == network]
        columns = _columns(rows)
        lines = [f"**{markdown(_title(rows))}**", ""]
        lines.append(table_line([c.title for c in columns]))
        lines.append(table_line([":---" if i == 0 else "---:" for i in range(len(columns))]))
        lines += [table_line([markdown(c.cell(row)) for c in columns]) for row in rows]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def table_line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
