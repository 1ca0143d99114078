"""What reversible couplings keep: bytes and operations of a step over those of inference, by the number of couplings.

    python benchmarks/reversible.py

``rev-16xN`` on 3x32x32 images, batch 1, words of 8 bits, by the plan. Accuracies: study ``reversible`` of
``benchmarks/trials.py``.
"""

from __future__ import annotations

from typing import Any

from insitu.experiment.design_point import DesignPoint
from insitu.experiment.design_program import program

WORDS = "edge-latent-free-8:error_exponent=static"
ROWS: dict[str, dict[str, Any]] = {
    "bp": {},
    "bp-reversible": {},
    "bp-checkpoint": {},
    "bp-stash": {},
    "etch": {"limit": 64, "violators": "mean"},
}


def main() -> None:
    for count in (4, 8, 16, 32):
        for rule, options in ROWS.items():
            point = DesignPoint(f"rev-16x{count}", rule=rule, precision=WORDS, options=tuple(options.items()))
            made = program(point)
            learn, infer = (sum(s.counts().macs.values()) for s in (made.steps[0], made.inference))
            bytes_over = made.peak_bytes / made.inference_layout.peak_bytes
            print(count, rule, made.peak_bytes, f"{bytes_over:.2f}", f"{learn / infer:.2f}")


if __name__ == "__main__":
    main()
