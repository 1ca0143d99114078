"""A device behind a port learns what the reference learns, also over a line that damages one byte in a hundred."""

from __future__ import annotations

import os
import shutil
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from insitu.backends.c import boards
from insitu.backends.c.project import defines
from insitu.backends.protocol import find
from insitu.device.device import LEARN, Device
from insitu.device.frames import Frame, encode
from insitu.device.ports import Port, open_port
from insitu.errors import ConfigError
from tests.device.channel import Case, Noisy, state_of

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="the device needs gcc")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("project")


@pytest.fixture
def case(folder: Path) -> Case:
    return Case(folder)


@pytest.fixture
def port(case: Case) -> Iterator[Port]:
    line = open_port(f"exec:{case.built()}")
    yield line
    line.close()


def test_learns_as_the_reference(case: Case, port: Port) -> None:
    device = Device(port, find("c").identity(case.program))
    case.learn(device, 20)
    assert state_of(device) == case.state
    assert device.repeated == 0


def test_nothing_is_lost_or_learned_twice_on_a_bad_line(case: Case, port: Port) -> None:
    noisy = Noisy(port, rate=0.01, seed=1)
    device = Device(noisy, seconds=0.1)
    case.learn(device, 150)
    assert noisy.damaged and device.repeated > 20
    assert state_of(device) == case.state


def test_a_repeated_request_is_answered_and_not_learned(case: Case, port: Port) -> None:
    device = Device(port)
    case.learn(device, 1)
    content = bytes(device.hello.batch_bytes + device.hello.label_bytes)
    port.write(encode(Frame(device.number, LEARN, content)) * 3)
    assert state_of(device) == case.state
    assert Device(port).hello.step == 1


def test_saved_states_are_loaded_again(case: Case, port: Port) -> None:
    device = Device(port)
    case.learn(device, 3)
    saved = device.saved()
    before = state_of(device)
    case.learn(device, 3)
    assert state_of(device) != before
    device.load(saved)
    assert state_of(device) == before and Device(port).hello.step == 3


def test_saved_states_are_those_of_the_export(case: Case, port: Port, tmp_path: Path) -> None:
    """C loads the file, and saves it again to the same slot but for the number of the save."""
    device = Device(port)
    case.learn(device, 2)
    saved = device.saved()
    (tmp_path / "slots").write_bytes(saved)
    source = tmp_path / "load.c"
    source.write_text(LOADS)
    files = [*case.folder.glob("*.c"), *(case.folder / "kernels").glob("*.c")]
    command = ["gcc", "-std=c99", *(f"-D{d}" for d in defines(case.program)), f"-I{case.folder}"]
    command += [f"-I{case.folder / 'kernels'}", str(source), *(str(f) for f in files if f.name != "test.c")]
    subprocess.run([*command, "-o", str(tmp_path / "load")], check=True)
    done = subprocess.run([str(tmp_path / "load"), str(tmp_path / "slots")], capture_output=True, check=True)
    assert done.stdout == state_of(device)


LOADS = """
#include "insitu_net.h"
#include <stdio.h>
static uint32_t arena[INSITU_ARENA_BYTES], state[INSITU_STATE_BYTES];
static uint8_t slots[2 * INSITU_SLOT_BYTES + 1];
int main(int n, char **words)
{
    insitu_net net;
    FILE *f = fopen(words[n - 1], "rb");
    insitu_init(&net, (uint8_t *)arena, (uint8_t *)state);
    if (fread(slots, 1, sizeof slots, f) != 2 * INSITU_SLOT_BYTES) return 1;
    if (insitu_state_load(&net, slots) != INSITU_OK) return 1;
    fwrite(net.state, 1, INSITU_STATE_BYTES, stdout);
    return net.clock.t != 2;
}
"""


def test_a_half_written_state_does_not_compute(case: Case, port: Port) -> None:
    device = Device(port)
    image = device.image()
    device.ask(5, struct.pack("<I", 0) + image[:8])
    with pytest.raises(ConfigError, match="half written"):
        device.infer(bytes(device.hello.sample_bytes))
    with pytest.raises(ConfigError, match="arrived changed"):
        device.ask(6, bytes(4))
    device.write_image(image)
    assert device.infer(bytes(device.hello.sample_bytes)).cycles is None


def test_refusals_name_the_remedy(case: Case, port: Port) -> None:
    with pytest.raises(ConfigError, match=r"runs program .* name the run"):
        Device(port, program=5)
    device = Device(port)
    saved = device.saved()
    with pytest.raises(ConfigError, match="no whole state"):
        device.load(saved[:40] + bytes((saved[40] ^ 1,)) + saved[41:])
    with pytest.raises(ConfigError, match="does not know the request"):
        device.ask(9)
    with pytest.raises(ConfigError, match="give a program"):
        open_port("exec:/no/such/program")
    with pytest.raises(ConfigError, match="tcp:HOST:PORT"):
        open_port("tcp:nowhere")


def test_a_device_that_is_silent_is_named() -> None:
    silent = open_port("exec:sleep 20")
    try:
        with pytest.raises(ConfigError, match="did not answer within 2 times"):
            Device(silent, seconds=0.05, tries=2)
    finally:
        silent.close()


def test_over_tcp(case: Case) -> None:
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        line, _ = server.accept()
        with line, subprocess.Popen([str(case.built())], stdin=line.fileno(), stdout=line.fileno()) as child:
            child.wait()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    line = open_port(f"tcp:127.0.0.1:{server.getsockname()[1]}")
    device = Device(line)
    case.learn(device, 5)
    assert state_of(device) == case.state
    line.close()
    thread.join(5)
    server.close()


def test_over_a_pseudo_terminal(case: Case) -> None:
    pytest.importorskip("serial")
    import tty

    ours, theirs = os.openpty()
    tty.setraw(theirs)
    child = subprocess.Popen([str(case.built())], stdin=ours, stdout=ours)
    line = open_port(os.ttyname(theirs))
    try:
        device = Device(Noisy(line, rate=0.01, seed=2), seconds=0.2)
        case.learn(device, 30)
        assert state_of(device) == case.state
    finally:
        line.close()
        child.kill()
        child.wait()
        os.close(ours)
        os.close(theirs)


@pytest.mark.skipif(shutil.which("qemu-system-arm") is None, reason="needs qemu-system-arm")
@pytest.mark.parametrize("board", ["m4"])
def test_an_emulated_board_learns_over_its_uart(case: Case, board: str, tmp_path: Path) -> None:
    root = case.folder
    sources = [*root.glob("*.c"), *(root / "kernels").glob("*.c"), root / "device" / "insitu_device.c"]
    sources = [s for s in sources if s.name != "test.c"] + [root / "device" / "uart_mps2.c"]
    found = boards.find(board)
    flags = ["INSITU_BOARD", *defines(case.program), *found.forms]
    elf = boards.build(sources, [root, root / "kernels", root / "device"], board, tmp_path, defines=flags)
    command = (
        f"qemu-system-arm -M {found.machine} -display none -monitor none -serial stdio -kernel {elf.path}"
    )
    line = open_port(f"exec:{command}")
    try:
        device = Device(line, seconds=5.0)
        case.learn(device, 20)
        assert state_of(device) == case.state
    finally:
        line.close()
