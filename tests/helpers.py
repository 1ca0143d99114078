"""Networks, autograd oracles and one-step runs that many tests share."""

from __future__ import annotations

from typing import Any

import torch

from insitu.errors import NetworkError
from insitu.network import zoo
from insitu.network.graph import WEIGHTED, Network
from insitu.network.layers import Describe
from insitu.network.torch.module import to_module
from insitu.numbers.formats import F32, F64
from insitu.ops.optimizers import Optimizer
from insitu.passes import lower
from insitu.rules import emit_step, make_rule
from insitu.rules.protocol import Rule
from insitu.run.state import State, extend_state
from insitu.run.torch_exec import TorchExecutor


def linear_chain(*sizes: int) -> Network:
    """Dense layers without activation functions or biases."""
    d = Describe("linear", (sizes[0],))
    for n in sizes[1:]:
        d.dense(n, bias=False)
    return d.network(seed=3)


def batch(
    net: Network, size: int, *, targets: bool = False, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Random float64 samples and labels (or targets) for a network."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(size, *net.input_shape, generator=g, dtype=torch.float64)
    if targets:
        return x, torch.randn(size, *net.blocks[-1].shape, generator=g, dtype=torch.float64)
    return x, torch.randint(0, net.outputs, (size,), generator=g)


def one_step(
    rule: Rule | str,
    net: Network,
    x: torch.Tensor,
    y: torch.Tensor,
    *,
    dtype: torch.dtype = torch.float64,
    view: str = "fused",
    lr: float = 1.0,
    optimizer: Optimizer | None = None,
    residents: State | None = None,
    t: int = 0,
    **options: Any,
) -> State:
    """The residents after one training step; ``residents`` replace initial values."""
    made = make_rule(rule) if isinstance(rule, str) else rule
    real = F64 if dtype == torch.float64 else F32
    step = lower(emit_step(made, net, len(x), real=real, optimizer=optimizer, **options), view)
    given = {name: tensor.clone() for name, tensor in (residents or {}).items()}
    state = extend_state(given, step, net.params, 1, dtype=dtype)
    executor = TorchExecutor(step, state, seed=1, dtype=dtype)
    executor.run(executor.convert(x, y), lr=lr, t=t)
    return state


def gradients(state: State, net: Network, lr: float = 1.0) -> dict[str, torch.Tensor]:
    """What plain SGD subtracted from each trainable parameter, divided by the learning rate."""
    return {
        name: (torch.as_tensor(value).to(state[name]) - state[name]) / lr
        for name, value in net.params.items()
        if name in state and "running" not in name
    }


def autograd(
    net: Network, x: torch.Tensor, y: torch.Tensor, loss: str = "xent", dtype: torch.dtype = torch.float64
) -> tuple[dict[str, torch.Tensor], torch.nn.Module]:
    """PyTorch's gradients of the same network, and the module after its forward pass."""
    module = to_module(net, dtype=dtype)
    module.train()
    z = module(x.to(dtype))
    functional = torch.nn.functional
    if loss == "xent":
        value = functional.cross_entropy(z, y)
    elif loss == "bce":
        value = functional.binary_cross_entropy_with_logits(z, functional.one_hot(y, net.outputs).to(dtype))
    else:
        value = functional.mse_loss(z, y.to(dtype))
    value.backward()
    return {n: p.grad for n, p in module.named_parameters() if p.grad is not None}, module


def largest_difference(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    """Largest difference of two sets of gradients, relative to the largest entry of ``b`` over the whole network."""
    assert a.keys() == b.keys()
    scale = max(float(t.abs().max()) for t in b.values())
    return max(float((a[n] - b[n]).abs().max()) for n in b) / scale


def small(name: str, activation: str | None = None) -> Network:
    """A zoo network for exact comparisons: narrow where it is wide, no dropout (its masks differ from PyTorch's)."""
    narrow = {"vgg8b": "vgg8b-x0.125", "vgg11b": "vgg11b-x0.125"}
    return zoo.build(narrow.get(name, name), dropout=0.0, activation=activation, seed=2)


def serves(rule: str, net: Network) -> bool:
    """Refused (and tested there): by PEPITA, blocks of several weighted layers or with a norm; by the one-bit stash,
    what a bit does not hold. The other rules take any network."""
    if rule == "bp-stash":
        try:
            emit_step(make_rule(rule), net, 2)
        except NetworkError:
            return False
        return True
    if rule not in ("pepita", "mempepita"):
        return True
    kinds = [[x.kind for x in block.layers] for block in net.blocks]
    single = all(sum(k in WEIGHTED for k in block) == 1 for block in kinds)
    return single and not any({"add", "batch_norm", "rms_norm"} & set(block) for block in kinds)
