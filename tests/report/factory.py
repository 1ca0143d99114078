"""Realistic results without training: ten rules on two networks."""

from __future__ import annotations

from collections.abc import Sequence

from insitu.experiment.record import Bytes, Curve, Hardware, Macs, Moment, Results, Row, Spread

RULES = ("bp", "bp-checkpoint", "fa", "usf", "brsf", "dfa", "sdfa", "drtp", "drtp-regenerated", "shallow")
NETWORKS = ("mlp-784-1000-10", "resnet20")
SEEDS = (1, 2, 3)
KIB = 1024
LOCAL = {"drtp", "drtp-regenerated", "shallow"}
STORED = {"fa": 300, "dfa": 40, "sdfa": 40, "drtp": 40}


def spread(mean: float, sd: float = 0.004) -> Spread:
    return Spread.of([mean - sd, mean, mean + sd])


def curve(seed: int, last: float, points: int = 20) -> Curve:
    """Rises towards ``last``."""
    accuracy: list[float | None] = [last * (1 - 0.8 ** (i + 2)) + 0.002 * seed for i in range(points)]
    loss: list[float | None] = [2.3 * 0.85**i + 0.01 * seed for i in range(points)]
    samples = [1437 * (i + 1) for i in range(points)]
    return Curve(seed=seed, samples=samples, train_loss=loss, test_loss=loss, test_accuracy=accuracy)


def parts(**kib: int) -> Bytes:
    sizes = {role: n * KIB for role, n in kib.items()}
    return Bytes(total=sum(sizes.values()), **sizes)


def timeline(rule: str, layers: int, *, eager: bool = False) -> list[Moment]:
    """Forward through all layers, then back; local rules drop activations on the way."""
    fixed = {"weight": 400, "feedback": STORED.get(rule, 0)}
    moments = []
    for i in range(layers):
        kept = 24 if rule in LOCAL else 24 * (i + 1)
        moments.append(
            Moment(op="matmul", layer=f"l{i}", phase="forward", bytes=parts(**fixed, activation=kept))
        )
        moments.append(
            Moment(op="relu", layer=f"l{i}", phase="forward", bytes=parts(**fixed, activation=kept))
        )
    for i in reversed(range(layers)):
        kept = 24 if rule in LOCAL else 24 * (i + 1)
        live = parts(**fixed, activation=kept, error=16 + i % 3, scratch=8 * (i % 2) + 60 * eager, label=1)
        moments.append(Moment(op="matmul_dx", layer=f"l{i}", phase="error", bytes=live))
        moments.append(Moment(op="matmul_dw_update", layer=f"l{i}", phase="gradient", bytes=live))
    return moments


def peak(moments: Sequence[Moment]) -> Bytes:
    return max((m.bytes for m in moments), key=lambda b: b.total)


def row(rule: str, network: str, index: int, *, layers: int = 4, label: str | None = None) -> Row:
    """One rule; every number follows from its arguments."""
    fused, eager = timeline(rule, layers), timeline(rule, layers, eager=True)
    macs = Macs(forward=25856, error=17664, gradient=25856, update=816.3125)
    last = 0.97 - 0.012 * index
    bp = peak(timeline("bp", layers)).total
    return Row(
        rule=rule,
        label=label or rule,
        rule_options={},
        network=network,
        data="digits",
        precision="float32",
        batch=32,
        optimizer="sgd",
        lr=0.2,
        seeds=list(SEEDS),
        epochs=20,
        samples=28740,
        test_accuracy=spread(last),
        test_loss=spread(1 - last),
        peak_bytes=peak(fused),
        eager_bytes=peak(eager),
        inference_bytes=430 * KIB,
        bytes_to_inference=peak(fused).total / (430 * KIB),
        bytes_to_bp=peak(fused).total / bp,
        macs_per_sample=macs,
        inference_macs=25856,
        macs_to_inference=macs.total / 25856,
        macs_to_bp=1.0,
        seconds=14.2 + index,
        curves=[curve(seed, last) for seed in SEEDS],
        timeline=fused,
        eager_timeline=eager,
        command=f"insitu train --data digits --network {network} --rule {rule} --epochs 20 --seed 1",
        paper="Somebody (2016), Something about learning, Somewhere 7",
    )


def hardware(energy: float, to_inference: float) -> Hardware:
    """Energy of a learned sample in pJ, and over that of inference."""
    return Hardware(
        target="stm32l4r5-c",
        peak_bytes=1,
        energy_pj=(energy, energy, energy),
        energy_to_inference=to_inference,
        energy_to_bp=None,
        seconds=None,
        run_energy_uj=None,
        writes_per_weight=1.0,
        lifetime_samples=None,
        problem=None,
    )


def results(*, rules: Sequence[str] = RULES, layers: Sequence[int] = (4, 40)) -> Results:
    """A comparison; ``layers``: how deep each network is."""
    rows = [
        row(rule, network, i, layers=depth)
        for network, depth in zip(NETWORKS, layers, strict=True)
        for i, rule in enumerate(rules)
    ]
    return Results(
        insitu="0.1.0",
        created="2026-11-24T07:29:00+00:00",
        command="insitu compare digits --out runs/c",
        environment={"python": "3.11.7", "torch": "2.13.0", "machine": "x86_64"},
        config={"data": "digits", "optimizer": {"kind": "sgd", "lr": 0.2}, "networks": list(NETWORKS)},
        rows=rows,
    )


def changed(found: Results, index: int, **fields: object) -> Results:
    """The results with some fields of one row replaced."""
    rows = list(found.rows)
    rows[index] = rows[index].model_copy(update=fields)
    return found.model_copy(update={"rows": rows})
