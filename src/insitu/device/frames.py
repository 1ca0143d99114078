"""Frames of the serial protocol: COBS with a CRC-32 behind, as ``insitu_device.c`` reads them.

Decoded, a frame is: sequence number (1 byte), kind (1 byte), content, CRC-32 of these (4 bytes, little-endian).
Encoded, it has no byte 0, and a 0 ends it, so that a reader finds the next frame after any damage. The CRC is that of
zlib (CRC-32/ISO-HDLC), which the export has anyway for its saved states: of 16 bits, one damaged frame in 65,536 would
pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from zlib import crc32


@dataclass(frozen=True)
class Frame:
    """A frame, decoded.

    Attributes:
        number: sequence number, 0 to 255.
        kind: of the request or reply, 0 to 255.
        content: all bytes between kind and check sum.
    """

    number: int
    kind: int
    content: bytes


def encode(frame: Frame) -> bytes:
    """The bytes on the line, with the 0 that ends them."""
    body = bytes((frame.number, frame.kind)) + frame.content
    return stuffed(body + crc32(body).to_bytes(4, "little")) + b"\0"


def decode(data: bytes) -> Frame | None:
    """The frame of the bytes between two zeros; ``None``: they are damaged."""
    body = unstuffed(data)
    if body is None or len(body) < 6 or crc32(body[:-4]) != int.from_bytes(body[-4:], "little"):
        return None
    return Frame(body[0], body[1], body[2:-4])


def stuffed(data: bytes) -> bytes:
    """Consistent overhead byte stuffing (Cheshire and Baker, 1999): the same without zeros; without a 0 at the end."""
    out = bytearray()
    parts = data.split(b"\0")
    for i, part in enumerate(parts):
        while len(part) >= 254:
            out += b"\xff" + part[:254]
            part = part[254:]
            if i == len(parts) - 1 and not part:
                return bytes(out)
        out += bytes((len(part) + 1,)) + part
    return bytes(out)


def unstuffed(data: bytes) -> bytes | None:
    """What was stuffed; ``None``: this is no such thing."""
    out, at = bytearray(), 0
    while at < len(data):
        code = data[at]
        part = data[at + 1 : at + code]
        if code == 0 or len(part) != code - 1 or 0 in part:
            return None
        out += part
        at += code
        if code < 255 and at < len(data):
            out.append(0)
    return bytes(out)
