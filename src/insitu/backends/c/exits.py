"""``insitu_infer_early``: the forward pass with a test behind every head, for programs that are exported with exits."""

from __future__ import annotations

from collections.abc import Sequence

from insitu.backends.c.emit import Emitter
from insitu.run.program import Program
from insitu.step.ir import Op

DECLARED = """
/* The class of one sample, by the first of INSITU_EXITS exits that is sure of it: the heads in the order of the blocks,
 * where the highest score is by at least their threshold above the next, then the network's output. What lies behind an
 * exit is not computed. `thresholds`: INSITU_EXITS - 1 of them, such as insitu_thresholds of the export; higher ones
 * leave more samples to later exits. `left`: the exit's number, from 0; may be NULL. Less than 0: an insitu_status. */
#define INSITU_EXITS {exits}u
extern const int32_t insitu_thresholds[INSITU_EXITS - 1u];
int32_t insitu_infer_early(insitu_net *net, const uint8_t *x, const int32_t *thresholds, uint32_t *left);
"""

MARGIN = """/* The highest score minus the next; `best`: whose it is, of equal ones the first. */
static int32_t margin(const insitu_array *scores, uint32_t *best)
{
    int32_t high = insitu_get(scores, 0), next = INT32_MIN;
    *best = 0;
    for (uint32_t c = 1; c < INSITU_CLASSES; c++) {
        const int32_t s = insitu_get(scores, c);
        if (s > high) {
            next = high;
            high = s;
            *best = c;
        } else if (s > next) {
            next = s;
        }
    }
    return high - next;
}
"""

DEFINED = """
const int32_t insitu_thresholds[INSITU_EXITS - 1u] = {{{thresholds}}};

int32_t insitu_infer_early(insitu_net *net, const uint8_t *x, const int32_t *thresholds, uint32_t *left)
{{
    const insitu_status status = asked(net, x);
    uint32_t best = 0, taken;
    if (status != INSITU_OK) {{
        return (int32_t)status;
    }}
    if (thresholds == NULL) {{
        return (int32_t)INSITU_NO_ARGUMENT;
    }}
    taken = early(net, x, thresholds, &best);
    if (left != NULL) {{
        *left = taken;
    }}
    return (int32_t)best;
}}
"""


def tests(emitter: Emitter) -> dict[Op, list[str]]:
    """What stands behind the op that makes the scores of each exit."""
    step = emitter.step
    makers = {out: op for op in step.ops for out in op.outputs}
    found = {}
    for k, scores in enumerate(step.outputs):
        asked = f"margin({emitter.array(scores)}, best)"
        last = k == len(step.outputs) - 1
        test = f"    (void){asked};" if last else f"    if ({asked} >= thresholds[{k}]) {{ return {k}u; }}"
        found[makers[scores]] = [test]
    return found


def function(
    program: Program, locals_: Sequence[str], copies: Sequence[str], body: Sequence[str]
) -> list[str]:
    """The function ``early`` of ``insitu_net.c``."""
    assert program.exits is not None
    return [
        MARGIN,
        "static uint32_t early(insitu_net *net, const uint8_t *x, const int32_t *thresholds, uint32_t *best)\n{",
        *locals_,
        "    clock.t = 0;",
        *copies,
        *body,
        f"    return {len(program.exits.outputs) - 1}u;",
        "}",
        "",
    ]


def declared(program: Program) -> str:
    """For ``insitu_net.h``; empty without exits."""
    return "" if program.exits is None else DECLARED.format(exits=len(program.exits.outputs))


def defined(program: Program) -> str:
    """For the end of ``insitu_net.c``; empty without exits."""
    return "" if program.exits is None else DEFINED.format(thresholds=", ".join(map(str, program.thresholds)))


def golden(program: Program) -> str:
    """For ``golden.h``: exit and class of the first sample of every batch; empty without exits."""
    if program.exits is None:
        return ""
    exits, classes = zip(*program.golden.left)
    lines = {"golden_exit": exits, "golden_class": classes}
    return "\n".join(f"static const int32_t {n}[] = {{{', '.join(map(str, v))}}};" for n, v in lines.items())
