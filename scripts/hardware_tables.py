"""Tables of the hardware pages, for render_docs.py: targets, what the cost model was checked against, the analysis."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from math import log2
from pathlib import Path
from typing import Any

from insitu.hardware import target as targets
from insitu.hardware.mapping import energy_pj, evaluate
from insitu.hardware.search import Array, best
from insitu.report.units import bytes_text, count_text, energy_text

ROOT = Path(__file__).resolve().parents[1]
BENCHMARKS = ROOT / "benchmarks" / "results"
STUDIES = ROOT / "docs" / "results"
GOLDEN = ROOT / "tests" / "hardware" / "golden" / "zigzag.json"
UNKNOWN = "–"

Row = dict[str, Any]


def markdown(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = [f"| {' | '.join(columns)} |", f"| {' | '.join('---' for _ in columns)} |"]
    return "\n".join([*head, *(f"| {' | '.join(row)} |" for row in rows)]) + "\n"


def stored(name: str) -> Any:
    return json.loads((BENCHMARKS / f"{name}.json").read_text(encoding="utf-8"))


# --- targets and checks --------------------------------------------------------------------------------------


def target_table() -> str:
    rows = [
        (
            f"`{row['name']}`", row["what"], f"{row['clock_mhz']:g}", bytes_text(row["ram_bytes"]),
            row["store"] or "none", "yes" if row["energy"] else "unknown",
        )
        for row in targets.describe()
    ]  # fmt: skip
    return markdown(("target", "what", "MHz", "RAM or SRAM", "store", "energy"), rows)


def mlperf_table() -> str:
    """Leave one network out: error of the predicted cycles and energy."""
    found = stored("mlperf_tiny")["residuals"]
    boards = list(dict.fromkeys(r["board"] for r in found))
    rows = []
    for network in dict.fromkeys(r["network"] for r in found):
        mine = [_pick(found, network=network, board=board) for board in boards]
        rows.append((network, *(_signed(r[f"{key}_error"]) for key in ("cycles", "energy") for r in mine)))
    columns = (f"{key}, {board}" for key in ("cycles", "energy") for board in boards)
    return markdown(("left out", *columns), rows)


def _pick(rows: Iterable[Row], **wanted: Any) -> Row:
    return next(r for r in rows if all(r[k] == v for k, v in wanted.items()))


def _signed(share: float) -> str:
    return f"{100 * share:+.2f} %"


def zigzag_table() -> str:
    """Our energy over ZigZag's: at its mapping, counted as it counts and as we do, and of our own search."""
    sys.path.insert(0, str(ROOT))
    from tests.hardware.test_mapping import EDGE64, WORKLOADS, costs, mapping, nest

    rows = []
    for name, row in WORKLOADS.items():
        product, there, total = nest(row), mapping(row), row["total_pj"]
        same, own = (energy_pj(evaluate(product, there, zeros=zeros), costs()) for zeros in (True, False))
        array = Array(EDGE64["rows"], EDGE64["columns"], (row["rows"],), (row["columns"],))
        free = best(product, array, EDGE64["sram_bits"], costs(), zeros=True, first="energy")
        shares = (f"{same / total:.4f}", f"{own / total:.3f}", f"{free.energy_pj / total:.3f}")
        rows.append((name, count_text(product.macs), energy_text(total), *shares))
    columns = ("product", "MACs", "ZigZag", "same mapping", "same, first sums not read", "own mapping")
    return markdown(columns, rows)


def pau_table() -> str:
    """Published and ours, under their conventions."""
    rows = []
    for case in stored("pau_aymone")["cases"]:
        cells = [case["net"], case["rule"]]
        for kind, scale in (("macs", 1e6), ("bytes", 1e3)):
            published, ours, share = (case[kind][k] for k in ("published", "ours", "deviation"))
            cells += [f"{published / scale:.2f}" if published else UNKNOWN, f"{ours / scale:.3f}"]
            cells.append(_signed(share) if published else UNKNOWN)
        rows.append(cells)
    return markdown(("network", "rule", "MACs, M", "ours", "", "KB", "ours", ""), rows)


