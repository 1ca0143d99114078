"""The report: one HTML file that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from insitu.errors import ConfigError
from insitu.experiment.record import Moment, Results, Row
from insitu.inputs.documents import dump_yaml
from insitu.report import memory, palette
from insitu.report.curves import curves, key
from insitu.report.grid import Grid, bar, grid
from insitu.report.load import load_results
from insitu.report.measure import measure_of, pareto
from insitu.report.palette import RuleStyle, rule_styles
from insitu.report.scatter import scatter
from insitu.report.tables import networks
from insitu.report.units import bytes_text, count_text, ratio
from insitu.run.files import make_folder, write_atomic

__all__ = ["load_results", "render_report", "write_report"]

TEMPLATES = Path(__file__).parent / "templates"
VIEWS = (("fused", "fused"), ("eager", "as emitted"))


@dataclass(frozen=True)
class Picture:
    """The memory of one rule's step in one view."""

    rule: int
    label: str
    view: str
    peak: str
    readout: str
    roles: list[tuple[str, str]]
    svg: Markup
    payload: Markup


@dataclass(frozen=True)
class Panel:
    """What the page shows of one network."""

    id: str
    network: str
    facts: str
    setting: str
    missing: list[str]
    legend: list[tuple[str, Markup]]
    scatter: Markup
    curves: Markup
    roles: list[str]
    pictures: list[Picture]
    chosen: tuple[int, int]
    grid: Grid
    bars: list[list[tuple[str, str, str]]]
    rows: list[Row]


@dataclass(frozen=True)
class Comparison:
    """What the page shows of one results file."""

    id: str
    results: Results
    summary: str
    panels: list[Panel]
    config: str


def write_report(results: Results | list[Results], path: Path) -> Path:
    """Writes the page; an earlier one stays whole until the new one is.

    Returns:
        The path.

    Raises:
        ConfigError: if there is nothing to show.
        CheckpointError: if the file cannot be written.
    """
    html = render_report(results)
    make_folder(path.parent)
    write_atomic(path, html)
    return path


def render_report(results: Results | list[Results]) -> str:
    """The page as text."""
    every = [results] if isinstance(results, Results) else list(results)
    if not any(r.rows for r in every):
        raise ConfigError("there is nothing to report: the results hold no rows; run 'insitu compare' first")
    styles = rule_styles(row for r in every for row in r.rows)
    comparisons = [_comparison(f"c{i + 1}", r, styles) for i, r in enumerate(every) if r.rows]
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("report.html")
    return page.render(comparisons=comparisons, palette=palette, views=VIEWS, title=_title(comparisons))


def _title(comparisons: Sequence[Comparison]) -> str:
    data = dict.fromkeys(row.data for c in comparisons for row in c.results.rows)
    return f"Learning rules on {', '.join(data)}"


def _comparison(name: str, results: Results, styles: Mapping[str, RuleStyle]) -> Comparison:
    panels = []
    for i, network in enumerate(networks(results)):
        rows = [row for row in results.rows if row.network == network]
        panels.append(_panel(f"{name}-n{i + 1}", network, rows, styles))
    config = dump_yaml(results.config, unicode=True)
    return Comparison(name, results, _summary(results), panels, config)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _listed(found: Iterable[object]) -> str:
    """What differs among rows, in their order: 1 and 32."""
    *others, last = dict.fromkeys(map(str, found))
    return f"{', '.join(others)} and {last}" if others else last


def _summary(results: Results) -> str:
    """One paragraph: what was compared, how, when and with which version."""
    rows = results.rows
    rules = len(dict.fromkeys(row.label for row in rows))
    first = rows[0]
    rates = sorted({row.lr for row in rows})
    shown = f"{rates[0]:g}" if len(rates) == 1 else f"{rates[0]:g} to {rates[-1]:g}"
    each = "each rule on each network" if len(networks(results)) > 1 else "each rule"
    precisions, batches = (_listed(getattr(row, name) for row in rows) for name in ("precision", "batch"))
    return (
        f"{_count(rules, 'learning rule')} on {_count(len(networks(results)), 'network')}, trained on "
        f"{first.data} in {precisions} with batches of {batches} and {first.optimizer} "
        f"(learning rate {shown}): {_count(first.epochs, 'epoch')}, {count_text(first.samples)} samples, "
        f"{_count(len(first.seeds), 'seed')} for {each}. "
        f"Made {results.created[:16].replace('T', ' ')} UTC by insitu {results.insitu}."
    )


