"""The gap ladder of a server of batches: from a live run down to theory, one thing changed on each rung.

live -> the same arrivals and lengths through the simulated engine, its iterations as long as those of the run were
on average -> iterations as fitted -> fresh arrivals, many more -> the prediction. The iterations of the run are
told by its own account: how long they took in all, against what the fitted time says of the same iterations. With
dynamic batching a whole batch stands in place of an iteration. The rungs have the names of `qmodel.ladder`.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from qmodel.errors import InputError
from qmodel.ladder import Rung
from qmodel.live.pausing import LATER, read, response_s
from qmodel.service.iteration_time import IterationTime

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from numpy.typing import NDArray

    from qmodel.answer import PolicyAnswer
    from qmodel.scenario import Scenario
    from qmodel.simulation.iterations.token_requests import Later

    Floats = NDArray[np.float64]

EXPLAINS = {
    "live": "",
    "measured services": "the serving loop, and iterations that vary about their mean",
    "fitted services": "iterations in this run against the fitted iteration time: interference, drift, the fit",
    "poisson arrivals": "the arrivals and lengths of this run against the long-run average",
    "theory": "what theory idealises; nothing where the prediction is a simulation",
}
LONG_RUN_REQUESTS = 100_000
HORIZON_REQUESTS = 20_000
"""Of all replications of a finite horizon together, about."""


def slowness(taken: IterationTime, loop: Mapping[str, Any]) -> float:
    """How much longer the iterations of a run took than the fitted time says of the very same iterations.

    >>> totals = {"sequences": 30, "context_tokens": 0, "prefill_tokens": 0}
    >>> round(slowness(IterationTime(0.01, 0.001), {"steps": 10, "busy_s": 0.143, "totals": totals}), 9)
    1.1
    """
    totals = loop["totals"]
    if "batches" in totals:
        return float(loop["busy_s"] / (taken.base * totals["batches"] + taken.per_sequence * totals["requests"]))
    fitted = (
        taken.base * loop["steps"]
        + taken.per_sequence * totals["sequences"]
        + taken.per_context_token * totals["context_tokens"]
        + taken.per_prefill_token * totals["prefill_tokens"]
        + taken.per_query_key * totals.get("query_keys", 0)
    )
    return float((loop["busy_s"] - totals.get("swap_s", 0.0)) / fitted)


def ladder_of_batches(
    scenario: Scenario,
    log: pd.DataFrame,
    loop: Mapping[str, Any],
    predicted: PolicyAnswer,
    warmup_s: float = 0.0,
    horizon_s: float | None = None,
) -> list[Rung]:
    """All rungs for `all` and each class of a live run in batches; `loop` is its account of itself.

    A server that gives no account has no rung of its measured iterations. `horizon_s`: the run is one of a finite
    horizon, as for `qmodel.ladder.ladder`. Raises InputError where requests
    are served one at a time.
    """
    taken = scenario.system.iteration_time
    if not scenario.system.batches or taken is None:
        raise InputError("ladder", "is made for runs in batches", "use qmodel.ladder.ladder")
    served = log[log.status == "ok"].reset_index(drop=True)
    counted = (served.scheduled_s >= warmup_s).to_numpy()
    responses = {
        "live": response_s(served),
        **({"measured services": _as_slow(scenario, served, taken, loop)} if "totals" in loop else {}),
        "fitted services": _replayed(scenario, served, taken),
    }
    names = ["all", *(each.name for each in scenario.classes)]
    rungs = [
        _rung(name, rung, values[counted & _of(served, name)], steady=horizon_s is None)
        for rung, values in responses.items()
        for name in names
    ]
    return [*rungs, *_fresh(scenario, horizon_s), *_predicted(predicted)]


def _as_slow(scenario: Scenario, served: pd.DataFrame, taken: IterationTime, loop: Mapping[str, Any]) -> Floats:
    """Response times on the simulated engine whose iterations are as long as those of the run."""
    return _replayed(scenario, served, taken.times(slowness(taken, loop)))


def _of(requests: pd.DataFrame, name: str) -> NDArray[np.bool_]:
    return np.ones(len(requests), dtype=bool) if name == "all" else (requests["class"] == name).to_numpy()


def _rung(name: str, rung: str, values: Floats, *, steady: bool) -> Rung:
    from qmodel.statistics.intervals import batch_means

    if not steady:
        mean = float(values.mean()) if values.size else math.nan
        return Rung(name, rung, mean, math.nan, math.nan, EXPLAINS)
    found = batch_means(values)
    return Rung(name, rung, found.value, found.low, found.high, EXPLAINS)


def _replayed(scenario: Scenario, served: pd.DataFrame, taken: IterationTime) -> Floats:
    """Response times of the same requests on the simulated engine with this iteration time."""
    from qmodel.simulation.iterations.replaying import replay_scenario

    names = [each.name for each in scenario.classes]
    asked = replace(scenario, system=replace(scenario.system, iteration_time=taken))
    if scenario.system.batching == "dynamic":
        return _in_whole_batches(asked, served, names)
    later = later_of(served)
    first = served.output_tokens.to_numpy(dtype=float) - (0 if later is None else later.sums(later.output))
    outcome = replay_scenario(
        asked, served.scheduled_s, served.input_tokens, first,
        class_index=served["class"].map(names.index).to_numpy(), later=later, tell=None,
    ).outcome  # fmt: skip
    return np.asarray(outcome.response_s)


def later_of(served: pd.DataFrame) -> Later | None:
    """What followed the first services of the requests in a log; None where nobody pauses."""
    from qmodel.simulation.iterations.token_requests import Later

    if LATER not in served:
        return None
    each = [read(text) for text in served[LATER]]
    number = np.array([len(services) for services in each], dtype=np.int64)
    flat = [service for services in each for service in services]
    return Later(
        first=np.cumsum(number) - number,
        number=number,
        pause_s=np.array([one.pause_s for one in flat]),
        prompt=np.array([one.input_tokens for one in flat], dtype=np.int64),
        output=np.array([one.output_tokens for one in flat], dtype=np.int64),
    )


def _in_whole_batches(scenario: Scenario, served: pd.DataFrame, names: list[str]) -> Floats:
    """The same where a batch is served as one: its time goes by its number alone."""
    from qmodel.simulation import replay
    from qmodel.workload import Deterministic

    assert scenario.system.iteration_time is not None
    alone = Deterministic(scenario.system.iteration_time.seconds(1))
    classes = tuple(replace(each, service=alone, factors={}) for each in scenario.classes)
    asked = replace(scenario, classes=classes, system=replace(scenario.system, model=None))
    outcome = replay(
        asked, arrival_s=served.scheduled_s, service_s=np.full(len(served), alone.mean),
        class_index=served["class"].map(names.index).to_numpy(), tell=None,
    )  # fmt: skip
    return np.asarray(outcome.done_s) - served.scheduled_s.to_numpy()


def _fresh(scenario: Scenario, horizon_s: float | None) -> list[Rung]:
    from qmodel.simulation import simulate

    seed = int(scenario.fingerprint[:8], 16)
    if horizon_s is None:
        answer = simulate(scenario, requests=LONG_RUN_REQUESTS, seed=seed)
    else:
        runs = replications_of(scenario, horizon_s)
        answer = simulate(scenario, seed=seed, horizon_s=horizon_s, replications=runs)
    return _rungs("poisson arrivals", answer)


def replications_of(scenario: Scenario, horizon_s: float) -> int:
    """How often a finite horizon is simulated, so that few requests are not left to chance."""
    return min(400, max(20, round(HORIZON_REQUESTS / (scenario.rate * horizon_s))))


def _predicted(predicted: PolicyAnswer) -> list[Rung]:
    return _rungs("theory", predicted)


def _rungs(rung: str, answer: PolicyAnswer) -> list[Rung]:
    found = []
    for each in answer.classes:
        value = each.metrics.get("mean_response_s")
        low, high = each.ci95.get("mean_response_s", (math.nan, math.nan))
        found.append(Rung(each.name, rung, math.nan if value is None else value, low, high, EXPLAINS))
    return found
