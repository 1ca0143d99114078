"""Generated parts of docs/adapt.md, from stored runs of ``insitu adapt``: docs/results/adapt/NAME.json.

``store(run, name)`` stores one as the docs need it: what is read off this machine (the output folder) is left out.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from insitu.experiment.adapt.record import AdaptResults
from insitu.report.adapt import adaptation_markdown, verdict

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


def parts() -> dict[str, str]:
    return {f"adapt {path.stem}": part(load(path)) for path in sorted(FOLDER.glob("*.json"))}


def store(run: Path, name: str) -> None:
    """Stores the results of a run folder."""
    results = load(run / "results.json")
    command = re.sub(r" (--out|-o|--data-dir) \S+", "", results.command)
    FOLDER.mkdir(parents=True, exist_ok=True)
    text = results.model_copy(update={"command": command}).model_dump_json()
    (FOLDER / f"{name}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    store(Path(sys.argv[1]), sys.argv[2])
