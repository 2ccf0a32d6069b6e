"""Several servers with one queue: FCFS, priorities and sharing.

With a = lambda E[S], load a/k and Erlang's C the probability of waiting in M/M/k:

    FCFS:        the wait of `m_g_k`, E[W] = C E[S] / (k - a) for exponential services;
    priorities:  for one exponential law exactly, non-preemptive as Cobham's with W_0 = C E[S] / k; for other laws
                 the wait of class i in M/G/1 with a server k times as fast, times the ratio of the waits under
                 FCFS of M/G/k and of that M/G/1;
    sharing:     each request at speed min(1, k/n):  E[T(x)] = x E[N] / a, E[N] that of M/M/k, for any law of size.

The approximation of priorities against simulations of 4e6 requests (2 and 8 servers, loads 0.5 to 0.9, two classes
with means 1 and 3, the mean response of each): preemptive within 6 %; non-preemptive within 5 % for exponential,
10 % for constant and 17 % for hyperexponential (c^2 = 4) services.

Sources: Erlang (1917); Kella & Yechiali, *Oper. Res.* 33 (1985) 1136-1144 and Buzen & Bondi, *Oper. Res.* 31
(1983) 456-465 (priorities); Bondi & Buzen, *SIGMETRICS* (1984) 205-211 (their scaling); Cohen, *Acta Informatica*
12 (1979) 245-284 (sharing).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain

from qmodel.answer import NotAnalysable
from qmodel.policy import FCFS, LCFS, PS, NonPreemptivePriority, Policy, PreemptivePriority, RandomOrder
from qmodel.scenario import ServedClass
from qmodel.theory import formulas
from qmodel.theory.numerics.inversion import Transform
from qmodel.theory.numerics.phases import exponential_phases
from qmodel.theory.one_server.m_g_1 import INDEPENDENT, POISSON, after_wait, mean_wait
from qmodel.theory.one_server.np_priority import non_preemptive
from qmodel.theory.one_server.np_priority import positive_wait as busy_wait
from qmodel.theory.one_server.preemptive_priority import preemptive_resume
from qmodel.theory.result import ClassResult, Result
from qmodel.theory.servers.m_g_k import Wait, erlang_c, exponential_wait, wait_of
from qmodel.theory.supply import delivery, levels, merged

ASSUMED = (POISSON, INDEPENDENT, "servers alike, none idle while a request waits")
STATED_PRIORITY = {
    True: "stated error: mean response of each class 6 % (2 to 8 servers, scv up to 4)",
    False: "stated error: mean response of each class 10 %, 17 % where the scv is 4 (2 to 8 servers)",
}
"""By whether it preempts."""


def several_servers(policy: Policy, classes: Sequence[ServedClass], servers: int) -> Result | NotAnalysable:
    """Means and laws where theory has them."""
    if type(policy) is PS:
        return _shared(classes, servers)
    if type(policy) in (FCFS, LCFS, RandomOrder):
        found = in_turn(classes, wait_of(servers, *merged(classes)))
        return found if type(policy) is FCFS else _means_only(found, policy)
    if type(policy) not in (NonPreemptivePriority, PreemptivePriority):
        return NotAnalysable(f"no result for policy '{policy.name}' with several servers", "fcfs, or one server")
    if policy.preemptive and any(served.service.delivered_at is not None for served in classes):
        return NotAnalysable("results leave before their service ends", "the same early exit with delivery 'stop'")
    alike = _common_mean(classes)
    if alike is None:
        return _scaled_priority(classes, servers, policy.preemptive)
    return (_interrupting if policy.preemptive else _waiting_in_line)(classes, servers, alike)


def _common_mean(classes: Sequence[ServedClass]) -> float | None:
    """The mean of the exponential law that all classes share, or None."""
    means = set()
    for served in classes:
        means |= {mean for _, mean in exponential_phases(served.size) or [(1.0, math.nan)]}
    return means.pop() if len(means) == 1 and not math.isnan(next(iter(means))) else None


def in_turn(classes: Sequence[ServedClass], wait: Wait) -> Result:
    """T = W + D for each class, the wait the same for all and independent of the size."""
    if wait.positive is None:
        results = [_delayed(served, wait.mean) for served in classes]
    else:
        results = [after_wait(served, wait.mean, wait.positive, wait.delayed) for served in classes]
    assumptions = ASSUMED if wait.method == "exact" else (*ASSUMED, "the wait's law is that of a like service law")
    return Result(tuple(results), wait.name, wait.source, assumptions, wait.method, notes=wait.notes)


def _means_only(result: Result, policy: Policy) -> Result:
    parts = tuple(replace(part, law=None) for part in result.classes)
    return replace(result, classes=parts, name=result.name.replace("FCFS", policy.name.upper()))


def _waiting_in_line(classes: Sequence[ServedClass], servers: int, mean: float) -> Result:
    """While all servers are busy they are one server k times as fast: its waits, with Erlang's C for its load."""
    fast = [_faster(served, servers) for served in classes]
    rate = math.fsum(served.rate for served in classes)
    load, chance = rate * mean / servers, erlang_c(servers, rate * mean)
    ordered = levels(fast)
    found: dict[str, tuple[float, Transform]] = {}
    above = 0.0
    for i, own in enumerate(ordered):
        upto = above + math.fsum(served.load for served in own)
        wait = formulas.COBHAM(chance * mean / servers, above, upto)
        positive = busy_wait(list(chain(*ordered[:i])), own, list(chain(*ordered[i + 1 :])))
        found |= {served.name: (wait, _times(chance / load, positive)) for served in own}
        above = upto
    return Result(
        classes=tuple(after_wait(served, *found[served.name], chance) for served in classes),
        name=f"M/M/{servers} non-preemptive priority",
        source="Kella & Yechiali 1985",
        assumptions=ASSUMED,
    )


