"""Step to JSON and back, for every rule, precision and network of the zoo: equal, or why there is no such step.

    python -m benchmarks.serial_table [NETWORK ...]

Prints a line per network: how many steps came back equal in every field, how many hold a Python function (refused by
name), and how many the precision or the rule refuses. Ends with exit code 1 at the first step that does not come back
equal.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator

from insitu.errors import InsituError
from insitu.network import zoo
from insitu.passes import lower
from insitu.passes.precision import COMMON, NAMED, make
from insitu.passes.quantize import quantize
from insitu.rules import RULES, emit_phases, make_rule
from insitu.step.ir import Step
from insitu.step.serial import from_dict, to_dict

POLICIES = ("float32", *COMMON, *NAMED)
ACTIVATIONS = {"bp-stash": "relu"}
"""Where a rule takes no other."""


def steps(network: str, rule: str) -> Iterator[Step | None]:
    """The executed step of every phase and policy; ``None`` where the rule or the policy refuses the network."""
    try:
        net = zoo.build(network, activation=ACTIVATIONS.get(rule))
        emitted = emit_phases(make_rule(rule), net, 2)
    except InsituError:
        yield None
        return
    for name in POLICIES:
        policy = make(name)
        for step in emitted:
            try:
                yield lower(quantize(step, policy, net.params) if policy else step)
            except InsituError:
                yield None


def outcome(step: Step | None) -> str:
    """What becomes of a step."""
    if step is None:
        return "no such step"
    if any(op.kind == "call" for op in step.ops):
        return "holds a Python function"
    text = json.dumps(to_dict(step))
    again = from_dict(json.loads(text))
    if str(again) != str(step) or json.dumps(to_dict(again)) != text:
        sys.exit(f"{step.name} does not come back equal")
    return "equal"


def main(networks: list[str]) -> None:
    for network in networks or zoo.names():
        found = Counter(outcome(step) for rule in RULES for step in steps(network, rule))
        print(network, ", ".join(f"{n} {what}" for what, n in sorted(found.items())), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