def _panel(name: str, network: str, rows: list[Row], styles: Mapping[str, RuleStyle]) -> Panel:
    measure = measure_of(rows)
    top = max(row.peak_bytes.total for row in rows)
    pictures = _pictures(rows)
    used = [role for role in palette.ROLES if any(role in dict(p.roles) for p in pictures)]
    return Panel(
        id=name,
        network=network,
        facts=_facts(rows),
        setting=_setting(rows),
        missing=[_missing(row) for row in rows if measure.of(row) is None],
        legend=[(row.label, key(styles[row.label])) for row in rows],
        scatter=scatter(rows, styles),
        curves=curves(rows, styles),
        roles=used,
        pictures=pictures,
        chosen=chosen(rows),
        grid=grid(rows),
        bars=[bar(row, top) for row in rows],
        rows=rows,
    )


def _facts(rows: Sequence[Row]) -> str:
    """The findings in two sentences."""
    measure = measure_of(rows)
    scored = [row for row in rows if measure.of(row)]
    lowest = min(rows, key=lambda r: r.peak_bytes.total)
    words = []
    if scored:
        pick = max if measure.higher else min
        best = pick(scored, key=lambda r: s.mean if (s := measure.of(r)) else 0.0)
        words.append(f"Best {measure.title}: {best.label}, {measure.text(measure.of(best))}.")
    against = f", {ratio(lowest.bytes_to_bp)} that of bp" if lowest.bytes_to_bp is not None else ""
    words.append(f"Lowest peak: {lowest.label}, {bytes_text(lowest.peak_bytes.total)}{against}.")
    front = [row.label for row in pareto(rows, measure)]
    if len(front) > 1:
        words.append(f"Pareto front: {', '.join(front)}.")
    return " ".join(words)


def _setting(rows: Sequence[Row]) -> str:
    first = rows[0]
    return (
        f"Inference: {bytes_text(first.inference_bytes)} at batch {first.batch}, "
        f"{count_text(first.inference_macs)} MACs per sample."
    )


def _missing(row: Row) -> str:
    why = f"{row.diverged} of {_count(len(row.seeds), 'seed')} diverged" if row.diverged else "no score"
    return f"{row.label} ({why})"


def chosen(rows: Sequence[Row]) -> tuple[int, int]:
    """The pair of rules that the memory pictures start with: bp, and the one with the lowest peak."""
    left = next((i for i, row in enumerate(rows) if row.rule == "bp"), 0)
    others = [i for i in range(len(rows)) if i != left] or [left]
    return left, min(others, key=lambda i: rows[i].peak_bytes.total)


def _pictures(rows: Sequence[Row]) -> list[Picture]:
    """Every rule in both views, on one scale."""
    both = [[("fused", row.timeline), ("eager", row.eager_timeline)] for row in rows]
    moments = [m.bytes.total for pair in both for _, timeline in pair for m in timeline]
    planned = [n for row in rows for n in (row.peak_bytes.total, row.eager_bytes.total, row.inference_bytes)]
    top = max([*moments, *planned])
    return [
        _picture(i, row, view, timeline, top)
        for i, row in enumerate(rows)
        for view, timeline in both[i]
        if timeline
    ]


def _picture(index: int, row: Row, view: str, timeline: Sequence[Moment], top: int) -> Picture:
    peak = memory.peak_of(memory.samples_of(timeline))
    assert peak is not None
    planned = (row.peak_bytes if view == "fused" else row.eager_bytes).total
    name = f"{row.label}, {dict(VIEWS)[view]}"
    drawn = memory.memory(timeline, top, planned, row.inference_bytes, name)
    used = [role for role in palette.ROLES if any(getattr(m.bytes, role) for m in timeline)]
    roles = [(role, bytes_text(getattr(peak.bytes, role))) for role in used]
    gap = planned > peak.bytes.total
    live = f" (live at most {bytes_text(peak.bytes.total)}, the rest is between values)" if gap else ""
    peak_text = bytes_text(planned) + live
    payload = memory.payload(timeline)
    return Picture(index, row.label, view, peak_text, memory.readout(peak), roles, drawn, payload)
