"""One function over many tasks, each result as soon as it is there: here, in processes of this machine, on a cluster.

Everything goes over the standard :class:`concurrent.futures.Executor`. Tasks and results travel between processes, so
they must pickle; a worker needs insitu and the data set, but no file system that it shares with this process.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Executor, ProcessPoolExecutor, as_completed
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from multiprocessing import active_children, get_context, parent_process
from multiprocessing.connection import wait
from threading import Thread
from typing import TYPE_CHECKING, TypeVar

from insitu.errors import ConfigError

if TYPE_CHECKING:
    from distributed import Client

T = TypeVar("T")
R = TypeVar("R")

PATIENCE = 10
"""Seconds that a scheduler has to answer, and its first worker to be there."""

RETRIES = 3
"""How often a cluster repeats a task that failed."""


def workers(jobs: int = 1, cluster: str | None = None) -> AbstractContextManager[Executor | None]:
    """Who does the work while the context is open; whoever leaves it by an exception leaves no process behind.

    Args:
        jobs: processes of this machine; 1 stands for this process, and gives ``None``.
        cluster: address of a dask scheduler, whose workers serve instead.

    Raises:
        ConfigError: if the cluster cannot be used, or workers died.
    """
    if cluster is not None:
        return _cluster(cluster)
    return _processes(jobs) if jobs > 1 else nullcontext()


def completed(
    pool: Executor | None, work: Callable[[T], R], tasks: Sequence[T], *, torch: bool = True
) -> Iterator[tuple[int, R]]:
    """Index and result of every task, each exactly once, as they are done; without a pool in order, in this process.

    Args:
        torch: the work uses torch, which then takes one thread.
    """
    if pool is None:
        yield from enumerate(map(work, tasks))
        return
    run: Callable[..., R] = partial(_on_one_thread, work) if torch else work
    waiting = {pool.submit(run, task): i for i, task in enumerate(tasks)}
    for future in as_completed(list(waiting)):
        yield waiting.pop(future), future.result()


def _on_one_thread(work: Callable[[T], R], task: T) -> R:
    """A task in a process of its own; the same bits however many there are."""
    import torch

    torch.set_num_threads(1)
    return work(task)


def _watch() -> None:
    """Ends a worker with the process that started it, however that ends, so that it does not write into a later run."""
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


@contextmanager
def _processes(count: int) -> Iterator[Executor]:
    others = set(active_children())
    spawn = get_context("spawn")  # a fork of OpenMP threads may hang
    pool = ProcessPoolExecutor(count, mp_context=spawn, initializer=_watch)
    try:
        yield pool
    except BaseException as error:
        pool.shutdown(wait=False, cancel_futures=True)
        for worker in set(active_children()) - others:
            worker.terminate()  # what was kept on disk can be resumed
        if isinstance(error, BrokenExecutor):
            raise ConfigError(
                f"--jobs {count}: a process was killed in the middle of a run, perhaps for want of memory; "
                "use fewer --jobs, and --resume"
            ) from None
        raise
    pool.shutdown()


@contextmanager
def _cluster(address: str) -> Iterator[Executor]:
    client = _client(address)
    from distributed.scheduler import KilledWorker

    with client:
        _check_workers(client, address)
        try:
            yield client.get_executor(pure=False, retries=RETRIES)
        except (KilledWorker, CancelledError) as error:
            killed = isinstance(error, KilledWorker)
            reason = "workers died on one run again and again" if killed else "the scheduler stopped"
            raise ConfigError(
                f"--cluster {address}: {reason}; look at the cluster's logs, then --resume"
            ) from None


def _client(address: str) -> Client:
    try:
        from distributed import Client
    except ImportError:
        raise ConfigError(
            f"--cluster {address} needs the package 'distributed', which is not installed; "
            "pip install 'insitu[cluster]', or use --jobs"
        ) from None
    if not re.fullmatch(r"((tcp|tls|ucx|wss?)://)?[^/\s]+:[0-9]+", address):
        raise ConfigError(
            f"--cluster {address!r} is no address of a scheduler; write for example tcp://host:8786"
        )
    try:
        return Client(address, timeout=PATIENCE, set_as_default=False)
    except OSError as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(
            f"--cluster {address}: no dask scheduler answers ({reason}); check the address, or start 'dask scheduler'"
        ) from None


def _check_workers(client: Client, address: str) -> None:
    """At least one worker, and none that runs two tasks in one process: they would share torch's threads and seeds."""
    try:
        client.wait_for_workers(1, timeout=PATIENCE)
    except TimeoutError:
        raise ConfigError(
            f"--cluster {address} has no workers; start some with 'dask worker {address} --nthreads 1'"
        ) from None
    for worker, threads in client.nthreads().items():
        if threads > 1:
            raise ConfigError(
                f"--cluster {address}: worker {worker} runs {threads} tasks in one process; "
                f"start it with --nthreads 1, and --nworkers {threads} to use as many cores"
            )