def silicon_table() -> str:
    """Published overheads of two chips, and ours."""
    rows = []
    for found in stored("silicon")["predictions"]:
        predicted, published = found["predicted"], found["published"]
        low, high = found["range"]
        span = f"{100 * low:.1f} to {100 * high:.1f} %"
        rows.append(
            (found["name"], _percent(predicted), span, _percent(published), f"{predicted / published:.2g}")
        )
    return markdown(("figure", "predicted", "over what is unknown", "published", "ratio"), rows)


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if abs(share) < 0.1 else f"{100 * share:.1f} %"


def instructions_table(record: str) -> str:
    """Predicted against measured: bytes, and instructions of a program that the fit has not seen."""
    rows = []
    found = stored(record)["rows"]
    for forward, step in zip(found[::2], found[1::2], strict=True):
        named = (f"{step['network']}, {step['data']}", f"`{step['rule']}`")
        sizes = (f"{step['planned_bytes']:,}", f"{step['bytes']:,}")
        counts = ((f"{r['counted']:,.0f}", _signed(r["error"])) for r in (forward, step))
        rows.append((*named, *sizes, *(text for pair in counts for text in pair)))
    columns = (
        "network, data",
        "rule",
        "bytes, planned",
        "measured",
        "instructions, forward",
        "predicted",
        "training step",
        "predicted",
    )
    return markdown(columns, rows)


def conformance_table() -> str:
    """Rules x policies whose bits in C are the integer reference's, per machine and network."""
    found: dict[tuple[str, str], dict[str, list[str]]] = {}
    for key, what in stored("conformance")["rows"].items():
        machine, network, rule, _ = key.split(" ")
        kind = what if what == "equal" else "refused" if what.startswith("refused") else "differs"
        found.setdefault((machine, network), {}).setdefault(kind, []).append(rule)
    rows = []
    for (machine, network), kinds in found.items():
        refused = ", ".join(f"`{rule}`" for rule in sorted(set(kinds.get("refused", []))))
        counts = (f"{len(kinds.get(kind, []))}" for kind in ("equal", "differs", "refused"))
        rows.append((machine, network, *counts, refused or UNKNOWN))
    return markdown(("machine", "network", "equal", "differ", "refused", "of rules"), rows)


def misra_table() -> str:
    """Findings of cppcheck in an exported project, and why they stay."""
    rows = [(r["rule"], str(r["findings"]), r["why"]) for r in stored("misra")["rows"]]
    return markdown(("rule", "findings", "why they stay"), rows)


def own_rule_table() -> str:
    """Bytes of etch beside bp-stash."""
    found = stored("own_rule")
    rows = []
    for network in dict.fromkeys(p["network"] for p in found["points"]):
        both = [
            _pick(found["points"], network=network, rule=r, target="stm32l4r5") for r in ("etch", "bp-stash")
        ]
        shares = [f"{p['training']:,} ({p['training'] / p['inference']:.3f})" for p in both]
        rows.append((network, f"{both[0]['inference']:,}", *shares))
    memory = markdown(("network", "inference, bytes", "`etch`, training", "`bp-stash`, training"), rows)
    boards = [
        (r["network"], f"`{r['rule']}`", f"{r['memory']:,}", f"{r['inference']:,}",
         f"{r['memory'] / r['inference']:.3f}")
        for r in found["boards"]
    ]  # fmt: skip
    variants = [(r["network"], r["variant"], r["inference"], r["training"]) for r in found["variants"]]
    variants += [
        (r["network"], r["label"].removeprefix("etch "), r["inference_bytes"], r["peak_bytes"]["total"])
        for name in ("own-rule-mnist-long", "own-rule-fashion", "own-rule-fashion-conv", "own-rule-cifar")
        for r in json.loads((STUDIES / f"{name}.json").read_text(encoding="utf-8"))["rows"]
        if "gathered" in r["label"] or (r["network"].startswith("cnn") and r["label"] == "etch 8-bit")
    ]
    planned = markdown(
        ("network", "`etch`", "inference, bytes", "training"),
        [(net, what, f"{less:,}", f"{more:,} ({more / less:.3f})") for net, what, less, more in variants],
    )
    built = markdown(("built for the Cortex-M4", "rule", "training, bytes", "inference", "ratio"), boards)
    return "\n".join((memory, planned, built))


