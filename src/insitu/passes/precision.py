"""Precision policies: in which numbers every part of a step is kept, and how it is rounded.

A policy says *how many bits*; where the binary point of a tensor lies follows from its initial values, from measured
ranges or from a run-time exponent (see :mod:`insitu.passes.quantize`). Numbers are named by tokens:

=========  =========================================================================
``8``      fixed point of that many bits, 1 to 32 (weights and feedback of 1 bit: ``b1``)
``t``      ternary, ``t2``
``po4``    a power of two of that many bits (``po2`` to ``po5``: wider ones have no integers of 32 bits)
``32``     of weights and activations in a name: float32
=========  =========================================================================

Names: ``float32``, ``float64``, the named policies of :data:`NAMED`, and ``w<bits>a<bits>[-latent|-free]`` for any
bits: ``-latent`` (default) trains a float32 copy of the weights, ``-free`` the stored low-bit word itself.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any, get_type_hints

from insitu.errors import ConfigError
from insitu.inputs.values import fit_all, pairs, show_pairs
from insitu.numbers.formats import B1, T2, AnyFormat, Fixed, PowerOfTwo
from insitu.numbers.rounding import Rounding
from insitu.ops import updates
from insitu.ops.updates import IntegerSgd, Niti, Stochastic, WeightUpdate
from insitu.passes import former

MASTERS = ("f32", "f16")
STOCHASTIC = Stochastic()
PARTS = ("weight", "activation", "error", "feedback", "head", "bias", "input", "output")


@dataclass(frozen=True)
class Precision:
    """One policy.

    Attributes:
        name: what results call it.
        weight, activation, error, feedback, bias, input, output: tokens (see above); ``output`` is the network's last
            layer (and that of every head), ``input`` the samples.
        head: weights of auxiliary classifiers; as ``weight`` where ``None``.
        regime: ``latent``: a wider copy of each weight is trained and read through a rounding; ``latent-free``: the
            stored word is the only copy.
        master: the copy's format in the latent regime, ``f32`` or ``f16``.
        update: how a stored word moves (latent-free), an object of :mod:`insitu.ops.updates` with options of its own.
            In texts and mappings ``update`` is its name, and its options are fields of the policy:
            ``edge-latent-free-8:update=error-feedback,group_size=1,residual_bits=2,threshold=4``.
        others: updates with other options than usual that a layer may switch to.
        hidden: low bits of the stored word that the forward pass does not read.
        generator: random words of updates: ``counter`` (a hash of a counter), ``lfsr`` (a shift register, started
            anew for every tensor and step) or ``register`` (two shift registers that run on, 8 bytes of state; with
            update ``stochastic``): less hardware.
        word_order: in which order the columns of a dense layer behind a flattened map take their random words:
            ``stored``, or ``channels-last``, as a vector engine reads maps.
        defer: errors and inputs of so many steps with an error are kept, then a dense layer's weights move by their
            gradient at once: one rounding in place of many (updates that support deferral; heads move at once).
        error_exponent, activation_exponent: ``dynamic``: a block shift from the largest magnitude of the tensor at
            hand; ``static``: one binary point for the whole run.
        error_clip: with ``static``: the difference of two rows of a head, which is what the error of a violated margin
            becomes, saturates at 2**-error_clip of the largest possible one: more fine bits for the usual ones.
        rounding: of activations; ``error_rounding`` of errors.
        scales: ``power-of-two`` (shifts only) or ``general`` (a 15-bit multiplier and a shift).
        per_channel: weights have a power of two of their own per output channel, up to 4 bits below the largest one's.
        headroom: doublings that weights may grow beyond their initial values, and activations of a trained network.
        activation_headroom: of activations alone. ``None``: as ``headroom``; for a network that was not trained
            :data:`~insitu.passes.quantize.units.GROWTH`, as far as 3 bits are left for its first activations.
        accumulator: bits of the widest sum; ``saturate``: a sum that could pass it saturates (the exact sum, at its
            end) instead of being refused.
        layers: overrides of fields (``OVERRIDES``) by layer pattern (``fc*``), first match counts.
    """

    name: str = "custom"
    weight: str = "8"
    activation: str = "8"
    error: str = "8"
    feedback: str = "8"
    head: str | None = None
    bias: str = "16"
    input: str = "8"
    output: str = "12"
    regime: str = "latent-free"
    master: str = "f32"
    update: WeightUpdate = STOCHASTIC
    others: tuple[WeightUpdate, ...] = ()
    hidden: int = 0
    generator: str = "counter"
    word_order: str = "stored"
    defer: int = 1
    error_exponent: str = "dynamic"
    activation_exponent: str = "static"
    error_clip: int = 0
    rounding: str = "half-up"
    error_rounding: str = "half-up"
    scales: str = "power-of-two"
    per_channel: bool = False
    headroom: int = 2
    activation_headroom: int | None = None
    accumulator: int = 32
    saturate: bool = False
    layers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for part in PARTS:
            token = getattr(self, part)
            if token is not None:
                kind(token, part)
        for name in ("per_channel", "saturate"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigError(f"precision: {name}={getattr(self, name)!r} is neither True nor False")
        _one_of("regime", self.regime, ("latent", "latent-free"))
        _one_of("master", self.master, MASTERS)
        _one_of("generator", self.generator, ("counter", "lfsr", "register"))
        _one_of("word_order", self.word_order, ("stored", "channels-last"))
        for name in ("error_exponent", "activation_exponent"):
            _one_of(name, getattr(self, name), ("static", "dynamic"))
        for name in ("rounding", "error_rounding"):
            _one_of(name, getattr(self, name), tuple(Rounding))
        _one_of("scales", self.scales, ("power-of-two", "general"))
        for part in ("activation", "error", "bias", "input", "output"):
            _fixed(part, getattr(self, part), 1 if part == "activation" else 2)
        for name, low, high in _RANGES:
            value = getattr(self, name)
            if value is not None and not (isinstance(value, int) and low <= value <= high):
                raise ConfigError(f"precision: {name}={value!r} is out of range; use {low} to {high}")
        self._check_update()
        self._check_layers()

    def _check_update(self) -> None:
        name = self.update.name
        if self.generator == "register" and (
            self.latent or self.update.name != "stochastic" or self.defer > 1
        ):
            raise ConfigError(
                "precision: generator=register is for stored words that move by update=stochastic at every step "
                "(defer: 1); use generator=lfsr"
            )
        if self.per_channel and not self.update.supports_channels:
            fit = _either(m.name for m in updates.METHODS.values() if m.supports_channels)
            raise ConfigError(f"precision: update {name!r} has no scale per channel; use {fit}")
        if self.defer > 1 and (self.latent or not self.update.supports_deferral):
            how = "a latent copy" if self.latent else f"update {name!r}"
            fit = _either(m.name for m in updates.METHODS.values() if m.supports_deferral)
            raise ConfigError(
                f"precision: defer={self.defer} is not for {how}; use defer: 1, or a stored word that moves by {fit}"
            )
        if reason := self.update.refuse_weights(kind(self.weight, "weight")):
            raise ConfigError(f"precision: {reason}")

    def _check_layers(self) -> None:
        for pattern, changes in self.layers.items():
            if not changes:
                raise ConfigError(
                    f"precision: layers[{pattern!r}] changes nothing; name a field, or remove it"
                )
            for key in changes:
                _one_of(f"layers[{pattern!r}]", key, (*OVERRIDES, *update_options()))
            self.changed({"layers": {}, **changes})

    def changed(self, changes: Mapping[str, Any]) -> Precision:
        """The policy with other values of some fields; the options of updates are named as fields.

        Raises:
            ConfigError: for a value that a field cannot have.
        """
        rest, options = dict(changes), update_options()
        mine = {key: rest.pop(key) for key in changes if key in options}
        known = {type(m): m for m in (*self.others, self.update)}
        for cls in dict.fromkeys(cls for key in mine for cls in options[key]):
            known[cls] = known.get(cls, cls()).changed(mine)
        chosen = _update_of(rest.pop("update", type(self.update)), known)
        others = (known[cls] for cls in updates.METHODS.values() if cls in known and cls is not type(chosen))
        return replace(self, update=chosen, others=tuple(m for m in others if m != type(m)()), **rest)

    def at(self, layer: str | None) -> Precision:
        """The policy of one layer, its overrides applied."""
        for pattern, changes in self.layers.items():
            if layer is not None and fnmatchcase(layer, pattern):
                return self.changed({"layers": {}, **changes})
        return self

    def check_layers(self, names: Collection[str]) -> None:
        """Refuses a pattern that no layer fits."""
        for pattern in self.layers:
            if not any(fnmatchcase(name, pattern) for name in names):
                raise ConfigError(
                    f"precision {self.name}: no layer fits {pattern!r}; there are {', '.join(sorted(names))}"
                )

    @property
    def latent(self) -> bool:
        return self.regime == "latent"

    def __str__(self) -> str:
        return self.name

    def as_dict(self) -> dict[str, Any]:
        """Every field, for the run file; options of all updates among them."""
        found = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "others"}
        known = {type(m): m for m in self.others}
        for cls in updates.METHODS.values():
            found |= known.get(cls, cls()).options()
        layers = {pattern: dict(changes) for pattern, changes in self.layers.items()}
        return found | self.update.options() | {"update": self.update.name, "layers": layers}


OVERRIDES = ("weight", "activation", "hidden", "headroom", "defer", "update")
"""Fields that layers may override, beside the options of updates."""


def update_options() -> dict[str, list[type[WeightUpdate]]]:
    """The updates that have each option, by its name in policies."""
    found: dict[str, list[type[WeightUpdate]]] = {}
    for cls in updates.METHODS.values():
        for name in cls.spellings():
            found.setdefault(name, []).append(cls)
    return found


def _update_of(
    given: WeightUpdate | type[WeightUpdate] | str, known: Mapping[type[WeightUpdate], WeightUpdate]
) -> WeightUpdate:
    """The update of a name, with the options that are known of it."""
    if isinstance(given, WeightUpdate):
        return given
    cls = updates.find(given) if isinstance(given, str) else given
    if cls is None:
        _one_of("update", str(given), tuple(updates.METHODS))
        raise AssertionError
    return known.get(cls, cls())


def _either(names: Iterable[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} or {last}" if first else last


_RANGES = (
    ("hidden", 0, 24),
    ("defer", 1, 1024),
    ("error_clip", 0, 4),
    ("headroom", 0, 8),
    ("activation_headroom", 0, 8),
    ("accumulator", 8, 32),
)


def _fixed(part: str, token: str, least: int) -> None:
    if not (token.isdigit() and least <= int(token) <= 24):
        raise ConfigError(f"precision: {part}={token!r} must be a number of bits; use {least} to 24")


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ConfigError(f"precision: {name}={value!r} is unknown; use one of {', '.join(allowed)}")


def kind(token: str, part: str = "weight") -> AnyFormat:
    """What a token stands for, with the binary point behind the last bit.

    Raises:
        ConfigError: if it is no token.
    """
    if token == "t":
        return T2
    if token == "1" and part in ("weight", "feedback", "head"):
        return B1
    if match := re.fullmatch("po([2-5])", token):
        return PowerOfTwo(int(match[1]))
    if re.fullmatch("[1-9][0-9]?", token) and int(token) <= 32:
        return Fixed(True, int(token) - 1, 0)
    raise ConfigError(
        f"precision: {part}={token!r} is no number format; use 1 to 32 (bits), t, or po2 to po5"
    )


NAMED: dict[str, Precision] = {
    p.name: p
    for p in (
        Precision("niti-int8", update=Niti(), activation_exponent="dynamic", headroom=1),
        Precision(
            "nitro", weight="16", output="16", update=IntegerSgd(), error_exponent="static", saturate=True
        ),
        Precision("edge-latent-free-8"),
        Precision("edge-latent-free-4", weight="4", activation="8"),
        Precision("edge-latent-free-2", weight="2", activation="8"),
    )
}
"""Policies with a name of their own, beside ``w<bits>a<bits>[-latent|-free]``."""

FLOATS = ("float32", "float64")
_FORM = re.compile(r"w(1|t|[2-8]|16|32|po[2-5])a([1-8]|16|32)(-latent|-free)?")
COMMON = ("w8a8", "w4a8", "w2a4", "w1a1")


def named(text: str) -> Precision | None:
    """The policy of a name; ``None`` for the floats, which quantize nothing.

    ``w2`` is ternary (the two-bit weights of the literature); a fixed point of two bits is ``edge-latent-free-2``.

    Raises:
        ConfigError: if there is none.
    """
    if text in FLOATS:
        return None
    if text in NAMED:
        return NAMED[text]
    if match := _FORM.fullmatch(text):
        weight, activation, regime = match.groups()
        return _plain(text, weight, activation, "latent-free" if regime == "-free" else "latent")
    known = (*FLOATS, *COMMON, *NAMED)
    near = get_close_matches(text, known, n=1)
    hint = f"did you mean {near[0]!r}? Use" if near else "use"
    raise ConfigError(
        f"precision {text!r} is unknown; {hint} {', '.join(known)}, or w<bits>a<bits> with -latent or -free, "
        "bits 1 to 8, t or 32"
    )


_WHAT = {
    "niti-int8": "latent-free 8 bits, steps of two bits whatever the gradient's scale (Wang et al. 2020)",
    "nitro": "16-bit weights read whole, truncating steps, sums that saturate at 32 bits (NITRO-D has 32-bit weights)",
    "edge-latent-free-8": "8-bit words are the only copy of a weight, moved by stochastic rounding",
    "edge-latent-free-4": "the same with 4-bit words",
    "edge-latent-free-2": "the same with 2-bit words, -2 to 1",
}


def describe() -> list[dict[str, Any]]:
    """A row per policy that has a name: all its fields, and what it is."""
    latent = "quantization-aware: float32 weights, read in fewer bits"
    nothing = dict.fromkeys(Precision().as_dict())
    found = [{**nothing, "name": name, "what": "no quantization"} for name in FLOATS]
    for name in (*COMMON, *NAMED):
        policy = named(name)
        assert policy is not None
        found.append({**policy.as_dict(), "what": _WHAT.get(name, latent)})
    return found


def _plain(name: str, weight: str, activation: str, regime: str) -> Precision:
    if weight == "32" or activation == "32":
        raise ConfigError(
            f"precision {name!r} keeps half of the network in float32, which no integer step can hold; "
            "use float32, or 16 bits or less for both"
        )
    weight = "t" if weight == "2" else weight
    return Precision(name, weight=weight, activation=activation, regime=regime)


def make(given: str | Mapping[str, Any]) -> Precision | None:
    """A policy from a name, a name and what differs from it (``edge-latent-free-8:hidden=8,update=threshold``), or the
    same as a mapping: ``base`` the name, and the fields. ``str`` of a policy gives the policy again.

    Raises:
        ConfigError: for an unknown name, field or value.
    """
    if isinstance(given, str):
        name, colon, rest = given.partition(":")
        if not colon:
            return named(name)
        changes = _with_layers(pairs(rest, f"precision {given!r}"))
        if "base" in changes or "name" in changes:
            raise ConfigError(
                f"precision {given!r}: the base is in front of the colon, and the name follows from both"
            )
        former.tell(changes, given)
        given = {"base": name, **changes}
    changes = former.present(given)
    base = named(str(changes.pop("base", "edge-latent-free-8")))
    if base is None:
        raise ConfigError("precision: a float has no fields to change; use a quantized policy as base")
    if not changes:
        return base
    updates.find(
        str(changes.get("update", base.update.name))
    )  # its options may be those of an installed package
    changes = _typed(changes)
    shown = _shown(changes)
    return base.changed({"name": f"{base.name}:{shown}" if shown else base.name, **changes})


_LAYER = re.compile(r"layers\.(.+)\.(\w+)")


def _with_layers(given: Mapping[str, str]) -> dict[str, Any]:
    """Fields from their texts; ``layers.PATTERN.FIELD`` is a field of one layer."""
    found: dict[str, Any] = {}
    for key, value in given.items():
        if match := _LAYER.fullmatch(key):
            found.setdefault("layers", {}).setdefault(match[1], {})[match[2]] = value
        else:
            found[key] = value
    return found


def _shown(changes: Mapping[str, Any]) -> str:
    """What differs, as :func:`make` reads it."""
    layers = changes.get("layers", {})
    found = {k: v for k, v in changes.items() if k not in ("layers", "name")}
    found |= {f"layers.{layer}.{k}": v for layer, fields in layers.items() for k, v in fields.items()}
    return show_pairs(found)


@lru_cache
def _declared(methods: tuple[type[WeightUpdate], ...]) -> dict[str, Any]:
    """The types of a policy's fields, options of updates among them; in the order of :meth:`Precision.as_dict`."""
    found = get_type_hints(Precision) | {"update": str}
    for cls in methods:
        hints = get_type_hints(cls)
        found |= {name: hints[f] for name, f in cls.spellings().items()}
    del found["others"]
    return found


def _typed(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of their declared types; a token of bits may be given as a number."""
    texts = {k: str(v) if k in PARTS and type(v) is int else v for k, v in changes.items()}
    found = fit_all(texts, _declared(tuple(updates.METHODS.values())), "precision", "field")
    if "layers" in found:
        found["layers"] = {layer: _typed(fields) for layer, fields in found["layers"].items()}
    return found


__all__ = ["COMMON", "FLOATS", "NAMED", "Precision", "kind", "make", "named"]
