"""What a caller of a generated program sees: ``insitu_net.h``, and what a training step asks of its arguments."""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np

from insitu.backends.c.emit import LEAST_SHIFT, form_of, integer
from insitu.backends.c.exits import declared
from insitu.backends.c.memory import ALIGN, aligned
from insitu.backends.c.templates import template
from insitu.escape import c_comment
from insitu.ops.updates import BoundUpdate, MasterUpdate
from insitu.step.ir import Value

if TYPE_CHECKING:
    from insitu.backends.c.project import Source


def checks(source: Source) -> list[str]:
    """What a training step asks of its caller, beyond a network and samples."""
    label = source.program.given.get("label")
    moves = source.constants.moves
    lines = ["    (void)label;"]
    if any(isinstance(o, BoundUpdate) for o in moves):
        lines += _refuse("INSITU_UPDATES", "net->shift[i] < INSITU_LEAST_SHIFT", "INSITU_BAD_RATE")
    if any(isinstance(o, MasterUpdate) for o in moves):
        lines.append("    if (!(net->clock.rate >= 0.0f && net->clock.rate <= 1e30f)) {")
        lines += ["        return INSITU_BAD_RATE;", "    }"]
    if label is not None:
        lines += ["    if (label == NULL) {", "        return INSITU_NO_ARGUMENT;", "    }"]
    if label is not None and label.unit is None:  # class indices
        bits, form = form_of(label)
        array = f"{{(uint8_t *)(uintptr_t)label, {label.size}u, {bits}u, {form}}}"
        lines.append(f"    const insitu_array labels = {array};")
        wrong = "(uint32_t)insitu_get(&labels, i) >= INSITU_CLASSES"
        lines += _refuse(f"{label.size}u", wrong, "INSITU_BAD_LABEL")
    return lines


def _refuse(count: str, wrong: str, status: str) -> list[str]:
    loop = f"    for (uint32_t i = 0; i < {count}; i++) {{"
    return [loop, f"        if ({wrong}) {{", f"            return {status};", "        }", "    }"]


def header(source: Source) -> str:
    """``insitu_net.h``: sizes and the interface."""
    p = source.program
    labels = "Labels are class indices: " + ", ".join(f"{i} {n}" for i, n in enumerate(p.classes[:NAMED]))
    more = f" and {len(p.classes) - NAMED} more" if len(p.classes) > NAMED else ""
    names = (
        "extern const char *const insitu_class_names[]; /* INSITU_CLASSES of them */\n" if p.classes else ""
    )
    x = p.inference.inputs[0]
    return template(
        "insitu_net.h.in",
        {
            "title": c_comment(p.name),
            "sizes": _defines(_sizes(source)),
            "input": _defines(input_defines(x)),
            "shape": " x ".join(map(str, x.shape[1:])),
            "labels": _wrapped(c_comment(labels + more + ".")) if p.classes else "",
            "names": names,
            "targets": _targets(source),
            "early": declared(p),
        },
    )


NAMED = 20
"""Classes whose names stand in the header's comment; all are in ``insitu_class_names``."""


def _wrapped(text: str) -> str:
    return "\n * ".join(wrap(text, 118, break_long_words=False, break_on_hyphens=False))


def _defines(values: Mapping[str, str]) -> str:
    return "\n".join(f"#define INSITU_{name} {value}" for name, value in values.items())


def _sizes(source: Source) -> dict[str, str]:
    p, memory = source.program, source.memory
    source.bodies  # noqa: B018  # finds the workspace and the number of updates
    x, label = p.given.get("x"), p.given.get("label")
    sizes = {
        "TRAINING_ARENA_BYTES": memory.training_arena,
        "INFERENCE_ARENA_BYTES": memory.inference_arena,
        "WORKSPACE_BYTES": aligned(source.workspace),
        "TRAINING_STATE_BYTES": memory.size("state"),
        "INFERENCE_STATE_BYTES": max(memory.size("state", inference=True), ALIGN),
        "ROM_BYTES": memory.size("rom"),
        "SAMPLE_BYTES": p.inference.inputs[0].bytes,
        "BATCH": p.steps[0].batch,
        "BATCH_BYTES": x.bytes if x is not None else 0,
        "LABEL_BYTES": label.bytes if label is not None else 0,
        "LABEL_BITS": label.format.bits if label is not None else 0,
        "CLASSES": p.inference.outputs[0].size // p.inference.batch,
        "PHASES": len(p.steps),
        "PHASE": p.phase,
        "UPDATES": max(len(source.constants.moves), 1),
    }
    identity = {"PROGRAM": f"{source.identity:#010x}u", "LEAST_SHIFT": f"({LEAST_SHIFT})"}
    return {name: f"{n}u" for name, n in sizes.items()} | identity


def input_defines(x: Value) -> dict[str, str]:
    """How real values become words of a sample; the unit as float32, which ``quantize`` divides by."""
    bits, form = form_of(x)
    return {
        "SAMPLE_VALUES": f"{x.size}u",
        "INPUT_UNIT": _real(x.unit),
        "INPUT_ZERO": f"({x.zero})",
        **_ends("INPUT", x),
        "INPUT_BITS": f"{bits}u",
        "INPUT_FORM": form,
    }


def _ends(name: str, x: Value) -> dict[str, str]:
    fmt: Any = x.format
    return {f"{name}_LEAST": f"({integer(fmt.least)})", f"{name}_MOST": f"({integer(fmt.greatest)})"}


def _real(unit: float | None) -> str:
    text = np.format_float_scientific(np.float32(1.0 if unit is None else unit), unique=True, trim="0")
    return f"{text}f"


_TARGETS = """
/* Labels are targets: INSITU_CLASSES words a sample, of which n stands for n * INSITU_TARGET_UNIT, as the integer of a
 * score does for INSITU_SCORE_UNIT. insitu_quantize_target makes them of `count` values, of whole samples. */
{defines}
insitu_status insitu_quantize_target(const float *values, uint32_t count, uint8_t *label);
"""


def _targets(source: Source) -> str:
    """What the header says of targets; nothing where labels are classes."""
    label = source.program.given.get("label")
    if label is None or label.unit is None:
        return ""
    units = {"TARGET_UNIT": _real(label.unit), "SCORE_UNIT": _real(source.program.inference.outputs[0].unit)}
    form = {**_ends("TARGET", label), "TARGET_FORM": form_of(label)[1]}
    return _TARGETS.format(defines=_defines(units | form))