OWN_NETWORK = "mlp-784-500-500-10"
OWN_TARGETS = {"stm32l4r5": "Cortex-M4", "accelerator-22nm": "22 nm accelerator"}


def own_rule_energy_table() -> str:
    """Energy of a sample of etch at the shares of every epoch, beside a sample that triggers everything."""
    found = stored("own_rule")

    def cells(triggers: list[float]) -> Iterable[str]:
        for target in OWN_TARGETS:
            mine = _pick(found["points"], rule="etch", target=target, triggers=triggers, network=OWN_NETWORK)
            theirs = _pick(found["points"], rule="bp-stash", target=target, network=OWN_NETWORK)
            spent, whole = mine["energy_uj"], theirs["energy_uj"]
            yield f"{spent:,.1f} ({spent / whole:.2f})"

    rows = [
        (str(e["epochs"]), " / ".join(f"{100 * s:.1f} %" for s in e["triggered"].values()),
         *cells(list(e["triggered"].values())))
        for e in found["epochs"]
    ]  # fmt: skip
    rows.append(("worst case", "100 %", *cells([])))
    columns = (f"{name}, µJ a sample (× `bp-stash`)" for name in OWN_TARGETS.values())
    return markdown(("MNIST, epoch", "samples that trigger block 1 / 2 / 3", *columns), rows)


def own_rule_accuracy_table() -> str:
    """Energy to an accuracy, and over that of BP with a one-bit stash."""
    found = stored("own_rule")["to_accuracy"]
    rows = []
    for accuracy, label in dict.fromkeys((r["accuracy"], r["label"]) for r in found):
        mine = [_pick(found, accuracy=accuracy, label=label, target=t) for t in OWN_TARGETS]
        some, of = mine[0]["reached"]
        samples = f"{mine[0]['samples']:,.0f}" if mine[0]["samples"] else f"{some} of {of} seeds"
        cells = (_energy_and_ratio(r) for r in mine)
        shares = " / ".join(f"{100 * s:.1f} %" for s in mine[0]["triggers"].values())
        rows.append((f"{100 * accuracy:.1f} %", label, samples, shares or "all", *cells))
    columns = (f"{name}, J (× `bp-stash`)" for name in OWN_TARGETS.values())
    return markdown(("accuracy", "rule", "samples", "of them trigger (block 1 / 2 / 3)", *columns), rows)


def _energy_and_ratio(row: Row) -> str:
    """In J, and over the reference's with its band (90 % of the draws of the cost table), where there is one."""
    if row["ratio"] is None:
        return UNKNOWN
    low, high = (f"{x:.2f}" for x in row["ratio_band"])
    band = f"; {low} to {high}" if low != high else ""
    return f"{row['energy_uj'] / 1e6:,.2f} ({row['ratio']:.2f}{band})"


