"""Memory of one training step: planned, held by the executor, and seen by PyTorch's MemTracker.

    python benchmarks/step_memory.py [--out benchmarks/results/step_memory.json]

float32, plain SGD, fused view. ``activations + errors`` is the part that learning rules differ in; bytes.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from torch.distributed._tools.mem_tracker import MemTracker

from insitu.network import zoo
from insitu.passes import lower, plan
from insitu.rules import emit_step, make_rule
from insitu.run.state import extend_state
from insitu.run.torch_exec import TorchExecutor
from insitu.step.ir import Role

DEEP = "mlp-" + "-".join(["256"] * 9) + "-10"
CASES = [(DEEP, 32), ("mlp-784-1000-10", 128), ("lenet5", 1), ("lenet5", 128)]
RULES = {
    "bp": {},
    "bp-checkpoint": {},
    "dfa": {},
    "drtp": {},
    "drtp (regenerated)": {"feedback": "regenerated"},
    "shallow": {},
}


def tracked(executor: TorchExecutor, x: torch.Tensor, y: torch.Tensor) -> int:
    """Peak of the live storages as PyTorch's own tracker sees it."""
    executor.run(executor.convert(x, y), lr=0.01)
    inputs = executor.convert(x.clone(), y)
    tracker = MemTracker()
    tracker.track_external(*executor.state.values(), *inputs)
    with tracker:
        executor.run(inputs, lr=0.01, donate=True)
    return int(tracker.get_tracker_snapshot("peak")[torch.device("cpu")]["Total"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rows = []
    for name, batch in CASES:
        net = zoo.build(name)
        x, y = torch.rand(batch, *net.input_shape), torch.randint(0, net.outputs, (batch,))
        base = None
        for label, rule_options in RULES.items():
            step = lower(emit_step(make_rule(label.split()[0], rule_options), net, batch))
            layout = plan(step)
            executor = TorchExecutor(step, extend_state({}, step, net.params, 1), seed=1)
            moving = layout.by_role[Role.ACTIVATION] + layout.by_role[Role.ERROR]
            base = base or moving
            row = {
                "network": name,
                "batch": batch,
                "rule": label,
                "planned": layout.peak_bytes,
                "held": executor.measure(executor.convert(x, y), lr=0.01),
                "tracked": tracked(executor, x, y),
                "activations_and_errors": moving,
                "to_bp": moving / base,
            }
            rows.append(row)
            print("  ".join(f"{k} {v:.3f}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()))
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps({"rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
