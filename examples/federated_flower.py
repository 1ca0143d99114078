"""The same federation through Flower: a server with a strategy of ours, and clients in processes of their own.

    pip install flwr
    python examples/federated_flower.py runs/a/config.yaml --seed 1

The states go down and the deltas up as Flower's parameters, a list of byte arrays, over gRPC on this machine; the
strategy merges stored words. Round for round the accuracies are those of ``examples/federated.py``.
"""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Sequence
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from flwr.client import Client, start_client
from flwr.common import Code, FitIns, FitRes, Parameters, Status
from flwr.server import ServerConfig, start_server
from flwr.server.strategy import FedAvg

from insitu import state_apply, state_delta
from insitu.run.merge import State

sys.path.insert(0, str(Path(__file__).parent))
from federated import Federation, options

KIND = "insitu.state"


def sent(state: State) -> Parameters:
    return Parameters([part.data for part in state], KIND)


def received(like: State, parameters: Parameters) -> State:
    return [replace(part, data=data) for part, data in zip(like, parameters.tensors)]


class Board(Client):
    """A client: the integer reference, whose bits are those of a board."""

    def __init__(self, made: Federation, number: int) -> None:
        self.made, self.number = made, number

    def fit(self, ins: FitIns) -> FitRes:
        state = received(self.made.first, ins.parameters)
        delta = state_delta(state, self.made.learned(state, self.number, int(ins.config["turn"])))
        status = Status(Code.OK, "")
        count = len(self.made.shares[self.number])
        return FitRes(status, Parameters(delta, KIND), count, {"client": self.number})


class Merge(FedAvg):
    """Deltas are applied to the state that was sent, and stored words are merged."""

    def __init__(self, made: Federation, seed: int) -> None:
        count = len(made.shares)
        super().__init__(
            min_fit_clients=count,
            min_available_clients=count,
            fraction_evaluate=0.0,
            on_fit_config_fn=lambda turn: {"turn": turn - 1},
            initial_parameters=sent(made.first),
        )
        self.made, self.seed, self.state = made, seed, made.first

    def aggregate_fit(
        self, turn: int, results: Sequence[Any], failures: Sequence[Any]
    ) -> tuple[Parameters, dict]:
        assert not failures, failures
        found = {res.metrics["client"]: state_apply(self.state, res.parameters.tensors) for _, res in results}
        clients = sorted(found)
        self.state = self.made.merged([found[n] for n in clients], clients, self.seed, turn - 1)
        print(json.dumps({"round": turn, "test_accuracy": self.made.accuracy(self.state)}), flush=True)
        return sent(self.state), {}


def board(config: Path, clients: int, seed: int, number: int, address: str) -> None:
    start_client(
        server_address=address, client=Board(Federation.of(config, clients, seed), number), insecure=True
    )


def main() -> None:
    args = options(__doc__ or "").parse_args()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    spawn = get_context("spawn")
    given = (args.config, args.clients, args.seed)
    boards = [spawn.Process(target=board, args=(*given, n, address)) for n in range(args.clients)]
    for process in boards:
        process.start()
    start_server(
        server_address=address,
        config=ServerConfig(num_rounds=args.rounds),
        strategy=Merge(Federation.of(*given), args.seed),
    )
    for process in boards:
        process.join()


if __name__ == "__main__":
    main()
