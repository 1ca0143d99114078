"""Federated learning with quantized states: clients learn on their own digits, a server merges the stored words.

    python examples/federated.py runs/a/config.yaml --seed 1

The configuration is that of any run in an integer precision on data with classes, at a batch of 1.
Every client runs the integer reference, so its bits are those of a board. Each round sends the state down and a
delta up.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from insitu import state_apply, state_delta, state_merge
from insitu.experiment.config import RunConfig, load
from insitu.experiment.export import exportable
from insitu.experiment.resolve import Setup
from insitu.run.integer import run
from insitu.run.merge import State, restored, stored
from insitu.run.program import Program
from insitu.run.samples import Ints, as_integers
from insitu.step.context import StepContext


@dataclass(frozen=True)
class Federation:
    """A program, and its training samples in shares.

    Attributes:
        shares: numbers of the samples of each client.
        x, y: test samples in the words of the program, and their classes.
    """

    program: Program
    shares: list[npt.NDArray[np.int64]]
    x: Ints
    y: npt.NDArray[np.int64]

    @staticmethod
    def of(config: Path, clients: int, seed: int) -> Federation:
        """What a configuration trains, split among clients."""
        setup = Setup.of(load(RunConfig, config))
        program = exportable(config, steps=len(setup.data.train))
        order = np.random.default_rng(seed).permutation(len(program.batches))
        x = as_integers(program.inference.inputs[0], setup.data.test.x)
        return Federation(program, np.array_split(order, clients), x, setup.data.test.y)

    @property
    def first(self) -> State:
        """What every client begins with."""
        return stored(self.program, self.program.initial_state)

    def _values(self, state: State) -> dict[str, npt.NDArray[np.int64]]:
        whole = {name: np.array(a) for name, a in self.program.initial_state.items()}
        return whole | restored(self.program, state)

    def learned(self, state: State, client: int, turn: int) -> State:
        """The state of a client that has learned its share once."""
        values, count = self._values(state), sum(map(len, self.shares))
        for n, i in enumerate(self.shares[client]):
            context = self.program.context(turn * count + n)
            run(self.program.steps[0], values, *self.program.batches[i], context)
        return stored(self.program, values)

    def merged(self, states: Sequence[State], clients: Sequence[int], seed: int, turn: int) -> State:
        """The mean of states, weighted by the samples of their clients."""
        return state_merge(states, [len(self.shares[n]) for n in clients], seed=seed * 1000 + turn)

    def accuracy(self, state: State) -> float:
        """On the test samples."""
        values, step = self._values(state), self.program.inference
        context = StepContext(self.program.lr, self.program.seed, 0)
        shape = step.inputs[0].shape
        found = [run(step, values, x.reshape(shape), None, context)[0].argmax() for x in self.x]
        return round(float(np.mean(np.array(found) == self.y)), 4)


def options(text: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--clients", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    return parser


def main() -> None:
    args = options(__doc__ or "").parse_args()
    made = Federation.of(args.config, args.clients, args.seed)
    state, up = made.first, []
    for turn in range(args.rounds):
        states = []
        for client in range(args.clients):
            delta = state_delta(state, made.learned(state, client, turn))
            up.append(sum(map(len, delta)))
            states.append(state_apply(state, delta))
        state = made.merged(states, range(args.clients), args.seed, turn)
        print(json.dumps({"round": turn + 1, "test_accuracy": made.accuracy(state)}), flush=True)
    facts = {"delta": round(float(np.mean(up))), "state": sum(len(p.data) for p in state)}
    print(
        json.dumps({"bytes_up_per_client_and_round": {**facts, "float32": 4 * sum(p.count for p in state)}})
    )


if __name__ == "__main__":
    main()
