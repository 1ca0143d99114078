"""What ZigZag makes of a few layers on one small accelerator: loop orders, word accesses and energies.

    python benchmarks/zigzag_oracle.py [--out tests/hardware/golden/zigzag.json]   # runs ZigZag, rewrites the file
    python benchmarks/zigzag_oracle.py --check                                     # runs ZigZag, compares with the file

Needs the extra ``oracle`` (zigzag-dse 3.9.1; its import needs six, which it does not declare). The accelerator
"edge64": 8 x 8 multipliers, a weight register each, an accumulator shared along D2, 64 KB of SRAM, one DRAM.
Accesses are in words of a port, in the order read by below, written by below, read by above, written by above.
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

GOLDEN = Path(__file__).parents[1] / "tests" / "hardware" / "golden" / "zigzag.json"
LEVELS = {"O": ("accumulator", "sram", "store"), "W": ("register", "sram", "store"), "I": ("sram", "store")}

EDGE64 = {
    "rows": 8,
    "columns": 8,
    "sram_bits": 64 * 1024 * 8,
    "sram_port_bits": 64,
    "store_port_bits": 32,
    "accumulator_bits": 32,
    "mac_pj": 0.11,
    "register_read_pj": 0.01,
    "register_write_pj": 0.02,
    "accumulator_pj": 0.03,
    "sram_read_pj": 5.33,
    "sram_write_pj": 4.57,
    "store_pj": 256.0,
}
"""Energies are per access of a whole port; a register has 8 bits."""


def _port(name: str, kind: str, bits: int, serves: str) -> dict[str, Any]:
    allocation = [item.replace("-", ", ") for item in serves.split()]
    return {
        "name": name,
        "type": kind,
        "bandwidth_min": bits,
        "bandwidth_max": bits,
        "allocation": allocation,
    }


def _memory(
    bits: int, read: float, write: float, operands: str, served: list[str], *ports: Any
) -> dict[str, Any]:
    cost = {"size": bits, "r_cost": read, "w_cost": write, "area": 0, "latency": 1}
    return {**cost, "operands": operands.split(), "ports": list(ports), "served_dimensions": served}


def accelerator() -> dict[str, Any]:
    """edge64 in ZigZag's terms: I2 is the stationary operand W, I1 is I."""
    h = EDGE64
    reads, writes = "I1-tl I2-tl O-tl O-th", "I1-fh I2-fh O-fh O-fl"
    register = [_port("r_port_1", "read", 8, "I2-tl"), _port("w_port_1", "write", 8, "I2-fh")]
    sums = [
        _port(f"{kind[0]}_port_{i}", kind, h["accumulator_bits"], f"O-{way}")
        for kind, ways in (("read", ("tl", "th")), ("write", ("fh", "fl")))
        for i, way in enumerate(ways, start=1)
    ]
    sram = [
        _port("r_port_1", "read", h["sram_port_bits"], reads),
        _port("w_port_1", "write", h["sram_port_bits"], writes),
    ]
    store = _port("rw_port_1", "read_write", h["store_port_bits"], f"{reads} {writes}")
    every = ["D1", "D2"]
    memories = {
        "register": _memory(8, h["register_read_pj"], h["register_write_pj"], "I2", [], *register),
        "accumulator": _memory(32, h["accumulator_pj"], h["accumulator_pj"], "O", ["D2"], *sums),
        "sram": _memory(h["sram_bits"], h["sram_read_pj"], h["sram_write_pj"], "I1 I2 O", every, *sram),
        "store": _memory(10**10, h["store_pj"], h["store_pj"], "I1 I2 O", every, store),
    }
    array = {
        "unit_energy": h["mac_pj"],
        "unit_area": 1,
        "dimensions": every,
        "sizes": [h["columns"], h["rows"]],
    }
    return {"name": "edge64", "memories": memories, "operational_array": array}


def dense(k: int, c: int, batch: int = 1, form: str = "forward") -> dict[str, Any]:
    """A dense layer with k outputs; of the form ``dw`` its weight gradient, W being the error."""
    final = 16 if form == "dw" else 8
    return {
        "form": form,
        "sizes": {"B": batch, "K": k, "C": c},
        "final_bits": final,
        "columns": "K",
        "rows": "C",
    }


def conv(k: int, c: int, plane: int, kernel: int, stride: int = 1, form: str = "forward") -> dict[str, Any]:
    """A padded convolution with k output channels of a square input plane; the form as in :func:`dense`."""
    out = plane // stride
    made = dense(k, c, 1, form)
    made["sizes"] |= {"OY": out, "OX": out, "FY": kernel, "FX": kernel}
    return made | {"stride": stride, "plane": plane}


def depthwise(groups: int, plane: int, kernel: int) -> dict[str, Any]:
    """One kernel a channel; the channels are G, the rows take the width of the kernel."""
    made = conv(1, 1, plane, kernel)
    sizes = {k: v for k, v in made["sizes"].items() if k not in "KC"}
    return made | {"sizes": {**sizes, "G": groups}, "columns": "G", "rows": "FX"}


GOLDEN_B = {
    "conv forward 16-32": conv(32, 16, 16, 3),
    "conv dX 32-16": conv(16, 32, 16, 3),
    "conv dW 16-32": conv(32, 16, 16, 3, form="dw"),
    "dense forward 256-64": dense(64, 256),
    "dense dX 64-256": dense(256, 64),
    "dense dW 256-64": dense(64, 256, form="dw"),
    "projection 10-256": dense(256, 10),
    "projection 10-64": dense(64, 10),
}
MORE = {
    "pointwise 64-128": conv(128, 64, 14, 1),
    "strided 3x3 16-32": conv(32, 16, 32, 3, stride=2),
    "first layer 3-32": conv(32, 3, 32, 3),
    "conv 128-128, weights beyond the SRAM": conv(128, 128, 16, 3),
    "dense 784-1000": dense(1000, 784),
    "dense 784-1000, batch 32": dense(1000, 784, 32),
    "depthwise 64": depthwise(64, 16, 3),
    "conv 64-64, planes beyond the SRAM": conv(64, 64, 64, 3),
    "dense 1024-1024, batch 256": dense(1024, 1024, 256),
    "dense dW 784-1000, batch 32": dense(1000, 784, 32, form="dw"),
}


