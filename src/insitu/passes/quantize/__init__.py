"""From a step on reals to the same step on integers, in the formats of a precision policy.

Every op of the emitted step is replaced by integer ops of the same meaning. What the pass keeps track of is, for each
array, the *unit*: the value of the integer 1. Constant factors (a loss's mean, a bound of feedback, the window of a
mean) go into the unit and cost nothing. Sums are wide; their widest magnitude is computed from the formats of the
operands, and a sum that the policy's accumulator cannot hold is refused. A sum then loses low bits (``requant``): of
an activation by a constant number, so that the range that was measured or assumed fits; of an error by default by a
number that follows from the tensor's largest magnitude at run time (``exponent``), which the update takes into account.

Products of units are matched to powers of two: a shift is rounded to the nearest, and the unit says what the integers
then stand for, so no scale is ever silently wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy.typing as npt

from insitu.passes.precision import Precision
from insitu.passes.quantize import activations, batch, coupling, losses, pointwise, pools, products, updates
from insitu.passes.quantize.units import WIDEST, Ranges
from insitu.passes.quantize.walk import Quantizer
from insitu.step.ir import Step

LOWERINGS = (products, updates, activations, pointwise, pools, losses, batch, coupling)
"""Modules that say what becomes of each kind of op."""


def quantize(
    step: Step,
    precision: Precision,
    params: Mapping[str, npt.NDArray[Any]],
    ranges: Ranges | None = None,
    *,
    fresh: bool = True,
) -> Step:
    """The step in integers.

    Args:
        step: as emitted, on reals.
        params: the network's initial values, which weights take their units from.
        ranges: measured ranges of activations; :data:`WIDEST` where there is none, the samples in [0, 1].
        fresh: the network was not trained: weights of one and two bits may start from a multiple of its initial values.

    Raises:
        StepError: for an op without an integer form, or a sum that the accumulator cannot hold, with the layer, the
            numbers and the remedy.
    """
    return Quantizer(step, precision, params, ranges or {}, fresh).run()


__all__ = ["LOWERINGS", "WIDEST", "Ranges", "quantize"]
