"""What a weight update declares, and what it becomes for one weight.

A *method* is one file here and one frozen dataclass: its options, the state that it keeps beside the weights, the
random words that it draws, its torch form, its counts and its fields for C. A precision policy names one
(``update=error-feedback``), and the quantize pass binds it to each latent-free weight (:class:`BoundUpdate`).

A stored integer w is to change by  -lr · g · ratio · 2**e:  g is the gradient's integer, ratio its unit over w's
unit, e its run-time exponent (0 if it has none). With ``k = nearest_shift(lr · ratio) - e`` that is minus the *step*

    x = g · 2**-k        (a shift, no multiplication)

and methods differ in what they do with the fraction of x. The integer meaning of each is on the reference's page
(:mod:`insitu.run.integer_updates`), which shares no code with this package.

Random numbers: one 32-bit word R_i per row i and one C_j per column j of the weight matrix, from the bit-defined
generator; weight (i, j) uses R_i xor C_j. Each such word is uniform and the words of any two weights are independent,
as unbiased rounding with uncorrelated errors needs, at O + I generated words instead of O · I. A vector uses R_i.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from insitu.errors import ConfigError
from insitu.inputs.bounds import LEAST_RATE
from insitu.numbers import lfsr, prng
from insitu.numbers.formats import AnyFormat, Binary, Quantized
from insitu.numbers.rounding import Ints
from insitu.ops.quant import nearest_shift
from insitu.step.attrs import portable
from insitu.step.ir import Counts, Format, Phase, Shape

if TYPE_CHECKING:
    from insitu.ops.updates.executor import Words

MACS_PER_WEIGHT = {"sgd": 1, "sign": 0, "momentum": 2, "nesterov": 3, "adam": 4}
"""Multiply-accumulates of an optimizer's step on reals."""


def option(default: Any, low: int | None = None, high: int | None = None, *, spelled: str = "") -> Any:
    """A field of a method that a policy can set.

    Args:
        default: where a policy does not say.
        low, high: the range of an integer; ``None``: any number.
        spelled: its name in policies, if not that of the field.
    """
    return field(default=default, metadata={"low": low, "high": high, "spelled": spelled})


CValue = str | tuple[str, tuple[int, ...]]
"""A C expression, or the type and the entries of an array of numbers."""


