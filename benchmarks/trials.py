"""Rules side by side at equal trials: every row takes the same learning rates, chosen on validation data.

    python benchmarks/trials.py STUDY [--seeds 5] [--rows NAME ...] [--out FILE]

A tenth of the training samples is the validation split. The rate with the best validation accuracy, of the first seed
or of the mean over the first few, is then trained with further seeds, and test images are looked at once a run. Bytes
are those of the plan at batch 1: of a training step, and of the forward pass. Differences are paired by seed. Runs that
are in the output file (``benchmarks/results/trials/STUDY.json``) are not done again, so it can be stopped.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from insitu.experiment.config import OptimizerConfig, RunConfig
from insitu.experiment.resolve import Setup
from insitu.experiment.train import train
from insitu.run.files import write_atomic

Row = tuple[str, dict[str, Any], dict[str, Any] | str]
"""A rule, its options, its precision."""
Trial = tuple[float, int | None]
"""A learning rate, and the room of activations; ``None``: the default."""

RESULTS = Path(__file__).parent / "results" / "trials"


@dataclass(frozen=True)
class Study:
    """What is compared.

    Attributes:
        title: of the docs.
        data, network: their names.
        rows: by name; the first one is what the others are compared with.
        rates: learning rates, the same for all that compute in integers.
        float_rates: as many for floats, which train by batches of 32.
        samples, epochs, test: training samples, epochs over them, test samples.
        more: other fields of the runs.
        rooms: doublings that activations may grow (``activation_headroom``), tried beside the default.
        choosing: seeds whose mean validation accuracy chooses the rate: at the largest that learns, some seeds fail.
    """

    title: str
    data: str
    network: str
    rows: dict[str, Row]
    rates: tuple[float, ...]
    samples: int
    epochs: int
    test: int
    more: dict[str, Any] = field(default_factory=dict)
    float_rates: tuple[float, ...] = ()
    choosing: int = 1
    rooms: tuple[int, ...] = ()

    def rates_of(self, row: str) -> tuple[float, ...]:
        return self.float_rates if self.rows[row][2] == "float32" else self.rates

    def trials_of(self, row: str) -> list[Trial]:
        """Every rate in every room; a bounded activation needs none."""
        rooms = (None,) if row.endswith("tanh") or not self.rooms else (None, *self.rooms)
        return [(lr, room) for room in rooms for lr in self.rates_of(row)]


KERNELS = {
    "base": "edge-latent-free-8",
    "error_exponent": "static",
    "error_clip": 2,
    "group_size": 1,
    "residual_bits": 2,
    "threshold": 4,
    "layers": {
        "conv1": {"update": "error-feedback", "residual_bits": 8},
        "conv?": {"update": "error-feedback"},
    },
}
"""8-bit words, with residuals of 2 bits for kernels."""

WORDS = {"base": "edge-latent-free-8", "error_exponent": "static"}


def dynamic(words: dict[str, Any]) -> dict[str, Any]:
    """The same with run-time exponents of errors, for what sends them through many layers."""
    return {key: value for key, value in words.items() if key not in ("error_exponent", "error_clip")}


HEADS: dict[str, Any] = {"limit": 1024, "violators": "mean", "shared": True, "vote": 1}

ON_MAPS: dict[str, Row] = {
    "etch": ("etch", HEADS, KERNELS),
    "etch, one violator": ("etch", HEADS | {"violators": "one"}, KERNELS),
    "etch, averages of 64": ("etch", HEADS | {"limit": 64}, KERNELS),
    "pred": ("pred", {"limit": 1024}, KERNELS),
    "bp-stash": ("bp-stash", {}, dynamic(KERNELS)),
    "bp": ("bp", {}, dynamic(KERNELS)),
    "bp, tanh": ("bp", {}, dynamic(KERNELS)),
    "bp, hinge": ("bp", {}, dynamic(KERNELS)),
}

BEHIND: dict[str, Row] = {
    "bp": ("bp", {}, dynamic(WORDS)),
    "fa": ("fa", {}, dynamic(WORDS)),
    "dfa": ("dfa", {}, dynamic(WORDS)),
    "drtp": ("drtp", {"scale": "mean"}, dynamic(WORDS)),
    "dgl": ("dgl", {}, WORDS),
    "pred": ("pred", {"limit": 64}, WORDS),
    "etch": ("etch", {"limit": 64}, WORDS),
    "etch, heads of 32": ("etch", {"limit": 32}, WORDS),
    "shallow": ("shallow", {}, WORDS),
}
ON_DIGITS = {
    "bp, float32": ("bp", {}, "float32"),
    "bp, float32, tanh": ("bp", {}, "float32"),
    "bp-stash": ("bp-stash", {}, dynamic(WORDS)),  # one bit holds the derivative of ReLU alone
    **BEHIND,
    **{f"{name}, tanh": row for name, row in BEHIND.items()},
}
"""The rules of ``make demo``, each with ReLU and with tanh: what suits one of them ruins another."""


REMAINDERS = WORDS | {"update": "error-feedback", "group_size": 1, "threshold": 4, "residual_bits": 4}
IN_GROUPS: dict[str, Any] = {"limit": 256, "violators": "mean"}

AT_ROOM: dict[str, Row] = {
    f"{rule}, {room}": (rule, options, words | {"activation_headroom": room})
    for rule, options, words in (BEHIND["bp"], BEHIND["dfa"], BEHIND["pred"], BEHIND["etch"])
    for room in range(2, 7)
}
"""Doublings beyond the activations of first weights that static binary points leave room for."""


def on_digits(title: str, network: str, rows: dict[str, Row] = ON_DIGITS) -> Study:
    rates, floats = (0.3, 0.1, 0.03, 0.01, 0.003, 0.001), (1.0, 0.3, 0.1, 0.03, 0.01, 0.003)
    more = {"schedule": {"kind": "cosine", "final": 0.05}}
    return Study(title, "digits", network, rows, rates, 1_437, 10, 360, more, floats, 3)


STUDIES = {
    "demo-deep": on_digits("Four hidden layers, the built-in digits", "mlp-64-64-64-64-64-10"),
    "demo-maps": on_digits("Four convolutions, the built-in digits", "cnn-16x2-16x2"),
    "groups": Study(
        "Groups of blocks with one head, the built-in digits",
        "digits",
        "cnn-8x2-16x2",
        {f"etch, group={k}": ("etch", IN_GROUPS | {"group": k}, WORDS) for k in (1, 2, 3, 5)}
        | {"bp-stash": ("bp-stash", {}, dynamic(WORDS)), "bp": ("bp", {}, dynamic(WORDS))},
        (0.08, 0.04, 0.02, 0.01, 0.005),
        1_437,
        4,
        360,
        choosing=3,
    ),
    "reversible": Study(
        "Four reversible couplings a stage, the built-in digits",
        "digits",
        "rev-8x4",
        {
            "bp": ("bp", {}, REMAINDERS),
            "bp-reversible": ("bp-reversible", {}, REMAINDERS),
            "bp-stash": ("bp-stash", {}, REMAINDERS),
            "etch": ("etch", {"limit": 64, "violators": "mean"}, REMAINDERS),
        },
        (0.04, 0.02, 0.01, 0.005, 0.0025),
        1_437,
        4,
        360,
        choosing=3,
    ),
    "headroom-deep": on_digits("Room for activations, four hidden layers", "mlp-64-64-64-64-64-10", AT_ROOM),
    "headroom-maps": on_digits("Room for activations, four convolutions", "cnn-16x2-16x2", AT_ROOM),
    "depth": Study(
        "A plain stack of six convolutions, CIFAR-10",
        "cifar10",
        "cnn-16x2-32x2-64x2",
        ON_MAPS | {"etch, sketch of 64": ("etch", HEADS | {"sketch": 64}, KERNELS)},
        (0.02, 0.01, 0.005),
        10_000,
        2,
        2_000,
        rooms=(2,),
    ),
    "maps": Study(
        "Three convolutions, CIFAR-10",
        "cifar10",
        "cnn-32-64-64",
        ON_MAPS,
        (0.02, 0.01, 0.005, 0.0025),
        10_000,
        2,
        2_000,
        rooms=(2,),
    ),
    "dense": Study(
        "Two hidden layers of 500, MNIST",
        "mnist",
        "mlp-784-500-500-10",
        {
            "etch, one violator": ("etch", {"violators": "one"}, WORDS),
            "etch, mean of violators": ("etch", {"violators": "mean"}, WORDS),
            "pred": ("pred", {}, WORDS),
            "bp-stash": ("bp-stash", {}, dynamic(WORDS)),
            "bp": ("bp", {}, dynamic(WORDS)),
            "bp, hinge": ("bp", {}, dynamic(WORDS)),
            "bp, tanh": ("bp", {}, dynamic(WORDS)),
        },
        (0.08, 0.04, 0.02, 0.01),
        20_000,
        2,
        10_000,
        {"schedule": {"kind": "cosine", "final": 0.05}},
        rooms=(2,),
    ),
}


def key(trial: Trial, seed: int) -> str:
    """Of a run in the stored file."""
    lr, room = trial
    return f"{lr:g} {seed}" + ("" if room is None else f" room {room}")


def configuration(study: Study, row: str, trial: Trial, seed: int) -> RunConfig:
    rule, options, words = study.rows[row]
    floats, (lr, room) = words == "float32", trial
    if room is not None:
        assert isinstance(words, dict)
        words = words | {"activation_headroom": room}
    return RunConfig(
        data=study.data,
        network=study.network,
        network_options={"activation": "tanh" if row.endswith("tanh") else "relu"},
        rule=rule,
        rule_options=options,
        precision=words,
        engine="torch" if floats else "c",
        batch=32 if floats else 1,
        epochs=study.epochs,
        eval_epochs=study.epochs,
        limit_train=study.samples,
        limit_test=study.test,
        validation=0.1,
        seed=seed,
        optimizer=OptimizerConfig(kind="sgd", lr=lr),
        loss="hinge" if row.endswith("hinge") else "xent",
        **study.more,
    )


def accuracies(config: RunConfig) -> dict[str, float]:
    """Of the last evaluation."""
    seen: list[dict[str, Any]] = []
    train(config, on_event=seen.append)
    last = [event for event in seen if "validation_accuracy" in event][-1]
    return {"validation": last["validation_accuracy"], "test": last["test_accuracy"]}


def memory(config: RunConfig) -> tuple[int, int]:
    """Bytes of a training step and of the forward pass."""
    made = Setup.of(config).program
    return made.peak_bytes, made.inference_layout.peak_bytes


def chosen_on(runs: dict[str, Any], trial: Trial, seeds: int) -> float:
    """The mean validation accuracy of a trial over the first seeds; 0 of a run that diverged, or is not there."""
    return fmean(runs.get(key(trial, seed), {}).get("validation") or 0.0 for seed in range(1, seeds + 1))


def best(runs: dict[str, Any], trials: list[Trial], seeds: int) -> Trial:
    """The trial of the best validation accuracy."""
    return max(trials, key=lambda trial: chosen_on(runs, trial, seeds))


QUANTILE = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}
"""Student's t, 97.5 %, by degrees of freedom."""


