"""Text that is parsed: flags, ``--set``, configurations, names and arrays that nobody should send."""

from __future__ import annotations

import io
import json

import numpy as np
from benchmarks.attacks import Case, kind, sound
from benchmarks.attacks.runs import RUN

NUMBERS = (
    *(
        "-1",
        "0",
        "1",
        "2.5",
        "1e40",
        "-1e-40",
        "1e-400",
        "99999999999",
        "10" * 20,
        "1" * 10_000,
        ".inf",
        "-.inf",
        ".nan",
    ),
    *(
        "inf",
        "nan",
        "yes",
        "no",
        "null",
        "~",
        "",
        " ",
        "0x10",
        "1_000",
        "1:30",
        "[1]",
        "{}",
        "'1'",
        "1e",
        "--",
        "٣",
        "½",
    ),
)
WORDS = (
    *NUMBERS,
    "../x",
    "a/b",
    "a b",
    "\n",
    "\\",
    "é",
    "\udcff",
    "*",
    "&a",
    "*a",
    "!!python/object:os.system",
    "%s",
    "{0}",
    "<b>",
    "a" * 5000,
)
FIELDS = (
    *(
        "epochs",
        "batch",
        "seed",
        "optimizer.lr",
        "optimizer.momentum",
        "threads",
        "limit_train",
        "limit_test",
        "validation",
    ),
    *(
        "eval_batch",
        "eval_epochs",
        "checkpoint_steps",
        "augment.pad",
        "schedule.kind",
        "calibration.samples",
        "samples",
    ),
    *(
        "network",
        "rule",
        "precision",
        "loss",
        "target",
        "data",
        "device",
        "engine",
        "start",
        "network_options.norm",
    ),
    *(
        "rule_options.x",
        "data_options.classes",
        "early_stop.patience",
        "optimizer.kind",
        "nothing",
        "optimizer",
        "version",
    ),
)


def _short(text: str) -> str:
    return repr(text if len(text) < 60 else text[:60] + "...")


@kind("set")
def sets(case: Case) -> str | None:
    """One or two fields get a value that they were not made for."""
    given = [f"{case.pick(*FIELDS)}={case.pick(*WORDS)}" for _ in range(1 + case.whole(2))]
    if any("\0" in x for x in given):
        return None
    words = [word for text in given for word in ("--set", text)]
    return sound(case.insitu(*RUN, "--rule", "bp", *words, "--out", "r"), _short(" ".join(given)))


@kind("flags")
def flags(case: Case) -> str | None:
    flag, value = (
        case.pick("--epochs", "--batch", "--lr", "--seed", "--network", "--rule", "--precision", "--data"),
        case.pick(*WORDS),
    )
    return sound(case.insitu(*RUN, flag, value, "--out", "r"), f"{flag} {_short(value)}")


@kind("names")
def names(case: Case) -> str | None:
    """Names of networks, rules and precisions whose numbers and options are out of every range."""
    n = [case.pick("0", "1", "3", "-1", "99999999999", "64", "10", "", "x", "999999") for _ in range(4)]
    network = case.pick(
        f"mlp-64-{n[0]}-10",
        f"mlp-{n[0]}-{n[1]}",
        f"cnn-{n[0]}-{n[1]}",
        f"layerwise-{n[0]}x{n[1]}",
        f"vgg{n[0]}",
        "-",
        "mlp-" * 50,
    )
    rule = case.pick(
        "bp", f"dgl:k={n[2]}", f"dbl:move={n[3]}", f"nitro:saturate={n[2]}", "bp:", ":", "etch:shared=maybe"
    )
    precision = case.pick(
        "float32",
        f"w{n[2]}a{n[3]}",
        f"edge-latent-free-{n[2]}",
        f"edge-latent-free-8:hidden={n[3]}",
        "w4a8:",
        "=",
    )
    verb = [
        ["cost", network, "--rules", rule, "--precisions", precision],
        ["check", network, "--rule", rule],
    ][case.whole(2)]
    return sound(case.insitu(*verb), f"{verb[0]} {network} {rule} {precision}")


