"""Requests to a device, each executed once however bad the line is; saved states as the export's slots."""

from __future__ import annotations

import struct
import time
from dataclasses import dataclass
from zlib import crc32

from insitu.device.frames import Frame, decode, encode
from insitu.device.ports import Port
from insitu.errors import ConfigError

HELLO, INFER, LEARN, READ, WRITE, COMMIT = range(1, 7)
VERSION = 1
STATUS = {
    -3: "a label is no class of this network",
    -4: "the phase does not exist",
    -5: "the learning rate is out of range; export with another --lr",
    -21: "the device does not know the request; export the run again and flash it",
    -22: "its state is half written; load a whole state first",
    -23: "the state arrived changed; load it again",
}
MAGIC, SLOT_VERSION = 0x75736E69, 2


@dataclass(frozen=True)
class Hello:
    """What a device says of itself: the hash of its program, sizes in bytes, and training steps done."""

    version: int
    program: int
    sample_bytes: int
    batch_bytes: int
    label_bytes: int
    updates: int
    state_bytes: int
    chunk: int
    step: int

    @property
    def image_bytes(self) -> int:
        """Of step count, seed, rate, shifts and state."""
        return 12 + self.updates + self.state_bytes


@dataclass(frozen=True)
class Answer:
    """Of a sample.

    Attributes:
        class_index: of ``infer``; 0 of ``learn``.
        cycles: of the core; ``None``: it has no counter.
        step: training steps done.
    """

    class_index: int
    cycles: int | None
    step: int


class Device:
    """A device behind a port. One request is under way at a time.

    Args:
        seconds: until a request is sent again.
        tries: how often it is sent.

    Raises:
        ConfigError: nothing answers, or with another version of the protocol or another program.
    """

    def __init__(self, port: Port, program: int | None = None, seconds: float = 2.0, tries: int = 20) -> None:
        self.port, self.seconds, self.tries = port, seconds, tries
        self.number, self.rest, self.repeated = 0, bytearray(), 0
        content = self.ask(HELLO)
        if len(content) != 36 or struct.unpack_from("<I", content)[0] != VERSION:
            raise ConfigError(
                f"the device speaks another version of the protocol, and this is {VERSION}; export the run again"
            )
        self.hello = Hello(*struct.unpack("<9I", content))
        if program is not None and program != self.hello.program:
            raise ConfigError(
                f"the device runs program {self.hello.program:#010x}, and the run's is {program:#010x}; export this "
                "run and flash it, or name the run (and --batch) that was exported"
            )

    def ask(self, kind: int, content: bytes = b"") -> bytes:
        """A request's reply, without its status.

        Raises:
            ConfigError: no reply arrives, or the device refuses.
        """
        return self._asked(kind, content)[1]

    def _asked(self, kind: int, content: bytes) -> tuple[int, bytes]:
        self.number = (self.number + 1) & 255
        data = b"\0" + encode(Frame(self.number, kind, content))
        for turn in range(self.tries):
            self.repeated += turn > 0
            self.port.write(data)
            reply = self._reply(kind)
            if reply is not None:
                (status,) = struct.unpack_from("<i", reply.content)
                if status < 0:
                    said = STATUS.get(status, "see insitu_status in insitu_net.h")
                    raise ConfigError(f"the device refused a request with status {status}: {said}")
                return status, reply.content[4:]
        raise ConfigError(
            f"the device did not answer within {self.tries} times {self.seconds:g} s; check port and speed, and that "
            "the device runs insitu_device_serve"
        )

    def _reply(self, kind: int) -> Frame | None:
        """The reply to the request under way; ``None``: not in time. Whatever else arrives is dropped."""
        end = time.monotonic() + self.seconds
        while (left := end - time.monotonic()) > 0:
            self.rest += self.port.read(left)
            *frames, self.rest = self.rest.split(b"\0")
            for found in map(decode, map(bytes, frames)):
                if found and (found.number, found.kind) == (self.number, kind) and len(found.content) >= 4:
                    return found
        return None

    def infer(self, sample: bytes) -> Answer:
        """The class of a sample of ``sample_bytes``."""
        return self._compute(INFER, sample)

    def learn(self, batch: bytes, labels: bytes) -> Answer:
        """A training step on a batch of ``batch_bytes`` and labels of ``label_bytes``."""
        return self._compute(LEARN, batch + labels)

    def _compute(self, kind: int, content: bytes) -> Answer:
        found, told = self._asked(kind, content)
        cycles, step = struct.unpack("<II", told)
        return Answer(found, cycles or None, step)

    # --- the state -------------------------------------------------------------------------------------------------

    def image(self) -> bytes:
        """Step count, seed, learning rate, shifts and state, as they lie in the device."""
        size, chunk = self.hello.image_bytes, self.hello.chunk
        parts = (
            self.ask(READ, struct.pack("<II", at, min(chunk, size - at))) for at in range(0, size, chunk)
        )
        return b"".join(parts)

    def write_image(self, image: bytes) -> None:
        """Gives the device such an image; it counts when the whole has arrived.

        Raises:
            ConfigError: it has another size.
        """
        if len(image) != self.hello.image_bytes:
            raise ConfigError(
                f"a state of {len(image)} bytes does not fit; pass {self.hello.image_bytes} bytes"
            )
        for at in range(0, len(image), self.hello.chunk):
            self.ask(WRITE, struct.pack("<I", at) + image[at : at + self.hello.chunk])
        self.ask(COMMIT, struct.pack("<I", crc32(image)))

    def saved(self) -> bytes:
        """The two slots that ``insitu_state_load`` reads: the state in the first, the second empty (all 0xff)."""
        image = self.image()
        head = struct.pack("<4I", MAGIC, SLOT_VERSION, self.hello.program, 1) + image[:12]
        body = head + struct.pack("<I", len(image) - 12) + image[12:]
        slot = body + struct.pack("<I", crc32(body))
        return slot + b"\xff" * len(slot)

    def load(self, data: bytes) -> None:
        """Goes on from two slots: from the newer one that is whole.

        Raises:
            ConfigError: none is, or they are of another program.
        """
        size = len(data) // 2
        slots = [s for s in (data[:size], data[size:]) if self._whole(s)]
        if not slots:
            raise ConfigError(
                f"these {len(data)} bytes hold no whole state of program {self.hello.program:#010x}; load what "
                "insitu device save or insitu_state_save of this program has written"
            )
        numbers = [struct.unpack_from("<I", s, 12)[0] for s in slots]
        newer = len(slots) == 2 and 0 < (numbers[1] - numbers[0]) & 0xFFFFFFFF < 1 << 31
        slot = slots[newer]
        self.write_image(slot[16:28] + slot[32:-4])

    def _whole(self, slot: bytes) -> bool:
        if len(slot) != self.hello.image_bytes + 24:
            return False
        facts = struct.unpack_from("<3I", slot)
        whole = crc32(slot[:-4]) == int.from_bytes(slot[-4:], "little")
        return whole and facts == (MAGIC, SLOT_VERSION, self.hello.program)
