"""Writes the generated parts of the docs: the op table, the table of rules, the reproductions.

    python scripts/render_docs.py            (make docs)

A generated part stands between ``<!-- generated: NAME -->`` and ``<!-- end -->``; the tests compare it with what this
script would write. Results of long runs are read from docs/results/NAME.json, as ``insitu reproduce NAME`` wrote them.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

from insitu.experiment import recipes
from insitu.experiment.grid import GridResults
from insitu.experiment.record import Results, Row
from insitu.ops import op_table
from insitu.passes import plan
from insitu.passes.precision import describe
from insitu.report.measure import bytes_cost, energy_cost
from insitu.rules import RULES, make_rule
from insitu.rules.facts import alive, example, executed, smallest_batch

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "results"
BENCHMARKS = ROOT / "benchmarks" / "results"


def rule_table() -> str:
    """A row per rule on a small MLP: what lives behind the forward pass, and the step's peak."""
    net = example()
    lines = [
        "| rule | paper | alive after the forward pass | peak bytes, batch 1 | batch 32 |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, cls in RULES.items():
        rule = make_rule(name)
        least = smallest_batch(rule, net)
        steps = [executed(rule, net, batch) for batch in (least, 32)]
        peaks = [f"{plan(step).peak_bytes:,}" for step in steps]
        peaks[0] += f" (batch {least})" if least > 1 else ""
        kept = ", ".join(f"`{value}`" for value in alive(steps[0]))
        paper = f"{cls.paper.authors} {cls.paper.year}"
        lines.append(f"| `{name}` | {paper} | {kept or '–'} | {peaks[0]} | {peaks[1]} |")
    return "\n".join(lines) + "\n"


def reproduction_table(name: str) -> str:
    """Published against ours for a recipe, with what it was run with; or how to run it."""
    path = RESULTS / f"{name}.json"
    if not path.exists():
        return f"Not run yet: `insitu reproduce {name}`.\n"
    results = Results.model_validate_json(path.read_text(encoding="utf-8"))
    recipe = recipes.find(name)
    row = results.rows[0]
    threads = results.environment["threads"]
    made = (
        f"{recipe.source.strip()}. {recipe.note.strip()}\n\nBatch {row.batch}, {row.optimizer}, seeds "
        f"{', '.join(map(str, row.seeds))}; torch {results.environment['torch']}, {threads} thread(s), "
        f"{results.created[:10]}. `insitu reproduce {name}`\n\n"
    )
    return made + recipes.reproduction_markdown(recipe, results)


def first_screen() -> str:
    """What the comparison of ``make demo`` found, in the sentences of the README."""
    results = Results.model_validate_json((RESULTS / "device.json").read_text(encoding="utf-8"))
    dense, maps = (
        [row for row in results.rows if row.network == name]
        for name in dict.fromkeys(row.network for row in results.rows)
    )

    def said(rows: list[Row], label: str, study: str, trial: str) -> tuple[str, str, str]:
        """Accuracy in the trials, bytes and energy over inference."""
        (row,) = (r for r in rows if r.label == label)
        trials = json.loads((BENCHMARKS / "trials" / f"{study}.json").read_text(encoding="utf-8"))["rows"]
        energy = energy_cost(rows)
        assert energy is not None
        size, joules = bytes_cost(rows).of(row), energy.of(row)
        return _mean(trials[trial]["test"], trials[trial]["interval"], 1), f"{size:.2f}", f"{joules:.1f}"

    bp, near = said(dense, "bp", "demo-deep", "bp, tanh"), said(dense, "etch", "demo-deep", "etch")
    deep, etch = said(maps, "bp", "demo-maps", "bp, tanh"), said(maps, "etch", "demo-maps", "etch")
    usual = said(maps, "bp-float32", "demo-maps", "bp, float32, tanh")
    return (
        f"In the same words, BP in place is hard to beat in bytes: {bp[1]} times those of inference on the dense "
        f"network (`etch`: {near[1]}) and {deep[1]} times on four convolutions (`etch`: {etch[1]}), at {bp[0]} and "
        f"{deep[0]} % ({near[0]} and {etch[0]} %; five seeds, 95 % intervals); as PyTorch does it, by batches of 32 in "
        f"float32, it takes {usual[1]} times.\n"
        f"Learning in the forward pass pays in energy on maps: a step of `etch` takes {etch[2]} times the energy of "
        f"inference on the convolutions, one of BP {deep[2]}. Where it holds and where not, on larger data: "
        "[critical analysis](docs/critical-analysis.md), [own rule](docs/own-rule.md).\n"
    )


LOSSES = (0.01, 0.02, 0.05, 0.15, 0.35)
"""Shares of accuracy that one may be ready to lose."""


def which_rule() -> str:
    """Of each network and loss of accuracy: the rules of least bytes and of least energy, in words of 8 bits."""
    results = Results.model_validate_json((RESULTS / "device.json").read_text(encoding="utf-8"))
    lines = ["| network | may lose | least bytes | least energy |", "| --- | --- | --- | --- |"]
    for name in dict.fromkeys(row.network for row in results.rows):
        rows = [row for row in results.rows if row.network == name and row.batch == 1]
        scored = {row.label: row.test_accuracy.mean for row in rows if row.test_accuracy}
        costs = [bytes_cost(rows), energy_cost(rows)]
        for loss in LOSSES:
            good = [row for row in rows if scored[row.label] >= max(scored.values()) - loss]
            cells = []
            for cost in costs:
                assert cost is not None
                ratios = {row.label: found for row in good if (found := cost.of(row)) is not None}
                best = min(ratios, key=lambda label: ratios[label])
                cells.append(f"`{best}`, {ratios[best]:.2f} × inference, {100 * scored[best]:.1f} %")
            lines.append(f"| {name} | {100 * loss:.0f} % | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def printed(words: str, lines: int) -> str:
    """The first lines that a command prints, in a window of 110 columns."""
    from insitu.cli import main

    before, out = os.environ.get("COLUMNS"), io.StringIO()
    os.environ["COLUMNS"] = "110"
    try:
        with contextlib.redirect_stdout(out):
            main(words.split())
    finally:
        os.environ.pop("COLUMNS")
        if before is not None:
            os.environ["COLUMNS"] = before
    shown = [line.rstrip() for line in out.getvalue().splitlines()[:lines]]
    return "```\n" + "\n".join(shown) + "\n```\n"


def of_readme() -> dict[str, str]:
    """What commands of the README print, by the part's name."""
    deep = (
        "cost cnn-16x2-16x2 --rule etch --option limit=32 --precision edge-latent-free-8 --target stm32l4r5-c"
    )
    return {
        "first screen": first_screen(),
        "printed rule": printed("show rule predsim", 13),
        "printed cost": printed(deep, 8),
        "printed microcode": printed("show microcode mlp-64-32-10 --rule etch", 14),
    }


def memory_table() -> str:
    """From benchmarks/results/step_memory.json."""
    rows = json.loads((BENCHMARKS / "step_memory.json").read_text(encoding="utf-8"))["rows"]
    lines = [
        "| network | batch | rule | planned | held | MemTracker | activations + errors | to bp |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for r in rows:
        share = f"{100 * (r['tracked'] / r['planned'] - 1):+.2f} %"
        lines.append(
            f"| {r['network']} | {r['batch']} | {r['rule']} | {r['planned']:,} | {r['held']:,} | {share} "
            f"| {r['activations_and_errors']:,} | {r['to_bp']:.2f} |"
        )
    return "\n".join(lines) + "\n"


def formula_table() -> str:
    """From benchmarks/results/memory_formulas.json; batch 1 (or the rule's least) and 128 side by side."""
    rows = json.loads((BENCHMARKS / "memory_formulas.json").read_text(encoding="utf-8"))["rows"]
    lines = [
        "| rule | formula | elements | measured, batch 1 | batch 128 | ratio | the difference |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for one, many in zip(rows[::2], rows[1::2]):
        least = f" (batch {one['batch']})" if one["batch"] > 1 else ""
        known = one["formula"] is not None
        cells = (
            f"`{one['rule']}`",
            one["formula"] if known else "–",
            f"{many['expected']:,.0f}" if known else "–",
            f"{one['measured']:,.0f}{least}",
            f"{many['measured']:,.0f}",
            f"{many['ratio']:.3f}" if known else "–",
            one["why"] or ("" if known else "no formula"),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def speed_table() -> str:
    """From benchmarks/results/step_time.json."""
    found = json.loads((BENCHMARKS / "step_time.json").read_text(encoding="utf-8"))
    columns = ["bp/pytorch", "dfa/pytorch", "drtp/pytorch", "pred/pytorch", "drtp/bp"]
    lines = [
        "| network | batch | threads | PyTorch, µs | " + " | ".join(columns) + " |",
        "| --- | --- | --- | --- |" + " --- |" * len(columns),
    ]
    for r in found["rows"]:
        ratios = " | ".join(f"{r[c]:.2f}" for c in columns)
        where = f"{r['network']} | {r['batch']} | {r['threads']}"
        lines.append(f"| {where} | {r['pytorch_us']:.0f} | {ratios} |")
    return "\n".join(lines) + "\n"


def precision_table() -> str:
    """The policies that have a name."""
    lines = [
        "| name | weight | activation | error | regime | update | what |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in describe():
        latent = row["regime"] == "latent"
        cells = [
            row["weight"],
            row["activation"],
            row["error"],
            row["regime"],
            None if latent else row["update"],
        ]
        shown = " | ".join("–" if c is None else str(c) for c in cells)
        lines.append(f"| `{row['name']}` | {shown} | {row['what']} |")
    return "\n".join(lines) + "\n"


def precision_speed_table() -> str:
    """From benchmarks/results/precision_time.json."""
    found = json.loads((BENCHMARKS / "precision_time.json").read_text(encoding="utf-8"))["rows"]
    columns = [name for name in found[0] if name not in ("network", "batch", "rule", "threads", "float32_us")]
    lines = [
        "| network | batch | rule | threads | float32, µs | " + " | ".join(f"`{c}`" for c in columns) + " |",
        "| --- | --- | --- | --- | --- |" + " --- |" * len(columns),
    ]
    for r in found:
        where = f"{r['network']} | {r['batch']} | {r['rule']} | {r['threads']}"
        lines.append(
            f"| {where} | {r['float32_us']:.0f} | " + " | ".join(f"{r[c]:.2f}" for c in columns) + " |"
        )
    return "\n".join(lines) + "\n"


def grid_table(name: str) -> str:
    """Mean accuracy in percent: rules by precisions; or how to run it."""
    path = RESULTS / f"{name}.json"
    if not path.exists():
        return "Not run yet.\n"
    results = GridResults.model_validate_json(path.read_text(encoding="utf-8"))
    columns = list({(c.regime, c.weight_bits): None for c in results.rows})
    rules = list({c.label: None for c in results.rows})
    cells = {(c.label, c.regime, c.weight_bits): c for c in results.rows}

    def shown(label: str, column: tuple[str | None, str]) -> str:
        found = cells[label, *column].test_accuracy
        return "–" if found is None else f"{100 * found.mean:.1f}"

    heads = " | ".join(f"{bits} {regime}" if regime else "float32" for regime, bits in columns)
    lines = [
        f"`{results.command}`, {results.created[:10]}, mean of {len(results.rows[0].seeds)} seeds, test accuracy %; "
        f"columns: weight bits and regime, {results.rows[0].act_bits}-bit activations.\n",
        f"| rule | {heads} |",
        "| --- |" + " --- |" * len(columns),
    ]
    lines += [f"| {label} | " + " | ".join(shown(label, c) for c in columns) + " |" for label in rules]
    return "\n".join(lines) + "\n"


def trials_table(name: str) -> str:
    """From benchmarks/results/trials: the validation accuracy of each learning rate, test accuracy of the best."""
    from benchmarks.trials import STUDIES, chosen_on

    from insitu.passes.quantize.units import GROWTH

    study = STUDIES[name]
    found = json.loads((BENCHMARKS / "trials" / f"{name}.json").read_text(encoding="utf-8"))["rows"]
    lines = [
        f"{study.title}: `python benchmarks/trials.py {name}`, {study.epochs} x {study.samples:,} samples, a tenth of "
        f"them for validation, one at a time; {study.test:,} test images. Accuracies in %, with 95 % intervals over "
        f"the seeds; differences are paired. Validation is of {_seeds(study.choosing)}."
        f"{_of_floats(study)}{_of_rooms(study)}\n",
        f"| rule | {' | '.join(f'validation at {lr:g}' for lr in study.rates)} |{' room |' if study.rooms else ''} "
        "test, best rate | seeds | less the first row | bytes | over inference |",
        "| --- |" + " --- |" * (len(study.rates) + 5 + bool(study.rooms)),
    ]
    for row in [r for r in study.rows if r in found]:
        r = found[row]
        seeds = min(study.choosing, r["seeds"])
        rooms = dict.fromkeys(room for _, room in study.trials_of(row))
        best = {
            lr: max(chosen_on(r["runs"], (lr, room), seeds) for room in rooms) for lr in study.rates_of(row)
        }
        cells = [f"{100 * value:.1f}" if value else "–" for value in best.values()]
        if study.rooms:
            cells.append("–" if len(rooms) == 1 else str(GROWTH if r.get("room") is None else r["room"]))
        cells += [_mean(r["test"], r["interval"]), str(r["seeds"]), _mean(r["difference"], r["paired"])]
        learn, infer = r["bytes"]
        cells += [f"{learn:,}", f"{learn / infer:.3f}"]
        lines.append(f"| {row} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def anomaly() -> str:
    """Areas under the ROC curve, from benchmarks/results/anomaly.json."""
    found = json.loads((BENCHMARKS / "anomaly.json").read_text(encoding="utf-8"))
    lines = ["| rule | area under the ROC curve | learning rate |", "| --- | --- | --- |"]
    lines += [f"| {row} | {_mean(e['auc'], e['interval'], 3)} | {e['lr']:g} |" for row, e in found.items()]
    return "\n".join(lines) + "\n"


ROOMS = ("headroom-deep", "headroom-maps")


def rooms() -> str:
    """From the studies of room for activations: test accuracy by doublings, at the best rate of each."""
    from benchmarks.trials import AT_ROOM

    lines = []
    for name in ROOMS:
        found = json.loads((BENCHMARKS / "trials" / f"{name}.json").read_text(encoding="utf-8"))["rows"]
        rules = dict.fromkeys(row.split(",")[0] for row in AT_ROOM)
        rooms = dict.fromkeys(row.split(", ")[1] for row in AT_ROOM)
        lines += [""] if lines else []
        lines += [f"| `trials.py {name}` | {' | '.join(f'{n} doublings' for n in rooms)} |"]
        lines += ["| --- |" + " --- |" * len(rooms)]
        for rule in rules:
            lines.append(
                f"| `{rule}` | {' | '.join(format(found[f'{rule}, {n}']['test'], '.1f') for n in rooms)} |"
            )
    return "\n".join(lines) + "\n"


def _seeds(count: int) -> str:
    return "the first seed" if count == 1 else f"the first {count} seeds, averaged"


def _of_floats(study: Any) -> str:
    """What is different in rows of floats."""
    if not study.float_rates:
        return ""
    rates = ", ".join(f"{lr:g}" for lr in study.float_rates)
    return f" Rows in float32 are trained by batches of 32, and have the rates {rates} in these columns."


def _of_rooms(study: Any) -> str:
    """What else was tried."""
    if not study.rooms:
        return ""
    return " Each rate was tried with two rooms for activations (doublings); shown is the better of the two."


def _mean(value: float, half: float | None, digits: int = 2) -> str:
    return f"{value:.{digits}f}" if half is None else f"{value:.{digits}f} ± {half:.{digits}f}"


def parts() -> dict[str, str]:
    """All generated parts by name."""
    sys.path[:0] = [str(ROOT / "scripts"), str(ROOT)]
    import adapt_tables
    import engine_tables
    import fpga_tables
    import hardware_tables
    import network_tables
    import onnx_tables
    import systemc_tables

    tables = {
        f"reproduction {n}": reproduction_table(n)
        for n in recipes.names()
        if recipes.find(n).source != "insitu"
    }
    own = of_readme() | {
        "which rule": which_rule(),
        "ops": op_table(),
        "rules": rule_table(),
        "memory": memory_table(),
        "formulas": formula_table(),
        "speed": speed_table(),
        **{
            f"trials {path.stem}": trials_table(path.stem)
            for path in (BENCHMARKS / "trials").glob("*.json")
            if path.stem not in ROOMS
        },
        "rooms": rooms(),
        "anomaly": anomaly(),
        "precisions": precision_table(),
        "precision speed": precision_speed_table(),
        "grid grid-mnist": grid_table("grid-mnist"),
        "grid grid-fashion": grid_table("grid-fashion"),
    }
    return (
        own
        | adapt_tables.parts()
        | hardware_tables.parts()
        | engine_tables.parts()
        | fpga_tables.parts()
        | systemc_tables.parts()
        | onnx_tables.parts()
        | network_tables.parts()
        | tables
    )


def filled(text: str, made: dict[str, str]) -> str:
    """The text with every generated part renewed."""

    def renew(match: re.Match[str]) -> str:
        return f"<!-- generated: {match[1]} -->\n{made[match[1]]}<!-- end -->"

    return re.sub(r"<!-- generated: (.+?) -->\n.*?<!-- end -->", renew, text, flags=re.DOTALL)


def pages() -> list[Path]:
    """The files that may have generated parts."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def main() -> None:
    made = parts()
    for page in pages():
        text = page.read_text(encoding="utf-8")
        page.write_text(filled(text, made), encoding="utf-8")


if __name__ == "__main__":
    main()