@dataclass(frozen=True)
class WeightUpdate:
    """A method: how stored low-bit weights move by a gradient of integers. Subclasses say it by a formula.

    Attributes:
        name: what policies call it.
        summary: of the docs, what becomes of the fraction of a step.
        state_summary: of the docs, what is kept beside a weight.
        random: it draws random words.
        needs_full_gradient: it looks at the whole gradient of a tensor before the first weight moves, so the gradient
            is stored.
        zero_grad_is_noop: a gradient of zeros changes neither weights nor state, so C returns at once.
        moves_vectors: it moves biases too; else they move by ``stochastic``.
        supports_channels: weights may have a unit per output channel.
        supports_deferral: the gradient of several steps may be applied at once (``defer``).
        c_rounding: of C, the rounding of x where a weight moves by that alone; then no hook ``change`` is needed.
        kernel: of C, the name in ``kernels/update_<name>.c`` and in its functions ``insitu_<name>_<hook>``.
        c_hooks: of C, the hooks that the kernel has (``kernels/internal.h``).
        c_struct: of C, the members of the method's own struct, to which :meth:`c_fields` gives values.
        c_source: of C, the kernel of a method from outside.
    """

    name: ClassVar[str]
    summary: ClassVar[str] = ""
    state_summary: ClassVar[str] = "nothing"
    random: ClassVar[bool] = False
    needs_full_gradient: ClassVar[bool] = False
    zero_grad_is_noop: ClassVar[bool] = False
    moves_vectors: ClassVar[bool] = False
    supports_channels: ClassVar[bool] = False
    supports_deferral: ClassVar[bool] = False
    c_rounding: ClassVar[str] = "INSITU_EXACT"
    kernel: ClassVar[str] = ""
    c_hooks: ClassVar[tuple[str, ...]] = ()
    c_struct: ClassVar[str] = ""
    c_source: ClassVar[Path | None] = None

    def __init_subclass__(cls) -> None:
        portable(cls)

    def __post_init__(self) -> None:
        for name, low, high in self.ranges():
            value = self.options()[name]
            if value is None or low is None:
                continue
            if not (isinstance(value, int) and low <= value <= high):
                raise ConfigError(f"precision: {name}={value!r} is out of range; use {low} to {high}")

    # --- options ---------------------------------------------------------------------------------------------

    @classmethod
    def spellings(cls) -> dict[str, str]:
        """The field of every option, by its name in policies."""
        return {f.metadata.get("spelled") or f.name: f.name for f in fields(cls)}

    @classmethod
    def ranges(cls) -> list[tuple[str, Any, Any]]:
        """Name in policies, least and greatest value of every option; ``None`` where any number will do."""
        found = {f.name: f.metadata for f in fields(cls)}
        return [(name, found[f].get("low"), found[f].get("high")) for name, f in cls.spellings().items()]

    def options(self) -> dict[str, Any]:
        """The value of every option, by its name in policies."""
        return {name: getattr(self, f) for name, f in self.spellings().items()}

    def changed(self, changes: Mapping[str, Any]) -> Self:
        """The same with other values of those options, by their names in policies, that it has."""
        names = self.spellings()
        return replace(self, **{names[k]: v for k, v in changes.items() if k in names})

    # --- the weight that it moves ------------------------------------------------------------------------------

    def refuse_weights(self, weights: AnyFormat) -> str | None:
        """Why it cannot move weights of a format, with the remedy; ``None`` if it can."""

    def for_weight(self, shape: Shape) -> Self:
        """The method with its options fitted to the shape of a weight.

        Raises:
            ConfigError: no value of them fits.
        """
        return self

    def states(self, shape: Shape) -> tuple[tuple[str, Shape, Format], ...]:
        """Suffix, shape and format of the arrays that it keeps beside a weight, zero at first."""
        return ()

    def rows(self, shape: Shape, t: int) -> slice:
        """The rows of a weight whose gradient is used at training step t."""
        return slice(0, shape[0])

    def words_drawn(self, shape: Shape) -> int:
        """Random words of a step, as hardware draws them."""
        return (shape[0] + (prod(shape[1:]) if len(shape) > 1 else 0)) if self.random else 0

    def printed(self) -> str:
        """What the printed step shows behind the method's name and the ratio of units."""
        return ""

    # --- what it does ------------------------------------------------------------------------------------------

    def change(self, b: BoundUpdate, w: Any, g: Any, k: int, words: Words, rows: Any) -> Any:
        """Torch: how many steps of their format weights move, before saturation.

        Args:
            b: the update of the weight.
            w, g: the weights of some rows and their gradient, of the same shape; g may be overwritten.
            k: the shift.
            words: random words of the weight.
            rows: which rows these are.
        """
        raise NotImplementedError(f"update {self.name} has neither change nor move")

    def move(
        self, b: BoundUpdate, rt: Any, w: Any, g: Any, e: int, words: Words, rows: Any, state: Any
    ) -> None:
        """Torch: w and the state change in place; by default w by :meth:`change`, saturated.

        Args:
            rt: the step's context: lr, seed, t, device.
            w, g: some rows of the weight, or all where there is a state, and the gradient of ``rows``.
            e: run-time exponent of the gradient.
            state: arrays of :meth:`states`.
        """
        x = self.change(b, w, g, b.shift(rt.lr, e), words, rows)
        if b.stride != 1:
            x = x * b.stride
        w.sub_(x.to(w.dtype)).clamp_(b.format.least, b.format.greatest)

    def move_dense(
        self, b: BoundUpdate, w: Any, d: Any, x: Any, k: int, words: Words, max_abs: int, scratch: list[Any]
    ) -> bool:
        """Torch: moves a dense layer without its whole gradient dᵀx, of at most ``max_abs``; ``False``: not done."""
        return False

    def integer(
        self, b: BoundUpdate, context: Any, w: Ints, g: Ints, e: int, state: tuple[Ints, ...]
    ) -> None:
        """The meaning in plain integers of a method from outside; those of insitu are on the reference's page."""
        raise NotImplementedError(f"update {self.name} has no integer meaning")

    def c_fields(self, b: BoundUpdate) -> dict[str, CValue]:
        """The values of the members of ``c_struct``."""
        return {}

    def column_group(self) -> int:
        """Neighbouring columns that C must not put into different blocks."""
        return 1


