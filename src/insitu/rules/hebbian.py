"""Soft winner-take-all Hebbian learning (SoftHebb): hidden blocks learn without labels, a linear read-out with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from insitu.errors import ConfigError
from insitu.network.builder import LINEAR, Builder, Trace
from insitu.network.graph import Network
from insitu.rules.protocol import Citation, rule
from insitu.step.ir import Op, Phase, Role, Value

_SCRATCH: dict[str, Any] = {"role": Role.SCRATCH, "phase": Phase.GRADIENT}
_ERROR: dict[str, Any] = {"role": Role.ERROR, "phase": Phase.ERROR}


@rule
@dataclass(frozen=True)
class SoftHebb:
    """SoftHebb: units compete for every input, and the winners move towards it; a linear read-out on top.

    y = softmax(u / τ) over the units (at each position of a map, over its channels), u = W x the weighted layer's
    output; ΔW_ik = η y_i (x_k - u_i w_ik), the mean over samples and positions. With ``anti``, as in the deep form
    of the paper, all but the largest unit count with -y_i. The last block learns from the network's loss. No
    labels, errors or feedback reach a hidden block, so batch 1 and any loss are served; biases and batch norm's
    weights of hidden blocks stay as they are.

    The papers' networks have no biases, batch norm without weights, a Triangle activation and rates that depend on
    a weight's norm; here the network and the optimiser are the user's. ``rate`` multiplies η of the hidden blocks
    (of no effect with Adam or sign updates).

    Known limit: on the networks here (ReLU, embedded digits) dense layers gain little over random features
        (``shallow``) and
    convolutions lose: units that win early go on winning.

    Args:
        temperature: τ.
        anti: all but the winner move away.
        rate: factor of the hidden blocks' rate.
    """

    temperature: float = 0.2
    anti: bool = False
    rate: float = 1.0

    name: ClassVar[str] = "softhebb"
    forward_only: ClassVar[bool] = True
    paper: ClassVar[Citation] = Citation(
        "Journé, Garcia Rodriguez, Guo, Moraitis",
        2023,
        "Hebbian deep learning without feedback",
        "ICLR 2023",
    )

    def __post_init__(self) -> None:
        for option in ("temperature", "rate"):
            if not getattr(self, option) > 0:
                raise ConfigError(f"rule softhebb has {option}={getattr(self, option):g}; use more than 0")

    def emit(self, net: Network, b: Builder) -> None:
        h = b.x
        for block in net.blocks[:-1]:
            trace = b.forward(block, h)
            self._compete(b, trace)
            h = trace.output
        last = b.forward(net.blocks[-1], h)
        b.backward(last, b.output_error(last.output), want_input=False)

    def _compete(self, b: Builder, trace: Trace) -> None:
        """Every weighted layer of a block learns from its own input and output."""
        for op in (op for op in trace.ops if op.kind in LINEAR and b.learns(op.inputs[1])):
            with b.at(op.where.layer):
                b.update(op.inputs[1], self._gradient(b, op))

    def _gradient(self, b: Builder, op: Op) -> Value:
        """-ΔW / η."""
        u, w = op.outputs[0], op.inputs[1]
        mean = self.rate * u.shape[1] / u.size  # over samples and positions
        y = b.emit1("compete", u, temperature=self.temperature, anti=self.anti, **_ERROR)
        down = b.emit1("channel_products", y, u, by=mean, **_SCRATCH)
        pulled = b.emit1("row_scale", w, down, by=1.0, **_SCRATCH)
        pushed = b.adjoint(op, [b.emit1("scale", y, by=-mean, **_ERROR)], [1])[1]
        return b.emit1("add", pushed, pulled, **_SCRATCH)
