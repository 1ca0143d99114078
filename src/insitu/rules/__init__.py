"""Learning rules, one paper family a file; importing this package fills :data:`insitu.rules.protocol.RULES`."""

# the order of tables: BP first
from insitu.rules import backprop, reversible, alignment, direct, local, greedy, hsic, blockwise  # isort: skip
from insitu.rules import lls, monoforward, forward, pepita, sigprop, hebbian, zeroth, etch  # isort: skip
from insitu.rules.protocol import (
    RULES,
    Citation,
    Rule,
    emit_inference,
    emit_phases,
    emit_step,
    make_rule,
    rule,
)

__all__ = [
    "RULES",
    "Citation",
    "Rule",
    "alignment",
    "backprop",
    "blockwise",
    "direct",
    "emit_inference",
    "emit_phases",
    "emit_step",
    "etch",
    "forward",
    "greedy",
    "hebbian",
    "hsic",
    "lls",
    "local",
    "make_rule",
    "monoforward",
    "pepita",
    "reversible",
    "rule",
    "sigprop",
    "zeroth",
]