@portable
@dataclass(frozen=True)
class BoundUpdate:
    """A method and the weight that it moves; the stored word is the only copy of the weight.

    Attributes:
        method: how the weight moves.
        format: of the stored word, to which every change saturates.
        ratio: the gradient's unit over the weight's.
        stream: name of the stream of random words.
        channels: further bits that the step of each output channel is shifted by, where channels have units of their
            own.
        generator: of random words, ``counter``, ``lfsr``, or ``register``: the operand behind the state holds two shift
            registers that run on.
        lanes: of ``register``, whether ``rows`` or ``columns`` take the words of register 0; the others take those of
            register 1. A vector has rows alone.
        columns: channels, height and width of the map behind a dense layer whose columns take their words in
            channels-last order: column (c, h, w) takes number (h · W + w) · C + c; empty: in the order of columns.
    """

    method: WeightUpdate
    format: Quantized
    ratio: float
    stream: str
    channels: tuple[int, ...] = ()
    generator: str = "counter"
    lanes: str = "rows"
    columns: tuple[int, ...] = ()

    def __str__(self) -> str:
        order = f",{'x'.join(map(str, self.columns))} channels last" if self.columns else ""
        lanes = f",register of {self.lanes}" if self.registers else ""
        return f"{self.method.name}:{self.ratio:.9g}{self.method.printed()}{lanes}{order}"

    @property
    def registers(self) -> bool:
        """Is there an operand behind the state with the two registers?"""
        return self.generator == "register" and self.random

    @property
    def stride(self) -> int:
        """Distance of neighbouring integers: binary weights (-1, +1) move by 2, so they take one bit less of x."""
        return 2 if isinstance(self.format, Binary) else 1

    @property
    def random(self) -> bool:
        return self.method.random

    @property
    def needs_full_gradient(self) -> bool:
        return self.method.needs_full_gradient

    @property
    def zero_grad_is_noop(self) -> bool:
        return self.method.zero_grad_is_noop

    def states(self, shape: Shape) -> tuple[tuple[str, Shape, Format], ...]:
        return self.method.states(shape)

    def shift(self, lr: float, e: int) -> int:
        """The k of ``g · 2**-k``; a rate of 0 shifts as the least rate does, so that nothing is left of g."""
        return nearest_shift(max(lr, LEAST_RATE) * self.ratio) - e + (self.stride - 1)

    def words(self, seed: int, t: int, rows: int, columns: int, registers: Any = None) -> tuple[Ints, Ints]:
        """The random 32-bit words of a training step: of the rows and of the columns.

        Args:
            seed, t: of the run, and the step count.
            rows, columns: how many; a vector has no columns.
            registers: the two registers, which move on.
        """
        if self.registers:
            first = int(self.lanes == "columns")
            r, c = (
                lfsr.resume(registers, which, seed, n) for which, n in ((first, rows), (1 - first, columns))
            )
        else:
            key = prng.key(seed, self.stream, t)
            if self.generator == "lfsr":
                both = lfsr.words(key, rows + columns)
            else:
                both = np.asarray(prng.words(key, np.arange(rows + columns, dtype=np.uint64))).astype(
                    np.int64
                )
            r, c = both[:rows], both[rows:]
        return r, self._stored_order(c)

    def _stored_order(self, words: Ints) -> Ints:
        """Words of columns in the order of columns."""
        if not self.columns or not len(words):
            return words
        channels, height, width = self.columns
        return words.reshape(height * width, channels).T.reshape(-1)

    def counts(self, shape: Shape) -> Counts:
        """A shift, an addition and a comparison per weight, and the random words."""
        return Counts(other={Phase.UPDATE: 3 * prod(shape)}, random=self.method.words_drawn(shape))


def rounded(g: Any, k: int) -> Any:
    """Torch: g · 2**-k rounded to nearest, ties up, in float64 if k > 0."""
    return (g.double() * 2.0 ** -min(k, 62)).add_(0.5).floor_() if k > 0 else g * 2.0**-k
