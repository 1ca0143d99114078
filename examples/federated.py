"""Federated learning with quantized states: clients learn on their own digits, a server merges the stored words.

    python examples/federated.py runs/a/config.yaml --seed 1

The configuration is that of any run in an integer precision on data with classes, at a batch of 1.
Every client runs the integer reference, so its bits are those of a board. Each round sends the state down and a
delta up.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from insitu import state_apply, state_delta, state_merge
from insitu.experiment.config import RunConfig, load
from insitu.experiment.export import exportable
from insitu.experiment.resolve import Setup
from insitu.run.integer import run
from insitu.run.merge import restored, stored
from insitu.run.samples import as_integers
from insitu.step.context import StepContext


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", type=Path)
    parser.add_argument("--clients", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    setup = Setup.of(load(RunConfig, args.config))
    program = exportable(args.config, steps=len(setup.data.train))
    step = program.steps[0]
    order = np.random.default_rng(args.seed).permutation(len(program.batches))
    shares = np.array_split(order, args.clients)
    state, up = stored(program, program.initial_state), []
    words = as_integers(program.inference.inputs[0], setup.data.test.x)
    for turn in range(args.rounds):
        states = []
        for share in shares:
            values = {name: np.array(a) for name, a in program.initial_state.items()} | restored(
                program, state
            )
            for n, i in enumerate(share):
                run(step, values, *program.batches[i], program.context(turn * len(order) + n))
            delta = state_delta(state, stored(program, values))
            up.append(sum(map(len, delta)))
            states.append(state_apply(state, delta))
        state = state_merge(states, [len(share) for share in shares], seed=args.seed * 1000 + turn)
        values = {name: np.array(a) for name, a in program.initial_state.items()} | restored(program, state)
        context = StepContext(program.lr, program.seed, 0)
        shape = program.inference.inputs[0].shape
        scores = [run(program.inference, values, x.reshape(shape), None, context)[0].argmax() for x in words]
        accuracy = float(np.mean(np.array(scores) == setup.data.test.y))
        print(json.dumps({"round": turn + 1, "test_accuracy": round(accuracy, 4)}), flush=True)
    facts = {"delta": round(float(np.mean(up))), "state": sum(len(p.data) for p in state)}
    print(
        json.dumps({"bytes_up_per_client_and_round": {**facts, "float32": 4 * sum(p.count for p in state)}})
    )


if __name__ == "__main__":
    main()
