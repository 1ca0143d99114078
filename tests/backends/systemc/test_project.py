"""SystemC projects: they prove themselves, and a change of what they hold is found."""

import os
import shutil
import subprocess
import sys
import types
from dataclasses import replace
from platform import machine

import numpy as np
import pytest

from insitu.backends.engine.cycles import dma
from insitu.backends.systemc import device, headers
from insitu.backends.systemc.backend import Options, SystemC
from insitu.backends.systemc.data import Data
from insitu.backends.systemc.project import Project
from insitu.errors import ConfigError
from insitu.hardware.target import find
from tests.backends.engine.pairs import KEYS, made

pytestmark = pytest.mark.skipif(device.missing() is not None, reason=str(device.missing()))


def learner(rule="etch", network="mlp-64-32-10", count=40):
    program, random = made(rule, network), np.random.default_rng(4)
    x = random.integers(0, 256, (count, *program.steps[0].inputs[0].shape))
    return replace(program, batches=tuple(zip(x, random.integers(0, 10, (count, 1)))))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A project, not built."""
    folder = tmp_path_factory.mktemp("systemc") / "p"
    SystemC().write(learner(), folder, Options(samples=40))
    return folder


def test_a_project_builds_without_a_warning_and_proves_itself(folder):
    words = ["make", "-s", "-j2", "test", "CXXFLAGS=-O0"]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0 and "warning" not in done.stderr, done.stdout + done.stderr
    assert done.stdout.count("runs: equal") == 3 and "faces, 16 samples: equal" in done.stdout


def test_the_sources_compile_without_more_warnings_either(folder):
    subprocess.run(["make", "-s", "-j2", "warnings"], cwd=folder, check=True)


def test_the_sanitizers_find_nothing(folder):
    soc = device.built("soc", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    no_leaks = os.environ | {"ASAN_OPTIONS": "detect_leaks=0"}  # valgrind looks for them
    words = [str(soc), "program.txt", "samples.bin"]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, env=no_leaks)
    assert done.returncode == 0, done.stderr


SUPPRESSED = """\
{{
   the library switches stacks by itself
   Memcheck:{kind}
   obj:*libsystemc*
}}
"""


@pytest.mark.skipif(machine() != "x86_64" or not shutil.which("valgrind"), reason="valgrind is not installed")
def test_valgrind_finds_nothing(folder, tmp_path):
    (tmp_path / "supp").write_text(
        "".join(SUPPRESSED.format(kind=kind) for kind in ("Value8", "Cond", "Addr8"))
    )
    words = ["valgrind", "-q", "--error-exitcode=9", "--leak-check=full", "--errors-for-leak-kinds=definite"]
    words += ["--suppressions=supp", str(device.built("soc", "-march=x86-64")), "--samples", "2"]
    words += [str(folder / "program.txt"), str(folder / "samples.bin")]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def replayed(folder, trace, tmp_path):
    path = tmp_path / "trace.txt"
    path.write_text("\n".join(trace) + "\n")
    words = [str(device.built("replay")), str(folder / "program.txt"), str(path)]
    return subprocess.run(words, capture_output=True, text=True)


def test_another_weight_or_another_cycle_in_the_trace_is_found(folder, tmp_path):
    lines = (folder / "trace.txt").read_text().splitlines()
    assert replayed(folder, lines, tmp_path).returncode == 0
    trace = list(lines)
    at = next(n for n, line in enumerate(trace) if line.startswith("write 1 0 "))
    words = trace[at].split()
    words[4] = f"{int(words[4], 16) ^ 1:x}"
    trace[at] = " ".join(words)
    done = replayed(folder, trace, tmp_path)
    assert done.returncode == 1 and "the memory is another one" in done.stdout
    at = max(n for n, line in enumerate(lines) if line.startswith("run"))
    trace = [*lines[:at], lines[at] + "0", *lines[at + 1 :]]
    done = replayed(folder, trace, tmp_path)
    assert done.returncode == 1 and "a run takes" in done.stdout


def platform(folder, *options, programs=1):
    """What the system on chip prints."""
    words = [str(device.built("soc")), *options]
    words += [str(folder / "program.txt"), str(folder / "samples.bin")] * programs
    done = subprocess.run(words, capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_a_system_learns_the_same_with_dma_and_without_and_in_chunks_of_any_size(folder, tmp_path):
    states, first = set(), set()
    for n, options in enumerate(
        [[], ["--dma", "0"], ["--dma", "0", "--direct", "0"], ["--chunk", "7"], ["--quantum", "1"]]
    ):
        path = tmp_path / str(n)
        first.add(platform(folder, *options, "--state", str(path)).splitlines()[0])
        states.add(path.read_bytes())
    assert len(states) == 1 and len(first) == 1  # and classes, and cycles


def test_a_system_may_infer_alone_or_learn_alone(folder, tmp_path):
    found = {}
    for mode in ("infer", "learn", "both"):
        for dma_ in ("1", "0"):
            path = tmp_path / f"{mode}{dma_}"
            text = platform(folder, "--mode", mode, "--dma", dma_, "--state", str(path))
            found[mode, dma_] = text.splitlines()[0], path.read_bytes()
    assert all(found[mode, "1"] == found[mode, "0"] for mode in ("infer", "learn", "both"))
    assert found["learn", "1"][1] == found["both", "1"][1] != found["infer", "1"][1]
    assert "right" not in found["learn", "1"][0] and "right before learning" in found["both", "1"][0]


def test_two_engines_wait_for_each_other_at_the_bus_and_learn_the_same(folder):
    one, two = platform(folder), platform(folder, programs=2)
    line = one.splitlines()[0].removeprefix("engine0")
    assert f"engine0{line}" in two and f"engine1{line}" in two
    assert "engine0 5200 bytes, waited 0.000 %" not in two.replace("engine1", "engine0")


def test_a_trace_of_signals_and_a_time_line_are_written(folder, tmp_path):
    platform(folder, "--vcd", str(tmp_path / "soc"), "--timeline", str(tmp_path / "t.csv"))
    signals = (tmp_path / "soc.vcd").read_text()
    assert "scope module engine0" in signals and "busy" in signals and "irq0" in signals
    begins_and_ends = [line.split(",") for line in (tmp_path / "t.csv").read_text().split()]
    assert len(begins_and_ends) == 3 and all(float(b) < float(e) for _, b, e in begins_and_ends)


@pytest.mark.parametrize("lanes", [8, 32])
@pytest.mark.parametrize("width", [1, 4, 16])
def test_a_sample_takes_the_time_that_the_bill_says(tmp_path, lanes, width):
    """Of commands of one sample each: what DMA brings, the microcode, and the class that goes back."""
    SystemC().write(learner(count=8), tmp_path / "p", Options(samples=8, lanes=lanes))
    platform(tmp_path / "p", "--chunk", "1", "--width", str(width), "--timeline", "t.csv")
    taken = {
        round((float(end) - float(begin)) * 25e6)
        for _, begin, end in (line.split(",") for line in (tmp_path / "p" / "t.csv").read_text().split())
    }
    program = learner(count=8)
    target = find(f"engine-systemc:lanes={lanes},dma={8 * width}")
    training, inference = (sum(mapped.cycles.values()) for mapped in SystemC().mapped(program, target))
    assert taken == {training + inference + dma(1, width)}  # random labels: every trigger fires


@pytest.mark.parametrize(("words", "said"), [
    (["--vdc", "x"], "--vdc is no option"),
    (["--mode", "guess"], "--mode is both, infer or learn, not 'guess'"),
    (["--chunk"], "--chunk needs a value"),
    (["--chunk", "many"], "--chunk takes a number, not 'many'"),
    (["program.txt"], "a program and its samples for each engine"),
    (["program.txt", "nothing.bin"], "nothing.bin cannot be read"),
    (["README.md", "samples.bin"], "line 1 of the program: '#' is no word of a program"),
])  # fmt: skip
def test_a_system_that_cannot_be_is_refused(folder, words, said):
    done = subprocess.run([str(device.built("soc")), *words], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 2 and said in done.stdout


def test_a_python_device_of_vpsim_learns_a_sample(folder, monkeypatch):
    """With a ``pyvp`` of the test's own: VPSim itself is not to be had here."""
    raised = []
    pyvp = types.SimpleNamespace(interrupt=lambda device, line, level: raised.append((line, level)))
    monkeypatch.setitem(sys.modules, "pyvp", pyvp)
    made_of = {}
    exec((folder / "faces" / "vpsim_device.py").read_text(), made_of)
    address = {r.name: r.address for r in headers.bus.REGISTERS}
    engine = made_of["InsituEngine"](
        str(folder / "program.txt").encode(), str(device.built("pipe")).encode(), b"3"
    )
    engine.write(address["IRQ"], 2, 4)
    engine.write(address["CTRL"], headers.bus.COMMANDS["LEARN"][0], 4)
    for _ in range(200):
        engine.poll()
        if raised:
            break
    assert raised == [(3, 1)] and engine.read(address["STEP"], 4) == 1
    with pytest.raises(RuntimeError, match="answers -2"):
        engine.read(address["STATE_BYTES"] + 4, 4)


def test_a_folder_of_something_else_stays(tmp_path):
    (tmp_path / "mine").touch()
    with pytest.raises(ConfigError, match="holds other files than such a project"):
        Project(Data.fitted(learner(count=8), 8), 8).write(tmp_path)
    with pytest.raises(ConfigError, match="--samples 3 is out of range"):
        Options(samples=3)


def test_hardware_takes_no_keys_from_a_host():
    (reason,) = SystemC().refuse(made("etch", "mlp-64-32-10", policy=KEYS).steps[0])
    assert "generator=lfsr" in reason


def test_a_driver_in_c_finds_registers_and_commands_in_its_header(tmp_path):
    (tmp_path / "insitu_engine.h").write_text(headers.c_header())
    names = ", ".join(f"INSITU_ENGINE_{name}" for name in ("CTRL", "DO_LEARN", "WINDOW_W"))
    text = f'#include "insitu_engine.h"\nint x[] = {{{names}}};\n'
    (tmp_path / "driver.c").write_text(text)
    words = ["gcc", "-std=c99", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "driver.c"]
    subprocess.run(words, cwd=tmp_path, check=True)
