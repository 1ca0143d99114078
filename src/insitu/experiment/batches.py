"""Batches of another size than the run's: the last ones of an epoch and of a run, and those of an export.

A step is made anew for every size of batch. What lives from step to step must not depend on it.
"""

from __future__ import annotations

from math import gcd
from typing import TYPE_CHECKING

from insitu.errors import ConfigError
from insitu.step.ir import Value

if TYPE_CHECKING:
    from insitu.experiment.resolve import Setup


def last_sizes(count: int, total: int, batch: int) -> set[int]:
    """Sizes other than ``batch`` that batches of a run have.

    Args:
        count: training samples of an epoch.
        total: training samples of the whole run.
    """
    ends = {total % count} | ({count} if total >= count else set())
    return {end % batch for end in ends} - {0}


def check_last(setup: Setup) -> None:
    """Refuses a run with a last batch whose size its state does not fit.

    Raises:
        ConfigError: naming the resident, both sizes and a batch that works.
    """
    count, batch = setup.training_samples, setup.config.batch
    for size in sorted(
        last_sizes(count, setup.total_samples, batch) - ({1} if setup.skips_single else set())
    ):
        if (name := _misfit(setup, size)) is not None:
            whole = gcd(batch, count, setup.total_samples)
            raise ConfigError(
                f"precision {setup.config.precision_name} keeps %{name} for batches of {batch} samples, but {count} "
                f"training samples leave a batch of {size}; use --batch {whole}, or defer=1"
            )


def check_other(setup: Setup, batch: int) -> None:
    """Refuses an export for another batch than the run's where its state does not fit.

    Raises:
        ConfigError: naming the resident and both sizes.
    """
    if (name := _misfit(setup, batch)) is not None:
        raise ConfigError(
            f"{setup.config.rule} in precision {setup.config.precision_name} keeps %{name} for batches of "
            f"{setup.config.batch} samples, so it cannot be exported for batches of {batch}; use --batch "
            f"{setup.config.batch}, or train with defer=1"
        )


def _misfit(setup: Setup, batch: int) -> str | None:
    """A resident that is another array in the steps of a batch size."""
    for phase in range(setup.phases.count):
        usual, other = (setup.emitted(n, phase).residents for n in (setup.config.batch, batch))
        known = {v.name: _form(v) for v in usual}
        for value in other:
            if known.get(value.name, _form(value)) != _form(value):
                return value.name
    return None


def _form(v: Value) -> tuple[object, ...]:
    return v.shape, str(v.format), v.unit, v.channels
