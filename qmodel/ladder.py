"""The gap ladder: from a live run down to theory, one thing changed on each rung.

live -> the same arrivals and measured service times through a simulated queue -> fitted service times -> fresh
Poisson arrivals, many more -> theory. The difference between two neighbouring rungs is what that one change is
worth, so the whole gap between live and theory is accounted for.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from qmodel.errors import InputError
from qmodel.statistics.intervals import Interval, batch_means

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from qmodel.answer import PolicyAnswer
    from qmodel.scenario import Scenario

RUNGS = ("live", "measured services", "fitted services", "poisson arrivals", "theory")
EXPLAINS = {
    "live": "",
    "measured services": "the serving loop: hand-over between processes, decisions between steps, the client's lag",
    "fitted services": "service times in this run against the fitted service function",
    "poisson arrivals": "the arrivals of this run against the long-run average of the arrival process",
    "theory": "what theory idealises: steps that cannot be divided or interrupted",
}
LONG_RUN_REQUESTS = 400_000
HORIZONS = 100
STEPS = ("steps", "output_tokens")
"""Columns that say in how many indivisible steps a request is served; a prefill counts as one token's step."""


@dataclass(frozen=True)
class Rung:
    """Mean response time (s) of a class on one rung, with its interval where it has one."""

    class_name: str
    rung: str
    mean_response_s: float
    low: float
    high: float
    words: Mapping[str, str] = field(default_factory=lambda: EXPLAINS, repr=False, compare=False)

    @property
    def explains(self) -> str:
        """What the step from the rung above is due to."""
        return self.words[self.rung]


def ladder(
    scenario: Scenario,
    log: pd.DataFrame,
    schedule: pd.DataFrame,
    predicted: PolicyAnswer,
    warmup_s: float = 0.0,
    horizon_s: float | None = None,
) -> list[Rung]:
    """All rungs for `all` and each class.

    `log` is a live run's request log and `schedule` what it was drawn from (same request_id); requests scheduled
    before `warmup_s` are served but not counted. With `horizon_s` the run is one of a finite horizon, from empty:
    fresh arrivals are drawn over the same horizon again and again, and rungs of the run itself have no interval.
    Raises InputError when the two do not belong together.
    """
    live = schedule.merge(log, on="request_id", suffixes=("", "_log"), how="inner")
    if len(live) != len(schedule) or not np.allclose(live.scheduled_s, live.scheduled_s_log):
        raise InputError(
            "ladder", "the log is not of this schedule", "draw it with the run's seed, rate and horizon"
        )
    served = live[live.status == "ok"].reset_index(drop=True)
    measured = served.service_s / served.size_s_log  # the log's size is that of the mode it was served in
    counted = served.scheduled_s.to_numpy() >= warmup_s
    responses = {
        "live": (served.done_s - served.scheduled_s_log).to_numpy(),
        "measured services": _replayed(scenario, served, measured.to_numpy()),
        "fitted services": _replayed(scenario, served, (served.work_s / served.size_s).to_numpy()),
    }
    rungs = [
        Rung(name, rung, *_mean(values[counted & _of(served, name)], steady=horizon_s is None))
        for rung, values in responses.items()
        for name in _names(scenario)
    ]
    fresh = _long_run(scenario) if horizon_s is None else _many_runs(scenario, horizon_s)
    return [*rungs, *fresh, *_theory(predicted)]


def _names(scenario: Scenario) -> list[str]:
    return ["all", *(request_class.name for request_class in scenario.classes)]


def _of(requests: pd.DataFrame, name: str) -> NDArray[np.bool_]:
    every = np.ones(len(requests), dtype=bool)
    return every if name == "all" else (requests["class"] == name).to_numpy()


def _mean(values: NDArray[np.float64], *, steady: bool = True) -> tuple[float, float, float]:
    if not steady:
        return float(values.mean()) if values.size else math.nan, math.nan, math.nan
    found: Interval = batch_means(values)
    return found.value, found.low, found.high


