"""Which board fits what: the networks of the zoo, in words of 8 bits, learning one sample at a time.

    python benchmarks/fits.py [--out benchmarks/results/fits.json]

The bytes of a training step, by the plan, against the RAM of a board, as ``insitu check NET --rule ... --target ...``
says of each, or why there is none. ReLU; batch norms are folded; heads of local rules see 64 features, or as many more
as the channels of a map ask for.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from insitu.errors import InsituError
from insitu.experiment.design_point import DesignPoint
from insitu.experiment.design_program import program
from insitu.hardware.cost import capacity_bytes
from insitu.hardware.target import find

BOARDS = ("stm32g0b1", "stm32l4r5", "stm32u575", "ra8d1", "stm32h7a3", "esp32c3-c", "gap9")
LIMITS = (64, 128, 256, 512)
"""Features that heads see: the first that a network's maps can be pooled to."""
RULES: dict[str, dict[str, Any]] = {
    "bp": {},
    "bp-stash": {},
    "dfa": {},
    "drtp": {},
    "pred": {"limit": LIMITS[0]},
    "etch": {"limit": LIMITS[0]},
}
NETWORKS: dict[str, tuple[int, ...]] = {
    "mlp-64-32-10": (1, 8, 8),
    "mlp-784-100-10": (1, 28, 28),
    "mlp-784-500-500-10": (1, 28, 28),
    "cnn-8-16": (1, 28, 28),
    "cnn-16x2-16x2": (1, 28, 28),
    "lenet5": (1, 28, 28),
    "cnn-32-64-64": (3, 32, 32),
    "rev-16x4-32x4": (3, 32, 32),
    "ds-cnn": (1, 49, 10),
    "resnet8": (3, 32, 32),
    "resnet20": (3, 32, 32),
    "mobilenet-v1-0.25": (3, 96, 96),
    "autoencoder": (640,),
    "vgg8b": (3, 32, 32),
}
WORDS = "edge-latent-free-8"


def step(network: str, rule: str, options: dict[str, Any]) -> dict[str, Any]:
    """Bytes of a training step and of inference, or why it is refused."""
    point = DesignPoint(
        network,
        rule=rule,
        precision=WORDS,
        options=tuple(options.items()),
        input_shape=NETWORKS[network],
        batch=1,
        norm="fold",
        activation="relu",
    )
    try:
        made = program(point)
    except InsituError as error:
        return {"refused": str(error)}
    return {"bytes": made.peak_bytes, "inference": made.inference_layout.peak_bytes}


def smallest(network: str, rule: str, options: dict[str, Any]) -> dict[str, Any]:
    """The step with the first limit of heads that serves."""
    tries = [
        step(network, rule, {"limit": n} if options else {}) for n in (LIMITS if options else LIMITS[:1])
    ]
    return next((found for found in tries if "bytes" in found), tries[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "fits.json")
    args = parser.parse_args()
    found = {
        "boards": {name: capacity_bytes(find(name)) for name in BOARDS},
        "networks": {
            net: {rule: smallest(net, rule, options) for rule, options in RULES.items()} for net in NETWORKS
        },
    }
    for net, rules in found["networks"].items():
        print(net, {rule: entry.get("bytes") or entry["refused"][:90] for rule, entry in rules.items()})
    args.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