TEXTS = (
    *("a: &a [*a]\n", "a: &a {x: 1}\nb: *a\n", "\t", "{", "[" * 5000, "- " * 900, "? [a]\n: b\n", "\xff"),
    *("data: digits\ndata: digits\n", "epochs: 1e0\n", "epochs: 0o7\n", "epochs: 1:30\n", "!!binary x"),
    *(
        "!!python/name:os.system",
        "%YAML 9.9\n---\n",
        "---\n---\n",
        'data: "\\ud800"\n',
        "epochs: " + "9" * 10_000,
    ),
    *(
        "rule: !!set {a}",
        "seed: 2001-01-01\n",
        "\ufeffdata: digits\n",
        "data: |\n  digits\n",
        "<<: {epochs: 1}\n",
    ),
)
BASE = """data: digits
network: mlp-64-12-10
rule: bp
epochs: 1
limit_train: 64
limit_test: 32
optimizer: {lr: 0.1}
"""


@kind("yaml")
def yaml(case: Case) -> str | None:
    """Configurations: pieces of YAML that parsers stumble over, and mutated whole ones."""
    verb = case.pick("train", "compare", "grid", "check")
    if case.whole(2):
        at, piece = case.whole(len(BASE)), TEXTS[case.whole(len(TEXTS))]
        text = case.pick(BASE + piece, BASE[:at] + piece + BASE[at:], *([piece] if verb == "check" else []))
        data = text.encode("latin-1", "replace") if case.whole(2) else text.encode("utf-8", "surrogatepass")
    else:
        data = BASE.encode()
        for _ in range(1 + case.whole(4)):
            at = case.whole(len(data))
            data = data[:at] + bytes([case.whole(256)]) + data[at + case.whole(3) :]
    (case.folder / "c.yaml").write_bytes(data)
    out = [] if verb == "check" else ["--out", "r"]
    return sound(case.insitu(verb, "c.yaml", *out), f"{verb}: {data[:80]!r}")


@kind("bombs")
def bombs(case: Case) -> str | None:
    """A kilobyte of aliases that stands for 10^9 values."""
    depth, width = 5 + case.whole(5), 9
    lines = ["a0: &a0 [x, x]"] + [
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * width)}]" for i in range(1, depth + 1)
    ]
    field = case.pick(
        "epochs",
        "data_options",
        "rule_options",
        "network_options",
        "precision",
        "rules",
        "networks",
        "nothing",
    )
    (case.folder / "c.yaml").write_text("\n".join([*lines, f"{field}: *a{depth}", ""]))
    verb = case.pick("train", "compare", "grid", "check")
    out = [] if verb == "check" else ["--out", "r"]
    return sound(case.insitu(verb, "c.yaml", *out), f"{verb} {field} {depth}")


@kind("arrays")
def arrays(case: Case) -> str | None:
    """Data files whose arrays are of strange types, shapes and values."""
    made = io.BytesIO()
    given = {
        name: _array(case) for name in (("x", "y"), ("x_train", "y_train", "x_test", "y_test"))[case.whole(2)]
    }
    with np.errstate(all="ignore"):
        np.savez(made, **given, allow_pickle=True)
    data = made.getvalue()
    if not case.whole(3):
        data = data[: case.whole(len(data))]
    (case.folder / "d.npz").write_bytes(data)
    told = {name: (str(a.dtype), a.shape) for name, a in given.items()}
    words = [
        "train",
        "--data",
        "d.npz",
        "--network",
        "mlp-4-3-2",
        "--rule",
        "bp",
        "--epochs",
        "1",
        "--batch",
        "2",
        "--out",
        "r",
    ]
    return sound(case.insitu(*words), json.dumps(told))


def _array(case: Case) -> np.ndarray:
    shape = (
        (20, 4),
        (20,),
        (4, 20),
        (),
        (0, 4),
        (20, 2, 2),
        (1, 4),
        (20, 1, 2, 2),
        (20, 4, 1, 1, 1),
        (2, 0),
    )[case.whole(10)]
    kind_of = case.pick(
        "<f4", "<f8", ">f4", "<i8", "u1", "?", "<c8", "S3", "<U3", "<M8[s]", "O", "<f2", "<i2"
    )
    values = case.rng.integers(0, 2, shape)
    array = np.asarray(values).astype(kind_of)
    if kind_of in ("<f4", "<f8", "<i8") and array.size and not case.whole(3):
        array.flat[0] = (
            (np.nan, np.inf, -1e30, 2**62)[case.whole(4)] if kind_of != "<i8" else (-1, 2**62)[case.whole(2)]
        )
    return array
