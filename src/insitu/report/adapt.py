"""An adaptation as a table, in the terminal and in Markdown, and as a page with curves of both accuracies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from rich.console import Console
from rich.table import Table
from rich.text import Text

from insitu.escape import markdown
from insitu.experiment.adapt.record import AdaptResults, AdaptRow
from insitu.experiment.record import Spread
from insitu.inputs.documents import dump_yaml
from insitu.report import palette, svg
from insitu.report.curves import axes, band, key, line, thinned, x_grid
from insitu.report.measure import MeanPoint, mean_of
from insitu.report.palette import RuleStyle, rule_styles
from insitu.report.scatter import HEIGHT, WIDTH, y_grid
from insitu.report.tables import table_line
from insitu.report.units import energy_text, ratio, spread_text
from insitu.run.files import make_folder, write_atomic

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Column:
    """One column; when space is short, the one with the highest ``drop`` goes first (0: never)."""

    title: str
    cell: Callable[[AdaptRow], str]
    drop: int = 0


def columns(results: AdaptResults) -> list[Column]:
    """Accuracies are in %, means and standard deviations of the seeds."""
    several = [Column("last domain %", lambda row: spread_text(row.last, 100, 1), 3)]
    return [
        Column("rule", lambda row: row.label),
        Column("rate", lambda row: "–" if row.lr is None else f"{row.lr:g}", 4),
        Column("stream %", lambda row: spread_text(row.prequential, 100, 1), 2),
        Column("new domain %", lambda row: _change(row.new_before, row.new)),
        *(several if len(results.goal) > 1 else []),
        Column("old domain %", lambda row: _change(row.old_before, row.old)),
        Column("bytes", lambda row: f"{row.peak_bytes:,}", 5),
        Column("× inf.", lambda row: ratio(row.peak_bytes / row.inference_bytes)),
        Column("writes", lambda row: f"{row.writes_per_weight:.2f}", 1),
        Column("energy", lambda row: energy_text(row.energy_pj[1] if row.energy_pj else None), 6),
        Column("energy × inf.", lambda row: ratio(row.energy_to_inference)),
    ]


def _change(before: Spread, after: Spread) -> str:
    """``54.0 → 69.6 ± 1.0``."""
    return f"{100 * before.mean:.1f} → {spread_text(after, 100, 1)}"


def _fitting(made: list[Column], rows: Sequence[AdaptRow], width: int) -> list[Column]:
    """Leaves out columns until the rest fits."""

    def size(column: Column) -> int:
        return max(len(column.title), *(len(column.cell(row)) for row in rows)) + 2

    kept = list(made)
    while sum(map(size, kept)) > width and any(c.drop for c in kept):
        kept.remove(max(kept, key=lambda c: c.drop))
    return kept


def title(results: AdaptResults) -> str:
    """What was run, in a line."""
    c = results.config
    replay = f", replay of {c['replay']} samples" if c["replay"] else ""
    return (
        f"{c['scenario']}, {c['regime']}: {results.network} on {results.data}, then {', '.join(results.domains)}; "
        f"{results.stream} samples, {len(results.rows[0].seeds)} seeds{replay}"
    )


def forgetful(results: AdaptResults) -> list[AdaptRow]:
    """The rows that lost more than a point of the old domain, and more than a standard deviation of the seeds."""
    return [row for row in results.rows if row.forgotten.mean > max(row.forgotten.sd, 0.01)]


def verdict(results: AdaptResults) -> str:
    """What the rows say of forgetting: how many rules that learn lost the old domain by more than the seeds spread."""
    learned = [row for row in results.rows if row.lr is not None]
    forgot = forgetful(results)
    gained = [r for r in learned if r.new.mean - r.new_before.mean > max(r.new.sd, 0.01)]
    if not learned:
        return "Nothing learned."
    say = f"{len(gained)} of {len(learned)} rules that learn are better on the new domain at the end"
    if len(forgot) == len(learned):
        return f"{say}; all of them forget."
    return f"{say}; {len(forgot)} forget (more than a point, and than a standard deviation of the seeds)."


def print_adaptation(results: AdaptResults, console: Console) -> None:
    """Prints the table and what it says."""
    made = _fitting(columns(results), results.rows, console.width)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for i, column in enumerate(made):
        table.add_column(column.title, justify="right" if i else "left", no_wrap=True, overflow="ellipsis")
    for row in results.rows:
        table.add_row(*(Text(column.cell(row)) for column in made))
    console.print(Text(title(results)))
    console.print(table)
    console.print(Text(verdict(results)))
    console.print(Text(LEGEND.format(target=results.target), style="dim"))


LEGEND = (
    "stream: right before it was learned; bytes: peak of a training step, with the replay buffer; writes of the most "
    "written weight and energy: of a sample of the stream, on {target}"
)


def adaptation_markdown(results: AdaptResults) -> str:
    """The table in Markdown."""
    made = columns(results)
    lines = [table_line([column.title for column in made])]
    lines.append(table_line([":---" if i == 0 else "---:" for i in range(len(made))]))
    lines += [table_line([markdown(column.cell(row)) for column in made]) for row in results.rows]
    return "\n".join(lines) + "\n"


# --- the page --------------------------------------------------------------------------------------------------


def write_page(results: AdaptResults, path: Path) -> Path:
    """Writes the page; an earlier one stays whole until the new one is.

    Raises:
        CheckpointError: the file cannot be written.
    """
    make_folder(path.parent)
    write_atomic(path, render(results))
    return path


def render(results: AdaptResults) -> str:
    """The page as text."""
    styles = rule_styles(results.rows)
    pictures: list[tuple[str, str, Markup]] = [
        ("New domain", "test accuracy of the domain that the stream is in", _picture(results, styles, "new")),
        ("Old domain", "test accuracy of what it was pretrained on", _picture(results, styles, "old")),
        (
            "The stream itself",
            "right before it was learned, so far",
            _picture(results, styles, "prequential"),
        ),
    ]
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made = columns(results)
    return environment.get_template("adapt.html").render(
        results=results,
        title=title(results),
        verdict=verdict(results),
        legend=[(row.label, key(styles[row.label])) for row in results.rows],
        pictures=pictures,
        heads=[column.title for column in made],
        body=[[column.cell(row) for column in made] for row in results.rows],
        note=LEGEND.format(target=results.target),
        config=dump_yaml(results.config, unicode=True),
        palette=palette,
    )


def _picture(results: AdaptResults, styles: Mapping[str, RuleStyle], field: str) -> Markup:
    """One accuracy against the samples of the stream, in %; mean and range of the seeds."""
    drawn = [(row.label, thinned(_points(row, field))) for row in results.rows]
    x, y = axes([points for _, points in drawn])
    parts = [*y_grid(y, x.start, x.stop, "accuracy (%)"), *x_grid(x, y, "samples of the stream")]
    parts += [band(label, points, styles[label], x, y) for label, points in drawn]
    parts += [line(label, points, styles[label], x, y) for label, points in drawn]
    label = f"{field} accuracy against samples, {len(drawn)} rules"
    return svg.picture(WIDTH, HEIGHT, label, parts, class_="chart curves")


def _points(row: AdaptRow, field: str) -> list[MeanPoint]:
    return mean_of(
        [(c.samples, [None if v is None else 100 * v for v in getattr(c, field)]) for c in row.curves]
    )
