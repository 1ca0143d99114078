"""Claims and their Monte-Carlo: what is uncertain for both contenders alike does not blur their ranking."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from insitu.experiment.design_point import DesignPoint
from insitu.experiment.impact import assess
from insitu.hardware.bill import Use
from insitu.hardware.stability import DRAWS, HEADLINE, Claim, claim, draw, energies, ranking
from insitu.hardware.target import Array, Entry, Target, find

TARGET = find("accelerator-22nm")
READ: Use = ("memory.sram.read",)
MULTIPLY: Use = ("energy.multiply",)
WRITE: Use = ("memory.store.write",)


def made(a: dict[Use, float], b: dict[Use, float], target: Target = TARGET, seed: int = 1) -> Claim:
    return claim("a", "b", {"a": a, "b": b}, target, seed=seed)


def test_identical_contenders_are_not_ranked() -> None:
    uses = {READ: 5.0, MULTIPLY: 7.0}
    found = made(uses, dict(uses))
    assert found.share == 0 and found.ratio == (1.0, 1.0, 1.0) and not found.headline
    assert str(found) == "a and b take the same energy on accelerator-22nm"


@pytest.mark.parametrize("more", [{MULTIPLY: 1.0}, {READ: 1e-3}, {WRITE: 1e6}])
def test_a_dominated_contender_loses_in_every_draw(more: dict[Use, float]) -> None:
    uses = {READ: 5.0, MULTIPLY: 7.0, WRITE: 2.0}
    dominated = {use: uses.get(use, 0.0) + more.get(use, 0.0) for use in uses | more}
    found = made(uses, dominated)
    assert found.share == 1.0 and found.headline and found.ratio is not None
    assert found.ratio[0] <= found.ratio[1] <= found.ratio[2] <= 1.0
    back = made(dominated, uses)
    assert back.share == 0.0 and not back.headline


def test_shared_entries_cancel() -> None:
    """Twice the same uses is twice the energy, whatever an entry turns out to be."""
    uses = {READ: 5.0, MULTIPLY: 7.0, WRITE: 2.0, ("energy.random",): 3.0}
    found = made(uses, {use: 2 * n for use, n in uses.items()})
    assert found.share == 1.0 and found.ratio == pytest.approx((0.5, 0.5, 0.5))


def test_a_ranking_that_turns_on_an_uncertain_entry_is_no_headline() -> None:
    """Equal central values from entries with bands of their own: neither is cheaper in 95 % of the draws."""
    entries = TARGET.entries()
    a, b = {MULTIPLY: 1.0}, {READ: entries["energy.multiply"].value / entries["memory.sram.read"].value}
    found = made(a, b)
    assert found.share is not None and 0.02 < found.share < 0.98 and not found.headline
    assert "is not stable" in str(found)
    sides = made(b, a).share
    assert sides is not None and found.share + sides == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("share", "headline"), [(0.9499, False), (HEADLINE, True), (1.0, True), (0.0, False), (None, False)]
)
def test_a_headline_needs_95_per_cent(share: float | None, headline: bool) -> None:
    found = Claim("a", "b", "t", share, (0.5, 0.6, 0.7) if share is not None else None)
    assert HEADLINE == 0.95 and found.headline is headline and found.plain()["headline"] is headline
    words = "energy unknown" if share is None else "holds" if headline else "is not stable"
    assert words in str(found)


def test_draws_are_deterministic_and_independent_of_other_entries() -> None:
    entries = TARGET.entries()
    every, few = draw(entries), draw({i: entries[i] for i in ("energy.add", "memory.sram.read")})
    assert set(every) == set(entries)
    for name, values in few.items():
        assert np.array_equal(values, every[name]) and np.array_equal(values, draw(entries)[name])
    assert not np.array_equal(every["energy.add"], draw(entries, seed=2)["energy.add"])
    assert not np.allclose(every["energy.register_read"], every["energy.accumulator_read"])  # of one band


def test_draws_stay_in_their_band_around_the_central_value() -> None:
    for name, values in draw(TARGET.entries()).items():
        entry = TARGET.entries()[name]
        assert values.shape == (DRAWS,)
        assert entry.low * (1 - 1e-9) <= values.min() and values.max() <= entry.high * (1 + 1e-9)
        if entry.low == entry.high:
            assert set(values) == {entry.value}
        else:
            assert values.min() < entry.value < values.max()


def test_an_entry_of_a_band_from_zero_keeps_its_value() -> None:
    """Its logarithm has no lower end."""
    entry = Entry(0.1, 0.0, 0.5, "cycles/MAC", "lanes", "low", "cycles.unpack")
    assert set(draw({"cycles.unpack": entry})["cycles.unpack"]) == {0.1}


def test_energies_are_amounts_times_drawn_entries() -> None:
    drawn = draw(TARGET.entries(), draws=3)
    uses = {READ: 2.0, MULTIPLY: 3.0}
    want = 2 * drawn["memory.sram.read"] + 3 * drawn["energy.multiply"]
    assert np.allclose(np.asarray(energies(uses, drawn)), want)
    assert energies({("nothing.known",): 1.0}, drawn) is None
    assert energies({(*READ, "nothing.known"): 1.0}, drawn) is None


@pytest.mark.parametrize("name", ["desktop", "stm32g0b1"])
def test_without_energies_a_claim_has_no_share(name: str) -> None:
    uses = {rule: assess(DesignPoint("mlp-64-16-10", rule, target=name)).uses for rule in ("bp", "drtp")}
    found = claim("drtp", "bp", uses, find(name))
    assert found.share is None and found.ratio is None and not found.headline
    assert str(found) == f"drtp against bp on {name}: energy unknown"
    assert ranking(uses, find(name)) == []


def test_a_ranking_goes_from_the_cheapest_and_leaves_out_the_unknown() -> None:
    uses: dict[str, dict[Use, float]] = {
        "dear": {MULTIPLY: 9.0},
        "unknown": {("nothing.known",): 1.0},
        "cheap": {MULTIPLY: 1.0},
        "middle": {MULTIPLY: 3.0},
    }
    found = ranking(uses, TARGET)
    assert [(c.better, c.worse) for c in found] == [("cheap", "middle"), ("middle", "dear")]
    assert all(c.share == 1.0 for c in found)
    assert ranking({"one": {MULTIPLY: 1.0}}, TARGET) == []


@pytest.mark.parametrize("name", ["stm32l4r5", "accelerator-22nm"])
def test_rules_that_leave_work_out_are_cheaper_whatever_the_table_says(name: str) -> None:
    """Shallow does a part of what BP does; checkpoints do it and more."""
    uses = {
        rule: assess(DesignPoint("mlp-64-32-32-32-32-10", rule, "edge-latent-free-8", name, 4)).uses
        for rule in ("bp", "shallow", "bp-checkpoint")
    }
    assert claim("shallow", "bp", uses, find(name)).share == 1.0
    assert claim("bp", "bp-checkpoint", uses, find(name)).share == 1.0
    assert [c.better for c in ranking(uses, find(name))] == ["shallow", "bp"]


def test_correlated_entries_are_drawn_once_for_both() -> None:
    """A band ten times as wide of an entry that both pay alike does not change who wins."""
    entry = TARGET.entries()["memory.sram.read"]
    assert isinstance(TARGET, Array)
    memory = TARGET.memory
    wide = replace(entry, low=entry.value / 100, high=entry.value * 100)
    target = replace(TARGET, memory=replace(memory, sram=replace(memory.sram, read=wide)))
    assert made({READ: 1000.0, MULTIPLY: 1.0}, {READ: 1000.0, MULTIPLY: 1.1}, target).share == 1.0
