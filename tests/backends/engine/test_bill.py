"""Bills of targets that are engines: cycles of the closed form for any share of triggers, blocks, and refusals."""

from __future__ import annotations

import pytest

from insitu.backends.engine.bill import blocks
from insitu.backends.engine.build import PRECISION
from insitu.backends.engine.cycles import work
from insitu.backends.engine.image import typical
from insitu.backends.engine.listing import ALL
from insitu.errors import ConfigError
from insitu.experiment.design_point import DesignPoint
from insitu.experiment.impact import Impact, assess
from insitu.hardware.target import Engine, find

CNN = {"input_shape": (1, 8, 8), "classes": 10}


def impact(rule: str, network: str = "mlp-64-32-10", lanes: int = 8, **more: object) -> Impact:
    target = f"engine-ecp5-{lanes}"
    return assess(DesignPoint(network, rule, PRECISION, target, activation="relu", **more))  # type: ignore[arg-type]


@pytest.mark.parametrize("lanes", [4, 8, 16, 32])
@pytest.mark.parametrize(
    ("rule", "network", "more"), [("etch", "mlp-64-32-10", {}), ("etch", "cnn-8-16", CNN)]
)
@pytest.mark.parametrize("share", [0.0, 1.0])
def test_cycles_are_those_of_the_closed_form(
    rule: str, network: str, more: dict[str, object], lanes: int, share: float
) -> None:
    found = impact(rule, network, lanes, triggers=(share,), **more)
    image = typical(found.program, lanes)
    step, inference = image.entries
    expected = work(image.code.words, step.start, image.build, ALL if share else 0).cycles
    assert found.bill.cycles is not None and found.bill.cycles.central == pytest.approx(expected)
    forward = found.inference.cycles
    assert (
        forward is not None and forward.central == work(image.code.words, inference.start, image.build).cycles
    )


def test_lanes_are_busy_at_most_all_the_time() -> None:
    busy = [row.utilisation for row in impact("etch").bill.rows if row.utilisation is not None]
    assert len(busy) == 7 and all(0 < n <= 1 for n in busy)


def test_energy_is_unknown_and_blocks_are_those_of_the_memories() -> None:
    found = impact("etch")
    assert found.bill.energy is None and "energy.cycle" in found.bill.missing()
    target = find("engine-ecp5-8")
    assert isinstance(target, Engine) and target.cells.learning is not None
    assert found.bill.fabric == {"dsp": 8, "bram": 5, "lut": target.cells.learning.count}
    softmax = impact("bp").bill.fabric
    assert softmax is not None and softmax["bram"] == 6


def test_blocks_of_memories() -> None:
    assert [blocks(512, 64), blocks(512, 36), blocks(2048, 8), blocks(16384, 64)] == [2, 1, 1, 64]


@pytest.mark.parametrize(
    ("point", "said"),
    [
        (
            DesignPoint("mlp-64-32-10", "etch", "float32", "engine-ecp5-8"),
            "works on reals .* use --precision",
        ),
        (DesignPoint("mlp-64-32-10", "usf", PRECISION, "engine-ecp5-8", activation="relu"), "through a view"),
        (
            DesignPoint("mlp-64-32-10", "etch", PRECISION, "engine-ecp5-8", activation="tanh"),
            "use a ReLU network",
        ),
    ],
)
def test_what_the_engine_cannot_run_has_no_bill(point: DesignPoint, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        assess(point)