def _replayed(scenario: Scenario, requests: pd.DataFrame, factor: NDArray[np.float64]) -> NDArray[np.float64]:
    """Response times when sizes are the schedule's times `factor`, served step by step as a live server does."""
    from qmodel.simulation import replay

    names = [request_class.name for request_class in scenario.classes]
    long = "_long" if "size_s_long" in requests else ""
    size, size_long = requests.size_s.to_numpy(), requests["size_s" + long].to_numpy()
    unit = next((name for name in STEPS if name in requests and requests[name].notna().all()), None)
    steps = {} if unit is None else {
        "grain_s": size * factor / requests[unit].to_numpy(),
        "grain_long_s": size_long * factor / requests[unit + long].to_numpy(),
    }  # fmt: skip
    replayed = replay(
        scenario,
        arrival_s=requests.scheduled_s.to_numpy(),
        class_index=requests["class"].map(names.index).to_numpy(),
        service_s=size * factor,
        service_long_s=size_long * factor,
        size_s=size,
        size_long_s=size_long,
        delivered_share=requests.delivered_at.to_numpy(),
        predicted_s=requests.predicted_size_s.fillna(requests.size_s).to_numpy(),
        lottery=requests.lottery.to_numpy(),
        **steps,
    )
    return np.asarray(replayed.delivered_s) - requests.scheduled_s.to_numpy()


def _long_run(scenario: Scenario) -> list[Rung]:
    """Fresh arrivals from the scenario's process, and so many that what is left is theory's own error."""
    from qmodel.live.schedule import draw_schedule

    # a seed of its own for each scenario, so that one unlucky draw does not lean on every ladder
    seed = int(scenario.fingerprint[:8], 16)
    requests = draw_schedule(scenario, LONG_RUN_REQUESTS / scenario.rate, seed)
    responses = _replayed(scenario, requests, (requests.work_s / requests.size_s).to_numpy())
    counted = np.arange(len(requests)) >= len(requests) // 20
    return [
        Rung(name, "poisson arrivals", *_mean(responses[counted & _of(requests, name)]))
        for name in _names(scenario)
    ]


def _many_runs(scenario: Scenario, horizon_s: float) -> list[Rung]:
    """Fresh arrivals over the horizon, from empty, so many times; the interval is that of independent runs."""
    from qmodel.live.schedule import draw_schedule

    first = int(scenario.fingerprint[:8], 16)
    found: dict[str, list[tuple[float, int]]] = {name: [] for name in _names(scenario)}
    for seed in range(first, first + HORIZONS):
        requests = draw_schedule(scenario, horizon_s, seed)
        responses = _replayed(scenario, requests, (requests.work_s / requests.size_s).to_numpy())
        for name, each in found.items():
            own = responses[_of(requests, name)]
            each += [(float(own.mean()), own.size)] if own.size else []
    return [Rung(name, "poisson arrivals", *_over_runs(*np.array(each).T)) for name, each in found.items()]


def _over_runs(means: NDArray[np.float64], counts: NDArray[np.float64]) -> tuple[float, float, float]:
    """Mean over all requests of independent runs with Student's t interval of a ratio estimate."""
    from scipy.special import stdtrit

    value, runs = float(means @ counts / counts.sum()), counts.size
    spread = math.sqrt(runs / max(runs - 1, 1) * float(((counts * (means - value)) ** 2).sum()))
    half = float(stdtrit(runs - 1, 0.975)) * spread / float(counts.sum()) if runs > 1 else math.inf
    return value, value - half, value + half


def _theory(predicted: PolicyAnswer) -> list[Rung]:
    rungs = []
    for answer in predicted.classes:
        value = answer.metrics.get("mean_response_s")
        low, high = answer.ci95.get("mean_response_s", (math.nan, math.nan))
        rungs.append(Rung(answer.name, "theory", math.nan if value is None else value, low, high))
    return rungs
