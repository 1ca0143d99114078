"""The learning rates that a run has still to come, in C: a table by training steps, where there are any."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from insitu.backends.c.emit import base_shift
from insitu.ops.updates import BoundUpdate, MasterUpdate
from insitu.run.program import Program

TABLE = """
/* What the schedule of the run makes of the learning rate from a training step on. */
static const struct {{
    uint32_t t;
    float rate;
    int8_t shift[INSITU_UPDATES];
}} later[] = {{
{rows}
}};

static void follow(insitu_net *net)
{{
    for (uint32_t k = 0; k < sizeof later / sizeof later[0]; k++) {{
        if (later[k].t == net->clock.t) {{
            net->clock.rate = later[k].rate;
            for (uint32_t i = 0; i < INSITU_UPDATES; i++) {{
                net->shift[i] = later[k].shift[i];
            }}
        }}
    }}
}}
"""


def schedule(program: Program, moves: Sequence[BoundUpdate | MasterUpdate]) -> dict[str, str]:
    """The table and its function, and the call of it, for the template of the program; empty without a later rate."""
    if not program.later:
        return {"schedule": "", "follow": ""}
    rows = []
    for t, rate in program.later:
        shifts = ", ".join(str(base_shift(o, rate)) for o in moves) or "0"
        rows.append(f"    {{{t & 0xFFFFFFFF}u, {float(np.float32(rate)).hex()}f, {{{shifts}}}}},")
    return {"schedule": TABLE.format(rows="\n".join(rows)), "follow": "\n    follow(net);"}