def interval(values: list[float]) -> float | None:
    """Half of the 95 % confidence interval of a mean; ``None`` of one value."""
    n = len(values)
    return QUANTILE[n - 1] * stdev(values) / n**0.5 if n > 1 else None


def tests(entry: dict[str, Any], trial: Trial, seeds: int) -> list[float]:
    """Test accuracies in percent, seed after seed."""
    found = (entry["runs"].get(key(trial, seed)) for seed in range(1, seeds + 1))
    return [100 * (run["test"] or 0.0) for run in found if run is not None]


def summarize(kept: dict[str, Any], study: Study, seeds: int) -> None:
    """Means, intervals and paired differences from the first row."""
    head = next(iter(study.rows))
    at = {
        row: best(entry["runs"], study.trials_of(row), study.choosing) for row, entry in kept["rows"].items()
    }
    first = tests(kept["rows"][head], at[head], seeds) if head in at else []
    for row, entry in kept["rows"].items():
        mine = tests(entry, at[row], seeds)
        pairs = [b - a for a, b in zip(first, mine)]
        entry |= {"lr": at[row][0], "room": at[row][1], "seeds": len(mine), "test": fmean(mine)}
        entry |= {"interval": interval(mine), "difference": fmean(pairs or [0.0]), "paired": interval(pairs)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("--seeds", type=int, default=5, choices=range(1, 11))
    parser.add_argument("--rows", nargs="*", help="names of rows; all of them")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    study, out = STUDIES[args.study], args.out or RESULTS / f"{args.study}.json"
    kept: dict[str, Any] = json.loads(out.read_text()) if out.exists() else {"rows": {}}
    for row in args.rows or study.rows:
        entry = kept["rows"].setdefault(row, {"runs": {}})
        trials, runs = study.trials_of(row), entry["runs"]
        entry["bytes"] = memory(configuration(study, row, trials[0], 1))
        for seed in range(1, args.seeds + 1):
            for trial in trials if seed <= study.choosing else [best(runs, trials, study.choosing)]:
                if (name := key(trial, seed)) not in runs:
                    runs[name] = accuracies(configuration(study, row, trial, seed))
                    write_atomic(out, json.dumps(kept, indent=1))
                    print(row, name, runs[name], flush=True)
        summarize(kept, study, args.seeds)
        write_atomic(out, json.dumps(kept, indent=1))
        print(row, {k: v for k, v in entry.items() if k != "runs"}, flush=True)


if __name__ == "__main__":
    main()
