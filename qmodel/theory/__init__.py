"""Answers by queueing analysis: `analyse` picks the strongest result there is, or says why there is none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qmodel.answer import NotAnalysable, PolicyAnswer
    from qmodel.scenario import Scenario

__all__ = ["analyse"]


def analyse(
    scenario: Scenario, *, percentiles: Sequence[float] = (50.0, 95.0, 99.0)
) -> PolicyAnswer | NotAnalysable:
    """The strongest result of queueing theory for this scenario, or the reason why there is none.

    Times are seconds. `percentiles` are those of the response time, in per cent; leave them out for the means
    alone, which come in microseconds. An unstable scenario gives an answer with `stable` False.

    >>> from qmodel.scenario import Scenario
    >>> from qmodel.workload import Exponential, Poisson, RequestClass
    >>> chat = RequestClass("chat", arrivals=Poisson(rate=0.8), service=Exponential(mean=1.0))
    >>> answer = analyse(Scenario(classes=[chat]))
    >>> round(answer["all"].mean_response_s, 9), round(answer["all"].p99_response_s, 5)
    (5.0, 23.02585)
    """
    from qmodel.theory.dispatch import analyse_scenario

    return analyse_scenario(scenario, tuple(percentiles))
