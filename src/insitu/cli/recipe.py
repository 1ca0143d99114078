"""The configuration of a verb that starts from a recipe: the recipe or a file, then the flags, then ``--set``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from insitu.cli.trust import ask, ask_of, names_network

if TYPE_CHECKING:
    from pydantic import BaseModel

T = TypeVar("T", bound="BaseModel")


def words(text: str | None) -> list[str] | None:
    """The parts of a comma-separated text, if it was given."""
    return [word.strip() for word in text.split(",")] if text is not None else None


def from_file(
    model: type[T], path: Path | None, flags: dict[str, Any], sets: list[str] | None, *, trust: bool = False
) -> T:
    """The checked configuration of a file (or the defaults), then the flags, then ``--set``."""
    from insitu.experiment.config import load, parse
    from insitu.experiment.overrides import apply_flags, apply_sets

    raw = load(model, path).model_dump(mode="json", exclude_unset=True) if path else {}
    flags = of_runs(flags, trust=trust)
    return parse(model, apply_sets(apply_flags(raw, **flags), sets or []), str(path or "the command line"))


def of_runs(flags: dict[str, Any], *, trust: bool) -> dict[str, Any]:
    """The flags with the network of each run folder that they name as a network, and that network's options."""
    from insitu.experiment.described import networks_of

    key = "networks" if "networks" in flags else "network"
    given = flags.get(key)
    names = [given] if isinstance(given, str) else given or []
    if not any(Path(name).is_dir() for name in names):
        return flags
    for name in names:
        ask_of(Path(name), trust)
    found, options = networks_of(names)
    return flags | {key: found if key == "networks" else found[0], "network_options": options}


def recipe_config(
    model: type[T],
    recipe: str,
    rules: list[str] | None,
    flags: dict[str, Any],
    sets: list[str] | None,
    of_recipe: Callable[[dict[str, Any]], dict[str, Any]] = dict,
    *,
    trust: bool = False,
) -> T:
    """The checked configuration.

    Args:
        recipe: a recipe's name, or a .yaml file of the model.
        rules: names that take the place of the recipe's rules.
        of_recipe: the model's fields from those of a recipe's comparison.
        trust: run the network files that the recipe names.
    """
    from insitu.experiment import recipes
    from insitu.experiment.config import load, parse
    from insitu.experiment.overrides import apply_flags, apply_sets

    path = Path(recipe)
    if path.suffix in (".yaml", ".yml"):
        raw = load(model, path).model_dump(mode="json", exclude_unset=True)
    else:
        raw = of_recipe(recipes.find(recipe).compare)
    flags = of_runs(flags, trust=trust)
    if rules:
        keep_rates = flags.get("optimizer__kind") is None
        raw["rules"] = _pick_rules(rules, raw.get("rules", []), keep_rates=keep_rates)
    config = parse(model, apply_sets(apply_flags(raw, **flags), sets or []), f"recipe {recipe}")
    named = flags.get("networks") or flags.get("network") or names_network(sets)
    networks = getattr(config, "networks", None) or [getattr(config, "network", "")]
    ask(networks, f"recipe {recipe}", named=bool(named), trust=trust)
    return config


def _pick_rules(names: list[str], known: list[dict[str, Any]], *, keep_rates: bool) -> list[dict[str, Any]]:
    """Rules by name; one that the recipe has keeps the recipe's options, and its rate unless the optimizer changes."""
    specs = {spec.get("label") or spec["rule"]: spec for spec in known}
    picked = [dict(specs.get(name, {"rule": name})) for name in names]
    if not keep_rates:
        for spec in picked:
            spec.pop("lr", None)
            spec.pop("rates", None)
    return picked
