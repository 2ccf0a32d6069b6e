"""Answers by queueing analysis: `analyse` picks the strongest result there is, or says why there is none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from qmodel.answer import NotAnalysable, PolicyAnswer
    from qmodel.scenario import Scenario

__all__ = ["analyse", "response_by_size"]


def analyse(
    scenario: Scenario, *, percentiles: Sequence[float] = (50.0, 95.0, 99.0)
) -> PolicyAnswer | NotAnalysable:
    """The strongest result of queueing theory for this scenario, or the reason why there is none.

    Times are seconds. `percentiles` are those of the response time, in per cent; leave them out for the means
    alone, which come in microseconds. An unstable scenario gives an answer with `stable` False. Raises InputError
    for a percentile that is not between 0 and 100.

    >>> from qmodel.scenario import Scenario
    >>> from qmodel.workload import Exponential, Poisson, RequestClass
    >>> chat = RequestClass("chat", arrivals=Poisson(rate=0.8), service=Exponential(mean=1.0))
    >>> answer = analyse(Scenario(classes=[chat]))
    >>> round(answer["all"].mean_response_s, 9), round(answer["all"].p99_response_s, 5)
    (5.0, 23.02585)
    """
    from qmodel.theory.dispatch import analyse_scenario

    return analyse_scenario(scenario, _between(percentiles))


def response_by_size(
    scenario: Scenario, sizes: Sequence[float], *, percentiles: Sequence[float] = (50.0, 95.0, 99.0)
) -> pd.DataFrame:
    """Response of requests of these sizes (s): one row a size, and a class where classes fare differently.

    Columns `class, size_s, mean_response_s, mean_slowdown, std_response_s, p50_response_s, ..., method`; NaN where
    there is no result or the value is infinite. For every policy that is analysed on its own; percentiles for those
    that have them. Raises InputError where theory has no result, for an unstable scenario, for classes given by
    tokens, and for a size that is not positive.

    >>> from qmodel.policy import SRPT
    >>> from qmodel.scenario import Scenario
    >>> from qmodel.workload import Exponential, Poisson, RequestClass
    >>> chat = RequestClass("chat", arrivals=Poisson(rate=0.8), service=Exponential(mean=1.0))
    >>> found = response_by_size(Scenario([chat], policy=SRPT()), [0.1, 1.0, 10.0], percentiles=(99,))
    >>> found["mean_slowdown"].round(3).tolist()
    [1.039, 1.436, 5.628]
    """
    from qmodel.theory.by_size import respond_by_size

    return respond_by_size(scenario, sizes, _between(percentiles))


def _between(percentiles: Sequence[float]) -> tuple[float, ...]:
    """These percentiles. Raises InputError where one is not between 0 and 100."""
    outside = next((percent for percent in percentiles if not 0 < percent < 100), None)
    if outside is not None:
        from qmodel.errors import InputError

        raise InputError("percentiles", f"{outside:g} is not between 0 and 100", "e.g. 50, 95, 99")
    return tuple(percentiles)
