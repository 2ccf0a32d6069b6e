"""Finite buffers: at most K requests in the system, those that find it full are rejected.

M/M/k/K: birth and death, p_n = p_0 a^n / (prod_{i<=n} min(i, k)), a = lambda E[S]. M/G/1/K: the chain of the
numbers left at departures, a_j = P(j arrivals in a service), cut at K - 1; at any time

    p_n = pi_n / (pi_0 + rho), n < K,   P(rejected) = p_K = 1 - 1 / (pi_0 + rho).

Processor sharing, and K = k (no place to wait: Erlang's loss), have the p_n of M/M/k/K for any law of service. The
responses are those of the accepted: E[T] = E[N] / (lambda (1 - p_K)). Any load may be offered. Sources: Erlang
(1917); Keilson, *J. Roy. Stat. Soc. B* 28 (1966) 190-201; Takagi, *Queueing Analysis 2* (1993), chapter 5; Cohen,
*Acta Informatica* 12 (1979) 245-284 (sharing).

>>> from qmodel.workload import Exponential
>>> embedded_law(0.5, Exponential(mean=1.0), 2).round(12).tolist()  # M/M/1/2: 4, 2, 1 sevenths
[0.571428571429, 0.285714285714, 0.142857142857]
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from qmodel.answer import NotAnalysable
from qmodel.policy import FCFS, LCFS, PS, RandomOrder
from qmodel.scenario import Scenario, ServedClass
from qmodel.theory.numerics.arrival_counts import count_probabilities
from qmodel.theory.numerics.inversion import Transform
from qmodel.theory.one_server.m_g_1 import INDEPENDENT, POISSON, after_wait, given_slowdown, mean_wait
from qmodel.theory.premises import common_mean, unmet
from qmodel.theory.result import ClassResult, Result
from qmodel.theory.supply import delivery, merged
from qmodel.workload import Distribution

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Vector = NDArray[np.float64]

MOST = 1000
"""Largest buffer whose chain is solved for a general law."""
NEVER = 1e-14
"""Share rejected that is no more than rounding: the wait of one server is that without a buffer."""
LARGEST = 1e100
"""Growth from state to state beyond which the earlier ones are scaled down."""
SOURCE = "Erlang 1917; Keilson 1966; Takagi 1993"


def birth_and_death(servers: int, offered: float, buffer: int) -> Vector:
    """p_0, ..., p_K of M/M/k/K with offered load a (Erlang).

    >>> birth_and_death(1, 0.5, 2).round(12).tolist()
    [0.571428571429, 0.285714285714, 0.142857142857]
    """
    busy = np.minimum(np.arange(1, buffer + 1), servers)
    logs = np.concatenate(([0.0], np.cumsum(np.log(offered / busy))))
    weights = np.exp(logs - logs.max())
    return np.asarray(weights / weights.sum())


def embedded_law(rate: float, size: Distribution, buffer: int) -> Vector:
    """p_0, ..., p_K of M/G/1/K.

    The number left goes down from n + 1 as often as up from n or fewer,

        a_0 pi_{n+1} = sum_{k<=n} pi_k P(A > n - b_k),   b_k = max(k, 1) - 1,

    and nothing is subtracted.
    """
    none = float(size.lst(np.array(rate)).real)
    pi = _left_behind(none, _tails(rate, size, buffer), buffer)
    unit = pi[0] + rate * size.mean
    return np.append(pi / unit, _rejected(pi, unit))


def _tails(rate: float, size: Distribution, buffer: int) -> Vector:
    """P(A > j), j = 0..K - 1."""
    return np.maximum(1.0 - np.cumsum(count_probabilities(size.lst, rate, buffer)[:buffer]), 0.0)


def _left_behind(none: float, tails: Vector, buffer: int) -> Vector:
    """pi_0, ..., pi_{K-1}, from those that are not negligible beside the next."""
    pi = np.zeros(buffer)
    pi[0] = 1.0
    for n in range(buffer - 1):
        upward = float(pi[0] * tails[n] + pi[1 : n + 1] @ tails[n:0:-1])
        if upward > none * LARGEST:
            pi[: n + 1] *= none / upward
            upward = none
        pi[n + 1] = upward / none if none > 0 else 1.0
    return np.asarray(pi / pi.sum())


def _rejected(pi: Vector, unit: float) -> float:
    """p_K; a chain that all but never fills says 0 rather than a rounding error below it."""
    return max(0.0, 1.0 - 1.0 / unit) if unit > 0 else 0.0


def finite_buffer(scenario: Scenario) -> Result | NotAnalysable:
    """Share rejected, and the response of those accepted (`system.buffer`)."""
    buffer, servers, classes = scenario.system.buffer, scenario.system.servers, scenario.served
    refusal = unmet(scenario, (FCFS, LCFS, RandomOrder, PS), most_servers=None)
    if refusal is not None or buffer is None:
        return refusal or NotAnalysable("there is no buffer", "one")
    if buffer < servers:
        return NotAnalysable(
            f"the buffer of {buffer} keeps some of {servers} servers idle for ever", "fewer servers"
        )
    rate, size = merged(classes)
    memoryless = common_mean(classes) is not None
    name = f"M/{'M' if memoryless else 'G'}/{servers}/{buffer}"
    if type(scenario.policy) is PS or memoryless or buffer == servers:
        law = birth_and_death(servers, rate * size.mean, buffer)
    elif servers > 1 or buffer > MOST:
        return NotAnalysable(f"no result for several servers or buffers beyond {MOST} here", "exponential service")
    else:
        law = embedded_law(rate, size, buffer)
    accepted = 1.0 - float(law[-1])
    response = float(np.arange(buffer + 1) @ law) / (rate * accepted)
    if type(scenario.policy) is PS:
        results = [_shared(served, response / size.mean) for served in classes]
    else:
        wait, seen = max(0.0, response - size.mean), law[:-1] / accepted
        if servers == 1 and law[-1] < NEVER and math.isfinite(size.moment(2)):
            wait = mean_wait(rate, size)
        lawful = type(scenario.policy) is FCFS and (memoryless or buffer == servers)
        results = [_waited(served, wait, seen if lawful else None, servers, size.mean) for served in classes]
    return Result(
        classes=tuple(_with_share(part, 1.0 - accepted) for part in results),
        name=f"{name} {scenario.policy.name}",
        source=SOURCE,
        assumptions=(POISSON, INDEPENDENT, "a request that finds the buffer full is lost", "servers alike"),
        utilisation=rate * accepted * size.mean / servers,
    )


def _with_share(part: ClassResult, rejected: float) -> ClassResult:
    part.extra["rejected_share"] = rejected
    return part


def _shared(served: ServedClass, stretch: float) -> ClassResult:
    given, share = delivery(served.service), served.service.delivered_at
    slowdown = stretch * (1.0 if share is None else share.mean)
    return ClassResult(served, given.mean, given.mean * stretch, mean_slowdown=slowdown)


def _waited(served: ServedClass, wait: float, seen: Vector | None, servers: int, mean: float) -> ClassResult:
    """With `seen`, the law of the number that an accepted request finds, exponential services give the law."""
    if seen is None:
        given = delivery(served.service)
        return ClassResult(served, given.mean, wait + given.mean, mean_slowdown=given_slowdown(served, wait))
    return after_wait(served, wait, _erlang_waits(seen[servers:], servers / mean), float(seen[servers:].sum()))


def _erlang_waits(weights: Sequence[float] | Vector, rate: float) -> Transform:
    """sum_n w_n (r / (r + s))^(n + 1), by Horner's rule."""

    def transform(s: np.ndarray) -> np.ndarray:
        step = rate / (rate + s)
        total = np.zeros_like(step)
        for weight in np.asarray(weights)[::-1]:
            total = (total + weight) * step
        return np.asarray(total)

    return transform
