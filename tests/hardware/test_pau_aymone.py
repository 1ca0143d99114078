"""The published costs of Pau and Aymone (COINS 2023) come out under their conventions; see the benchmark."""

from __future__ import annotations

import json
from functools import cache

import pytest
from benchmarks import pau_aymone as pa

from insitu.network import zoo

CASES = [(net, rule) for net in pa.LOSSES for rule in pa.PASSES]
REFUSED = {("resnet8", "pepita"), ("resnet8", "mempepita"), ("autoencoder", "forward-forward")}
STORED = [(n, r) for n, r in CASES if n != "resnet8" and r != "pepita" and (n, r) not in REFUSED]


@cache
def case(net: str, rule: str) -> pa.Case:
    return pa.case(net, rule)


@pytest.mark.parametrize("rule", pa.PASSES)
@pytest.mark.parametrize("net", pa.BYTES)
def test_published_bytes_to_their_rounding(net: str, rule: str) -> None:
    found = case(net, rule).bytes
    assert abs(found.ours - pa.BYTES[net][rule] * pa.KB) <= 50
    assert abs(found.deviation) < 0.001


@pytest.mark.parametrize("rule", pa.PASSES)
def test_published_macs_of_ds_cnn(rule: str) -> None:
    found = case("ds-cnn", rule)
    assert abs(found.macs.deviation) < 0.0002
    assert not found.reason


@pytest.mark.parametrize("rule", pa.PASSES)
def test_published_macs_of_mobilenet_have_one_layer_too_large(rule: str) -> None:
    """1.6 to 1.8 % under the published figures; dw4 (24 to 12 pixels) at 24 pixels closes all four."""
    found = case("mobilenet-v1-0.25", rule)
    assert -0.018 < found.macs.deviation < -0.016
    assert "dw4" in found.reason
    assert abs(found.explained.deviation) < 0.0003
    assert not pa.unexplained(found)


def test_the_forward_pass() -> None:
    for net, published in pa.FORWARD.items():
        t = pa.terms(pa.network(net), pa.LOSSES[net])
        more = published * pa.MILLION - pa.forward_macs(t)
        expected = 124_416 if net.startswith("mobilenet") else 0
        assert abs(more - expected) <= 500


@pytest.mark.parametrize(("net", "rule"), CASES)
def test_the_bridge_ends_at_the_formula(net: str, rule: str) -> None:
    """From the MACs of our step programs, row by row, to a count that knows the graph alone."""
    t = pa.terms(pa.network(net), pa.LOSSES[net])
    assert case(net, rule).macs.ours == pa.formula_macs(rule, t)


@pytest.mark.parametrize(("net", "rule"), STORED)
def test_our_steps_hold_the_maps_that_they_count(net: str, rule: str) -> None:
    """No map is left to the difference row: only logits, pooled vectors and norms, or the autoencoder's layers."""
    rest = [row.amount for row in case(net, rule).bytes.rows if row.what.startswith("activations")]
    assert len(rest) == 1 and abs(rest[0]) <= 258


def test_refusals() -> None:
    assert {key for key in CASES if case(*key).refused} == REFUSED


@pytest.mark.parametrize(
    ("net", "rule", "macs", "held"),
    [
        ("resnet8", "bp", 37_071_412, 117_874),
        ("resnet8", "forward-forward", 50_472_512, 54_336),
        ("resnet8", "pepita", 37_544_846, 117_874),
        ("resnet8", "mempepita", 50_050_920, 84_032),
        ("autoencoder", "bp", 714_000, 2_312),
        ("autoencoder", "forward-forward", 1_070_144, 1_408),
        ("autoencoder", "pepita", 1_207_192, 2_312),
        ("autoencoder", "mempepita", 1_473_056, 1_408),
    ],
)
def test_the_other_networks_by_the_same_rules(net: str, rule: str, macs: int, held: int) -> None:
    """By the rules of the other two; of theirs only the rounded ratios below were known here."""
    found = case(net, rule)
    assert (found.macs.ours, found.bytes.ours) == (macs, held)
    assert found.macs.deviation is None and found.bytes.deviation is None


@pytest.mark.parametrize("net", pa.LOSSES)
def test_ratios_and_weights(net: str) -> None:
    values = pa.ratios(net, [case(*key) for key in CASES])
    for key, known in pa.RATIOS[net].items():
        assert values[key] == pytest.approx(known, rel=0.005)
    assert abs(zoo.parameters(pa.network(net).layers) - pa.WEIGHTS[net] * pa.KB) <= 50


def test_a_deviation_needs_a_reason() -> None:
    """The check fails without one."""
    found = case("mobilenet-v1-0.25", "bp")
    bare = pa.Case(found.net, found.rule, found.macs, found.bytes)
    assert pa.unexplained(bare) == ["mobilenet-v1-0.25 bp macs"]
    larger = pa.Figure((pa.Row("", 1_000),), 900.0)
    assert pa.unexplained(pa.Case("n", "r", larger, larger)) == ["n r macs", "n r bytes"]


def test_no_layer_is_named_for_a_network_that_needs_none() -> None:
    assert pa.culprit(pa.network("ds-cnn"), "xent", pa.MACS["ds-cnn"]) is None


def test_the_stored_table_is_current() -> None:
    stored = json.loads(pa.OUT.read_text())["cases"]
    keys = [(c["net"], c["rule"], c["macs"]["ours"], c["bytes"]["ours"]) for c in stored]
    assert keys == [(n, r, case(n, r).macs.ours, case(n, r).bytes.ours) for n, r in CASES]
