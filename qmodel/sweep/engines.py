"""Where a sweep is worked on: this process, this machine's cores, or a Ray or Dask cluster.

joblib carries the same calls to cores and to Dask, and the pool under its back end for Ray does to Ray. A cluster
that runs already is found as its own tools find it (`RAY_ADDRESS`, `DASK_SCHEDULER_ADDRESS`, or one that this
process is connected to); without any, one is started on this machine and stopped afterwards.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, TypeVar

from qmodel.errors import InputError, MissingExtra, nearest

Engine = Literal["local", "ray", "dask"]
ENGINES = ("local", "ray", "dask")
Task = TypeVar("Task")
Result = TypeVar("Result")


def as_finished(
    work: Callable[[Task], Result], tasks: Sequence[Task], jobs: int | None = None, engine: str = "local"
) -> Iterator[Result]:
    """The results of `work`, each as soon as it is there, so in any order.

    `jobs` at once; None is one on "local", and all that a cluster has elsewhere; -1 is all cores. Raises InputError
    for an unknown engine and a number of jobs that is 0 or below -1, MissingExtra for an engine not installed.
    """
    check(jobs, engine)
    if engine == "local" and jobs in (None, 1):
        yield from map(work, tasks)
        return
    yield from {"local": _local, "ray": _ray, "dask": _dask}[engine](work, tasks, -1 if jobs is None else jobs)


def check(jobs: int | None, engine: str) -> None:
    """Raise InputError for an engine that does not exist, or a number of jobs that means nothing."""
    if engine not in ENGINES:
        raise InputError("--engine", f"{engine!r} is unknown", nearest(engine, list(ENGINES)))
    if jobs is not None and (jobs == 0 or jobs < -1):
        raise InputError("--jobs", f"{jobs} is no number of jobs", "give 1 or more, or -1 for all cores")


def _local(work: Callable[[Task], Result], tasks: Sequence[Task], jobs: int) -> Iterator[Result]:
    return _joblib(work, tasks, jobs, "loky")


def _joblib(work: Callable[[Task], Result], tasks: Sequence[Task], jobs: int, backend: str) -> Iterator[Result]:
    from joblib import Parallel, delayed, parallel_config

    with parallel_config(backend=backend):
        pool = Parallel(n_jobs=jobs, return_as="generator_unordered", batch_size=1)
        yield from pool(delayed(work)(task) for task in tasks)


def _ray(work: Callable[[Task], Result], tasks: Sequence[Task], jobs: int) -> Iterator[Result]:
    """Through the pool that joblib's back end for Ray stands on: that one keeps every result back to the end."""
    try:
        import ray
        from ray.util.multiprocessing import Pool
    except ImportError as error:
        raise MissingExtra("ray", "ray") from error
    begun = not ray.is_initialized()
    if begun:
        _start_ray(ray, jobs)
    workers = int(ray.cluster_resources().get("CPU", 1)) if jobs == -1 else jobs
    pool = Pool(processes=workers)
    try:
        yield from pool.imap_unordered(work, tasks, chunksize=1)
    finally:
        pool.terminate()
        if begun:
            ray.shutdown()


def _start_ray(ray: Any, jobs: int) -> None:
    quiet: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
    if os.environ.get("RAY_ADDRESS"):
        ray.init(**quiet)
    else:
        ray.init(address="local", num_cpus=None if jobs == -1 else jobs, include_dashboard=False, **quiet)


def _dask(work: Callable[[Task], Result], tasks: Sequence[Task], jobs: int) -> Iterator[Result]:
    try:
        from distributed import Client
    except ImportError as error:
        raise MissingExtra("dask", "dask") from error
    with _connected(Client, jobs):
        yield from _joblib(work, tasks, jobs, "dask")


@contextmanager
def _connected(client: Any, jobs: int) -> Iterator[None]:
    """A connection to Dask: the one that stands, one to the scheduler that is named, or to workers of our own."""
    from distributed import default_client

    try:
        default_client()
    except ValueError:
        pass
    else:
        yield
        return
    workers = {"n_workers": None if jobs == -1 else jobs, "threads_per_worker": 1}
    here = {**workers, "dashboard_address": None, "silence_logs": "ERROR"}
    with client(**({} if os.environ.get("DASK_SCHEDULER_ADDRESS") else here)):
        yield
