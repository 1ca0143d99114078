"""What a device is reached through: a serial port, a TCP port, or a program that speaks on stdin and stdout."""

from __future__ import annotations

import os
import select
import shlex
import socket
import subprocess
from collections.abc import Callable
from typing import Protocol

from insitu.errors import ConfigError


class Port(Protocol):
    """A line of bytes to a device."""

    def write(self, data: bytes) -> None:
        """Sends all of them."""
        ...

    def read(self, seconds: float) -> bytes:
        """Bytes that have arrived, after at most that time; none: nothing has.

        Raises:
            ConfigError: the other side has closed.
        """
        ...

    def close(self) -> None: ...


class Descriptors:
    """A port of two file descriptors."""

    def __init__(self, name: str, reads: int, writes: int, closed: Callable[[], None]) -> None:
        self.name, self.reads, self.writes, self.closed = name, reads, writes, closed

    def write(self, data: bytes) -> None:
        try:
            while data:
                data = data[os.write(self.writes, data) :]
        except OSError as error:
            raise _gone(self.name) from error

    def read(self, seconds: float) -> bytes:
        if not select.select([self.reads], [], [], seconds)[0]:
            return b""
        try:
            data = os.read(self.reads, 4096)
        except OSError as error:
            raise _gone(self.name) from error
        if not data:
            raise _gone(self.name)
        return data

    def close(self) -> None:
        self.closed()


def _gone(name: str) -> ConfigError:
    return ConfigError(
        f"port {name} was closed by the device; start the device again, and then insitu device"
    )


class SerialPort:
    """A serial port or a pseudo-terminal, by pyserial."""

    def __init__(self, name: str, baud: int) -> None:
        try:
            import serial
        except ImportError:
            raise ConfigError(
                f"port {name} is a serial port, and pyserial is missing; pip install 'insitu[device]'"
            ) from None
        self.name, self.lost = name, serial.SerialException
        try:
            self.port = serial.Serial(name, baud, timeout=0)
        except (serial.SerialException, ValueError) as error:
            raise ConfigError(
                f"port {name} cannot be opened: {error}; check the cable and the rights"
            ) from None

    def write(self, data: bytes) -> None:
        try:
            self.port.write(data)
        except self.lost as error:
            raise _gone(self.name) from error

    def read(self, seconds: float) -> bytes:
        try:
            self.port.timeout = seconds
            data: bytes = self.port.read(1)
            return data + self.port.read(self.port.in_waiting) if data else data
        except self.lost as error:
            raise _gone(self.name) from error

    def close(self) -> None:
        self.port.close()


def open_port(name: str, baud: int = 115200) -> Port:
    """A port by name: ``/dev/ttyACM0``, ``tcp:HOST:PORT`` or ``exec:PROGRAM`` (with arguments).

    Args:
        baud: bits a second, of serial ports.

    Raises:
        ConfigError: it cannot be opened, or pyserial is missing.
    """
    kind, _, rest = name.partition(":")
    if kind == "exec":
        return _program(name, rest)
    if kind == "tcp":
        return _tcp(name, rest)
    return SerialPort(name, baud)


def _program(name: str, command: str) -> Port:
    words = shlex.split(command)
    try:
        process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
    except (OSError, IndexError, ValueError) as error:
        raise ConfigError(f"port {name} cannot be opened: {error}; give a program after exec:") from None
    assert process.stdin is not None and process.stdout is not None
    reads, writes = process.stdout, process.stdin

    def closed() -> None:
        writes.close()
        try:
            process.wait(2)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        reads.close()

    return Descriptors(name, reads.fileno(), writes.fileno(), closed)


def _tcp(name: str, rest: str) -> Port:
    host, _, port = rest.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ConfigError(
            f"port {name} has no host and port; write tcp:HOST:PORT, such as tcp:localhost:4000"
        )
    try:
        line = socket.create_connection((host, int(port)), 10)
    except OSError as error:
        raise ConfigError(f"port {name} cannot be opened: {error}; start the device first") from None
    line.settimeout(None)
    return Descriptors(name, line.fileno(), line.fileno(), line.close)
