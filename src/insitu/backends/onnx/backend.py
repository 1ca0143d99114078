"""ONNX as a backend: the forward pass with its trained integers, and samples to check it by."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from insitu.backends.protocol import Backend, Written, on_reals
from insitu.errors import ConfigError
from insitu.run.files import make_folder, write_atomic
from insitu.run.program import Program
from insitu.step.context import StepContext
from insitu.step.ir import Step

FORMS = ("qdq", "qonnx")
SAMPLES = 64
"""Samples in check.npz at most."""


@dataclass(frozen=True)
class Options:
    """What an export to ONNX can be asked for."""

    form: str = field(
        default="qdq",
        metadata={
            "help": "qdq: QuantizeLinear and DequantizeLinear nodes; qonnx: Quant nodes (FINN, hls4ml)."
        },
    )

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise ConfigError(f"--form {self.form} does not exist; use {' or '.join(FORMS)}")


class Onnx(Backend):
    """The trained network as an ONNX graph (model.onnx) with samples and scores to check it by (check.npz).

    Training steps are not written: a step that changes a value is not looked at.
    """

    name = "onnx"
    options = Options

    def refuse(self, step: Step) -> list[str]:
        from insitu.backends.onnx.kinds import unfit

        if any(op.written for op in step.ops):
            return []
        if (found := on_reals(step)) is not None:
            op, value = found
            return [
                f"{op.kind} at {op.where} works on reals ({value.name} in {value.format}); train in an integer "
                "precision, such as --precision edge-latent-free-8"
            ]
        reasons = (unfit(op) for op in step.ops)
        return [reason for reason in reasons if reason is not None][:1]

    def write(self, program: Program, folder: Path, options: Options) -> Written:
        try:
            from insitu.backends.onnx.writer import Writer
        except ImportError:
            raise ConfigError(
                "an export to ONNX needs the package onnx; pip install 'insitu[onnx]'"
            ) from None
        model = Writer(program.inference, program.initial_state, qonnx=options.form == "qonnx").model()
        make_folder(folder)
        write_atomic(folder / "model.onnx", model.SerializeToString())
        write_atomic(folder / "check.npz", _check(program))
        (scores,) = program.inference.outputs
        nodes = len(model.graph.node)
        text = f"model.onnx: {nodes} nodes, form {options.form}; scores are integers times {scores.unit:g}\n"
        note = (
            f"{folder / 'check.npz'}: samples x [B, ...] and the scores y [B, classes] that the graph gives"
        )
        return Written(folder, text, {"nodes": nodes, "form": options.form, "unit": scores.unit}, note)


def _check(program: Program) -> bytes:
    """Samples (on the grid of the input) and the scores of the integer reference, as reals."""
    from insitu.run.integer import run

    step = program.inference
    (given,), (scores,) = step.inputs, step.outputs
    shape = given.shape[1:]
    integers = np.concatenate(
        [np.zeros((0, *shape), np.int64), *(x.reshape(-1, *shape) for x, _ in program.batches)]
    )
    integers = integers[:SAMPLES]
    context = StepContext(program.lr, program.seed, 0)
    state = dict(program.initial_state)
    found = [run(step, state, one[None], None, context)[0].reshape(-1) for one in integers]
    y = np.array(found).reshape(len(integers), -1)
    file = io.BytesIO()
    np.savez(file, x=_real(integers - given.zero, given.unit), y=_real(y, scores.unit))
    return file.getvalue()


def _real(integers: npt.NDArray[np.int64], unit: float | None) -> npt.NDArray[np.float32]:
    assert unit is not None
    return (integers * unit).astype(np.float32)
