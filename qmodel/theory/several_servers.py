"""Several servers: M/M/k exactly, M/G/k by Kimura's interpolation, shared servers insensitively.

With a = lambda E[S], load a/k and Erlang's C the probability of waiting in M/M/k:

    M/M/k:  E[W] = C E[S] / (k - a), W exponential where positive; priorities as Cobham's with W_0 = C E[S] / k;
    M/G/k:  E[W] ~ (1 + c^2) / (2 c^2 / W_M + (1 - c^2) / W_D), W_D = (W_M / 2) (1 + (1 - r)(k - 1)
            (sqrt(4 + 5k) - 2) / (16 r k)), r = a/k, c^2 the squared coefficient of variation of S;
    sharing (each request at speed min(1, k/n)):  E[T(x)] = x E[N] / a, E[N] that of M/M/k, for any law of size.

Sources: Erlang (1917); Kella & Yechiali, *Oper. Res.* 33 (1985) (priorities); Cosmetatos, *Oper. Res. Q.* 27
(1976) (M/D/k); Kimura, *Oper. Res.* 34 (1986) 757-763 (M/G/k, within a few per cent); Cohen, *Acta
Informatica* 12 (1979) (sharing).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from qmodel.answer import NotAnalysable
from qmodel.policy import FCFS, LCFS, PS, NonPreemptivePriority, Policy, PreemptivePriority, RandomOrder
from qmodel.scenario import ServedClass
from qmodel.theory import formulas
from qmodel.theory.inversion import Transform
from qmodel.theory.m_g_1 import INDEPENDENT, POISSON, after_wait
from qmodel.theory.phases import exponential_phases
from qmodel.theory.result import ClassResult, Result
from qmodel.theory.supply import delivery, levels, merged

ERLANG_SOURCE = "Erlang 1917"
ASSUMED = (POISSON, INDEPENDENT, "servers alike, none idle while a request waits")


def erlang_c(servers: int, offered: float) -> float:
    """Probability of waiting in M/M/k with offered load a < k, by Erlang's B recursion.

    >>> round(erlang_c(2, 1.0), 12) == round(1 / 3, 12)
    True
    """
    blocked = 1.0
    for k in range(1, servers + 1):
        blocked = offered * blocked / (k + offered * blocked)
    return blocked / (1.0 - offered / servers * (1.0 - blocked))


def exponential_wait(servers: int, rate: float, mean: float) -> float:
    """E[W] of M/M/k."""
    return erlang_c(servers, rate * mean) * mean / (servers - rate * mean)


def approximate_wait(servers: int, rate: float, mean: float, scv: float) -> float:
    """E[W] of M/G/k by Kimura's interpolation between M/M/k and M/D/k; infinite with infinite scv.

    >>> round(approximate_wait(1, 0.5, 1.0, 4.0), 12)
    2.5
    """
    if math.isinf(scv):
        return math.inf
    load = rate * mean / servers
    memoryless = exponential_wait(servers, rate, mean)
    bend = (1 - load) * (servers - 1) * (math.sqrt(4 + 5 * servers) - 2) / (16 * load * servers)
    constant = 0.5 * memoryless * (1 + bend)
    if scv > 1:  # beyond the exponential the interpolation is the classical (1 + c^2)/2
        return 0.5 * (1 + scv) * memoryless
    return (1 + scv) / (2 * scv / memoryless + (1 - scv) / constant)


def several_servers(policy: Policy, classes: Sequence[ServedClass], servers: int) -> Result | NotAnalysable:
    """Means and laws where theory has them."""
    if type(policy) is PS:
        return _shared(classes, servers)
    alike = _common_mean(classes)
    if type(policy) in (FCFS, LCFS, RandomOrder):
        found = _in_turn(classes, servers, alike)
        return found if type(policy) is FCFS else _means_only(found, policy)
    if type(policy) in (NonPreemptivePriority, PreemptivePriority) and alike is not None:
        return (_interrupting if policy.preemptive else _waiting_in_line)(classes, servers, alike)
    if type(policy) in (NonPreemptivePriority, PreemptivePriority):
        return NotAnalysable("several servers with priorities need one exponential service law", "fcfs")
    return NotAnalysable(f"no result for policy '{policy.name}' with several servers", "fcfs, or one server")


def _common_mean(classes: Sequence[ServedClass]) -> float | None:
    """The mean of the exponential law that all classes share, or None."""
    means = set()
    for served in classes:
        means |= {mean for _, mean in exponential_phases(served.size) or [(1.0, math.nan)]}
    return means.pop() if len(means) == 1 and not math.isnan(next(iter(means))) else None


def _in_turn(classes: Sequence[ServedClass], servers: int, alike: float | None) -> Result:
    rate, size = merged(classes)
    waiting = erlang_c(servers, rate * size.mean)
    wait = approximate_wait(servers, rate, size.mean, size.scv)
    if alike is not None:
        wait = exponential_wait(servers, rate, alike)
    positive = _exponential_part(waiting, wait)
    results = [after_wait(served, wait, positive, waiting) for served in classes]
    if math.isinf(wait):
        results = [replace(part, law=None) for part in results]
    if alike is not None:
        return Result(tuple(results), f"M/M/{servers} FCFS: Erlang C", ERLANG_SOURCE, ASSUMED)
    return Result(
        classes=tuple(results),
        name=f"M/G/{servers} FCFS: Kimura's interpolation",
        source="Kimura 1986; Cosmetatos 1976",
        assumptions=(*ASSUMED, "the positive wait is exponential"),
        method="approximation",
        notes=("means within a few per cent for scv up to 4; farther out for very variable sizes and light loads",),
    )


def _exponential_part(mass: float, wait: float) -> Transform:
    def positive(s: np.ndarray) -> np.ndarray:
        return mass / (1.0 + s * (wait / mass))

    return positive


def _means_only(result: Result, policy: Policy) -> Result:
    parts = tuple(replace(part, law=None) for part in result.classes)
    return replace(result, classes=parts, name=result.name.replace("FCFS", policy.name.upper()))


def _waiting_in_line(classes: Sequence[ServedClass], servers: int, mean: float) -> Result:
    rate = math.fsum(served.rate for served in classes)
    residual = erlang_c(servers, rate * mean) * mean / servers
    waits: dict[str, float] = {}
    above = 0.0
    for own in levels(classes):
        upto = above + math.fsum(served.rate for served in own) * mean / servers
        waits |= {served.name: formulas.COBHAM(residual, above, upto) for served in own}
        above = upto
    return Result(
        classes=tuple(_waited(served, waits[served.name]) for served in classes),
        name=f"M/M/{servers} non-preemptive priority",
        source="Kella & Yechiali 1985",
        assumptions=ASSUMED,
    )


def _waited(served: ServedClass, wait: float) -> ClassResult:
    given = delivery(served.service)
    return ClassResult(served, given.mean, wait + given.mean)


def _interrupting(classes: Sequence[ServedClass], servers: int, mean: float) -> Result | NotAnalysable:
    """The classes up to each level are an M/M/k of their own: the number of one level is a difference."""
    if any(served.service.delivered_at is not None for served in classes):
        return NotAnalysable("results leave before their service ends", "the same early exit with delivery 'stop'")
    times: dict[str, float] = {}
    rate = before = 0.0
    for own in levels(classes):
        added = math.fsum(served.rate for served in own)
        rate += added
        number = rate * (exponential_wait(servers, rate, mean) + mean)
        times |= {served.name: (number - before) / added for served in own}
        before = number
    return Result(
        classes=tuple(ClassResult(served, mean, times[served.name]) for served in classes),
        name=f"M/M/{servers} preemptive priority",
        source="Buzen & Bondi 1983",
        assumptions=(*ASSUMED, "interrupted work is kept, switching is free"),
    )


def _shared(classes: Sequence[ServedClass], servers: int) -> Result:
    rate, size = merged(classes)
    offered = rate * size.mean
    stretch = (offered + rate * exponential_wait(servers, rate, size.mean)) / offered
    return Result(
        classes=tuple(_stretched(served, stretch) for served in classes),
        name=f"M/G/{servers} processor sharing: insensitive mean",
        source="Cohen 1979",
        assumptions=(POISSON, INDEPENDENT, "each of n requests is served at min(1, k/n), at no cost"),
    )


def _stretched(served: ServedClass, stretch: float) -> ClassResult:
    given, share = delivery(served.service), served.service.delivered_at
    return ClassResult(
        served, given.mean, given.mean * stretch, mean_slowdown=stretch * (1.0 if share is None else share.mean)
    )
