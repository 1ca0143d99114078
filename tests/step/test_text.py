"""The printed form: frozen, because the replay tests and the users' diffs read it."""

from __future__ import annotations

from dataclasses import replace

import insitu.ops  # noqa: F401  (fills OPS)
from insitu.numbers.formats import F32, Fixed
from insitu.ops.optimizers import Optimizer
from insitu.step.builder import Builder
from insitu.step.ir import Init, Phase, Role, Step, Where

TEXT = """\
step tiny batch=2
  input    %x: f32[2,3] activation
  input    %label: u8.0[2] label
  resident %w: f32[4,3] weight = param
  resident %w.m: f32[4,3] state = zeros
  resident %b: f32[4,4] feedback = uniform 0.333333
  %z: f32[2,4] activation = matmul(%x, %w)  # forward fc1
  %h: f32[2,4] activation = activate(%z) {fn=leaky_relu, slope=0.333333333} in place of %z  # forward
  %e: f32[2,4] error, %e.1: f32[] error = xent_error(%h, %label) {scale=0.5, with_loss=True}  # error a.py:9
  %g: f32[4,3] scratch = matmul_dw(%e, %x)  # gradient
  write %w, %w.m: update(%w, %g, %w.m) {optimizer=momentum:momentum=0.9}  # update
  return %e.1
"""


def tiny() -> Step:
    b = Builder("tiny", 2, F32)
    x = b.input("x", (2, 3), Role.ACTIVATION)
    label = b.input("label", (2,), Role.LABEL, Fixed(False, 8, 0))
    w = b.resident("w", (4, 3), Role.WEIGHT, Init("param", "w"))
    m = b.resident("w.m", (4, 3), Role.STATE, Init("zeros"))
    b.resident("b", (4, 4), Role.FEEDBACK, Init("uniform", "b", 1 / 3))
    forward = {"role": Role.ACTIVATION, "phase": Phase.FORWARD}
    error = {"role": Role.ERROR, "phase": Phase.ERROR}
    z = b.emit1("matmul", x, w, name="z", **forward)
    h = b.emit1("activate", z, fn="leaky_relu", slope=1 / 3, name="h", **forward)
    e, loss = b.emit("xent_error", h, label, scale=0.5, with_loss=True, name="e", **error)
    g = b.emit1("matmul_dw", e, x, name="g", role=Role.SCRATCH, phase=Phase.GRADIENT)
    b.emit("update", w, g, m, optimizer=Optimizer("momentum"), role=Role.WEIGHT, phase=Phase.UPDATE)
    b.output(loss)
    places = (Where("fc1"), Where(), Where(None, "a.py:9"), Where(), Where())
    ops = [replace(op, where=where) for op, where in zip(b.finish().ops, places, strict=True)]
    ops[1] = replace(ops[1], inplace=0)
    return replace(b.finish(), ops=tuple(ops)).verify()


def test_text_form() -> None:
    assert str(tiny()) == TEXT


def test_text_form_does_not_depend_on_the_last_bits_of_a_float() -> None:
    step = tiny()
    attrs = replace(step.ops[1].attrs, slope=1 / 3 + 1e-16)
    ops = (step.ops[0], replace(step.ops[1], attrs=attrs), *step.ops[2:])
    assert str(replace(step, ops=ops)) == TEXT


def test_a_step_without_outputs() -> None:
    assert str(Builder("empty", 1, F32).finish()) == "step empty batch=1\n  return \n"
