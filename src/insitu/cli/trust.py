"""Which network files may run: one that the command line names, and one that a configuration names after a yes.

A configuration or a run folder from elsewhere may name ``file.py:function``, and that file runs with the rights of
whoever runs insitu. The yes is asked for once for each state of the files: ``--trust``, or naming the file itself. What
was named or trusted is remembered as a digest in the user's state folder, so that an own run resumes without asking.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

from insitu.errors import ConfigError
from insitu.inputs import foreign


def ask(networks: Iterable[str], source: object, *, named: bool = False, trust: bool = False) -> None:
    """Refuses network files that neither the command line names nor the user has trusted as they are now.

    Args:
        networks: names; those of the zoo run nothing.
        source: the configuration, for the message.
        named: the command line names the networks.
        trust: ``--trust`` was given.

    Raises:
        ConfigError: naming the file and the remedy.
    """
    for spec in filter(foreign.is_file, networks):
        mark = _folder() / sha256(repr(foreign.contents(spec)).encode()).hexdigest()
        if named or trust:
            _remember(mark)
        elif not mark.exists():
            path, _ = foreign.parts(spec)
            raise ConfigError(
                f"{source} names the network file {path}, which would run with your rights, and you have not run it as "
                f"it is now; read it, then pass --trust, or name it yourself with --network {spec}"
            )


def ask_of(run: Path, trust: bool) -> None:
    """The same for the configuration of a run folder, or the file itself; anything else names no file.

    A configuration file in the working folder itself, with its network file there or below, is the user's own.
    """
    from insitu.experiment.config import RunConfig, load

    path = run / "config.yaml" if run.is_dir() else run
    if path.suffix in (".yaml", ".yml"):
        network = load(RunConfig, path).network
        ask([network], f"configuration {path}", trust=trust or (not run.is_dir() and _here(path, network)))


def _here(config: Path, network: str) -> bool:
    """Does a configuration lie in the working folder, and the network file that it names there or below?"""
    if not foreign.is_file(network):
        return False
    file, here = foreign.parts(network)[0].resolve(), Path.cwd().resolve()
    return config.resolve().parent == here and file.is_relative_to(here)


def names_network(sets: Iterable[str] | None) -> bool:
    """Does one of the ``--set`` words name a network?"""
    return any(word.split("=")[0].strip() in ("network", "networks") for word in sets or ())


def _folder() -> Path:
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "insitu" / "trusted"


def _remember(mark: Path) -> None:
    """Where that cannot be written, the user is asked again."""
    try:
        mark.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        mark.touch(mode=0o600)
    except OSError:
        return
