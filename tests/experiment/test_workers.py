"""One function over many tasks: each result once, whoever does the work and whoever dies over it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from functools import partial
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import pytest

from insitu.errors import ConfigError
from insitu.experiment import workers as pools
from insitu.experiment.config import RuleSpec
from insitu.experiment.grid import GridConfig, grid
from insitu.experiment.workers import completed, workers


def square(number: int) -> int:
    return number * number


def threads(_task: int) -> tuple[int, int]:
    import torch

    return os.getpid(), torch.get_num_threads()


def die_once(number: int, folder: Path) -> int:
    """Kills its worker, unless the task was tried before; every attempt leaves a file."""
    mark = folder / f"{number}"
    if number == 3 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return square(number)


def die(_task: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class AtOnce(Executor):
    """Runs every call when it is submitted."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


def test_without_a_pool_tasks_run_in_order_as_results_are_asked_for() -> None:
    begun: list[int] = []
    with workers() as pool:
        assert pool is None
        found = completed(pool, lambda n: begun.append(n) or square(n), [3, 1, 2])
        assert next(found) == (0, 9) and begun == [3]
        assert list(found) == [(1, 1), (2, 4)]


def test_any_executor_will_do() -> None:
    assert sorted(completed(AtOnce(), square, [3, 1, 2])) == [(0, 9), (1, 1), (2, 4)]


def test_processes_have_one_thread_each_and_end_with_the_context() -> None:
    before = set(active_children())
    with workers(2) as pool:
        found = dict(completed(pool, threads, range(4)))
    assert set(found) == {0, 1, 2, 3}
    assert os.getpid() not in {pid for pid, _ in found.values()}
    assert {count for _, count in found.values()} == {1}
    assert set(active_children()) == before


def test_an_error_ends_the_processes() -> None:
    before = set(active_children())
    with pytest.raises(KeyboardInterrupt), workers(2) as pool:
        for _ in completed(pool, square, range(100)):
            raise KeyboardInterrupt
    end = time.monotonic() + 10
    while set(active_children()) != before and time.monotonic() < end:
        time.sleep(0.05)
    assert set(active_children()) == before


def test_a_process_that_is_killed_is_a_clear_refusal() -> None:
    said = r"--jobs 2: a process was killed .* use fewer --jobs, and --resume"
    with pytest.raises(ConfigError, match=said), workers(2) as pool:
        list(completed(pool, die, [1]))


LONG_WORK = """
import sys, time
from functools import partial
from pathlib import Path
from insitu.experiment.workers import completed, workers

def beat(folder, task):
    for n in range(1200):
        (folder / f"{task}").write_text(f"{n}")
        time.sleep(0.05)

if __name__ == "__main__":
    with workers(2) as pool:
        list(completed(pool, partial(beat, Path(sys.argv[1])), [0, 1], torch=False))
"""


def test_processes_end_with_one_that_is_killed(tmp_path: Path) -> None:
    (tmp_path / "long_work.py").write_text(LONG_WORK)
    beats = [tmp_path / "0", tmp_path / "1"]

    def lively() -> int:
        before = [path.exists() and path.read_text() for path in beats]
        time.sleep(0.5)
        return sum(path.exists() and path.read_text() != was for path, was in zip(beats, before, strict=True))

    def reached(count: int) -> bool:
        end = time.monotonic() + 60
        while lively() != count and time.monotonic() < end:
            pass
        return lively() == count

    with subprocess.Popen([sys.executable, str(tmp_path / "long_work.py"), str(tmp_path)]) as run:
        assert reached(2)
        run.kill()
    assert reached(0)


def test_the_extra_is_named_where_distributed_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    said = r"distributed.*pip install 'insitu\[cluster\]'"
    with pytest.raises(ConfigError, match=said), workers(cluster="tcp://127.0.0.1:1"):
        pass


@pytest.fixture(scope="module")
def distributed() -> Any:
    return pytest.importorskip("distributed", reason="needs distributed: pip install -e '.[dev]'")


@pytest.fixture(scope="module")
def cluster(distributed: Any) -> Iterator[Any]:
    """Two worker processes, each of which starts again when it dies."""
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster:
        yield cluster


def test_a_task_whose_worker_dies_is_done_by_another(cluster: Any, tmp_path: Path) -> None:
    with workers(cluster=cluster.scheduler_address) as pool:
        found = list(completed(pool, partial(die_once, folder=tmp_path), range(6)))
    assert (tmp_path / "3").exists()
    assert sorted(found) == [(n, n * n) for n in range(6)]


def test_a_grid_loses_no_point_and_has_none_twice(cluster: Any, tmp_path: Path) -> None:
    """A worker is killed in the middle of its runs; the results are those of one process."""
    config = GridConfig(
        network="mlp-64-16-10",
        rules=(RuleSpec(rule="bp"), RuleSpec(rule="dfa")),
        weight_bits=("32",),
        act_bits=("8",),
        seeds=4,
        epochs=60,
        limit_train=200,
        limit_test=50,
    )
    killed: list[int] = []

    def kill(_event: dict[str, Any]) -> None:
        busy = [w.address for w in cluster.scheduler.workers.values() if w.processing]
        if busy and not killed:
            nanny = next(n for n in cluster.workers.values() if n.worker_address == busy[0])
            os.kill(nanny.pid, signal.SIGKILL)
            killed.append(nanny.pid)

    found = grid(config, tmp_path / "g", cluster=cluster.scheduler_address, on_event=kill)
    assert killed
    points = [id for row in found.rows for id in row.points]
    assert len(points) == len(set(points)) == 8
    assert sorted(points) == sorted(p.stem for p in (tmp_path / "g" / "points").iterdir())
    assert [row.curves for row in found.rows] == [row.curves for row in grid(config).rows]


def test_a_cluster_whose_workers_die_on_a_task_again_and_again(distributed: Any) -> None:
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0") as small:
        small.scheduler.allowed_failures = 0
        said = "workers died on one run again and again; look at the cluster's logs, then --resume"
        with pytest.raises(ConfigError, match=said), workers(cluster=small.scheduler_address) as pool:
            list(completed(pool, die, [1]))


@pytest.mark.parametrize(
    ("address", "reason"),
    [("host", "is no address"), ("tcp://127.0.0.1:9", "no dask scheduler answers .* check the address")],
)
def test_an_address_where_nobody_answers(
    address: str, reason: str, distributed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "PATIENCE", 0.5)
    with pytest.raises(ConfigError, match=f"--cluster .*{reason}"), workers(cluster=address):
        pass


@pytest.mark.parametrize(
    ("count", "threads", "reason"), [(0, 1, "has no workers"), (1, 2, "runs 2 tasks in one process")]
)
def test_workers_that_do_not_fit(
    count: int, threads: int, reason: str, distributed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "PATIENCE", 0.5)
    size = {"n_workers": count, "threads_per_worker": threads}
    with distributed.LocalCluster(
        **size, processes=False, protocol="tcp://", dashboard_address=":0"
    ) as small:
        said = pytest.raises(ConfigError, match=f"{reason}.*--nthreads 1")
        with said, workers(cluster=small.scheduler_address):
            pass
