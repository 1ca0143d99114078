"""The command line in a fork of this process, which has everything imported: a case takes milliseconds, not seconds."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # a fork of OpenMP's threads may hang
os.environ.setdefault("MPLBACKEND", "Agg")

import torch

import insitu.cli
import insitu.experiment.compare
import insitu.experiment.export
import insitu.experiment.grid
import insitu.report.heat
import insitu.report.page
import insitu.report.plots

torch.set_num_threads(1)

TIMEOUT = 300.0
"""Seconds that a command has to end, where a case gives no other number."""


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        code: exit status, minus a signal, or ``None`` if it did not end in time.
        out, err: what it printed.
        seconds: wall time.
        bytes: the most memory that it held.
    """

    code: int | None
    out: str
    err: str
    seconds: float
    bytes: int

    @property
    def how(self) -> str:
        if self.code is None:
            return f"no end within {self.seconds:.0f} s"
        return f"signal {-self.code}" if self.code < 0 else f"exit {self.code}"

    @property
    def last(self) -> str:
        """The last line of stderr."""
        return (self.err.strip().splitlines() or [""])[-1][:200]

    @property
    def refusal(self) -> list[str]:
        """The lines of the refusal: from its first on."""
        lines = self.err.splitlines()
        first = next(
            (i for i, x in enumerate(lines) if x.startswith("insitu: ") and "insitu: note:" not in x), None
        )
        return [] if first is None else lines[first:]


class Running:
    """A command that runs.

    Args:
        words: of the command line, without ``insitu``.
        environment: variables over those of this process.
        before: called in the fork before the command.
    """

    def __init__(
        self,
        words: Sequence[str],
        folder: Path,
        environment: Mapping[str, str] | None = None,
        before: Callable[[], None] = lambda: None,
    ) -> None:
        self._streams = [tempfile.TemporaryFile() for _ in range(2)]  # noqa: SIM115
        self._begin = time.monotonic()
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            self._child(words, folder, environment or {}, before)

    def _child(
        self, words: Sequence[str], folder: Path, environment: Mapping[str, str], before: Callable[[], None]
    ) -> None:
        code = 70
        try:
            os.setsid()
            os.chdir(folder)
            os.environ.update(environment)
            for stream, number in zip(self._streams, (1, 2)):
                os.dup2(stream.fileno(), number)
            sys.stdin.close()
            sys.argv = ["insitu", *words]
            before()
            code = insitu.cli.main(list(words))
            sys.stdout.flush()
            sys.stderr.flush()
        except BaseException:  # noqa: BLE001  # the fork must not go on as the attacker
            import traceback

            traceback.print_exc()
            sys.stderr.flush()
            code = 1
        finally:
            os._exit(code)

    def kill(self, number: int = signal.SIGKILL) -> None:
        os.kill(self.pid, number)

    def wait(self, timeout: float = TIMEOUT) -> Ended:
        """The end; one that is not there in time is brought about."""
        end = self._begin + timeout
        late = False
        while True:
            pid, status, usage = os.wait4(self.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() > end and not late:
                late = True
                os.killpg(self.pid, signal.SIGKILL)
            time.sleep(0.002)
        seconds = time.monotonic() - self._begin
        texts = []
        for stream in self._streams:
            stream.seek(0)
            texts.append(stream.read().decode(errors="replace"))
            stream.close()
        code = None if late else os.waitstatus_to_exitcode(status)
        return Ended(code, *texts, seconds, usage.ru_maxrss * 1024)


def ran(words: Sequence[str], folder: Path, *, timeout: float = TIMEOUT, **environment: str) -> Ended:
    """Runs ``insitu`` in a folder."""
    return Running(words, folder, environment).wait(timeout)
