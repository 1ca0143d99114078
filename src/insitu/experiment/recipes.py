"""Recipes: comparisons with a name, shipped in the package, some with the figures that a paper published."""

from __future__ import annotations

from importlib import resources
from typing import Any

import yaml
from pydantic import Field

from insitu.errors import ConfigError
from insitu.experiment.config import CompareConfig, Frozen, parse
from insitu.experiment.record import Results


class Published(Frozen):
    """A published test error in percent: mean, standard deviation, and the deviation that we accept."""

    error: float
    sd: float | None = None
    accept: float | None = None


class Recipe(Frozen):
    """A named comparison.

    ``short`` overrides fields of ``compare`` for a quick run; ``published`` holds figures by rule label.
    """

    title: str
    source: str
    note: str = ""
    compare: dict[str, Any]
    short: dict[str, Any] = Field(default_factory=dict)
    published: dict[str, Published] = Field(default_factory=dict)

    def config(self, *, short: bool = False, **override: Any) -> CompareConfig:
        """The comparison that the recipe stands for; ``None`` overrides nothing."""
        given = {k: v for k, v in override.items() if v is not None}
        raw = {**self.compare, **(self.short if short else {}), **given}
        return parse(CompareConfig, raw, f"recipe {self.title!r}")


def names() -> tuple[str, ...]:
    """Names of all recipes."""
    folder = resources.files("insitu.experiment") / "recipes"
    return tuple(sorted(f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml")))


def find(name: str) -> Recipe:
    """A recipe by name.

    Raises:
        ConfigError: if there is none of that name.
    """
    if name not in names():
        raise ConfigError(f"recipe {name!r} is unknown; use one of {', '.join(names())}")
    text = (resources.files("insitu.experiment") / "recipes" / f"{name}.yaml").read_text(encoding="utf-8")
    return parse(Recipe, yaml.safe_load(text), f"recipe {name}")


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
        rows.append(
            {
                "network": row.network,
                "rule": row.label,
                "published": published.error if published else None,
                "published_sd": published.sd if published else None,
                "accept": accept,
                "error": error,
                "sd": sd,
                "deviation": deviation,
                "verdict": verdict,
                "seeds": row.seeds,
                "epochs": row.epochs,
                "lr": row.lr,
            }
        )
    return rows


def reproduction_markdown(recipe: Recipe, results: Results) -> str:
    """The table of :func:`reproduction`, for the docs."""
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
        lines.append(
            f"| {r['network']} | {r['rule']} | {published} | {r['error']:.2f} ± {r['sd']:.2f} | {deviation} "
            f"| {accept} | {r['verdict']} | {r['epochs']} | {r['lr']:g} |"
        )
    return "\n".join(lines) + "\n"
