"""Scenarios: what a network was pretrained on, what it meets then, and which samples are kept for choices and tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from insitu.data import Dataset, load
from insitu.data.corrupt import SEVERITIES
from insitu.data.dataset import Split
from insitu.data.selection import shuffled
from insitu.errors import ConfigError, DataError

REGIMES = ("single", "drift", "continual")
"""One change; a change that grows along the stream; several domains, one after the other."""

CUT = 1
"""Seed of the cuts: which samples are for what is the same in every run."""

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Domain:
    """A domain that the stream comes from; its test samples are in no stream."""

    name: str
    train: Split
    test: Split


@dataclass(frozen=True)
class World:
    """The data of a scenario, not yet cut.

    Attributes:
        source: the old domain.
        domains: the new ones, in the order of the stream.
        aligned: row i of a domain's training samples is row i of the source's, changed; only one of them may be used.
    """

    source: Dataset
    domains: tuple[Domain, ...]
    aligned: bool


Load = Callable[..., Dataset]
"""``load(**options)``: the data set with these options, from where the user has it."""


@dataclass(frozen=True)
class Scenario:
    """One row of :data:`SCENARIOS`.

    Attributes:
        data: the set of the old domain, unless the user names another.
        any_data: the user may.
        epochs: of pretraining.
        worlds: by regime, what makes the world of a loader.
    """

    name: str
    what: str
    data: str
    network: str
    epochs: int
    worlds: Mapping[str, Callable[[Load], World]]
    any_data: bool = False


@dataclass(frozen=True)
class Stream:
    """A scenario that is cut: nothing that is learned from is tested on, or serves a choice.

    Attributes:
        source: its training split pretrains, its test split is the old domain's.
        old_held: samples of the old domain for choices.
        held: the same of each new domain, ``tests`` for the figures.
        samples: of the stream, in order; ``domain`` [samples] the number of the domain of each, -1: the old one.
        present: [samples] the domain that the network is asked for after each.
        goal: numbers of the domains that it is asked for at the end: where a change of strength ends, else all.
    """

    source: Dataset
    old_held: Split
    names: tuple[str, ...]
    held: tuple[Split, ...]
    tests: tuple[Split, ...]
    samples: Split
    domain: Ints
    present: Ints
    goal: tuple[int, ...]


def _of(split: Split, rows: npt.NDArray[Any]) -> Split:
    return Split(split.x[rows], split.y[rows])


def _corrupted(kinds: tuple[tuple[str, int], ...]) -> Callable[[Load], World]:
    """The same images, changed: a domain for each kind and severity."""

    def make(load: Load) -> World:
        changed = [(f"{k} {s}", load(corruption=k, severity=s)) for k, s in kinds]
        return World(load(), tuple(Domain(name, d.train, d.test) for name, d in changed), aligned=True)

    return make


def _speakers(load: Load) -> World:
    new = load(speaker=5, role="personal")
    old = load(speaker=5, role="pretrain")
    return World(old, (Domain("speaker 5", new.train, new.test),), aligned=False)


BLOCK, GAP, TESTED = 25, 3, 5
"""Of recordings that are cut into windows that overlap: every fifth block of 25 windows is for tests, but the first and
last three of it, so that no test window shares time with another."""


def _wearers(load: Load) -> World:
    """The set names the tenth wearer as the test of nine; the old domain's test is cut from the nine."""
    nine, tenth = load(subject=10, role="pretrain"), load(subject=10, role="personal-later")
    place = np.arange(len(nine.train))
    tested = place // BLOCK % TESTED == TESTED - 1
    inner = (place % BLOCK >= GAP) & (place % BLOCK < BLOCK - GAP)
    train, test = np.flatnonzero(~tested), np.flatnonzero(tested & inner)
    source = replace(nine, train=_of(nine.train, train), test=_of(nine.train, test), validation=None)
    return World(source, (Domain("wearer 10", tenth.train, tenth.test),), aligned=False)


def _writers(load: Load) -> World:
    new = load(name="digits")
    return World(load(size=8), (Domain("writers of digits", new.train, new.test),), aligned=False)


