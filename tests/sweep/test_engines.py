"""Engines: every result once, on whatever works; the clusters that are there are used, others are started."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from typing import Any

import pytest

from qmodel.errors import InputError, MissingExtra
from qmodel.sweep import engines
from qmodel.sweep.engines import as_finished


def square(value: int) -> int:
    return value * value


SQUARES = [i * i for i in range(6)]


@pytest.mark.parametrize("jobs", [None, 1, 2, -1])
def test_every_result_once(jobs: int | None) -> None:
    assert sorted(as_finished(square, range(6), jobs)) == SQUARES


@pytest.mark.parametrize(("jobs", "engine"), [(0, "local"), (-2, "local"), (1, "locl"), (1, "spark")])
def test_unknown_engines_and_numbers_are_refused(jobs: int, engine: str) -> None:
    with pytest.raises(InputError, match="--jobs" if engine == "local" else "--engine"):
        list(as_finished(square, range(6), jobs, engine))


@pytest.mark.parametrize(("engine", "module"), [("ray", "ray"), ("dask", "distributed")])
def test_a_missing_extra_is_named(engine: str, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtra, match=rf"qmodel\[{engine}\]"):
        list(as_finished(square, range(6), 2, engine))


class Cluster:
    """Stands in for Ray: what was called, and a pool that works in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, running: bool) -> None:
        self.calls: list[Any] = []
        self.running = running
        ray, util, pools = (types.ModuleType(name) for name in ("ray", "ray.util", "ray.util.multiprocessing"))
        ray.is_initialized = lambda: self.running  # type: ignore[attr-defined]
        ray.init = lambda **words: self.calls.append(words)  # type: ignore[attr-defined]
        ray.shutdown = lambda: self.calls.append("shutdown")  # type: ignore[attr-defined]
        ray.cluster_resources = lambda: {"CPU": 4.0}  # type: ignore[attr-defined]
        pools.Pool = self.pool  # type: ignore[attr-defined]
        for module in (ray, util, pools):
            monkeypatch.setitem(sys.modules, module.__name__, module)

    def pool(self, processes: int) -> Any:
        self.calls.append(processes)
        return types.SimpleNamespace(
            imap_unordered=lambda work, tasks, chunksize: map(work, tasks),
            terminate=lambda: self.calls.append("end"),
        )


def test_ray_is_started_and_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    cluster = Cluster(monkeypatch, running=False)
    assert sorted(as_finished(square, range(6), 2, "ray")) == SQUARES
    started, processes, *ended = cluster.calls
    assert started["num_cpus"] == 2 and processes == 2 and ended == ["end", "shutdown"]


def test_the_ray_cluster_that_is_named_is_used_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "somewhere:6379")
    cluster = Cluster(monkeypatch, running=False)
    assert sorted(as_finished(square, range(6), None, "ray")) == SQUARES
    assert "num_cpus" not in cluster.calls[0] and cluster.calls[1] == 4


def test_ray_that_runs_already_is_left_running(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(monkeypatch, running=True)
    assert sorted(as_finished(square, range(6), 3, "ray")) == SQUARES
    assert cluster.calls == [3, "end"]


@pytest.fixture
def dask(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """Stands in for Dask: the words that clients were made with; threads do the work."""
    made: list[dict[str, Any]] = []

    class Client:
        def __init__(self, **words: Any) -> None:
            made.append(words)

        def __enter__(self) -> None: ...

        def __exit__(self, *error: object) -> None: ...

    module = types.ModuleType("distributed")
    module.Client, module.default_client = Client, _no_client  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "distributed", module)
    whole = engines._joblib
    monkeypatch.setattr(engines, "_joblib", lambda work, tasks, jobs, _: whole(work, tasks, jobs, "threading"))
    yield made


def _no_client() -> None:
    raise ValueError("no clients found")


def test_dask_workers_are_started(dask: list, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DASK_SCHEDULER_ADDRESS", raising=False)
    assert sorted(as_finished(square, range(6), 2, "dask")) == SQUARES
    assert dask[0]["n_workers"] == 2 and dask[0]["threads_per_worker"] == 1


def test_the_dask_scheduler_that_is_named_is_used(dask: list, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", "tcp://somewhere:8786")
    assert sorted(as_finished(square, range(6), None, "dask")) == SQUARES
    assert dask == [{}]


def test_a_dask_connection_that_stands_is_used(dask: list, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["distributed"], "default_client", object)
    assert sorted(as_finished(square, range(6), 2, "dask")) == SQUARES
    assert dask == []


@pytest.mark.slow
@pytest.mark.parametrize(("engine", "module"), [("ray", "ray"), ("dask", "distributed")])
def test_a_cluster_answers_as_this_process_does(engine: str, module: str) -> None:
    pytest.importorskip(module)
    from qmodel.sweep import sweep
    from tests.sweep.test_sweep import GRID, RUNS, TWO

    there = sweep(TWO, **GRID, asking=RUNS, jobs=2, engine=engine)  # type: ignore[arg-type]
    assert there.to_json() == sweep(TWO, **GRID, asking=RUNS).to_json()
