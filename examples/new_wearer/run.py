"""A watch learns its new wearer on the device: pretrained in float on nine people, it learns the tenth on a Cortex-M4.

    python examples/new_wearer/run.py [--rule pred] [--passes 10] [--order shuffled] [--board m4] [--out DIR]

The windows of the wearer come one at a time, ``passes`` times over: shuffled as in the recipe new-wearer, or in the
order in which they were recorded, one activity after the other. The same
program learns from them in the emulator of the board and on this machine; both must end with the bits of the integer
reference. Accuracy is that of the later half of every series, which was not learned.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from insitu.backends.c.firmware import on_board
from insitu.backends.c.host import Engine
from insitu.backends.c.project import write
from insitu.experiment import recipes
from insitu.experiment.config import RuleSpec
from insitu.experiment.program import executable
from insitu.experiment.resolve import Setup
from insitu.experiment.train import train
from insitu.run.samples import Feed, as_integers

RECIPE = "new-wearer"


def pretrained(out: Path, data_dir: str | None) -> Path:
    """The folder of the network that nine wearers trained in float32."""
    folder = out / "pretrain"
    if not (folder / "parameters.npz").exists():
        config = recipes.find(RECIPE).first_run(data_dir=data_dir)
        assert config is not None
        train(config, folder, resume=(folder / "config.yaml").exists())
    return folder


def device(start: Path, rule: str, data_dir: str | None) -> Setup:
    """The tenth wearer's watch: the pretrained network in 8-bit integers, one window at a time."""
    config = recipes.find(RECIPE).config(data_dir=data_dir)
    (spec,) = [s for s in config.rules if s.name == rule] or [RuleSpec(rule=rule)]
    run = config.run(config.networks[0], spec, seed=1)
    return Setup.of(run.model_copy(update={"init_from": str(start)}))


def accuracy(engine: Engine, setup: Setup) -> float:
    """Of the windows that are not learned."""
    test = setup.data.test
    x = Feed(engine.program.inference.inputs[0], test.x.reshape(len(test), *setup.net.input_shape))
    classes, _ = engine.infer(x.batches(np.arange(len(test))[:, None]))
    return float((classes == test.y).mean())


def order(count: int, number: int, how: str) -> np.ndarray:
    """The windows of a pass: as the trainer shuffles an epoch with seed 1, or as they were recorded."""
    return np.random.default_rng([1, number]).permutation(count) if how == "shuffled" else np.arange(count)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rule", default="pred")
    parser.add_argument("--passes", type=int, default=10)
    parser.add_argument("--order", choices=("shuffled", "recorded"), default="shuffled")
    parser.add_argument("--board", default="m4")
    parser.add_argument("--data-dir")
    parser.add_argument("--out", type=Path, default=Path("runs/new-wearer"))
    args = parser.parse_args()
    setup = device(pretrained(args.out, args.data_dir), args.rule, args.data_dir)
    program = executable(setup, 1)
    windows = setup.data.train
    x = windows.x.reshape(len(windows), *setup.net.input_shape)
    step = program.steps[0]
    stream = np.concatenate([order(len(windows), k, args.order) for k in range(args.passes)])
    batches = [
        (as_integers(step.inputs[0], x[i : i + 1]), windows.y[i : i + 1].astype(np.int64)) for i in stream
    ]
    program = replace(program, batches=tuple(batches))

    engine = Engine(program)
    before = accuracy(engine, setup)
    given = {v.name: v for v in step.inputs}
    label = Feed(given["label"], windows.y).batches(stream[:, None])
    engine.learn(Feed(given["x"], x).batches(stream[:, None]), label)
    after = accuracy(engine, setup)
    if engine.state.tobytes() != engine.memory.block("state", program.golden.states[-1]):
        raise SystemExit("the host engine and the integer reference differ")

    folder = args.out / f"c-{args.rule}"
    board = on_board(write(program, folder), args.board, run=True)
    windows_seen = f"{len(windows)} windows x {args.passes}"
    print(f"{args.rule}: accuracy {100 * before:.1f} % before, {100 * after:.1f} % after {windows_seen}")
    print("\n".join(board.lines()[:6]))
    if not board.equal:
        raise SystemExit("the board and the integer reference differ")


if __name__ == "__main__":
    main()
