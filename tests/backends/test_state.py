"""Saving survives a power cut at any byte: what is loaded afterwards is the old state or the new one, not a mixture."""

from __future__ import annotations

import ctypes
import shutil
from dataclasses import replace

import numpy as np
import pytest

from insitu.backends.c.host import Engine
from insitu.backends.c.memory import packed
from tests.backends.programs import Pair, pair

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="the C engine needs gcc")

WRITE = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, ctypes.c_uint32, ctypes.POINTER(ctypes.c_uint8), ctypes.c_uint32
)
OK, NO_STATE, FOREIGN_STATE, WRITE_FAILED = 0, -7, -8, -9


class Memory:
    """Two slots that survive power, which fails after some bytes."""

    def __init__(self, size: int) -> None:
        self.slots = (ctypes.c_uint8 * size)(*([0xFF] * size))
        self.left: int | None = None
        self.written = 0

    def write(self, _where: int, offset: int, data: ctypes.Array[ctypes.c_uint8], size: int) -> int:
        for i in range(size):
            if self.left is not None and self.written >= self.left:
                return 1
            self.slots[offset + i] = data[i]
            self.written += 1
        return 0

    def save(self, both: Pair, left: int | None = None) -> int:
        """Bytes that were written, or the status of a refusal, which is less than 0."""
        self.left, self.written = left, 0
        done = both.engine.c.insitu_state_save(both.engine.host, self.slots, WRITE(self.write), None)
        return self.written if done == OK else int(done)

    def load(self, both: Pair) -> int:
        return int(both.engine.c.insitu_state_load(both.engine.host, self.slots))


@pytest.fixture
def both() -> Pair:
    return pair("drtp", "mlp", "edge-latent-free-4")


def slot_bytes(both: Pair) -> int:
    return 36 + both.engine.sizes["updates"] + both.engine.sizes["state"]


def trained(both: Pair, steps: int) -> bytes:
    assert next(both.learn(steps), None) is None
    return both.engine.state.tobytes()


def test_nothing_saved_is_nothing_to_load(both: Pair) -> None:
    before = both.engine.state.tobytes()
    assert Memory(2 * slot_bytes(both)).load(both) == NO_STATE
    assert both.engine.state.tobytes() == before


def test_a_cut_at_any_byte_leaves_the_old_state_or_the_new_one(both: Pair) -> None:
    memory = Memory(2 * slot_bytes(both))
    old = trained(both, 3)
    total = memory.save(both)
    assert total == slot_bytes(both)
    saved = bytes(memory.slots)
    new = trained(both, 5)
    assert old != new and memory.load(both) == OK  # the step count of the old one, as in the loop
    both.engine.state[:] = memoryview(new)
    memory.save(both)
    complete = bytes(memory.slots)
    for cut in range(total + 1):
        ctypes.memmove(memory.slots, saved, len(saved))
        both.engine.state[:] = memoryview(new)
        done = memory.save(both, cut)
        assert done == (total if cut == total else WRITE_FAILED)
        both.engine.state[:] = 0
        assert memory.load(both) == OK
        # the last bytes may be those of erased memory
        assert both.engine.state.tobytes() == (new if bytes(memory.slots) == complete else old)


def test_damage_is_refused_and_the_older_slot_serves(both: Pair) -> None:
    memory = Memory(2 * slot_bytes(both))
    old = trained(both, 2)
    size = memory.save(both)
    new = trained(both, 2)
    assert memory.save(both) == size
    for at in range(0, size, 7):
        memory.slots[size + at] ^= 0x10  # the second save went into the second slot
        assert memory.load(both) == OK and both.engine.state.tobytes() == old
        memory.slots[size + at] ^= 0x10
        assert memory.load(both) == OK and both.engine.state.tobytes() == new
    memory.slots[0] ^= 1
    memory.slots[size + 40] ^= 1
    assert memory.load(both) == NO_STATE


def test_saves_take_turns_and_the_clock_goes_on(both: Pair) -> None:
    memory = Memory(2 * slot_bytes(both))
    for _ in range(5):
        state = trained(both, 1)
        time = both.engine.c.insitu_host_time(both.engine.host)
        assert memory.save(both) == slot_bytes(both)
        both.engine.state[:] = 0
        both.engine.set_clock(0.5, 0)
        assert memory.load(both) == OK
        assert both.engine.state.tobytes() == state
        assert both.engine.c.insitu_host_time(both.engine.host) == time


def test_a_slot_of_another_program_is_refused_with_its_own_status(both: Pair) -> None:
    memory = Memory(2 * slot_bytes(both))
    trained(both, 2)
    assert memory.save(both) == slot_bytes(both)
    for other in (
        pair("drtp", "mlp", "edge-latent-free-4:headroom=0"),
        pair("drtp", "mlp", "edge-latent-free-4:update=threshold"),
        pair("bp", "mlp", "edge-latent-free-4"),
    ):
        if slot_bytes(other) == slot_bytes(both):
            before = other.engine.state.tobytes()
            assert memory.load(other) == FOREIGN_STATE and other.engine.state.tobytes() == before
            assert memory.save(other) == slot_bytes(other) and memory.load(other) == OK


def test_seed_rate_and_step_are_of_the_slot(both: Pair) -> None:
    """Another seed or rate in the receiving network: it goes on as the one that saved."""
    memory = Memory(2 * slot_bytes(both))
    trained(both, 3)
    memory.save(both)
    after = trained(both, 4)
    receiving = Engine(replace(both.program, seed=both.program.seed + 1, lr=both.program.lr / 8))
    c = receiving.c
    assert c.insitu_state_load(receiving.host, memory.slots) == OK
    both.t -= 4
    for _ in range(4):
        phase, x, y = both.batch()
        step = both.program.steps[phase]
        data = (np.frombuffer(packed(v, a), np.uint8)[None].copy() for v, a in zip(step.inputs, (x, y)))
        receiving.learn(*data, phase)
        both.t += 1
    assert receiving.state.tobytes() == after
