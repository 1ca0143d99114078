"""A printing backend: each training step as a Graphviz drawing, ``dot -Tsvg step-0.dot``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from insitu.backends.protocol import Backend, Written
from insitu.run.files import make_folder, write_atomic
from insitu.run.program import Program
from insitu.step.ir import Step


@dataclass(frozen=True)
class Options:
    formats: bool = field(default=False, metadata={"help": "Write the number formats beside the arrows."})


class Graph(Backend):
    """Graphviz drawings of the training steps and of the forward pass; any rule, any precision."""

    name = "graph"
    options = Options

    def write(self, program: Program, folder: Path, options: Options) -> Written:
        steps = {f"step-{k}": step for k, step in enumerate(program.steps)} | {"inference": program.inference}
        make_folder(folder)
        for name, step in steps.items():
            write_atomic(folder / f"{name}.dot", "\n".join(_lines(step, options.formats)) + "\n")
        nodes = {name: len(step.ops) for name, step in steps.items()}
        text = "".join(f"{name}.dot: {count} ops\n" for name, count in nodes.items())
        return Written(folder, text, {"ops": nodes}, f"dot -Tsvg {folder}/step-0.dot")


def _lines(step: Step, formats: bool) -> Iterator[str]:
    """An ellipse for an input or a resident, a box for an op, an arrow for a value that is read."""
    made = {value: f"in_{value.name}" for value in (*step.inputs, *step.residents)}
    yield "digraph step {"
    for value, node in made.items():
        yield f"  {json.dumps(node)} [label={json.dumps(value.name)}];"
    for i, op in enumerate(step.ops):
        yield f"  op_{i} [shape=box, label={json.dumps(op.kind)}];"
        for value in op.inputs:
            label = f" [label={json.dumps(str(value.format))}]" if formats else ""
            yield f"  {json.dumps(made[value])} -> op_{i}{label};"
        made.update((value, f"op_{i}") for value in op.outputs)
    yield "}"
