"""From a scenario with a queue condition to its result, by the embedded chains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from qmodel.answer import NotAnalysable
from qmodel.policy import FCFS, NonPreemptivePriority, Policy, PreemptivePriority
from qmodel.scenario import ServedClass
from qmodel.service.transform import QueueCondition
from qmodel.theory.one_server.m_g_1 import INDEPENDENT, ONE_SERVER, POISSON, mean_wait
from qmodel.theory.one_server.np_priority import non_preemptive
from qmodel.theory.one_server.preemptive_priority import preemptive_resume
from qmodel.theory.result import ClassResult, Result
from qmodel.theory.state.modes import LONG, SHORT, deliveries, service_in, two_mode_results, two_modes
from qmodel.theory.state.threshold import threshold_chain
from qmodel.theory.state.threshold_clearing import BEGUN, Arrivals, Stream
from qmodel.theory.state.threshold_clearing import LONG as LONG_SERVICES
from qmodel.theory.state.threshold_priority import LowChain, NonPreemptiveChain, PreemptiveChain, Services
from qmodel.theory.state.threshold_wait import TaggedWait, response_laws
from qmodel.theory.supply import levels
from qmodel.workload import Distribution

HIGHEST = {"fcfs": 400, "np-priority": 64, "pr-priority": 64}
"""Largest thresholds: the cost of the chains grows with their cube."""
RAREST = {5: 1e-4, 64: 1e-3}
"""By threshold, rate of the lower priority relative to that of the higher one below which means lose digits."""
NEVER = 1e-12
"""Share of long services below which rounding would outweigh them, and the queue is the one without a threshold."""
SOURCE = "embedded chain at departures: Neuts 1989; threshold control: Federgruen & Tijms 1980"
READ_AT_START = "the queue is read as a service starts"


def threshold_result(
    policy: Policy, classes: Sequence[ServedClass], condition: QueueCondition
) -> Result | NotAnalysable:
    """Exact means under FCFS and, for two priorities, under both kinds of priority."""
    if condition.above > HIGHEST.get(policy.name, condition.above):
        return NotAnalysable(f"above_queue is beyond {HIGHEST[policy.name]}", "a lower above_queue")
    plain = type(policy) in (NonPreemptivePriority, PreemptivePriority)
    if type(policy) is FCFS or (plain and len(levels(classes)) == 1):
        return fcfs(classes, condition)
    if not plain:
        reason = f"no result for policy '{policy.name}' when service depends on the queue's length"
        return NotAnalysable(reason, "fcfs, np-priority or pr-priority; or the transform at all times")
    if len(levels(classes)) > 2:
        return NotAnalysable("more than two priorities with a queue threshold", "two priorities, or fcfs")
    if condition.below is not None or condition.swap_time_s > 0:
        reason = "hysteresis and swap times are analysed under fcfs alone"
        return NotAnalysable(reason, "fcfs, or no below_queue and swap_time_s")
    return _two_priorities(policy, classes, condition)


def always_long(classes: Sequence[ServedClass]) -> tuple[ServedClass, ...]:
    """The classes with the long-queue service at all times, as with a threshold of 0."""
    return tuple(replace(served, service=service_in(served, LONG), long_queue=None) for served in classes)


def fcfs(classes: Sequence[ServedClass], condition: QueueCondition) -> Result:
    """Every class's mean response, and the share of requests served in the long-queue mode."""
    rate, short, long = two_modes(classes)
    chain = threshold_chain(rate, short, long, condition)
    mean_service = chain.started[SHORT] * short.mean + chain.started[LONG] * long.mean
    wait = chain.mean_number / rate - mean_service
    if chain.started[LONG] < NEVER:
        wait = mean_wait(rate, short)
    tagged = TaggedWait(rate, (short, long), condition, chain)
    laws = response_laws(tagged, [deliveries(served) for served in classes], wait + mean_service)
    return Result(
        classes=tuple(
            two_mode_results(served, wait, chain.started, law) for served, law in zip(classes, laws, strict=True)
        ),
        name="M/G/1 FCFS with a queue threshold: embedded chain at departures",
        source=SOURCE,
        assumptions=(POISSON, INDEPENDENT, ONE_SERVER, READ_AT_START),
        utilisation=1.0 - chain.idle,
    )


