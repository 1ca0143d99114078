"""Recipes: comparisons with a name, shipped in the package, some with the figures that a paper published."""

from __future__ import annotations

from importlib import resources
from typing import Any

from pydantic import Field

from insitu.errors import ConfigError
from insitu.experiment.config import CompareConfig, Frozen, RunConfig, parse
from insitu.experiment.record import Results
from insitu.inputs.documents import Source, parse_yaml


class Published(Frozen):
    """A published test error in percent: mean, standard deviation, and what we accept: a deviation, or ``at_most`` an
    error."""

    error: float
    sd: float | None = None
    accept: float | None = None
    at_most: float | None = None


class Recipe(Frozen):
    """A named comparison.

    ``short`` overrides fields of ``compare`` for a quick run; ``published`` holds figures by rule label. ``pretrain``
    is a run whose network the comparison starts from.
    """

    title: str
    source: str
    note: str = ""
    compare: dict[str, Any]
    pretrain: dict[str, Any] = Field(default_factory=dict)
    short: dict[str, Any] = Field(default_factory=dict)
    published: dict[str, Published] = Field(default_factory=dict)

    def config(self, *, short: bool = False, **override: Any) -> CompareConfig:
        """The comparison that the recipe stands for; ``None`` overrides nothing."""
        given = {k: v for k, v in override.items() if v is not None}
        raw = {**self.compare, **(self.short if short else {}), **given}
        return parse(CompareConfig, raw, f"recipe {self.title!r}")

    def first_run(self, *, data_dir: str | None = None) -> RunConfig | None:
        """The run that comes before the comparison."""
        if not self.pretrain:
            return None
        return parse(RunConfig, {**self.pretrain, "data_dir": data_dir}, f"pretraining of {self.title!r}")


def names() -> tuple[str, ...]:
    """Names of all recipes."""
    folder = resources.files("insitu.experiment") / "recipes"
    return tuple(sorted(f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml")))


def group(name: str) -> tuple[str, ...]:
    """The recipe of a name, or all whose names go on from it: ``own-rule`` is ``own-rule-mnist`` and its like."""
    return (name,) if name in names() else tuple(n for n in names() if n.startswith(f"{name}-"))


def find(name: str) -> Recipe:
    """A recipe by name.

    Raises:
        ConfigError: if there is none of that name.
    """
    if name not in names():
        raise ConfigError(f"recipe {name!r} is unknown; use one of {', '.join(names())}")
    text = (resources.files("insitu.experiment") / "recipes" / f"{name}.yaml").read_text(encoding="utf-8")
    return parse(Recipe, parse_yaml(text, Source(f"recipe {name}")), f"recipe {name}")


def reproduction(recipe: Recipe, results: Results) -> list[dict[str, Any]]:
    """Published against measured: a row per network and rule; errors in percent.

    ``verdict`` is ``within`` or ``outside`` the accepted deviation, or ``reported`` where nothing is to be met.
    """
    rows = []
    for row in results.rows:
        if row.test_accuracy is None:
            continue
        published = recipe.published.get(row.label)
        error, sd = 100 * (1 - row.test_accuracy.mean), 100 * row.test_accuracy.sd
        deviation = error - published.error if published else None
        accept = published.accept if published else None
        verdict = "reported"
        if deviation is not None and accept is not None:
            verdict = "within" if abs(deviation) <= accept else "outside"
        if published is not None and published.at_most is not None:
            verdict = "within" if error <= published.at_most else "outside"
        rows.append(
            {
                "network": row.network,
                "rule": row.label,
                "published": published.error if published else None,
                "published_sd": published.sd if published else None,
                "accept": accept,
                "at_most": published.at_most if published else None,
                "error": error,
                "sd": sd,
                "deviation": deviation,
                "verdict": verdict,
                "seeds": row.seeds,
                "before": row.before,
                "epochs": row.epochs,
                "lr": row.lr,
            }
        )
    return rows


def reproduction_markdown(recipe: Recipe, results: Results) -> str:
    """The table of :func:`reproduction`, for the docs."""
    if recipe.pretrain:
        return _scenario_markdown(results)
    lines = [
        "| network | rule | published error % | ours % | deviation | accepted | verdict | epochs | learning rate |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for r in reproduction(recipe, results):
        published = "–" if r["published"] is None else f"{r['published']:.2f}"
        if r["published_sd"] is not None:
            published += f" ± {r['published_sd']:.2f}"
        deviation = "–" if r["deviation"] is None else f"{r['deviation']:+.2f}"
        accept = "–" if r["accept"] is None else f"± {r['accept']:.2f}"
        accept = accept if r["at_most"] is None else f"at most {r['at_most']:.2f}"
        lines.append(
            f"| {r['network']} | {r['rule']} | {published} | {r['error']:.2f} ± {r['sd']:.2f} | {deviation} "
            f"| {accept} | {r['verdict']} | {r['epochs']} | {r['lr']:g} |"
        )
    return "\n".join(lines) + "\n"


def _scenario_markdown(results: Results) -> str:
    """Accuracy of a pretrained network before and after learning, in percent, and the memory of the step, in bytes."""
    lines = [
        "| rule | precision | before, float32 | before, quantized | after | step | inference |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in results.rows:
        if row.test_accuracy is None or row.before is None:
            continue
        after = f"{100 * row.test_accuracy.mean:.2f} ± {100 * row.test_accuracy.sd:.2f}"
        lines.append(
            f"| {row.label} | {row.precision} | {100 * row.before['float32']:.2f} "
            f"| {100 * row.before['quantized']:.2f} | {after} | {row.peak_bytes.total:,} | {row.inference_bytes:,} |"
        )
    return "\n".join(lines) + "\n"
