"""How early requests leave when the engine itself decides, measured offline: the law that predictions then use.

Each request is served alone, once by the engine as it is and once by the engine that lets requests leave early,
from the same seed and in random order, so that both see the machine in the same state. The shares that come of it
are relative to the full service of requests that ask for the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from qmodel.errors import InputError
from qmodel.live.engine import Engine, Job, Work, make_engine, warm_up
from qmodel.service.transform import EarlyExit, ModelSwap, Transform

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from qmodel.scenario import Scenario

FIRST_SEED = 10**6
"""Seeds of these requests, which no live run of fewer requests has."""
MOST_SHARES = 40
"""A measured law has at most so many shares, each the mean of as many requests."""
STOPS_BELOW = 0.98
"""Mean share of the full occupancy below which the engine is held to stop early; else its law is timing noise."""


def measure_leaving(
    scenario: Scenario, target: Mapping[str, Any], own: Mapping[str, Any], *, requests: int = 200, seed: int = 1,
    threads: int = 1, progress: Callable[[int, int], None] | None = None,
) -> tuple[pd.DataFrame, dict[str, float], dict[str, float]]:  # fmt: skip
    """Requests of the scenario's classes, each with what it takes; the quality of what left early, and in full.

    `own` are the options that make the target's engine let requests leave early. Columns: class, the factors,
    full_s, occupied_s (until the engine is free), delivered_s (until the result is out), occupied_share
    (occupied_s over the mean full_s of the same factors) and delivered_share (delivered_s over occupied_s). Raises
    InputError for an engine that has no such options.
    """
    import pandas as pd

    plain = make_engine(str(target["kind"]), threads=threads, **_options(target))
    early = make_engine(str(target["kind"]), threads=threads, **_options({**target, **own}))
    if not getattr(early, "leaves_early", False):
        raise InputError(f"engine '{early.name}'", "lets no request leave by itself", "give options that make it")
    works = [
        (name, Work(levels, 0.0, FIRST_SEED + i))
        for i, (name, levels) in enumerate(_drawn(scenario, requests, seed))
    ]
    order = np.random.default_rng([seed, 1])
    warm_up(plain, [works[0][1]])
    warm_up(early, [works[0][1]])
    rows, left, whole = [], [], []
    for i, (name, work) in enumerate(works):
        timed = {}
        for engine in (plain, early) if order.random() < 0.5 else (early, plain):
            timed[engine is early] = _served(engine, work)
        (full, _, full_job), (occupied, delivered, job) = timed[False], timed[True]
        left.append(job)
        whole.append(full_job)
        rows.append(
            {"class": name, **work.levels, "full_s": full, "occupied_s": occupied, "delivered_s": delivered}
        )
        if progress:
            progress(i + 1, requests)
    judge: Any = getattr(early, "quality", None)
    quality = (judge(left), judge(whole)) if judge else ({}, {})
    for engine in (plain, early):
        engine.close()
    return _shares(pd.DataFrame(rows)), *quality


def _options(target: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in target.items() if name != "kind"}


def _drawn(scenario: Scenario, requests: int, seed: int) -> list[tuple[str, dict[str, int]]]:
    """Class and factors of so many requests, classes as often as they arrive."""
    rng = np.random.default_rng(seed)
    rates = np.array([each.rate for each in scenario.classes])
    found = []
    for index in rng.choice(len(rates), size=requests, p=rates / rates.sum()):
        each = scenario.classes[index]
        levels = {name: max(1, round(float(law.sample(rng, 1)[0]))) for name, law in each.factors.items()}
        found.append((each.name, levels))
    return found


def _served(engine: Engine, work: Work) -> tuple[float, float, Job]:
    """Seconds until the engine is free, seconds until the result is out, and the job."""
    begin = out = time.perf_counter()
    job = engine.start(work)
    tokens = 0
    while job.remaining:
        job.step()
        if job.tokens > tokens:
            tokens, out = job.tokens, time.perf_counter()
    end = time.perf_counter()
    return end - begin, (out if getattr(job, "released", False) else end) - begin, job


def _shares(rows: pd.DataFrame) -> pd.DataFrame:
    factors = [name for name in rows.columns if not str(name).endswith("_s")]
    full = rows.groupby(factors).full_s.transform("mean")
    return rows.assign(occupied_share=rows.occupied_s / full, delivered_share=rows.delivered_s / rows.occupied_s)


def leaving_transforms(rows: pd.DataFrame) -> tuple[Transform, ...]:
    """What was measured, as transforms of service: what judging costs, then the law of the shares.

    Where requests occupy the engine for less than their full service, that is early exit that stops, by the
    measured law of the shares; where results are out before the engine is free, early exit that releases, by the
    law of delivery.

    >>> import pandas as pd
    >>> made = leaving_transforms(pd.DataFrame({"occupied_share": [0.5, 1.25], "delivered_share": [1.0, 1.0]}))
    >>> made[0].service_factor, made[1].fractions, made[1].delivery
    (1.25, (0.4, 1.0), 'stop')
    """
    occupied, delivered = rows.occupied_share.to_numpy(float), rows.delivered_share.to_numpy(float)
    stops = bool(occupied.mean() < STOPS_BELOW)
    cost = max(1.0, float(occupied.max())) if stops else float(occupied.mean())
    made: list[Transform] = []
    if abs(cost - 1.0) > 1e-9:
        made.append(ModelSwap(service_factor=cost))
    if stops:
        made.append(_law(occupied / cost, "stop"))
    if delivered.mean() < 1.0:
        made.append(_law(delivered, "release"))
    return tuple(made)


def _law(shares: NDArray[np.float64], delivery: str) -> EarlyExit:
    """The measured shares in groups of neighbours, each as its mean."""
    groups = np.array_split(np.sort(np.clip(shares, 1e-6, 1.0)), min(MOST_SHARES, shares.size))
    weights = np.array([group.size for group in groups]) / shares.size
    fractions = tuple(float(group.mean()) for group in groups)
    return EarlyExit(fractions=fractions, probabilities=tuple(weights.tolist()), delivery=delivery)
