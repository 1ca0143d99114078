"""Which ops have nothing to do for a sample whose error is zero: read off the data flow of a step.

Some losses give no error at all for a sample that is right by a margin. The op that makes such an error is a *trigger*
(:attr:`insitu.step.ir.OpRecord.trigger`). What learns from that error alone is *silent* where it is zero: the adjoints
give zeros, and parameters stay. A processor or an array need not start it, and its cost is paid by the share of the
samples that trigger.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from insitu.step.attrs import Attrs
from insitu.step.ir import Op, Phase, Step, Trait, Value


def triggers_of(step: Step) -> dict[str, Op]:
    """The triggers of a step in order, by the layer that they stand at; a second one of a layer is ``layer.2``."""
    found: dict[str, Op] = {}
    seen: Counter[str] = Counter()
    for op in step.ops:
        if op.record.trigger:
            layer = op.where.layer or op.kind
            seen[layer] += 1
            found[layer if seen[layer] == 1 else f"{layer}.{seen[layer]}"] = op
    return found


def silences(step: Step) -> Mapping[Op, frozenset[Op]]:
    """The silent ops of a step, each with its triggers: it has work where one of them gives an error.

    An op behind the forward pass is silent if everything that it reads of error, gradient and feedback is: a sum with
    another error is not, a product with a slope is. An update is, if its optimizer moves nothing without a gradient
    (momentum does).
    """
    found: dict[Op, frozenset[Op]] = {}
    behind: dict[Value, frozenset[Op]] = {}  # of each value behind the forward pass; empty: always at work
    for op in step.ops:
        if op.record.trigger:
            behind |= {op.outputs[0]: frozenset({op})} | dict.fromkeys(op.outputs[1:], frozenset())
            continue
        if op.phase is Phase.FORWARD:
            continue
        reads = [behind[v] for v in op.inputs if v in behind]
        quiet = any(reads) if Trait.ABSORBS_ZERO in op.record.traits else bool(reads) and all(reads)
        silent = quiet and (not op.written or _still(op))
        of = frozenset[Op]().union(*reads) if silent else frozenset[Op]()
        behind |= dict.fromkeys(op.outputs, of)
        if silent:
            found[op] = of
    return found


def jumps(step: Step) -> Mapping[Op, frozenset[Op]]:
    """The silent ops that a program may leave out where none of their triggers fires, each with its triggers.

    What another op reads must have been made: a silent op stays where one that runs more often than it takes its result
    (an update that moves weights without a gradient, or the sum of two blocks' errors), or the caller does.
    """
    found = dict(silences(step))
    reads: dict[Value, list[Op]] = {}
    for op in step.ops:
        for value in op.inputs:
            reads.setdefault(value, []).append(op)
    for op in reversed(step.ops):  # whoever reads a result comes later, and is settled
        if op in found and any(
            v in step.outputs or any(found.get(reader) != found[op] for reader in reads.get(v, ()))
            for v in op.outputs
        ):
            del found[op]
    return found


def waiting(step: Step) -> Mapping[Op, frozenset[Op]]:
    """The updates that must not be executed where none of their triggers fires, each with its triggers: they draw from
    registers that run on, and a silent update draws nothing."""
    drawing = [op for op in step.ops if op.written and op.attrs.registers]
    return {op: of for op, of in jumps(step).items() if op in drawing} if drawing else {}


def _still(op: Op) -> bool:
    """Does an op leave the parameters that it writes as they are where the gradient is zero?"""
    attrs: Attrs = op.attrs
    return attrs.zero_grad_is_noop
