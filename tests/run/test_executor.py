"""The torch executor: conversion, refusals, determinism."""

from __future__ import annotations

import pytest
import torch

from insitu.errors import StepError
from insitu.network import zoo
from insitu.network.builder import inference_step
from insitu.network.torch.module import to_module
from insitu.passes import lower
from insitu.rules import emit_step, make_rule
from insitu.run.state import extend_state
from insitu.run.torch_exec import TorchExecutor


@pytest.mark.parametrize("name", ["mlp-64-20-10", "lenet5", "resnet8", "ds-cnn"])
def test_inference_is_the_module_in_eval_mode(name: str) -> None:
    net = zoo.build(name, seed=4)
    step = lower(inference_step(net, 5))
    executor = TorchExecutor(step, extend_state({}, step, net.params, 0))
    x = torch.randn(5, *net.input_shape, generator=torch.Generator().manual_seed(0))
    (z,) = executor.run(executor.convert(x))
    module = to_module(net).eval()
    with torch.no_grad():
        assert torch.allclose(z, module(x), rtol=1e-4, atol=1e-5)


def test_refuses_another_batch() -> None:
    net = zoo.build("mlp-64-20-10")
    step = emit_step(make_rule("bp"), net, 4)
    executor = TorchExecutor(step, extend_state({}, step, net.params, 0))
    with pytest.raises(StepError, match=r"takes x of shape \[4, 64\], got \[5, 64\]"):
        executor.convert(torch.zeros(5, 64), torch.zeros(5, dtype=torch.int64))


def test_the_callers_samples_are_never_written() -> None:
    net = zoo.build("cnn-8-16")
    step = lower(emit_step(make_rule("bp"), net, 4))
    executor = TorchExecutor(step, extend_state({}, step, net.params, 0))
    x = torch.rand(4, 1, 8, 8)
    kept = x.clone()
    executor.run(executor.convert(x, torch.tensor([0, 1, 2, 3])), lr=0.1)
    assert torch.equal(x, kept)


def test_two_executors_of_one_state_learn_together() -> None:
    """The last, smaller batch of an epoch has an executor of its own on the same tensors."""
    net = zoo.build("mlp-64-20-10")
    state: dict[str, torch.Tensor] = {}
    for batch in (4, 3):
        step = lower(emit_step(make_rule("bp"), net, batch))
        extend_state(state, step, net.params, 0)
        executor = TorchExecutor(step, state)
        before = state["fc1.weight"].clone()
        executor.run(executor.convert(torch.rand(batch, 64), torch.zeros(batch, dtype=torch.int64)), lr=0.1)
        assert not torch.equal(before, state["fc1.weight"])