def theory_table() -> str:
    """Triggers until silence beside the bounds of theorems 1 and 5; a hidden layer by epoch."""
    rows = [
        (
            what,
            str(r["seed"]),
            str(len(r["triggers"])),
            f"{r['triggers'][-1]:,}",
            f"{r['gamma']:.2f}",
            f"{r['bound']:,.0f}",
            f"{r['writes']:,}",
            f"{r['flips']:,}",
            f"{r['allowed']:,}",
            f"{r['moved_words']:,.0f}",
        )
        for part, what in (
            ("head", "stochastic (theorem 1)"),
            ("nearest", "nearest, 10 hidden bits (theorem 5)"),
        )
        for r in stored("theory")[part]["runs"]
    ]
    columns: tuple[str, ...] = (
        "update", "seed", "epochs until silent", "triggers", "γ", "bound", "words written",
        "flips", "bound", "way / 2^q",
    )  # fmt: skip
    head = markdown(columns, rows)
    rows = []
    for label, found in stored("theory")["layers"].items():
        epochs = found["epochs"]
        for at in (0, len(epochs) - 1):
            row = epochs[at]
            rates = " / ".join(f"{100 * x:.1f} %" for x in row["triggers"])
            margins = " / ".join(f"{q:.2f}" for q in row["margins"]["fc1.head"][:3])
            counts = (f"{row['writes']:,}", f"{row['flips']:,}", f"{row['moved']:,}")
            rows.append((label, str(at + 1), rates, margins, *counts))
    columns = (
        "hidden layer 64x64: words, rate",
        "epoch",
        "triggers, layer / output",
        "margin / θ at 5 / 25 / 50 %",
        "written",
        "flips",
        "different at its end",
    )
    return head + "\n" + markdown(columns, rows)


def windows_table() -> str:
    """Theorem 4 beside its runs."""
    rows = []
    for r in stored("theory")["rotating"]:
        steps, quarter = r["steps"], len(r["steps"]) // 4
        least = r["curvature"] * r["grid"] / 2
        bound = f"{r['bound'][-1]:,.0f}" if r["bound"] else "none"
        rows.append(
            (
                r["label"],
                str(r["seed"]),
                " / ".join(f"{sum(part):,}" for part in (steps[:quarter], steps[-quarter:], steps)),
                bound,
                f"{sum(r['bad']):,} / {sum(r['chance']):,.0f}",
                f"{r['left'][0]:,} / {r['left'][-1]:,}",
                f"{r['loss'][0]:.3f} / {r['loss'][-1]:.3f}",
                f"{100 * r['fell']:.0f} %",
                f"{r['curvature']:.2f} ({r['curvatures'][0]:.1f} to {r['curvatures'][2]:.1f})",
                f"{least:.4f}",
            )
        )
    columns = (
        "rotating, violators", "seed", "steps, first / last quarter / all", "bound", "bad steps / bound",
        "words with \\|m\\| ≥ 2EΔ/(ηT), first / last", "loss, first / last", "windows that lower it",
        "ℓ (5 to 95 % of windows)", "ℓΔ/2",
    )  # fmt: skip
    return markdown(columns, rows)


def moments_table() -> str:
    """Signal to noise and kurtosis of updates."""
    rows = []
    for r in stored("theory")["moments"]:
        for name, m in r.get("words", {}).items():
            median = m["snr"][2]
            rows.append(
                (
                    f"{r['samples']:,}",
                    name,
                    f"{100 * r['triggers'][HEADS[name]]:.1f} %",
                    f"{median:.3f} / {m['snr'][4]:.3f}",
                    f"{m['snr_rounded'][2]:.3f} / {m['snr_rounded'][4]:.3f}",
                    f"{(2 / median) ** 2:,.0f}",
                    f"{m['kurtosis'][2]:,.0f} / {m['kurtosis'][4]:,.0f}",
                )
            )
    columns = (
        "MNIST, samples seen", "words", "triggers", "signal to noise, 50 / 95 % of words", "with rounding",
        "samples to 2 σ, median", "kurtosis, 50 / 95 %",
    )  # fmt: skip
    return markdown(columns, rows)


