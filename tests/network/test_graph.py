"""Grouping of layers into a chain of blocks."""

from __future__ import annotations

import pytest

from insitu.errors import NetworkError
from insitu.network import zoo
from insitu.network.graph import INPUT, Layer, Network, chain
from insitu.network.layers import Describe


def names(net: Network) -> list[list[str]]:
    return [[x.name for x in b.layers] for b in net.blocks]


def test_each_weighted_layer_opens_a_block() -> None:
    d = Describe("mlp", (4,))
    d.dense(3, name="fc1")
    d.batch_norm(name="bn")
    d.activation("tanh", name="act")
    d.dense(2, name="fc2")
    assert names(d.network()) == [["fc1", "bn", "act"], ["fc2"]]


def test_leading_layers_belong_to_the_first_block() -> None:
    d = Describe("net", (1, 4, 4))
    d.avg_pool(2, name="pool")
    d.flatten(name="flat")
    d.dense(2, name="fc")
    assert names(d.network()) == [["pool", "flat", "fc"]]


def test_pool_and_flatten_stay_with_the_layer_before() -> None:
    d = Describe("net", (1, 4, 4))
    d.conv(2, 3, padding=1, name="conv")
    d.activation("relu", name="act")
    d.max_pool(2, name="pool")
    d.flatten(name="flat")
    d.dense(2, name="fc")
    net = d.network()
    assert names(net) == [["conv", "act", "pool", "flat"], ["fc"]]
    assert net.blocks[0].shape == (8,)
    assert net.blocks[0].activation is not None and net.blocks[0].activation.name == "act"


def residual() -> Network:
    d = Describe("net", (2, 4, 4))
    start = d.conv(2, 3, padding=1, name="stem")
    d.conv(2, 3, padding=1, name="a")
    d.activation("relu", name="a_act")
    end = d.conv(2, 3, padding=1, name="b")
    d.add(end, start, name="sum")
    d.activation("relu", name="act")
    d.dense(3, name="fc")
    return d.network()


def test_a_residual_block_is_one_block() -> None:
    net = residual()
    assert [x[0] for x in names(net)] == ["stem", "a", "fc"]
    assert names(net)[1] == ["a", "a_act", "b", "sum", "act", "6"]


def test_a_skip_from_the_input_keeps_all_in_one_block() -> None:
    d = Describe("net", (3,))
    d.dense(3, name="a")
    end = d.dense(3, name="b")
    d.add(INPUT, end, name="sum")
    d.dense(2, name="fc")
    assert names(d.network()) == [["a", "b", "sum"], ["fc"]]


def test_a_depthwise_convolution_takes_its_pointwise_one_along() -> None:
    d = Describe("net", (2, 4, 4))
    d.conv(4, 3, padding=1, name="stem")
    d.depthwise(3, padding=1)
    d.activation("relu", name="dw_act")
    d.conv(8, 1, name="pw")
    d.activation("relu", name="pw_act")
    d.conv(8, 1, name="next")
    net = d.network()
    assert names(net) == [["stem"], ["1", "dw_act", "pw", "pw_act"], ["next"]]
    assert net.layer("1").depthwise and not net.layer("pw").depthwise


def test_blocks_join_to_all_layers_and_chain_by_one_value() -> None:
    net = residual()
    assert [x.name for x in net.layers] == [n for b in names(net) for n in b]
    for before, block in zip(net.blocks, net.blocks[1:]):
        inside = {x.name for x in block.layers}
        outside = {i for x in block.layers for i in x.inputs} - inside
        assert outside == {before.layers[-1].name}


def test_no_layers_make_no_blocks() -> None:
    assert chain([]) == ()


def test_a_missing_layer_is_named() -> None:
    with pytest.raises(NetworkError, match=r"no layer 'conv9'.*'stem'"):
        residual().layer("conv9")


def test_parameter_names_of_a_root_layer_have_no_dot() -> None:
    assert Layer("", "dense", (INPUT,), (2,)).param("weight") == "weight"
    assert Layer("a.b", "dense", (INPUT,), (2,)).param("weight") == "a.b.weight"


def test_a_network_prints_in_one_line_without_its_weights() -> None:
    net = zoo.fitted("mlp-64-100-10", (64,), 10, seed=0)
    values = sum(v.size for v in net.params.values())
    assert repr(net) == f"<Network {net.name}: 64 -> 10, layers: {len(list(net.layers))}, values: {values:,}>"
