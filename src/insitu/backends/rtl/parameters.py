"""What a piece of hardware is made for: the parameters of an engine, and parts that a comparison may leave out."""

from __future__ import annotations

from dataclasses import dataclass

from insitu.backends.engine.build import Build


@dataclass(frozen=True)
class Parameters(Build):
    """A build as hardware.

    Attributes:
        dot: with the dot product over lanes (layers with fewer outputs than lanes, errors through column tiles).
        pool: with max pooling.
        pad: with the check of positions against the borders of a feature map.
    """

    dot: bool = True
    pool: bool = True
    pad: bool = True

    @property
    def number_bits(self) -> int:
        """Bits that number a lane."""
        return (self.lanes - 1).bit_length()

    @property
    def has_positions(self) -> bool:
        return self.learn and self.pool and self.positions
