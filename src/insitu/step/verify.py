"""Is a step well formed? Runs after the builder and after every pass."""

from __future__ import annotations

from insitu.errors import StepError
from insitu.step.ir import OPS, Level, Op, Step, Value
from insitu.step.liveness import roots
from insitu.step.text import print_op


def verify(step: Step) -> None:
    """Checks definitions before uses, unique names, levels, shapes and formats, writes and storage hand-over.

    Raises:
        StepError: naming the op, its layer and the rule's source line.
    """
    defined: set[Value] = set()
    names: set[str] = set()
    for value in (*step.inputs, *step.residents):
        _define(step, value, defined, names)
    for op in step.ops:
        _check_op(step, op, defined)
        for value in op.outputs:
            _define(step, value, defined, names)
    for value in step.outputs:
        if value not in defined:
            raise StepError(f"step {step.name} returns %{value.name}, which nothing defines; emit it first")
    _check_takeovers(step)


def _define(step: Step, value: Value, defined: set[Value], names: set[str]) -> None:
    if value.name in names:
        raise StepError(f"step {step.name} defines %{value.name} twice; every value has one definition")
    names.add(value.name)
    defined.add(value)


def _refuse(step: Step, op: Op, reason: str) -> StepError:
    return StepError(f"step {step.name}, op `{print_op(op)}`: {reason}")


def _check_op(step: Step, op: Op, defined: set[Value]) -> None:
    if op.kind not in OPS:
        raise StepError(f"step {step.name}: op kind {op.kind!r} has no record; register it in insitu.ops")
    if not isinstance(op.attrs, op.record.attrs):
        raise _refuse(
            step, op, f"has attributes of {type(op.attrs).__name__}, not of {op.record.attrs.__name__}"
        )
    if step.level is Level.INTEGER and Level.INTEGER not in op.record.level:
        raise _refuse(step, op, "computes on reals, in a step that is quantized; quantize it, too")
    for value in op.inputs:
        if value not in defined:
            raise _refuse(step, op, f"uses %{value.name} before its definition; move the op down")
    try:
        inferred = op.record.infer(op.inputs, op.attrs)
    except StepError as error:
        raise _refuse(step, op, str(error)) from error
    got = [(v.shape, str(v.format)) for v in op.outputs]
    want = [(shape, str(fmt)) for shape, fmt in inferred]
    if got != want:
        raise _refuse(step, op, f"declares outputs {got}, but its record infers {want}")
    for value in op.written:
        if not value.resident:
            raise _refuse(step, op, f"writes %{value.name}, which is not resident; only residents change")
    if op.inplace is not None and op.inplace not in op.record.inplace:
        raise _refuse(step, op, f"cannot work in place of its input {op.inplace}")


def _check_takeovers(step: Step) -> None:
    """No value may be read after another value took over its storage."""
    root = roots(step)
    holders: dict[Value, list[Value]] = {}
    taken: dict[Value, Op] = {}
    for op in step.ops:
        for value in op.inputs:
            if value in taken:
                raise _refuse(step, op, f"reads %{value.name}, overwritten by `{print_op(taken[value])}`")
        if op.inplace is not None:
            victim = root[op.inputs[op.inplace]]
            if victim.resident:
                raise _refuse(step, op, f"would overwrite the resident %{victim.name}")
            taken.update(dict.fromkeys([victim, *holders.pop(victim, [])], op))
        for value in op.outputs:
            holders.setdefault(root[value], []).append(value)
    for value in step.outputs:
        if value in taken:
            raise StepError(f"step {step.name} returns %{value.name}, but its storage was taken over")
