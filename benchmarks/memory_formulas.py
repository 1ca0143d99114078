"""What a step keeps alive on VGG8B, for every rule, next to closed formulas of the same.

    python benchmarks/memory_formulas.py [--out benchmarks/results/memory_formulas.json]

VGG8B at full width, without batch norm and dropout, float32, fused view, plain SGD; the options of a rule at their
defaults. Measured: the arena of the planned step (inputs, activations, errors, what heads make, batch matrices), in
elements per sample; of a rule with phases the largest. Formula: per layer A_in and A_out are the elements of its
input and of its output before a pool, A_next behind the pool; no in-place work, no streaming but where said.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path

from insitu.network import zoo
from insitu.network.graph import WEIGHTED, Network
from insitu.passes import lower, plan
from insitu.rules import RULES, emit_phases, make_rule
from insitu.rules.facts import smallest_batch

BATCHES = (1, 128)
CLASSES = 10


@dataclass(frozen=True)
class Sizes:
    """Elements of one layer per sample."""

    a_in: int
    a_out: int
    a_next: int
    channels: int


def sizes(net: Network) -> list[Sizes]:
    found, before = [], prod(net.input_shape)
    for block in net.blocks:
        layer = next(x for x in block.layers if x.kind in WEIGHTED)
        found.append(Sizes(before, prod(layer.shape), prod(block.shape), layer.shape[0]))
        before = found[-1].a_next
    return found


def _bp(layers: list[Sizes]) -> int:
    """Everything up to layer k, its output error and its input error."""
    return max(sum(x.a_in for x in layers[: k + 1]) + s.a_out + s.a_in for k, s in enumerate(layers))


Formula = Callable[[list[Sizes], int], float]
FORMULAS: dict[str, tuple[str, Formula]] = {
    "inference": ("max(A_in + A_out)", lambda s, _b: max(x.a_in + x.a_out for x in s)),
    "bp": ("max(ΣA_in + A_out + A_in)", lambda s, _b: _bp(s)),
    "dfa": (
        "max(ΣA_in + A_out + A_next)",
        lambda s, _b: max(sum(x.a_in for x in s[: k + 1]) + y.a_out + y.a_next for k, y in enumerate(s)),
    ),
    "target": ("max(A_in + A_out + A_next)", lambda s, _b: max(x.a_in + x.a_out + x.a_next for x in s)),
    "matching": (
        "max(A_in + A_next + 3A_out) + 2B",
        lambda s, b: max(x.a_in + x.a_next + 3 * x.a_out for x in s[:-1]) + 2 * b,
    ),
    "auxiliary": (
        "max(A_in + A_out + 4 channels + C)",
        lambda s, _b: max(x.a_in + x.a_out + 4 * x.channels + CLASSES for x in s),
    ),
    "kernel": ("max(A_in + 2A_out) + 9B", lambda s, b: max(x.a_in + 2 * x.a_out for x in s[:-1]) + 9 * b),
    "groups": (
        "max over groups of 2 of BP's",
        lambda s, _b: max(_bp(s[k : k + 2]) for k in range(len(s) - 1)),
    ),
}

WHOLE = (
    "A_in + 2A_out: the error is a whole map beside the activation whose derivative gates it; the formula streams it "
    "element by element, and pools first"
)
SPREAD = "the pooled features' error is spread in place of the activation that gates it; features and d_dec are small"
INDEX = "and the positions of the maxima, 16 bit each"
WHY: dict[str, tuple[str, str]] = {
    "bp": ("bp", ""),
    "bp-checkpoint": ("bp", "the first maps are the peak of this network, so segments save nothing"),
    "shallow": ("inference", ""),
    "fa": ("bp", ""),
    "usf": ("bp", ""),
    "brsf": ("bp", ""),
    "frsf": ("bp", ""),
    "dfa": ("dfa", f"the formula {INDEX}; the rest is fragmentation of the arena"),
    "sdfa": (
        "dfa",
        "receives the error before the pools: A_out of every layer stays for its derivative, not the smaller A_next",
    ),
    "drtp": ("target", WHOLE),
    "pred": ("target", SPREAD),
    "pred-bpf": ("target", SPREAD),
    "mono-forward": ("target", WHOLE),
    "lls": ("target", SPREAD),
    "sim": ("matching", "the map is pooled behind its update, so A_next is not there yet"),
    "predsim": ("matching", "the map is pooled behind its update, so A_next is not there yet"),
    "sim-bpf": ("matching", f"no auxiliary map; {SPREAD}"),
    "predsim-bpf": ("matching", "no auxiliary map, but two error maps, of both losses"),
    "greedy": ("auxiliary", SPREAD),
    "dgl": ("auxiliary", f"A_next beside them: {SPREAD}"),
    "hsic": ("kernel", "the batch matrices die before the error map is made"),
    "dbl": (
        "groups",
        f"a group ends in front of its pool: A_out and its error are both there, A_next {INDEX}, beside them",
    ),
}
"""The formula of each rule and what the difference is; rules that no formula describes are not in it."""


def row(rule: str, net: Network, asked: int) -> dict[str, object]:
    made = make_rule(rule)
    batch = max(asked, smallest_batch(made, net))
    measured = max(plan(lower(step)).arena_bytes for step in emit_phases(made, net, batch)) / 4 / batch
    known = WHY.get(rule)
    formula = FORMULAS[known[0]] if known else None
    expected = formula[1](sizes(net), batch) if formula else None
    return {
        "rule": rule,
        "batch": batch,
        "formula": formula[0] if formula else None,
        "expected": expected,
        "measured": measured,
        "ratio": measured / expected if expected else None,
        "why": known[1] if known else None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    net = zoo.build("vgg8b", batch_norm=False, dropout=0.0)
    rows = [row(rule, net, batch) for rule in RULES for batch in BATCHES]
    for r in rows:
        ratio = f"{r['ratio']:.3f}" if r["ratio"] else "–"
        expected = r["expected"] or "–"
        print(f"{r['rule']:<16} batch {r['batch']:>3}  {r['measured']:>12,.1f} of {expected!s:>8}  {ratio}")
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps({"rows": rows}, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