def layer(work: dict[str, Any]) -> dict[str, Any]:
    """A workload in ZigZag's terms."""
    sizes = work["sizes"]
    planar = "OY" in sizes
    channel = "[g]" if "G" in sizes else "[k]"
    weight = "[g]" if "G" in sizes else "[k][c]"
    made = ("[b]" + channel + "[oy][ox]" * planar, weight + "[fy][fx]" * planar)
    seen = "[b]" + ("[g]" if "G" in sizes else "[c]") + "[iy][ix]" * planar
    out, stationary = reversed(made) if work["form"] == "dw" else made
    bits = {"W": 8, "I": 8, "O": EDGE64["accumulator_bits"], "O_final": work["final_bits"]}
    found = {
        "id": 0,
        "name": "layer",
        "operator_type": "Conv" if planar else "Gemm",
        "equation": f"O{out}+=W{stationary}*I{seen}",
        "loop_dims": list(sizes),
        "loop_sizes": list(sizes.values()),
        "operand_precision": bits,
        "operand_source": {},
    }
    if planar:
        border = [[sizes["FX"] // 2] * 2] * 2
        found |= {"dimension_relations": [f"i{a}={work['stride']}*o{a}+1*f{a}" for a in "xy"]}
        found |= {"pr_loop_dims": ["IX", "IY"], "pr_loop_sizes": [work["plane"]] * 2, "padding": border}
    return found


def run(work: dict[str, Any]) -> dict[str, Any]:
    """ZigZag's best mapping of a workload by energy, and what it counts."""
    from zigzag.api import get_hardware_performance_zigzag

    spatial = {"D1": [f"{work['columns']}, {EDGE64['columns']}"], "D2": [f"{work['rows']}, {EDGE64['rows']}"]}
    links = {"O": "O", "W": "I2", "I": "I1"}
    mapping = {"name": "default", "spatial_mapping": spatial, "memory_operand_links": links}
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: Path(folder) / f"{name}.yaml" for name in ("layer", "accelerator", "mapping")}
        for name, content in (
            ("layer", [layer(work)]),
            ("accelerator", accelerator()),
            ("mapping", [mapping]),
        ):
            paths[name].write_text(yaml.safe_dump(content, sort_keys=False))
        energy, cycles, models = get_hardware_performance_zigzag(
            *map(str, paths.values()),
            opt="energy",
            dump_folder=folder,
            loma_show_progress_bar=False,
            lpf_limit=6,
        )
    return _figures(models[0][1][0][0], energy, cycles)


def _figures(model: Any, energy: float, cycles: float) -> dict[str, Any]:
    loops = {str(k): v for k, v in model.temporal_mapping.mapping_dic_origin.items()}
    spread = {str(k): v for k, v in model.spatial_mapping.mapping_dict_origin.items()}
    accesses, energies, cuts = {}, {}, {}
    for operand, levels in LEVELS.items():
        words = {str(k): v for k, v in model.memory_word_access.items()}[operand]
        picojoules = {str(k): v for k, v in model.mem_energy_breakdown.items()}[operand]
        accesses[operand] = {
            name: [w.data[d] for d in sorted(w.data, key=lambda d: DIRECTIONS.index(d.name))]
            for name, w in zip(levels, words)
        }
        energies[operand] = dict(zip(levels, picojoules))
        cuts[operand] = {n: sum(map(len, loops[operand][: i + 1])) for i, n in enumerate(levels[:-1])}
    return {
        "spatial": {str(d): f for level in spread["O"] for d, f in level if f > 1},
        "loops": [[str(d), f] for level in loops["I"] for d, f in level],
        "cuts": cuts,
        "accesses": accesses,
        "energies_pj": energies,
        "mac_pj": model.mac_energy,
        "total_pj": energy,
        "cycles": cycles,
    }


DIRECTIONS = ("RD_OUT_TO_LOW", "WR_IN_BY_LOW", "RD_OUT_TO_HIGH", "WR_IN_BY_HIGH")


def produce() -> dict[str, Any]:
    """The whole file."""
    rows = {}
    for name, work in (GOLDEN_B | MORE).items():
        rows[name] = {"golden": name in GOLDEN_B, **work, **run(work)}
        print(f"{name}: {rows[name]['total_pj']:,.1f} pJ, {rows[name]['cycles']:,.0f} cycles", flush=True)
    how = {"command": "python benchmarks/zigzag_oracle.py", "zigzag": version("zigzag-dse")}
    how |= {
        "options": {"opt": "energy", "lpf_limit": 6},
        "loops": "innermost first; cuts: loops below a level's end",
    }
    return {"made_with": how, "hardware": EDGE64, "workloads": rows}


def main() -> None:
    """Reads the options; exits with 1 if a comparison fails."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=GOLDEN)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    made = json.loads(json.dumps(produce()))
    if not options.check:
        options.out.write_text(json.dumps(made, indent=1) + "\n")
        return
    kept = json.loads(options.out.read_text())["workloads"]
    wrong = [name for name, row in made["workloads"].items() if row != kept.get(name)]
    print("different: " + ", ".join(wrong) if wrong else "all as recorded")
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    main()
