"""A device learns over a line that damages one byte in a hundred: nothing lost, nothing learned twice, equal state.

    python benchmarks/serial_line.py --out benchmarks/results/serial_line.json

The device is an export compiled for this machine behind pipes; damage is a byte lost, doubled, or with one bit flipped,
both ways, of a seeded generator. The reference is the integer reference after the same samples.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.device.channel import Case, Noisy, state_of  # noqa: E402

from insitu.device.device import Device  # noqa: E402
from insitu.device.ports import open_port  # noqa: E402


def measure(frames: int, rate: float, seed: int, seconds: float = 0.02) -> dict[str, object]:
    """One session of so many training steps, a request each."""
    with tempfile.TemporaryDirectory() as folder:
        case = Case(Path(folder))
        line = open_port(f"exec:{case.built()}")
        noisy = Noisy(line, rate, seed)
        device = Device(noisy, seconds=seconds, tries=1000)
        start = time.monotonic()
        case.learn(device, frames)
        took = time.monotonic() - start
        noisy.rate = 0.0
        equal = state_of(device) == case.state
        step = Device(noisy).hello.step  # a new session: the old one's numbers end here
        line.close()
    return {
        "frames": frames,
        "damaged_share_of_bytes": rate,
        "seed": seed,
        "bytes_carried": noisy.carried,
        "bytes_damaged": noisy.damaged,
        "requests_sent_again": device.repeated,
        "training_steps_of_the_device": step,
        "state_equal": equal,
        "seconds": round(took, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=10_000)
    parser.add_argument("--rate", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    found = measure(args.frames, args.rate, args.seed)
    text = json.dumps(found, indent=1) + "\n"
    print(text, end="")
    if args.out is not None:
        args.out.write_text(text, encoding="utf-8")
    if not found["state_equal"] or found["training_steps_of_the_device"] != args.frames:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