def residuals_table() -> str:
    """Theorem 6 beside its runs: the hinge by residual bits and width."""
    found = {(r["read"], r["width"], r["bits"]): r for r in stored("residuals")["rows"]}
    bits = sorted({b for _, _, b in found})
    rows = []
    for read, width in dict.fromkeys((r, w) for r, w, _ in found):
        mine = [found[read, width, b] for b in bits]
        rows.append((read, str(width), *(f"{r['hinge']:.3f}" for r in mine), f"{log2(width) / 2:.0f}"))
    return markdown(("read", "n", *(f"r = {b}" for b in bits), "½ log2 n"), rows)


def gates_table() -> str:
    """Theorem 7 beside its runs: accuracy, and epochs until silence."""
    rows = []
    for name, r in stored("gates")["rows"].items():
        silent = ["more" if n is None else str(n) for n in r["silent"]]
        rows.append((name, f"2^{log2(r['rate']):.0f}", f"{r['test']:.1f} ± {r['sd']:.1f}", ", ".join(silent)))
    columns = (
        "network",
        "rate",
        "test accuracy, %, 5 seeds",
        "300 samples: epochs until all is silent, by seed",
    )
    return markdown(columns, rows)


HEADS = {"fc1.weight": "fc1.head", "fc1.head.weight": "fc1.head", "fc2.weight": "fc2"}
"""The scores whose margin triggers the update of a matrix."""


def boards_table() -> str:
    """Exported programs on the emulated boards."""
    rows = []
    for r in stored("boards")["rows"]:
        named = (r["network"], f"`{r['rule']}`", r["board"], f"`{r['build']}`")
        if "refused" in r:
            rows.append((*named, f"does not run: {r['refused']}", *("",) * 7))
            continue
        ratio = r["memory"] / r["inference_memory"]
        bits = "equal" if r["equal"] else "DIFFER"
        counts = (f"{r['per_step']:,.0f}", f"{r['per_inference']:,.0f}")
        code = (f"{r['text']:,}", f"{r['network_text']:,}")
        stack = "not bounded" if r["stack"] is None else f"{r['stack']:,}"
        rows.append((*named, bits, f"{r['memory']:,}", f"{ratio:.3f}", stack, *code, *counts))
    columns = (
        "network",
        "rule",
        "core",
        "build",
        "bits",
        "RAM",
        "× inference",
        "stack",
        ".text",
        "code and constants",
        "instructions a step",
        "a forward pass",
    )
    return markdown(columns, rows)


def kernels_table() -> str:
    """Instructions of single kernel calls."""
    rows = [
        (
            r["board"],
            r["call"],
            f"{r['instructions']:,}",
            f"{r['each']:.2f}",
            "–" if r["bar"] is None else f"{r['bar']:.1f}",
        )
        for r in stored("kernels")["rows"]
    ]
    return markdown(("core", "call", "instructions", "a MAC or weight", "bar"), rows)


def engine_table() -> str:
    """Samples per second of three engines in one run."""
    rows = [
        (
            f"`{r['rule']}`", *(f"{r[f'{k}_samples_per_s']:,.0f}" for k in ("c", "torch", "autograd")),
            f"{r['to_executor']:.1f}", f"{r['to_autograd']:.1f}",
        )
        for r in stored("engine_speed")["rows"]
    ]  # fmt: skip
    return markdown(
        ("rule", "C", "torch executor", "autograd, float32", "C / executor", "C / autograd"), rows
    )


def convolutions_table() -> str:
    """Learning with convolutions against autograd, in one run."""
    rows = [
        (
            net["network"],
            f"`{r['rule']}`",
            f"{r['ms']:.2f}",
            f"{r['to_batch_32']:.1f}",
            f"{r['to_batch_1']:.1f}",
        )
        for net in stored("conv_speed")["networks"]
        for r in net["rows"]
    ]
    return markdown(("network", "rule", "C, ms a sample", "autograd at batch 32 / C", "at batch 1 / C"), rows)


# --- the critical analysis -----------------------------------------------------------------------------------


