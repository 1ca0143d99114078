"""Is C the integer reference, bit for bit? Rules x policies x networks on this machine, and on the emulated boards.

    python benchmarks/conformance.py [--jobs 2] [--steps 100] [--boards m0,m4,s390x] [--out FILE]

Every row learns ``steps`` training steps and compares every resident after every step; on a board the CRC of the whole
state, and so on s390x, which is big-endian. Rows that are in the output file are not computed again, so it can be
stopped.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from itertools import product
from multiprocessing import Pool
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.backends.programs import Pair, pair, program  # noqa: E402
from tests.backends.test_c import READY  # noqa: E402
from tests.run.test_integer import POLICIES  # noqa: E402

from insitu.backends.c.boards import BOARDS  # noqa: E402
from insitu.backends.c.firmware import equal  # noqa: E402
from insitu.backends.c.project import Project, write  # noqa: E402
from insitu.errors import InsituError  # noqa: E402
from insitu.run.program import Program  # noqa: E402

NETWORKS = ("mlp", "lenet", "separable")
UPDATES = (
    "edge-latent-free-4:update=error-feedback",
    "edge-latent-free-8:update=error-feedback,group_size=1,residual_bits=2,threshold=4",
    "edge-latent-free-8:update=round-robin,slices=3,window=4",
    "edge-latent-free-4:hidden=4,update=threshold",
)
"""Beside stochastic rounding, a latent copy and NITI's and NITRO's."""

ALL = (*POLICIES, *UPDATES)
HOST = "host"
BIG_ENDIAN = "s390x"
"""In QEMU; floats are computed in double between two operations (``FLT_EVAL_METHOD`` 1)."""
MACHINES = (*BOARDS, BIG_ENDIAN)
Key = tuple[str, str, str, str]


def keys(boards: list[str]) -> Iterator[Key]:
    """Machine, network, rule, policy."""
    for network, rule, policy in product(NETWORKS, READY, ALL):
        yield HOST, network, rule, policy
    for rule, policy, board in product(READY, ALL, boards):
        yield board, "mlp", rule, policy


def result(task: tuple[Key, int]) -> tuple[Key, str]:
    """``equal``, what differs first, or why the rule cannot learn the network."""
    (machine, network, rule, policy), steps = task
    try:
        found = (
            _host(network, rule, policy, steps)
            if machine == HOST
            else _board(machine, network, rule, policy, steps)
        )
    except InsituError as error:
        found = f"refused: {error}"
    return task[0], found


def _host(network: str, rule: str, policy: str, steps: int) -> str:
    both = pair(rule, network, policy, batch=2 if network == "mlp" else 1)
    wrong = next(both.learn(steps), None)
    if wrong is None:
        mine, theirs = both.scores()
        wrong = None if (mine == theirs).all() else "scores"
    return "equal" if wrong is None else wrong


def _board(board: str, network: str, rule: str, policy: str, steps: int) -> str:
    made = _golden(network, rule, policy, steps)
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "c"
        if board == BIG_ENDIAN:
            return "equal" if _big_endian(write(made, out, form="single-header")) else "differs"
        return "equal" if equal(write(made, out), board) else "differs"


def _big_endian(project: Project) -> bool:
    """Does the self-test of one header end with all bits equal on s390x?"""
    flags = ["-std=c99", "-O1", "-static", "test.c", "-o", "test"]
    subprocess.run([f"{BIG_ENDIAN}-linux-gnu-gcc", *flags], cwd=project.folder, check=True)
    done = subprocess.run(
        [f"qemu-{BIG_ENDIAN}", "./test"], cwd=project.folder, capture_output=True, text=True
    )
    return done.stdout == "self-test: all equal\n"


@lru_cache(maxsize=1)
def _golden(network: str, rule: str, policy: str, steps: int) -> Program:
    """What the reference computes: the same for every board."""
    net, made = program(rule, network, policy, batch=2)
    feed, batches = Pair.__new__(Pair), []
    feed.net, feed.program = net, made
    for feed.t in range(steps):
        batches.append(feed.batch()[1:])
    return replace(made, batches=tuple(batches))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--boards", default=",".join(MACHINES), help=f"of {', '.join(MACHINES)}")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "conformance.json")
    args = parser.parse_args()
    kept = json.loads(args.out.read_text()) if args.out.exists() else {"steps": args.steps, "rows": {}}
    rows: dict[str, str] = kept["rows"]
    todo = [(k, args.steps) for k in keys(args.boards.split(",")) if " ".join(k) not in rows]
    with Pool(args.jobs) as pool:
        for i, (key, found) in enumerate(pool.imap_unordered(result, todo)):
            rows[" ".join(key)] = found
            if found != "equal":
                print(*key, found, flush=True)
            if i % 20 == 19:
                args.out.write_text(json.dumps(kept, indent=0) + "\n")
    args.out.write_text(json.dumps({**kept, "rows": dict(sorted(rows.items()))}, indent=0) + "\n")
    print(f"{sum(v == 'equal' for v in rows.values())} of {len(rows)} equal")


if __name__ == "__main__":
    main()
