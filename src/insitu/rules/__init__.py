"""Learning rules, one paper family a file; importing this package fills :data:`insitu.rules.protocol.RULES`."""

from insitu.rules import backprop, alignment, direct, local  # isort: skip  # the order of tables: BP first
from insitu.rules.protocol import RULES, Citation, Rule, emit_step, make_rule, rule

__all__ = [
    "RULES",
    "Citation",
    "Rule",
    "alignment",
    "backprop",
    "direct",
    "emit_step",
    "local",
    "make_rule",
    "rule",
]
