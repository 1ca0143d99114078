"""FPGA projects: the golden trace on the simulated engine, and what a change of it does."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("amaranth", reason="the extra 'fpga' is not installed")

from insitu.backends.engine.backend import Microcode
from insitu.backends.engine.build import PRECISION
from insitu.backends.engine.image import fitted
from insitu.backends.rtl import sim
from insitu.backends.rtl.backend import Options, Rtl
from insitu.backends.rtl.project import Project, replay
from insitu.backends.rtl.sim import Simulation
from insitu.errors import ConfigError, StepError
from tests.backends.engine.pairs import KEYS, made
from tests.backends.rtl.test_device import SOFTMAX

pytestmark = pytest.mark.skipif(sim.missing() is not None, reason=str(sim.missing()))


@pytest.fixture(scope="module")
def project():
    random, program = np.random.default_rng(4), made("etch", "mlp-64-32-10")
    x = random.integers(0, 256, (8, *program.steps[0].inputs[0].shape))
    program = replace(program, batches=tuple(zip(x, random.integers(0, 10, (8, 1)))))
    image = fitted(program)
    return Project(replace(image, build=replace(image.build, **SOFTMAX)), True)


def test_the_engine_repeats_the_golden_trace(project):
    replay(project.trace, Simulation(project.hardware))


def test_another_weight_or_another_cycle_in_the_trace_is_found(project):
    trace = list(project.trace)
    (at,) = (n for n, line in enumerate(trace) if line.startswith("write 1 0 "))
    words = trace[at].split()
    words[4] = f"{int(words[4], 16) ^ 1:x}"  # a weight
    with pytest.raises(StepError, match="memory w from 0 on is another one"):
        replay([*trace[:at], " ".join(words), *trace[at + 1 :]], Simulation(project.hardware))
    at = max(n for n, line in enumerate(trace) if line.startswith("run"))
    trace[at] += "0"
    with pytest.raises(StepError, match="a run takes"):
        replay(trace, Simulation(project.hardware))


def test_a_project_has_hardware_microcode_test_bench_and_a_board(project, tmp_path):
    project.write(tmp_path / "p")
    text = (tmp_path / "p" / "engine.v").read_text()
    assert "module engine(" in text
    assert all(f"module {name}(" in (tmp_path / "p" / f"{name}.v").read_text() for name in ("board", "axi"))
    assert "-DHOST_WORDS=2 -DLEARN" in (tmp_path / "p" / "Makefile").read_text()
    assert all(
        f'"{pin}"' in (tmp_path / "p" / "ulx3s.lpf").read_text() for pin in ("clk", "rx", "tx", "leds[7]")
    )
    project.write(tmp_path / "p")  # again, over itself
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine").touch()
    with pytest.raises(ConfigError, match="holds other files than such a project"):
        project.write(tmp_path / "other")


def test_a_board_without_constraints_is_refused():
    with pytest.raises(ConfigError, match="board 'arty' has no constraints here"):
        Options(board="arty")


def test_hardware_takes_no_keys_from_a_host():
    """The executor does; hardware would pass them over, and other bits be drawn."""
    (step,) = made("etch", "mlp-64-32-10", policy=KEYS).steps
    assert Microcode().refuse(step) == []
    (reason,) = Rtl().refuse(step)
    assert "generator=lfsr" in reason and PRECISION in reason


def test_the_backend_refuses_what_the_microcode_refuses():
    (step,) = made("usf", "mlp-64-32-10", policy="edge-latent-free-8").steps
    assert Rtl().refuse(step)
