"""Two settings held against each other on the same requests: what one brings, in per cent, with its interval.

Both runs draw the same arrivals and the same randomness of sizes from one seed (common random numbers; Law,
*Simulation Modeling and Analysis*, 5th ed. 2015, section 11.2), so that a difference shows in far shorter runs than
two independent ones would need.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from qmodel.answer import percentile_name
from qmodel.errors import InputError
from qmodel.improvement import mean_improvement, over_groups, percentile_improvement
from qmodel.predict import Asking
from qmodel.statistics.intervals import Interval
from qmodel.statistics.warm_up import warm_up

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from qmodel.scenario import Scenario

    Floats = NDArray[np.float64]

LONGEST_RUN = 20_000_000
REPLICATIONS = 20
COLUMNS = "policy baseline rate class metric improvement_percent low high requests".split()


@dataclass(frozen=True)
class Paired:
    """What one setting brings against a baseline, by class (`all` first) and metric, in per cent; more is better.

    `requests` were counted in each of the two runs.
    """

    policy: str
    baseline: str
    rate: float
    requests: int
    classes: dict[str, dict[str, Interval]]

    def __getitem__(self, name: str) -> dict[str, Interval]:
        return self.classes[name]

    @property
    def notes(self) -> list[str]:
        """What to know before believing it."""
        short = [
            f"{m} of {name}" for name, each in self.classes.items() for m, found in each.items() if found.short
        ]
        if not short:
            return []
        more = f" and {len(short) - 3} more" if len(short) > 3 else ""
        return [f"the run of {self.requests:,} requests is too short for {', '.join(short[:3])}{more}"]

    def rows(self) -> list[dict[str, Any]]:
        """One row a class and metric, with the columns of `to_frame`."""
        head = {"policy": self.policy, "baseline": self.baseline, "rate": self.rate}
        return [
            head
            | {"class": name, "metric": metric, "improvement_percent": found.value}
            | {"low": found.low, "high": found.high, "requests": self.requests}
            for name, each in self.classes.items()
            for metric, found in each.items()
        ]

    def to_frame(self) -> pd.DataFrame:
        """Tidy: policy, baseline, rate, class, metric, improvement_percent, low, high, requests."""
        import pandas as pd

        return pd.DataFrame(self.rows(), columns=COLUMNS)

    def to_dict(self) -> dict[str, Any]:
        """For JSON; an end that the run cannot bound is null."""
        return {
            "baseline": self.baseline,
            "requests": self.requests,
            "classes": [
                {"class": name} | {metric: _json(found) for metric, found in each.items()}
                for name, each in self.classes.items()
            ],
        }


def _json(found: Interval) -> dict[str, float | None]:
    ends = {"percent": found.value, "low": found.low, "high": found.high}
    return {name: float(end) if np.isfinite(end) else None for name, end in ends.items()}


def compare_paired(
    baseline: Scenario,
    others: Sequence[Scenario],
    *,
    asking: Asking | None = None,
    replications: int = REPLICATIONS,
) -> list[Paired]:
    """How much lower the mean and the percentiles of the response time are in each of `others` than in `baseline`.

    The runs have about `asking.requests` requests; with `asking.precision` they are doubled until the half width of
    every mean's improvement is at most that, as a share (0.01: one point of per cent). With `asking.horizon_s`,
    independent `replications` of that horizon from empty are compared. Requests that either run lost (rejected,
    gone) are left out of both. Raises InputError for scenarios with other arrivals or other classes, for closed
    populations, and without a horizon for queues that are unstable.

    >>> from qmodel.policy import FCFS, SRPT
    >>> from qmodel.scenario import Scenario
    >>> from qmodel.workload import Exponential, Poisson, RequestClass
    >>> one = RequestClass("a", arrivals=Poisson(rate=0.8), service=Exponential(mean=1.0))
    >>> scenario = Scenario(classes=[one])
    >>> runs = Asking("simulation", requests=100_000)
    >>> (found,) = compare_paired(scenario, [scenario.with_policy(SRPT())], asking=runs)
    >>> 100 * (1 - 2.3527726 / 5) in found["all"]["mean_response_s"]
    True
    """
    asking = asking or Asking("simulation")
    for scenario in (baseline, *others):
        _check(baseline, scenario, asking)
    return [_against(baseline, other, asking, replications) for other in others]


def _check(baseline: Scenario, other: Scenario, asking: Asking) -> None:
    if "closed" in other.features:
        raise InputError("paired", "a closed population has other arrivals in each run", "compare the answers")
    if [(c.name, c.arrivals) for c in baseline.classes] != [(c.name, c.arrivals) for c in other.classes]:
        raise InputError("paired", "the two have different classes or arrivals", "compare at one rate")
    if asking.horizon_s is None and not _settles(other, asking.seed):
        fault = f"the queue is unstable under {other.policy.name} at {other.rate:.6g} requests/s"
        raise InputError("paired", fault, "lower the rate, or give a horizon")


def _settles(scenario: Scenario, seed: int) -> bool:
    if scenario.system.batching == "continuous":
        from qmodel.simulation.iterations.answering import capacity
        from qmodel.simulation.iterations.scenario_rules import clipped, rules_of

        leave = scenario.system.buffer is not None or any(c.patience is not None for c in scenario.classes)
        return leave or scenario.rate < capacity(clipped(scenario), rules_of(scenario), seed)
    from qmodel.simulation.stability import is_stable

    return is_stable(scenario)


def _against(baseline: Scenario, other: Scenario, asking: Asking, replications: int) -> Paired:
    requests = asking.requests
    while True:
        if asking.horizon_s is None:
            pair = _long_run(baseline, other, requests, asking.seed)
        else:
            pair = _replicated(baseline, other, asking.horizon_s, asking.seed, replications)
        classes = {name: _gains(pair.of(index), asking.percentiles) for name, index in _masks(baseline, pair)}
        means = [each["mean_response_s"] for each in classes.values()]
        reached = asking.precision is None or all(
            not mean.short and mean.half_width <= 100 * asking.precision for mean in means
        )
        if reached or 2 * requests > LONGEST_RUN:
            break
        requests *= 2
    names = [scenario.policy.name or type(scenario.policy).__name__ for scenario in (other, baseline)]
    return Paired(names[0], names[1], other.rate, len(pair), classes)


@dataclass(frozen=True)
class Pair:
    """Response times (s) of the same requests in two runs, with class and, for replications, the number of each."""

    values: Floats
    baseline: Floats
    class_index: NDArray[np.int64]
    replication: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return self.values.size

    def of(self, chosen: NDArray[np.bool_] | slice) -> Pair:
        """The chosen requests alone."""
        return Pair(*(None if column is None else column[chosen] for column in vars(self).values()))  # type: ignore[arg-type]


def _masks(scenario: Scenario, pair: Pair) -> list[tuple[str, NDArray[np.bool_] | slice]]:
    names = [c.name for c in scenario.classes]
    own = [(name, pair.class_index == index) for index, name in enumerate(names)]
    return [("all", slice(None)), *own] if len(names) > 1 else [("all", slice(None))]


def _gains(pair: Pair, percentiles: Sequence[float]) -> dict[str, Interval]:
    names = ["mean_response_s", *(percentile_name(percent) for percent in percentiles)]
    if len(pair) < 2:
        return dict.fromkeys(names, Interval(np.nan, -np.inf, np.inf, short=True))
    if pair.replication is not None:
        gains = [over_groups(pair.values, pair.baseline, pair.replication)]
        gains += [over_groups(pair.values, pair.baseline, pair.replication, p / 100) for p in percentiles]
    else:
        gains = [mean_improvement(pair.values, pair.baseline)]
        gains += [percentile_improvement(pair.values, pair.baseline, p / 100) for p in percentiles]
    return dict(zip(names, gains, strict=True))


def _long_run(baseline: Scenario, other: Scenario, requests: int, seed: int) -> Pair:
    """One run of each without its warm-up."""
    runs = [_responses(one, requests, np.random.SeedSequence(seed), seed, None) for one in (other, baseline)]
    pair = _joined(*runs)
    return pair.of(slice(warm_up(len(pair)), None))


def _replicated(baseline: Scenario, other: Scenario, horizon_s: float, seed: int, replications: int) -> Pair:
    parts = []
    for number, child in enumerate(np.random.SeedSequence(seed).spawn(replications), start=1):
        both = [_responses(one, 0, child, seed + number, horizon_s) for one in (other, baseline)]
        parts.append(_joined(*both))
    replication = np.repeat(np.arange(replications), [len(part) for part in parts])
    if not len(replication):
        raise InputError("paired", f"no request arrives in {horizon_s:g} s", "make the horizon longer")
    return Pair(
        np.concatenate([part.values for part in parts]),
        np.concatenate([part.baseline for part in parts]),
        np.concatenate([part.class_index for part in parts]),
        replication,
    )


Responses = tuple["Floats", "NDArray[np.int64]"]


def _joined(first: Responses, second: Responses) -> Pair:
    """The requests that both runs finished, in order of arrival."""
    finished = np.isfinite(first[0]) & np.isfinite(second[0])
    return Pair(first[0][finished], second[0][finished], first[1][finished])


def _responses(
    scenario: Scenario, requests: int, seed: np.random.SeedSequence, number: int, horizon_s: float | None
) -> Responses:
    """Response times and classes of all requests of a run; NaN for those that were never served."""
    if scenario.system.batching == "continuous":
        return _token_responses(scenario, requests, seed, number, horizon_s)
    from qmodel.simulation.running import refuse_unknown, run_once

    refuse_unknown(scenario)
    run = run_once(scenario, requests, seed, horizon_s)
    if run is None:
        return np.empty(0), np.empty(0, dtype=np.int64)
    lost = run.series.lost
    response = run.series.response_s
    return (response if lost is None else np.where(lost, np.nan, response)), run.series.class_index


def _token_responses(
    scenario: Scenario, requests: int, seed: np.random.SeedSequence, number: int, horizon_s: float | None
) -> Responses:
    from qmodel.simulation.iterations.answering import per_token_s
    from qmodel.simulation.iterations.drawing import check_lengths, draw
    from qmodel.simulation.iterations.pools import collected
    from qmodel.simulation.iterations.scenario_rules import clipped, rules_of

    check_lengths(scenario)
    rules, question = rules_of(scenario), clipped(scenario)
    drawn = draw(question, requests, seed, per_token_s(question, rules), horizon_s)
    if not len(drawn):
        return np.empty(0), np.empty(0, dtype=np.int64)
    outcome, _ = collected(drawn, question.policy, rules, seed=number)
    return np.where(outcome.served, outcome.response_s, np.nan), outcome.class_index
