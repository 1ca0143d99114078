"""Devices for tests: an exported project as a program, and a line that damages what it carries."""

from __future__ import annotations

import random
import subprocess
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from insitu.backends.c.memory import Memory, packed
from insitu.backends.c.project import Project, write
from insitu.device.device import Device
from insitu.device.ports import Port
from insitu.run.integer import run
from insitu.run.program import Program
from insitu.run.samples import as_integers
from tests.backends.programs import program
from tests.run.cases import samples


@dataclass
class Noisy:
    """A port of which some bytes, both ways, are lost, doubled or flipped in one bit; frames arrive in order."""

    port: Port
    rate: float
    seed: int
    damaged: int = 0
    carried: int = 0
    rng: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)

    def write(self, data: bytes) -> None:
        self.port.write(self.through(data))

    def read(self, seconds: float) -> bytes:
        return self.through(self.port.read(seconds))

    def close(self) -> None:
        self.port.close()

    def through(self, data: bytes) -> bytes:
        out = bytearray()
        self.carried += len(data)
        for byte in data:
            if self.rng.random() >= self.rate:
                out.append(byte)
                continue
            self.damaged += 1
            out += (b"", bytes((byte, byte)), bytes((byte ^ 1 << self.rng.randrange(8),)))[
                self.rng.randrange(3)
            ]
        return bytes(out)


@dataclass
class Case:
    """An exported program, its samples, and the reference beside it."""

    folder: Path
    rule: str = "drtp"
    policy: str = "edge-latent-free-4"

    def __post_init__(self) -> None:
        self.net, made = program(self.rule, "mlp", self.policy)
        self.values = {name: np.array(a) for name, a in made.initial_state.items()}
        x, y = samples(self.net, 1, 0)
        self.program: Program = replace(made, batches=((as_integers(made.given["x"], x), y),))
        self.project: Project = write(self.program, self.folder)
        self.t = 0

    def built(self) -> Path:
        """The device as a program of this machine."""
        subprocess.run(
            ["make", "-s", "-C", str(self.folder), "WERROR=-Werror", "device/insitu-device"], check=True
        )
        return self.folder / "device" / "insitu-device"

    def learn(self, device: Device, steps: int) -> None:
        """Training steps by the device and by the reference."""
        given, step = self.program.given, self.program.steps[0]
        for _ in range(steps):
            x, y = samples(self.net, 1, self.t)
            words = as_integers(given["x"], x)
            run(step, self.values, words, y, self.program.context(self.t))
            self.t += 1
            label = packed(given["label"], y) if "label" in given else b""
            assert device.learn(packed(given["x"], words), label).step == self.t

    @property
    def state(self) -> bytes:
        """Of the reference, as the device holds it."""
        return Memory(self.program).block("state", self.values)


def state_of(device: Device) -> bytes:
    return device.image()[12 + device.hello.updates :]
