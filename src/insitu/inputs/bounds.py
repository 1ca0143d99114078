"""Upper bounds of the numbers that a user can give, each with its reason; refused before anything is allocated.

They are far above any use on a device, and low enough that no field of torch, NumPy or C overflows and that what is
refused costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

N = TypeVar("N", int, float)


@dataclass(frozen=True)
class Most:
    """The largest value of a number, and why; ``least``: the smallest one, where 0 is not the only limit."""

    value: int
    why: str
    least: float | None = None

    def check(self, number: N) -> N:
        """The number.

        Raises:
            ValueError: if it is larger, or smaller than the least.
        """
        if self.least is not None and number < self.least:
            raise ValueError(f"is less than {self.least:g}: {self.why}")
        if not number <= self.value:  # NaN too
            raise ValueError(f"is more than {self.value:,}: {self.why}")
        return number


LEAST_RATE = 1e-30
"""No shift of stored weights stands for a rate of 0: where a schedule comes to 0, their gradient is shifted by this."""
RATE = Most(10**6, "such steps leave the range of float32", least=LEAST_RATE)
FACTOR = Most(10**6, "such factors leave the range of float32")
COUNT = Most(10**9, "a run of so many steps does not end")
SAMPLES = Most(10**12, "a run of so many samples does not end")
EPOCHS = Most(10**6, "a run of so many epochs does not end")
BATCH = Most(1 << 20, "a step keeps the activations of a whole batch")
SEED = Most((1 << 63) - 1, "seeds are whole numbers of 63 bits")
SEEDS = Most(1000, "each seed is a run of its own")
THREADS = Most(1024, "no machine has so many cores")
JOBS = Most(256, "each job is a process with torch in it")
PAD = Most(1024, "a padded image of a batch must fit into memory")
PIXELS = Most(4096, "an image of so many pixels a side takes 64 MiB")
CLASSES = Most(1 << 16, "the last layer has an output per class")
LAYERS = Most(512, "the time of planning a step grows with the square of the layers")
NODES = Most(1 << 13, "a graph of so many nodes has more layers than a step can be planned for")
MODEL = Most((1 << 30) + (1 << 24), "float32 parameters of more than 1 GiB")
PARAMETERS = Most(1 << 28, "float32 parameters of more than 1 GiB")
FEATURES = Most(1 << 26, "float32 activations of more than 256 MiB a sample")
STEPS = Most(10**4, "the self-test keeps the samples and results of its steps")
OPTION = Most(1 << 20, "no option of a rule is a larger whole number")
REAL = Most(10**6, "such numbers leave the range of float32", least=1e-30)
DEPTH = Most(64, "each level is a layer of its own at every block")
RESIDENTS = Most(1 << 30, "float32 weights and states of more than 4 GiB")
BYTES = Most(1 << 50, "no machine has so much memory")


def check_option(value: object) -> None:
    """Refuses a number of a rule's option that is out of bounds; 0 and other values pass.

    Raises:
        ValueError: saying the bound and its reason.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or value == 0:
        return
    (OPTION if isinstance(value, int) else REAL).check(abs(value))
