"""Live runs on paper: traffic drawn beforehand, and what each policy is predicted to make of it.

Two classes of denoising requests: "interactive" ones of few steps with priority, and "batch" ones of many. A step
is never interrupted; policies choose between steps.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from qmodel.live.scheduler import Entry, Scheduler
from qmodel.policy import Policy, Request, make_policy
from qmodel.service.transform import QueueCondition

EARLY_EXIT_ABOVE = 4
"""Early exit: half the steps for a service that starts with more than so many in the system."""


@dataclass(frozen=True)
class TrafficClass:
    """Requests of one kind: their share, their priority (lowest first), and step counts, each as likely."""

    name: str
    share: float
    priority: int
    steps: tuple[int, ...]


CLASSES = (TrafficClass("interactive", 0.7, 0, (1, 2, 3)), TrafficClass("batch", 0.3, 1, (6, 8, 10)))


@dataclass(frozen=True)
class ServiceTime:
    """Seconds of a request of so many steps, one at a time on the device: start + per_step x steps.

    A request that finds the server idle takes `after_idle_s` longer: caches and clocks are cold.
    """

    start_s: float
    per_step_s: float
    after_idle_s: float = 0.0

    def __call__(self, steps: int) -> float:
        """Seconds of so many steps."""
        return self.start_s + self.per_step_s * steps

    @classmethod
    def fitted(cls, medians_s: Mapping[int, float], idle_s: Mapping[int, float] | None = None) -> ServiceTime:
        """Least squares of relative errors through the medians by steps; no part is negative.

        `idle_s` are medians after idle gaps.

        >>> ServiceTime.fitted({1: 0.3, 2: 0.5, 4: 0.9}, {1: 0.31, 2: 0.51, 4: 0.91})
        ServiceTime(start_s=0.1, per_step_s=0.2, after_idle_s=0.01)
        """
        weights = {steps: 1 / seconds**2 for steps, seconds in medians_s.items()}
        total = sum(weights.values())
        mean_n = sum(w * n for n, w in weights.items()) / total
        mean_s = sum(w * medians_s[n] for n, w in weights.items()) / total
        spread = sum(w * (n - mean_n) ** 2 for n, w in weights.items())
        slope = sum(w * (n - mean_n) * (medians_s[n] - mean_s) for n, w in weights.items()) / spread
        start = mean_s - slope * mean_n
        if start < 0:
            start, slope = (
                0.0,
                sum(w * n * medians_s[n] for n, w in weights.items()) / sum(w * n * n for n, w in weights.items()),
            )
        extra = median(idle_s[n] - medians_s[n] for n in medians_s) if idle_s else 0.0
        return cls(round(start, 12), round(slope, 12), round(max(0.0, extra), 12))

    def mean(self, classes: Sequence[TrafficClass] = CLASSES) -> float:
        """Mean over all requests."""
        return sum(c.share * self(n) / len(c.steps) for c in classes for n in c.steps)


@dataclass(frozen=True)
class Rule:
    """A policy by its name in the tables, its preset, and the condition of early exit if there is one."""

    name: str
    preset: str
    condition: QueueCondition | None = None

    def policy(self) -> Policy:
        """The policy object that theory, simulation and server share."""
        return make_policy(self.preset)


RULES = (
    Rule("fcfs", "fcfs"),
    Rule("priority", "np-priority"),
    Rule("srpt", "srpt"),
    Rule("ps", "ps"),
    Rule("early-exit", "fcfs", QueueCondition(above=EARLY_EXIT_ABOVE)),
)


@dataclass(frozen=True)
class Arrival:
    """One request: when it is due, its class and its steps (all, and after early exit)."""

    scheduled_s: float
    traffic: TrafficClass
    steps: int

    @property
    def fewer_steps(self) -> int:
        """Half of the steps, at least one."""
        return max(1, self.steps // 2)


def draw(rate: float, horizon_s: float, seed: int, classes: Sequence[TrafficClass] = CLASSES) -> list[Arrival]:
    """Poisson arrivals up to the horizon; the same requests at every rate for the same seed, only spaced otherwise.

    >>> a, b = draw(10.0, 5.0, 1), draw(20.0, 5.0, 1)
    >>> [x.steps for x in a] == [x.steps for x in b][: len(a)], abs(a[0].scheduled_s / b[0].scheduled_s - 2) < 1e-9
    (True, True)
    """
    gaps, kinds = random.Random(f"gaps/{seed}"), random.Random(f"kinds/{seed}")
    found, now = [], gaps.expovariate(1.0) / rate
    while now < horizon_s:
        traffic = kinds.choices(classes, [c.share for c in classes])[0]
        found.append(Arrival(now, traffic, kinds.choice(traffic.steps)))
        now += gaps.expovariate(1.0) / rate
    return found


def request_of(arrival: Arrival, service: ServiceTime) -> Request:
    """What the policy sees of a request."""
    size = service(arrival.steps)
    return Request(arrival.scheduled_s, size, size, arrival.traffic.priority, class_name=arrival.traffic.name)


def responses_on_paper(
    arrivals: Sequence[Arrival], rule: Rule, service: ServiceTime, step_s: Sequence[float] | None = None
) -> list[float]:
    """Response time of each request when the rule serves these arrivals in the service's times, without a device.

    `step_s` replaces the service's time of a step, request by request, e.g. by measured means.

    >>> two = [Arrival(0.0, CLASSES[0], 2), Arrival(1.0, CLASSES[0], 1)]
    >>> responses_on_paper(two, RULES[0], ServiceTime(0.0, 1.0, 0.5))
    [2.5, 2.5]
    """
    scheduler = Scheduler(rule.policy(), rule.condition)
    reduced = rule.condition is not None
    entries = [
        Entry(i, request_of(a, service), service(a.fewer_steps) if reduced else None)
        for i, a in enumerate(arrivals)
    ]
    done, responses, now, due, extra = [0] * len(arrivals), [0.0] * len(arrivals), 0.0, 0, service.after_idle_s
    while True:
        while due < len(arrivals) and arrivals[due].scheduled_s <= now:
            scheduler.add(entries[due])
            due += 1
        entry = scheduler.next()
        if entry is None:
            if due == len(arrivals):
                return responses
            now, extra = arrivals[due].scheduled_s, service.after_idle_s
            continue
        i = entry.index
        steps = arrivals[i].fewer_steps if entry.reduced else arrivals[i].steps
        done[i] += 1
        now += step_s[i] if step_s else service.per_step_s + (service.start_s if done[i] == 1 else 0.0) + extra
        extra = 0.0
        if done[i] < steps:
            scheduler.credit(entry, entry.request.size * done[i] / steps)
        else:
            scheduler.finish(entry)
            responses[i] = now - arrivals[i].scheduled_s


def theory_mean_s(rule: Rule, rate: float, service: ServiceTime) -> float | None:
    """Mean response time by queueing theory; None where there is no result, or it needs what is missing here."""
    if rule.condition is not None:
        return None
    try:
        from qmodel.answer import NotAnalysable
        from qmodel.scenario import Scenario
        from qmodel.theory import analyse
        from qmodel.workload import Discrete, Poisson, RequestClass
    except ImportError:
        return None
    classes = [
        RequestClass(
            c.name,
            arrivals=Poisson(rate=rate * c.share),
            service=Discrete(tuple(service(n) for n in c.steps), (1 / len(c.steps),) * len(c.steps)),
            priority=c.priority,
        )
        for c in CLASSES
    ]
    try:
        answer: Any = analyse(Scenario(classes=tuple(classes), policy=rule.policy()), percentiles=())
    except Exception:  # whatever theory lacks there, time on the device is not lost for it
        return None
    return None if isinstance(answer, NotAnalysable) else float(answer["all"].mean_response_s)


@dataclass(frozen=True)
class Prediction:
    """What is expected of one run, saved before any run begins."""

    policy: str
    load: float
    seed: int
    rate: float
    requests: int
    same_arrivals_mean_s: float
    theory_mean_s: float | None


def predict_all(
    loads: Sequence[float], seeds: Sequence[int], horizon_s: float, service: ServiceTime
) -> list[Prediction]:
    """Predictions of all runs, in the order in which they are made: all policies and loads under a seed first."""
    found = []
    for seed in seeds:
        order = [(rule, load) for rule in RULES for load in loads]
        for rule, load in random.Random(f"order/{seed}").sample(order, len(order)):
            rate = load / service.mean()
            arrivals = draw(rate, horizon_s, seed)
            responses = responses_on_paper(arrivals, rule, service)
            mean_s = sum(responses) / max(1, len(responses))
            theory_s = theory_mean_s(rule, rate, service)
            found.append(Prediction(rule.name, load, seed, rate, len(arrivals), mean_s, theory_s))
    return found


def digest(predictions: Sequence[Prediction]) -> str:
    """SHA-256 of the predictions in canonical form."""
    return hashlib.sha256(json.dumps([vars(p) for p in predictions], sort_keys=True).encode()).hexdigest()
