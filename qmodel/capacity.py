"""The largest arrival rate at which every class still meets its SLOs: what a strategy is worth in capacity."""

from __future__ import annotations

from dataclasses import dataclass

from qmodel.answer import PolicyAnswer, percentile_name
from qmodel.errors import InputError
from qmodel.predict import Asking, answer_one
from qmodel.scenario import Scenario
from qmodel.workload.request_class import SLO_NAME


@dataclass(frozen=True)
class Capacity:
    """Largest total rate (requests/s) that meets all SLOs, and the SLO that gives way first above it.

    `limited_by` is (class, metric), or None where stability ends before any SLO does. `rate` is 0 when
    nothing meets them.
    """

    rate: float
    limited_by: tuple[str, str] | None


def metric_of_slo(name: str) -> str:
    """Metric that an SLO bounds; without a percentile it is the mean.

    >>> metric_of_slo("response_p95_s"), metric_of_slo("ttft_s")
    ('p95_response_s', 'mean_ttft_s')
    """
    match = SLO_NAME.fullmatch(name)
    if match is None:
        raise InputError(f"slo '{name}'", "is unknown", "e.g. response_p99_s, ttft_p95_s, response_s")
    if match["percent"] is None:
        return f"mean_{match['quantity']}_s"
    return percentile_name(float(match["percent"]), match["quantity"])


def first_miss(answer: PolicyAnswer, scenario: Scenario) -> tuple[str, str] | None:
    """The SLO missed by the largest factor as (class, metric); None when all are met.

    Raises InputError when the answer lacks a metric that an SLO bounds.
    """
    worst, by = None, 1.0
    for request_class in scenario.classes:
        for name, limit in request_class.slo.items():
            metric = metric_of_slo(name)
            value = answer[request_class.name].metrics.get(metric)
            if value is None:
                raise InputError(
                    f"slo '{name}'", f"{answer.policy} has no {metric}", "use another metric or method"
                )
            if value / limit > by:
                worst, by = (request_class.name, metric), value / limit
    return worst


def capacity(scenario: Scenario, asking: Asking | None = None, precision: float = 0.002) -> Capacity:
    """Largest rate that meets the SLOs, by bisection to a relative `precision`.

    Latency grows with the rate under every policy here, so the rates that meet the SLOs are an interval from 0.
    Raises InputError when no class has an SLO.
    """
    percents = sorted({_percent(name) for c in scenario.classes for name in c.slo} - {None})  # type: ignore[type-var]
    if not any(c.slo for c in scenario.classes):
        raise InputError("scenario", "has no SLO", "give a class slo = { response_p99_s = 1.0 }")
    given = asking or Asking()
    asking = Asking(
        given.method, tuple(p for p in percents if p is not None) or (50.0,), given.requests, given.seed
    )
    # just inside the rate at which services of full length fill the servers; a queue condition may carry more
    low, high, limit = 0.0, 0.999 * scenario.rate / scenario.utilisation, None
    while _fits(scenario, high, asking) == "met":
        low, high = high, 2.0 * high
    while high - low > precision * high:
        middle = 0.5 * (low + high)
        verdict = _fits(scenario, middle, asking)
        low, high = (middle, high) if verdict == "met" else (low, middle)
        limit = verdict if isinstance(verdict, tuple) else limit
        if high < 1e-3 * scenario.rate:
            return Capacity(0.0, limit)
    return Capacity(low, limit)


def _fits(scenario: Scenario, rate: float, asking: Asking) -> str | tuple[str, str]:
    """`met`, `unstable`, or the SLO that is missed."""
    question = scenario.at_rate(rate)
    answer = answer_one(question, asking)
    if not answer.stable:
        return "unstable"
    return first_miss(answer, question) or "met"


def _percent(slo: str) -> float | None:
    match = SLO_NAME.fullmatch(slo)
    return float(match["percent"]) if match and match["percent"] else None
