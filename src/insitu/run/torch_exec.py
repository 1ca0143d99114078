"""Runs a step with torch: no autograd, every buffer freed at its last use, updates in place."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any

import torch

from insitu.errors import StepError
from insitu.numbers.formats import Bit
from insitu.ops.common import TorchContext
from insitu.run.state import State, integer_samples
from insitu.step.ir import Op, Role, Step, Value
from insitu.step.triggers import waiting

_LABELS = {8: torch.uint8, 16: torch.uint16, 32: torch.int32}


@dataclass(frozen=True)
class _Instruction:
    run: Callable[..., Any]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    frees: tuple[int, ...]


class TorchExecutor:
    """A step, flattened once into a list of torch calls.

    Args:
        step: a lowered step (see :func:`insitu.passes.lower`).
        state: resident tensors by name; changed in place and shared between executors.
        seed: of the run, for dropout and regenerated feedback.
        dtype: of all real numbers; ``float64`` serves as an oracle.
        device: any torch device; residents must be there.
    """

    def __init__(
        self,
        step: Step,
        state: State,
        *,
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
        device: Any = "cpu",
    ) -> None:
        self.step = step
        self.state = state
        self.context = TorchContext(lr=0.0, seed=seed, t=0, real=dtype, device=torch.device(device))
        self.fired: list[int] = []
        """Samples that each trigger of the step has fired for since it was cleared."""
        self._fires: set[Op] = set()  # triggers with an error in the step at hand
        self._waits = waiting(step)
        self._slots: dict[Value, int] = {}
        values = (*step.inputs, *step.residents, *(out for op in step.ops for out in op.outputs))
        for value in values:
            self._slots[value] = len(self._slots)
        self._resident_slots = [(self._slots[v], v.name) for v in step.residents]
        self._program = self._flatten()
        self._function = self._compile()

    def _flatten(self) -> list[_Instruction]:
        last: dict[Value, int] = {}
        for i, op in enumerate(self.step.ops):
            last.update(dict.fromkeys((*op.inputs, *op.outputs), i))
        kept = {*self.step.outputs, *self.step.residents}
        program = []
        for i, op in enumerate(self.step.ops):
            frees = tuple(self._slots[v] for v, end in last.items() if end == i and v not in kept)
            program.append(
                _Instruction(
                    self._function_of(op),
                    tuple(self._slots[v] for v in op.inputs),
                    tuple(self._slots[v] for v in op.outputs),
                    frees,
                )
            )
        return program

    def _function_of(self, op: Op) -> Callable[..., Any]:
        """The torch function of an op; that of a trigger counts the samples that it fires for."""
        run = op.record.torch(op, self.context)
        if of := self._waits.get(op):
            return lambda *inputs: run(*inputs) if self._fires & of else None
        if not op.record.trigger:
            return run
        at = len(self.fired)
        self.fired.append(0)

        def counted(*inputs: Any) -> Any:
            found = run(*inputs)
            error = found[0] if isinstance(found, tuple) else found
            samples = int(error.any(1).sum())
            self.fired[at] += samples
            (self._fires.add if samples else self._fires.discard)(op)
            return found

        return counted

    def _compile(self) -> Callable[[list[torch.Tensor], list[torch.Tensor], bool], list[torch.Tensor]]:
        """The program as one Python function, a line per op: at batch 1 interpreting it costs as much as torch."""

        def names(slots: Iterable[int]) -> str:
            return "".join(f"v{slot}, " for slot in slots)

        lines = [
            "def step(inputs, residents, donate):",
            f"    [{names(self._slots[v] for v in self.step.inputs)}] = inputs",
            "    if donate: inputs.clear()",
            f"    [{names(slot for slot, _ in self._resident_slots)}] = residents",
        ]
        for i, instruction in enumerate(self._program):
            outputs = names(instruction.outputs)
            target = outputs.removesuffix(", ") if len(instruction.outputs) == 1 else outputs
            lines.append(f"    {target + ' = ' if target else ''}f{i}({names(instruction.inputs)})")
            lines += [f"    v{slot} = None" for slot in instruction.frees]
        lines.append(f"    return [{names(self._slots[v] for v in self.step.outputs)}]")
        scope = {f"f{i}": instruction.run for i, instruction in enumerate(self._program)}
        exec(compile("\n".join(lines), f"<step {self.step.name}>", "exec"), scope)
        return scope["step"]

    def convert(self, x: Any, label: Any | None = None) -> list[torch.Tensor]:
        """Inputs in the types that the step wants: reals in ``dtype`` or as the integers of the step's formats, class
        indices as small integers.

        Raises:
            StepError: if a shape is not the step's.
        """
        given = {"x": x, "label": label}
        tensors = []
        for value in self.step.inputs:
            tensor = torch.as_tensor(given[value.name])
            if tuple(tensor.shape) != value.shape:
                raise StepError(
                    f"step {self.step.name} takes {value.name} of shape {list(value.shape)}, got "
                    f"{list(tensor.shape)}; emit the step for this batch size and input"
                )
            if value.unit is not None:
                tensors.append(integer_samples(value, tensor.to(self.context.device)))
                continue
            real = value.role != Role.LABEL or str(value.format).startswith("f")
            dtype = self.context.real if real else _LABELS[value.format.bits]
            tensors.append(tensor.to(device=self.context.device, dtype=dtype).contiguous())
        return tensors

    @torch.no_grad()
    def run(
        self, inputs: list[torch.Tensor], *, lr: float = 0.0, t: int = 0, donate: bool = False
    ) -> list[torch.Tensor]:
        """One step on converted inputs; returns the step's outputs.

        Args:
            donate: empty ``inputs``, so that a sample buffer that nobody else holds is freed at its last use.
            lr: learning rate.
            t: training steps done before; drives dropout masks and Adam's bias correction.
        """
        self.context.lr, self.context.t = lr, t
        return self._function(inputs, [self.state[name] for _, name in self._resident_slots], donate)

    def reals(self, outputs: list[torch.Tensor]) -> list[torch.Tensor]:
        """What the step's outputs stand for."""
        units = [value.unit for value in self.step.outputs]
        return [z if unit is None else z * unit for z, unit in zip(outputs, units)]

    def _enter(self, inputs: list[torch.Tensor], lr: float, t: int) -> list[Any]:
        self.context.lr = lr
        self.context.t = t
        env: list[Any] = [None] * len(self._slots)
        env[: len(inputs)] = inputs
        for slot, name in self._resident_slots:
            env[slot] = self.state[name]
        return env

    @staticmethod
    def _execute(instruction: _Instruction, env: list[Any]) -> None:
        result = instruction.run(*[env[i] for i in instruction.inputs])
        outputs = instruction.outputs
        if len(outputs) == 1:
            env[outputs[0]] = result
        else:
            for slot, tensor in zip(outputs, result or ()):
                env[slot] = tensor
        for slot in instruction.frees:
            env[slot] = None

    @torch.no_grad()
    def measure(self, inputs: list[torch.Tensor], *, lr: float = 0.0, t: int = 0) -> int:
        """Runs one step and returns the peak of the bytes that its tensors really hold, residents included.

        A tensor of the format :class:`insitu.numbers.formats.Bit` counts as its bits: it carries two reals, for speed.
        """
        env = self._enter(inputs, lr, t)
        bits = {slot for value, slot in self._slots.items() if isinstance(value.format, Bit)}
        peak = 0
        for instruction in self._program:
            kept = _Instruction(instruction.run, instruction.inputs, instruction.outputs, ())
            self._execute(kept, env)
            peak = max(peak, live_bytes(env, bits))
            for slot in instruction.frees:
                env[slot] = None
        return peak


def live_bytes(tensors: list[Any], bits: Collection[int] = ()) -> int:
    """Bytes of the distinct storages behind a list of tensors (``None`` holds nothing).

    Args:
        bits: indices of tensors of which every element counts as one bit.
    """
    storages = {}
    for i, t in enumerate(tensors):
        if t is not None:
            held = t.untyped_storage()
            storages[held.data_ptr()] = (t.numel() + 7) // 8 if i in bits else held.nbytes()
    return sum(storages.values())
