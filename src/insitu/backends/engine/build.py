"""The parameters of an engine: what is fixed when its hardware is made."""

from __future__ import annotations

from dataclasses import dataclass

from insitu.backends.engine.isa import MOST_ADDRESS_BITS
from insitu.errors import ConfigError

PRECISION = "edge-latent-free-8:error_exponent=static,generator=register,word_order=channels-last"
"""In which an engine trains."""

LANES = (4, 8, 16, 32)
WIDE_FRACTION = 16
"""Fraction bits of a wide result in lane 0's accumulator, whatever S is."""

BYTE_BITS = 9
"""Of a byte with its sign, or without one."""


@dataclass(frozen=True)
class Build:
    """An engine.

    Attributes:
        lanes: multipliers and accumulators, P.
        fraction: bits S of an accumulator below a result of one byte: the largest shift of a requantization or update.
        address_bits: of a byte of A and of a word of W.
        operand_bits: of both operands of a multiplier: 18 in an ECP5, 16 in an iCE40.
        weight_bits: of an element of W: 8, or 4 for networks whose weights all have 4 bits.
        generator: ``lfsr``: the host writes a key for every random update; ``register``: two registers run on for ever.
        learn: it can learn; else the instructions and fields marked *learning* do nothing.
        softmax, positions: it has the unit for errors of a softmax; max pools can give positions.
        a_words, w_words, code_words: sizes of the memories, in words of P bytes, of P weights, and of instructions.
    """

    lanes: int = 8
    fraction: int = 24
    address_bits: int = 13
    operand_bits: int = 18
    weight_bits: int = 8
    generator: str = "lfsr"
    learn: bool = True
    softmax: bool = True
    positions: bool = True
    a_words: int = 256
    w_words: int = 1024
    code_words: int = 1024

    def __post_init__(self) -> None:
        for name, value, known in (
            ("lanes", self.lanes, LANES),
            ("operand_bits", self.operand_bits, (16, 18)),
            ("weight_bits", self.weight_bits, (4, 8)),
            ("generator", self.generator, ("lfsr", "register")),
            ("fraction", self.fraction, range(WIDE_FRACTION, 25)),
            ("address_bits", self.address_bits, range(8, MOST_ADDRESS_BITS + 1)),
        ):
            if value not in known:
                raise ConfigError(
                    f"an engine with {name}={value!r} cannot be built; use one of {list(known)}"
                )
        most = 1 << self.address_bits
        if self.a_words * self.lanes > most or self.w_words > most:
            raise ConfigError(
                f"memories of {self.a_words * self.lanes} bytes and {self.w_words} words do not fit "
                f"{self.address_bits} bits of address; use more address_bits or less memory"
            )

    @property
    def high(self) -> int:
        """Bits that the flag ``high`` shifts a second factor to the left."""
        return self.operand_bits - BYTE_BITS

    @property
    def lane_bits(self) -> int:
        """Of an accumulator."""
        return self.fraction + 17

    @property
    def wide_bits(self) -> int:
        """Of lane 0's."""
        return self.fraction + 24
