"""A sweep from its first point to its last, in any order and any number of processes, with one outcome."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from qmodel.answer import Answer, PolicyAnswer
from qmodel.errors import InputError
from qmodel.policy import Policy, make_policy
from qmodel.predict import Asking, answer_one
from qmodel.scenario import Scenario
from qmodel.sweep.engines import Engine, as_finished, check
from qmodel.sweep.grid import Point, grid
from qmodel.sweep.store import Store, key

Progress = Callable[[int, int], None]


def sweep(
    question: Scenario | str | Path,
    *,
    vary: Mapping[str, Sequence[Any]] | None = None,
    policies: Sequence[Policy | str] = (),
    rates: Sequence[float] = (),
    settings: Mapping[str, str] | None = None,
    asking: Asking | None = None,
    jobs: int | None = None,
    engine: Engine = "local",
    folder: Path | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> Answer:
    """Answer the scenario (or its file) at every combination of `vary`, `rates` and `policies` (see `grid`).

    `jobs` points are worked on at once, by `engine`: "local", "ray" or "dask" (see `engines`); neither changes a
    digit, for every point is drawn from `asking.seed` alone, and points share their arrivals and sizes. With
    `folder`, each finished point is kept there as a JSON file, and in the end `answer.json` and `answer.csv`; with
    `resume`, points that it holds are not answered again. `progress` is called with (points done, in all).
    Raises InputError for a point that cannot be answered; those finished are kept.

    >>> from qmodel.scenario import Scenario
    >>> from qmodel.workload import Exponential, Poisson, RequestClass
    >>> chat = RequestClass("chat", arrivals=Poisson(rate=0.8), service=Exponential(mean=1.0))
    >>> answer = sweep(Scenario(classes=[chat]), vary={"system.servers": [1, 2]}, policies=["fcfs"])
    >>> [(r.settings, round(r["all"].mean_response_s, 4)) for r in answer.results]
    [({'system.servers': 1}, 5.0), ({'system.servers': 2}, 1.1905)]
    """
    asking = asking or Asking()
    check(jobs, engine)
    chosen = [make_policy(policy) if isinstance(policy, str) else policy for policy in policies]
    base = grid(question, settings=settings)[0].scenario
    points = grid(question if vary else base, vary, chosen, rates, settings if vary else {})
    store = Store(folder, resume)
    names = [key(point, asking) for point in points]
    found = {name: kept for name in dict.fromkeys(names) if (kept := store.read(name)) is not None}
    tasks = [(name, point, asking) for name, point in dict(zip(names, points, strict=True)).items()]
    tasks = [task for task in tasks if task[0] not in found]
    total = len(found) + len(tasks)
    if progress and found:
        progress(len(found), total)
    for name, result, refusal in as_finished(_answered, tasks, jobs, engine):
        if refusal is not None:
            raise InputError(*refusal)
        store.write(name, result)
        found[name] = result
        if progress:
            progress(len(found), total)
    answer = Answer(base.fingerprint, [PolicyAnswer.from_dict(found[name]) for name in names])
    if folder is not None:
        _keep_whole(answer, folder)
    return answer


Task = tuple[str, Point, Asking]
Refusal = tuple[str, str, str]


def _answered(task: Task) -> tuple[str, dict[str, Any], Refusal | None]:
    """Key and result of a point, or why it has none (an InputError does not travel between processes)."""
    name, point, asking = task
    try:
        result = answer_one(point.scenario, asking)
    except InputError as error:
        return name, {}, (error.place, error.fault, error.remedy)
    result.settings = dict(point.settings)
    return name, result.to_dict(), None


def _keep_whole(answer: Answer, folder: Path) -> None:
    from qmodel.files import write_atomically

    write_atomically(folder / "answer.json", answer.to_json() + "\n")
    write_atomically(folder / "answer.csv", answer.to_frame().to_csv(index=False))