def _two_priorities(
    policy: Policy, classes: Sequence[ServedClass], condition: QueueCondition
) -> Result | NotAnalysable:
    upper, lower = levels(classes)
    rarest = next(share for above, share in RAREST.items() if condition.above <= above)
    if sum(served.rate for served in lower) < rarest * sum(served.rate for served in upper):
        reason = "the lower priority is so rare that rounding errors outweigh it"
        return NotAnalysable(reason, f"a rate of at least {rarest:g} times that of the higher one")
    kind = PreemptiveChain if policy.preemptive else NonPreemptiveChain
    chain = kind(Stream(*two_modes(upper)), Stream(*two_modes(lower)), condition.above)
    high, low = chain.services
    found = _waiting_first(upper, chain.high, high)
    found |= (
        _broken_into(lower, chain) if isinstance(chain, PreemptiveChain) else _waiting_first(lower, chain.low, low)
    )
    if max(services.share_long for services in chain.services) < NEVER:
        found = _without_threshold(policy, classes, found)
    return Result(
        classes=tuple(found[served.name] for served in classes),
        name=f"M/G/1 {policy.name} with a queue threshold: embedded chain of the lower priority",
        source=SOURCE,
        assumptions=(POISSON, INDEPENDENT, ONE_SERVER, READ_AT_START),
        utilisation=_busy(chain),
    )


def _without_threshold(
    policy: Policy, classes: Sequence[ServedClass], found: dict[str, ClassResult]
) -> dict[str, ClassResult]:
    """The same with the means of short services alone."""
    plain = (preemptive_resume if policy.preemptive else non_preemptive)(classes)
    return {
        part.served.name: replace(found[part.served.name], mean_response=part.mean_response)
        for part in plain.classes
    }


def _busy(chain: LowChain) -> float:
    """Share of time that the server works: rate times mean service, over both priorities."""
    parts = zip((chain.high, chain.low), chain.services, strict=True)
    return sum(
        stream.rate * (stream.short.mean + services.share_long * (stream.long.mean - stream.short.mean))
        for stream, services in parts
    )


def _waiting_first(classes: Sequence[ServedClass], stream: Stream, services: Services) -> dict[str, ClassResult]:
    """Classes whose service, once begun, goes on to its end."""
    shares = (1.0 - services.share_long, services.share_long)
    service = shares[SHORT] * stream.short.mean + shares[LONG] * stream.long.mean
    wait = services.mean_number / stream.rate - service
    return {served.name: two_mode_results(served, wait, shares) for served in classes}


def _broken_into(classes: Sequence[ServedClass], chain: PreemptiveChain) -> dict[str, ClassResult]:
    """Classes whose service is interrupted: wait until it begins, then the time until it is delivered."""
    low = chain.services[1]
    wait = low.mean_number / chain.low.rate - _prolonged(chain, chain.low.short, chain.low.long)
    found = {}
    for served in classes:
        short, long = deliveries(served)
        found[served.name] = ClassResult(
            served=served,
            mean_service=(1.0 - low.share_long) * short.mean + low.share_long * long.mean,
            mean_response=wait + _prolonged(chain, short, long),
            extra={"share_reduced": low.share_long},
        )
    return found


def _prolonged(chain: PreemptiveChain, short: Distribution, long: Distribution) -> float:
    """Mean time from the start of a low service until this work of it is done, interruptions included."""
    arrivals = Arrivals(short, chain.high.rate, chain.low.rate)
    row = chain.starts @ chain.worked(arrivals)[1:]
    shorts = (row[BEGUN] - row[LONG_SERVICES]) * chain.high.short.mean
    total = float(chain.starts.sum()) * short.mean + shorts + row[LONG_SERVICES] * chain.high.long.mean
    return float(total + chain.services[1].share_long * long.mean * chain.clearing.begun)
