"""Generated parts of docs/adapt.md, from stored runs of ``insitu adapt``: docs/results/adapt/NAME.json.

``store(run, name)`` stores one as the docs need it: what is read off this machine (the output folder) is left out.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from insitu.experiment.adapt.record import AdaptResults, AdaptRow
from insitu.report.adapt import adaptation_markdown, forgetful, verdict

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "results" / "adapt"


def load(path: Path) -> AdaptResults:
    return AdaptResults.model_validate_json(path.read_text(encoding="utf-8"))


def part(results: AdaptResults) -> str:
    """What was run, how it was chosen, the table, and what it says of forgetting."""
    row = results.rows[0]
    made = (
        f"`{results.command}`: pretrained on {results.pretrained_on:,} samples of {results.data}, "
        f"`{results.network}`; a stream of {results.stream:,} samples ({', '.join(results.domains)}); tested on "
        f"{results.tested_old:,} samples of the old domain and {results.tested_new:,} of the new, rates chosen on "
        f"{results.held_old:,} and {results.held_new:,} others; seeds {', '.join(map(str, row.seeds))}; engine "
        f"`{results.engine}`, bills of `{results.target}`, {results.created[:10]}.\n\n"
    )
    return made + adaptation_markdown(results) + f"\n{verdict(results)}\n"


def summary(every: list[AdaptResults]) -> str:
    """A row per run: the frozen network, the rule that ends best on the new domain, and that best on both."""
    lines = [
        "| scenario | frozen: new, old | best on the new domain: new, old | best on the mean of both: new, old "
        "| rules that learn: forgot |",
        "| --- | --- | --- | --- | --- |",
    ]
    for results in every:
        config, rows = results.config, {row.label: row for row in results.rows}
        learned = [row for row in results.rows if row.lr is not None]
        new = max(learned, key=lambda row: row.new.mean)
        both = max(learned, key=lambda row: row.new.mean + row.old.mean)
        name = f"{config['scenario']}, {config['regime']}" + (
            f", replay {config['replay']}" if config["replay"] else ""
        )
        cells = [name, _pair(rows["frozen"]), *(f"`{r.label}`: {_pair(r)}" for r in (new, both))]
        lines.append(f"| {' | '.join(cells)} | {len(forgetful(results))} of {len(learned)} |")
    return "\n".join(lines) + "\n"


def _pair(row: AdaptRow) -> str:
    return f"{100 * row.new.mean:.1f}, {100 * row.old.mean:.1f}"


def parts() -> dict[str, str]:
    stored = {path.stem: load(path) for path in sorted(FOLDER.glob("*.json"))}
    found = {f"adapt {name}": part(results) for name, results in stored.items()}
    return found | {"adapt summary": summary(list(stored.values()))}


def store(run: Path, name: str) -> None:
    """Stores the results of a run folder."""
    results = load(run / "results.json")
    command = re.sub(r" (--out|-o|--data-dir) \S+", "", results.command)
    FOLDER.mkdir(parents=True, exist_ok=True)
    text = results.model_copy(update={"command": command}).model_dump_json()
    (FOLDER / f"{name}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    store(Path(sys.argv[1]), sys.argv[2])