def _faster(served: ServedClass, servers: int) -> ServedClass:
    """The class at a server so many times as fast."""
    return replace(served, service=replace(served.service, occupancy=served.size.scaled(1.0 / servers)))


def _times(factor: float, transform: Transform) -> Transform:
    return lambda s: factor * transform(s)


def _interrupting(classes: Sequence[ServedClass], servers: int, mean: float) -> Result:
    """The classes up to each level are an M/M/k of their own: the number of one level is a difference."""
    times: dict[str, float] = {}
    above = 0.0
    for own in levels(classes):
        upto = above + mean * math.fsum(served.rate for served in own)
        times |= dict.fromkeys((served.name for served in own), mean * number_more(servers, above, upto))
        above = upto
    return Result(
        classes=tuple(ClassResult(served, mean, times[served.name]) for served in classes),
        name=f"M/M/{servers} preemptive priority",
        source="Buzen & Bondi 1983",
        assumptions=(*ASSUMED, "interrupted work is kept, switching is free"),
    )


def number_more(servers: int, low: float, high: float) -> float:
    """(E[N(high)] - E[N(low)]) / (high - low) of M/M/k at these offered loads, right however near they are.

    E[N] = a + C a / (k - a), C = k B / (k - a + a B), B_j = a B_{j-1} / (j + a B_{j-1}): the difference quotient of
    each from that of the one before, without a difference of numbers.

    >>> number_more(1, 0.5, 0.5)  # of a / (1 - a): 1 / (1 - a)^2
    4.0
    """
    at_low, at_high, more = 1.0, 1.0, 0.0  # Erlang's B at either load, and its difference quotient
    for j in range(1, servers + 1):
        carried, carried_high, rise = low * at_low, high * at_high, at_high + low * more
        more = j * rise / ((j + carried) * (j + carried_high))
        at_low, at_high = carried / (j + carried), carried_high / (j + carried_high)
    rise = at_high + low * more
    left, left_high = servers - low, servers - high
    below, below_high = left + low * at_low, left_high + high * at_high
    waits = servers * at_low / below
    waits_more = servers * (more / below_high + at_low * (1.0 - rise) / (below * below_high))
    return 1.0 + waits_more * high / left_high + waits * servers / (left * left_high)


def _scaled_priority(classes: Sequence[ServedClass], servers: int, preemptive: bool) -> Result:
    """Waits of one server k times as fast, scaled by the ratio of the waits under FCFS."""
    fast = {served.name: _faster(served, servers) for served in classes}
    one = (preemptive_resume if preemptive else non_preemptive)(list(fast.values()))
    alone = {part.served.name: part.mean_response - part.mean_service for part in one.classes}  # type: ignore[operator]
    parts: dict[str, ClassResult] = {}
    seen: list[ServedClass] = [] if preemptive else list(classes)
    for own in levels(classes):
        seen += own if preemptive else []
        ratio = _ratio(seen, servers)
        parts |= {served.name: _delayed(served, alone[served.name] * ratio) for served in own}
    return Result(
        classes=tuple(parts[served.name] for served in classes),
        name=f"M/G/{servers} {'' if preemptive else 'non-'}preemptive priority: scaled from one fast server",
        source="Bondi & Buzen 1984",
        assumptions=ASSUMED,
        method="approximation",
        notes=(STATED_PRIORITY[preemptive],),
    )


def _ratio(classes: Sequence[ServedClass], servers: int) -> float:
    """E[W] under FCFS of M/G/k over that of one server k times as fast; 1 where both are infinite."""
    rate, size = merged(classes)
    single = mean_wait(rate, size.scaled(1.0 / servers))
    return wait_of(servers, rate, size).mean / single if math.isfinite(single) else 1.0


def _delayed(served: ServedClass, wait: float) -> ClassResult:
    given = delivery(served.service)
    return ClassResult(served, given.mean, wait + given.mean)


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
