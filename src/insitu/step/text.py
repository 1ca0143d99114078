"""The printed form of a step: one op a line, readable, and diffed in CI."""

from __future__ import annotations

from typing import Any
from zlib import crc32

from insitu.step.attrs import Attrs
from insitu.step.ir import Op, Step, Value


def _typed(v: Value) -> str:
    return f"%{v.name}: {v.format}[{','.join(map(str, v.shape))}] {v.role}"


def _attrs(attrs: Attrs) -> str:
    shown = [f"{k}={_shown(v)}" for k, v in attrs.explicit().items()]
    return f" {{{', '.join(shown)}}}" if shown else ""


def _shown(value: Any) -> str:
    """Floats with nine digits (libraries differ in the last bits of a power), functions by name, tables by a sum."""
    if callable(value) and hasattr(value, "__qualname__"):
        return str(value.__qualname__)
    if isinstance(value, tuple) and len(value) > 8:
        return f"{len(value)} entries, crc32 {crc32(repr(value).encode()):08x}"
    return f"{value:.9g}" if isinstance(value, float) else str(value)


def print_op(op: Op) -> str:
    """One op as a line, without indentation."""
    operands = ", ".join(f"%{v.name}" for v in op.inputs)
    outputs = ", ".join(_typed(v) for v in op.outputs)
    writes = ", ".join(f"%{v.name}" for v in op.written)
    head = f"{outputs} = " if outputs else f"write {writes}: "
    inplace = f" in place of %{op.inputs[op.inplace].name}" if op.inplace is not None else ""
    where = f"  # {op.phase} {op.where}".rstrip()
    return f"{head}{op.kind}({operands}){_attrs(op.attrs)}{inplace}{where}"


def print_step(step: Step) -> str:
    """The whole program."""
    lines = [f"step {step.name} batch={step.batch}"]
    lines += [f"  input    {_typed(v)}" for v in step.inputs]
    for v in step.residents:
        assert v.init is not None
        bound = f" {v.init.bound:.6g}" if v.init.bound else ""
        bound += f" * {v.init.times:.6g}" if v.init.times != 1.0 else ""
        lines.append(f"  resident {_typed(v)} = {v.init.kind}{bound}")
    lines += [f"  {print_op(op)}" for op in step.ops]
    lines.append("  return " + ", ".join(f"%{v.name}" for v in step.outputs))
    return "\n".join(lines) + "\n"