def _classes(count: int) -> Callable[[Load], World]:
    """The last ``count`` classes are withheld from pretraining, and come one after the other."""

    def make(load: Load) -> World:
        every = load()
        if every.classes is None or every.classes < count + 2:
            raise DataError(
                f"scenario new-class withholds {count} classes, but data {every.name!r} have {every.classes}; "
                f"use data of {count + 2} classes or more"
            )
        known = every.classes - count

        def only(split: Split, wanted: Callable[[Any], Any]) -> Split:
            return _of(split, np.flatnonzero(wanted(split.y)))

        source = replace(
            every,
            train=only(every.train, lambda y: y < known),
            test=only(every.test, lambda y: y < known),
            validation=None,
        )
        parts = tuple(
            Domain(
                f"class {every.class_names[k]}",
                only(every.train, lambda y, k=k: y == k),
                only(every.test, lambda y, k=k: y == k),
            )
            for k in range(known, every.classes)
        )
        return World(source, parts, aligned=False)

    return make


def _both(world: Callable[[Load], World]) -> dict[str, Callable[[Load], World]]:
    """A world of one new domain: at once, or with a share that grows."""
    return {"single": world, "drift": world}


_KINDS = ("noise", "blur", "contrast", "brightness", "invert")
_ROWS = (
    Scenario(
        "rotated",
        "images turned by 30 degrees; drift: by 10 to 50",
        "digits",
        "mlp-64-32-10",
        30,
        {
            "single": _corrupted((("rotate", 3),)),
            "drift": _corrupted(tuple(("rotate", s + 1) for s in range(SEVERITIES))),
            "continual": _corrupted((("rotate", 2), ("rotate", 5), ("rotate", 3))),
        },
        any_data=True,
    ),
    Scenario(
        "corrupted",
        "noisy images; drift: ever noisier; continual: noise, blur, contrast, brightness, negatives in turn",
        "digits",
        "mlp-64-32-10",
        30,
        {
            "single": _corrupted((("noise", 5),)),
            "drift": _corrupted(tuple(("noise", s + 1) for s in range(SEVERITIES))),
            "continual": _corrupted(tuple((kind, 3) for kind in _KINDS)),
        },
        any_data=True,
    ),
    Scenario(
        "new-class",
        "a class that pretraining never saw, alone in the stream; continual: three of them in turn",
        "digits",
        "mlp-64-32-10",
        30,
        _both(_classes(1)) | {"continual": _classes(3)},
        any_data=True,
    ),
    Scenario(
        "new-writer",
        "MNIST reduced to 8x8, then digits of other writers and another scanner",
        "mnist",
        "mlp-64-32-10",
        5,
        _both(_writers),
    ),
    Scenario(
        "new-wearer",
        "a watch worn by nine people, then by the tenth",
        "spar-watch",
        "mlp-768-64-32-7",
        10,
        _both(_wearers),
    ),
    Scenario(
        "new-speaker",
        "spoken digits of five speakers, then of the sixth",
        "spoken-digits",
        "mlp-640-64-32-10",
        20,
        _both(_speakers),
    ),
)
SCENARIOS = {row.name: row for row in _ROWS}


def find(name: str) -> Scenario:
    """A scenario by name.

    Raises:
        ConfigError: if there is none of that name.
    """
    if name not in SCENARIOS:
        raise ConfigError(f"scenario {name!r} is unknown; use one of {', '.join(SCENARIOS)}")
    return SCENARIOS[name]


def world(scenario: Scenario, regime: str, data: str | None, data_dir: str | None) -> World:
    """The data of a scenario in a regime.

    Raises:
        ConfigError: the scenario has no such regime, or is of its own data set alone.
        DataError: the data set is missing or does not fit.
    """
    if regime not in scenario.worlds:
        raise ConfigError(
            f"scenario {scenario.name} has no regime {regime!r}; use one of {', '.join(scenario.worlds)}"
        )
    if data not in (None, scenario.data) and not scenario.any_data:
        raise ConfigError(
            f"scenario {scenario.name} is of data {scenario.data}, not of {data!r}; leave --data out, or use one of "
            f"{', '.join(s.name for s in SCENARIOS.values() if s.any_data)}"
        )

    def loader(name: str = data or scenario.data, **options: Any) -> Dataset:
        return load(name, data_dir=Path(data_dir) if data_dir else None, options=options)

    found = scenario.worlds[regime](loader)
    if found.source.classes is None:
        raise DataError(
            f"scenario {scenario.name} needs classes, but the targets of {found.source.name!r} are real numbers; "
            "use data with class labels"
        )
    return found


