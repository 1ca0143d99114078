"""Soft winner-take-all Hebbian learning (SoftHebb): hidden blocks learn without labels, a linear read-out with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from insitu.errors import ConfigError
from insitu.network.builder import WEIGHTED, Builder, Trace
from insitu.network.graph import Network
from insitu.rules.protocol import Citation, rule
from insitu.step.ir import Op, Phase, Role

_SCRATCH: dict[str, Any] = {"role": Role.SCRATCH, "phase": Phase.GRADIENT}
_ERROR: dict[str, Any] = {"role": Role.ERROR, "phase": Phase.ERROR}


@rule
@dataclass(frozen=True)
class SoftHebb:
    """SoftHebb: units compete for every input, and the winners move towards it; a linear read-out on top.

    y = softmax(u / τ) over the units (at each position of a map, over its channels), u the weighted layer's output,
    its bias included; ΔW_ik = η y_i (x_k - u_i w_ik), the mean over samples and positions. With ``anti``, as in the
    deep form of the paper, all but the largest unit count with -y_i. A layer learns right behind its own forward pass;
    several layers of one block each for themselves; depthwise channels compete too. The last block learns from the
    network's loss. No labels, errors or feedback reach a hidden block, so batch 1 and any loss are served; biases and
    a norm's weights of hidden blocks stay as they are.

    It needs inputs around zero: the published networks have batch norm without weights *in front of* every weighted
    layer, and so must the network here (``BatchNorm(affine=False)``, also before the first and the last layer).
    Without it, on pixels from 0 to 1 and ReLU, two hidden dense layers fall far below random features (``shallow``);
    with it dense layers gain a little over them, and small convolutions still lose (embedded digits). Facts of the
    authors' code (it was read) that are not here: weights that start far above norm 1, a rate that falls as the norm
    nears 1, changes divided by their largest element, Triangle activations, no biases, and a read-out trained after
    the features. ``rate`` multiplies η of the hidden blocks (of no effect with Adam or sign updates). Under plain
    SGD without weight decay no gradient is stored.

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
            trace = Trace(block, h, h, {}, ())
            for layer in block.layers:
                trace = b.resume(trace, 1)
                if layer.kind in WEIGHTED and b.learns(trace.ops[-1].inputs[1]):
                    self._compete(b, trace.ops[-1])
            h = trace.output
        last = b.forward(net.blocks[-1], h)
        b.backward(last, b.output_error(last.output), want_input=False)

    def _compete(self, b: Builder, op: Op) -> None:
        """A weighted layer learns from its own input and output: -ΔW / η is a decay less a product."""
        u, w = op.outputs[0], op.inputs[1]
        mean = self.rate * u.shape[1] / u.size  # over samples and positions
        plain = b.optimizer.kind == "sgd" and not b.optimizer.weight_decay
        with b.at(op.where.layer):
            y = b.emit1("compete", u, temperature=self.temperature, anti=self.anti, **_ERROR)
            down = b.emit1("channel_products", y, u, by=mean, **_SCRATCH)
            if plain:
                b.emit("shrink_rows", w, down, role=Role.WEIGHT, phase=Phase.UPDATE)
            pushed = b.adjoint(op, [b.emit1("scale", y, by=-mean, **_ERROR)], [1])[1]
            if not plain:
                pulled = b.emit1("row_scale", w, down, by=1.0, **_SCRATCH)
                pushed = b.emit1("add", pushed, pulled, **_SCRATCH)
            b.update(w, pushed)