class Analysis:
    """The stored rows, by point."""

    def __init__(self) -> None:
        found = stored("critical_analysis")
        self.rows: list[Row] = found["rows"]
        self.whole: list[Row] = found["to_accuracy"]
        self.by = {(r["network"], r["rule"], r["precision"], r["batch"], r["target"]): r for r in self.rows}
        self.networks = self._distinct("network")
        self.rules = self._distinct("rule")
        self.targets = self._distinct("target")

    def _distinct(self, key: str) -> list[str]:
        return list(dict.fromkeys(r[key] for r in self.rows))

    def value(
        self, key: str, network: str, rule: str, setting: tuple[str, int], target: str | None = None
    ) -> Any:
        row = self.by[network, rule, *setting, target or self.targets[0]]
        return row.get(key)

    def grid(self, cell: Callable[[str, str], str]) -> str:
        """A row per rule, a column per network; rules without any figure are left out."""
        rows = [(f"`{rule}`", *(cell(network, rule) for network in self.networks)) for rule in self.rules]
        shown = [row for row in rows if any(c != UNKNOWN for c in row[1:])]
        return markdown(("rule", *self.networks), shown)

    def bytes_grid(self, precision: str, batch: int) -> str:
        """Peak bytes of a step over those of inference."""

        def cell(network: str, rule: str) -> str:
            share = self.value("bytes_to_inference", network, rule, (precision, batch))
            return f"{share:.2f}" if share is not None else UNKNOWN

        return self.grid(cell)

    def macs_grid(self, precision: str, batch: int) -> str:
        def cell(network: str, rule: str) -> str:
            share = self.value("macs_to_inference", network, rule, (precision, batch))
            return f"{share:.2f}" if share is not None else UNKNOWN

        return self.grid(cell)

    def energy_grid(self, precision: str, batch: int) -> str:
        """Energy over that of BP on each target; bold: below all three baselines in 95 % of the draws."""

        def cell(network: str, rule: str) -> str:
            cells = []
            for target in self.targets:
                row = self.by[network, rule, precision, batch, target]
                bp = self.value("energy_pj", network, "bp", (precision, batch), target)
                mine = row.get("energy_pj")
                text = f"{mine / bp:.2f}" if mine and bp else UNKNOWN
                shares = list((row.get("claims") or {}).values())
                stable = bool(shares) and all(s is not None and s >= 0.95 for s in shares)
                cells.append(f"**{text}**" if stable else text)
            return " / ".join(cells) if any(c != UNKNOWN for c in cells) else UNKNOWN

        return self.grid(cell)

    def phase_table(self, network: str, precision: str, batch: int) -> str:
        """Share of the energy by phase, on each target."""
        names = ("forward", "error", "feedback", "gradient", "update", "random", "rounding")
        rows = []
        for target in self.targets:
            for rule in ("bp", "bp-stash", "dfa", "drtp", "pred"):
                found = self.by[network, rule, precision, batch, target].get("phases") or {}
                known = {k: v for k, v in found.items() if v is not None}
                total = sum(known.values())
                if total and len(known) == len(found):
                    shares = (f"{100 * known.get(name, 0.0) / total:.0f}" for name in names)
                    rows.append((target, f"`{rule}`", energy_text(total), *shares))
        return markdown(("target", "rule", "a sample", *(f"{n} %" for n in names)), rows)

    def bits_table(self, network: str) -> str:
        """What narrower words change: bytes and energy."""
        settings = [("float32", 1), ("w8a8", 1), *((f"edge-latent-free-{b}", 1) for b in (8, 4, 2))]
        rows = []
        for rule in ("bp", "bp-stash", "drtp", "pred"):
            for setting in settings:
                peak, ratio = (
                    self.value(k, network, rule, setting) for k in ("peak_bytes", "bytes_to_inference")
                )
                if peak is None:
                    continue
                energies = [self.value("energy_pj", network, rule, setting, t) for t in self.targets]
                rows.append(
                    (f"`{rule}`", setting[0], bytes_text(peak), f"{ratio:.2f}", *map(energy_text, energies))
                )
        return markdown(("rule", "precision", "bytes", "× inference", *self.targets), rows)

    def batch_table(self, network: str, precision: str) -> str:
        """Energy per sample and bytes at batch 1 and 32."""
        rows = []
        for rule in ("bp", "bp-stash", "dfa", "drtp", "pred", "dgl"):
            cells = []
            for target in self.targets:
                one, many = (self.value("energy_pj", network, rule, (precision, b), target) for b in (1, 32))
                cells.append(f"{energy_text(one)} → {energy_text(many)}" if one and many else UNKNOWN)
            peaks = [self.value("peak_bytes", network, rule, (precision, b)) for b in (1, 32)]
            rows.append((f"`{rule}`", " → ".join(map(bytes_text, peaks)), *cells))
        return markdown(("rule", "bytes, batch 1 → 32", *self.targets), rows)

    def whole_table(self) -> str:
        """Energy to an accuracy on two targets; what did not get there is said."""
        if not self.whole:
            return "Not run yet: `insitu reproduce critical-analysis`, then `python benchmarks/critical_analysis.py`.\n"
        rows = []
        shown = (self.targets[0], self.targets[2])
        for network in dict.fromkeys(w["network"] for w in self.whole):
            mine = [w for w in self.whole if w["network"] == network]
            for label in dict.fromkeys(w["label"] for w in mine):
                found = [_pick(mine, label=label, target=t) for t in shown]
                first = found[0]
                some, of = first["reached"]
                samples = count_text(first["samples"]) if first["samples"] else f"{some} of {of} seeds"
                cells = []
                for w in found:
                    energy = w["energy_pj"]
                    cells.append(energy_text(energy["central"] if energy else None))
                    cells.append(f"{w['to_bp']:.2f}" if w["to_bp"] else UNKNOWN)
                rows.append((network, f"{100 * first['accuracy']:.0f} %", label, samples, *cells))
        columns = ("network", "accuracy", "rule", "samples", *(x for t in shown for x in (t, "× BP")))
        return markdown(columns, rows)

    def parts(self) -> dict[str, str]:
        edge = "edge-latent-free-8"
        return {
            "critical bytes edge": self.bytes_grid(edge, 1),
            "critical bytes float": self.bytes_grid("float32", 32),
            "critical macs": self.macs_grid(edge, 1),
            "critical energy edge": self.energy_grid(edge, 1),
            "critical phases": self.phase_table("resnet8", edge, 1),
            "critical phases dense": self.phase_table(self.networks[0], edge, 1),
            "critical bits": self.bits_table("resnet8"),
            "critical bits dense": self.bits_table(self.networks[0]),
            "critical batch": self.batch_table(self.networks[0], edge),
            "critical whole": self.whole_table(),
        }


def parts() -> dict[str, str]:
    own = {
        "targets": target_table(),
        "zigzag": zigzag_table(),
        "mlperf": mlperf_table(),
        "instructions": instructions_table("instructions"),
        "instructions-rv32imc": instructions_table("instructions-rv32imc"),
        "conformance": conformance_table(),
        "misra": misra_table(),
        "own_rule_hardware": own_rule_table(),
        "own_rule_energy": own_rule_energy_table(),
        "own_rule_accuracy": own_rule_accuracy_table(),
        "theory": theory_table(),
        "theory windows": windows_table(),
        "theory moments": moments_table(),
        "theory residuals": residuals_table(),
        "theory gates": gates_table(),
        "pau": pau_table(),
        "silicon": silicon_table(),
        "boards": boards_table(),
        "kernels": kernels_table(),
        "engine": engine_table(),
        "convolutions": convolutions_table(),
    }
    return own | Analysis().parts()