def _cut(count: int, *shares: float) -> list[Ints]:
    """Rows in a mixed order, in parts of these shares; the last takes the rest."""
    ends = np.cumsum([round(share * count) for share in shares])
    return [np.sort(part) for part in np.split(shuffled(count, CUT), ends)]


def stream(given: World, regime: str, seed: int, limit: int | None = None) -> Stream:
    """Cuts a world, and puts the stream in the order of a seed.

    Args:
        limit: samples of the stream at most.

    Raises:
        DataError: a part would be empty.
    """
    growing = regime == "drift" and len(given.domains) == 1
    home, old_held, rest, rows, held = _parts(given, growing)
    rng = np.random.default_rng(seed)
    pools = _pools(given, [rng.permutation(r) for r in rows], limit)
    samples, domain = _joined(given, pools)
    if growing:
        old = _of(given.source.train, rng.permutation(rest))
        samples, domain = _growing(samples, old, rng)
    tested = tuple(d.test for d in given.domains)
    kept = tuple(_of(d.train, h) for d, h in zip(given.domains, held))
    source = replace(given.source, train=_of(given.source.train, home), validation=None)
    empty = [s for s in (source.train, source.test, samples, *tested, *kept) if not len(s)]
    if empty:
        raise DataError(
            f"data {source.name!r} are too few to pretrain, stream, choose and test on; give more samples"
        )
    return Stream(
        source,
        _of(given.source.train, old_held),
        tuple(d.name for d in given.domains),
        kept,
        tested,
        samples,
        domain,
        np.maximum(domain, 0),
        tuple(range(len(tested)))[-1 if regime == "drift" else 0 :],
    )


def _parts(given: World, growing: bool) -> tuple[Ints, Ints, Ints, list[Ints], list[Ints]]:
    """Rows of the source to pretrain on, to choose on and to stream; rows of each domain to stream and to choose on."""
    count, domains = len(given.source.train), given.domains
    if given.aligned:
        home, old, held, rows = _cut(count, 0.4, 0.1, 0.1)
        return home, old, rows[:0], [rows] * len(domains), [held] * len(domains)
    home, old, rest = _cut(count, 0.7 if growing else 0.9, 0.1)
    parts = [_cut(len(d.train), 0.2) for d in domains]
    return home, old, rest, [rows for _, rows in parts], [held for held, _ in parts]


def _pools(given: World, rows: list[npt.NDArray[Any]], limit: int | None) -> list[npt.NDArray[Any]]:
    """Rows of each domain's turn; of aligned domains each row has one turn."""
    if given.aligned:
        rows = np.array_split(rows[0][:limit], len(rows))
    elif limit is not None:
        rows = [part[: max(limit // len(rows), 1)] for part in rows]
    return rows


def _joined(given: World, rows: list[npt.NDArray[Any]]) -> tuple[Split, Ints]:
    """The turns of all domains one after the other."""
    parts = [_of(d.train, part) for d, part in zip(given.domains, rows)]
    joined = Split(np.concatenate([p.x for p in parts]), np.concatenate([p.y for p in parts]))
    return joined, np.repeat(np.arange(len(parts)), [len(p) for p in parts])


def _growing(new: Split, old: Split, rng: np.random.Generator) -> tuple[Split, Ints]:
    """As many samples as there are new ones; the share of new ones grows from 0 to 1."""
    count = min(len(new), len(old))
    is_new = rng.random(count) < (np.arange(count) + 0.5) / count
    place = np.where(is_new, np.cumsum(is_new), np.cumsum(~is_new)) - 1
    x = np.where(is_new.reshape(-1, *[1] * (new.x.ndim - 1)), new.x[place], old.x[place])
    return Split(x, np.where(is_new, new.y[place], old.y[place])), np.where(is_new, 0, -1)
