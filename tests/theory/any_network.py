"""Any scenario of stations, engines, closed populations, routing and batches, drawn from a seed, to be asked anew.

The companion of `any_scenario` for what is made of several parts: the same question in another unit of time, with
its classes in another order, split into equal halves, or beside a class that hardly ever comes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from qmodel.policy import FCFS, LCFS, PS, LCFSPreemptive, NonPreemptivePriority, RandomOrder
from qmodel.policy.routing import Routing
from qmodel.scenario import Scenario, System
from qmodel.service.environment import Environment
from qmodel.service.iteration_time import IterationTime
from qmodel.service.station import Station
from qmodel.service.transform import Cache, FewerSteps
from qmodel.workload import (
    Closed,
    Deterministic,
    Exponential,
    Gamma,
    Geometric,
    Hyperexponential,
    Lognormal,
    Mmpp,
    Poisson,
    RequestClass,
    Uniform,
)

LAWS = (
    Exponential(1.0),
    Deterministic(1.0),
    Hyperexponential(1.0, 4.0),
    Gamma(1.0, 0.3),
    Lognormal(1.0, 2.0),
    Uniform(0.5, 1.5),
)
RARE = 1e-11
"""Rate of the class that hardly ever comes, as a share of the others'."""


@dataclass(frozen=True)
class Question:
    """Classes by the unit of time (s), and the scenario that takes them.

    `open_rates`: classes have rates of their own, so that one can be rare; `halves`: two halves fare as the whole.
    """

    says: str
    classes: Callable[[float], Sequence[RequestClass]]
    around: Callable[[float, Sequence[RequestClass]], Scenario]
    halves: bool = True
    open_rates: bool = True

    def scenario(self, unit: float = 1.0) -> Scenario:
        """As drawn, with a unit of time of so many seconds."""
        return self.around(unit, self.classes(unit))

    def reversed(self) -> Scenario:
        """With its classes in the opposite order."""
        return self.around(1.0, self.classes(1.0)[::-1])

    def split(self) -> Scenario:
        """With each class as two of half the rate (half the users)."""
        return self.around(1.0, [half for each in self.classes(1.0) for half in _halves(each)])

    def beside_a_rare_class(self) -> Scenario:
        """With one class more, which is as the first but hardly ever comes."""
        first = self.classes(1.0)[0]
        total = sum(each.arrivals.rate for each in self.classes(1.0))
        rare = replace(first, name="rare", arrivals=Poisson(RARE * total))
        return self.around(1.0, [*self.classes(1.0), rare])

    def __str__(self) -> str:
        return self.says


def _halves(each: RequestClass) -> list[RequestClass]:
    process = each.arrivals
    if isinstance(process, Closed):
        made = Closed(process.population // 2, process.think_s)
    else:
        made = process.at_rate(process.rate / 2.0)
    return [replace(each, name=f"{each.name}{mark}", arrivals=made) for mark in ("", "'")]


def few(rng):
    return int(rng.integers(1, 4))


def a_law(rng):
    law = LAWS[rng.integers(len(LAWS))]
    return law.scaled(float(10.0 ** rng.uniform(-1, 1)))


def served(rates, laws, unit, **more):
    """Classes with these rates and laws in this unit; `more` are functions of the unit and the class's number."""
    return [
        RequestClass(
            f"c{i}",
            Poisson(rate / unit),
            service=law.scaled(unit),
            **{name: make(unit, i) for name, make in more.items()},
        )
        for i, (rate, law) in enumerate(zip(rates, laws, strict=True))
    ]


def shares(rng, laws, load):
    """Rates that give this load, shared at random."""
    parts = rng.dirichlet([2.0] * len(laws))
    return [float(load * part / law.mean) for part, law in zip(parts, laws, strict=True)]


def line(rng):
    """Two or three stations, each visited by some of the classes."""
    names = ["s0", "s1", "s2"][: int(rng.integers(2, 4))]
    classes, counts = few(rng), [int(rng.integers(1, 4)) for _ in names]
    jackson = rng.random() < 0.5
    law_at = {name: Exponential(float(rng.uniform(0.5, 2.0))) for name in names}
    laws = {
        (i, name): law_at[name] if jackson else a_law(rng).scaled(1.0)
        for i in range(classes)
        for name in names
        if name == "s0" or rng.random() < 0.8
    }
    policies = [FCFS() if jackson else (FCFS(), PS(), NonPreemptivePriority())[rng.integers(3)] for _ in names]
    raw = [float(x) for x in rng.uniform(0.1, 1.0, classes)]
    load = max(
        sum(raw[i] * law.mean for (i, at), law in laws.items() if at == name) / count
        for name, count in zip(names, counts, strict=True)
    )
    most = float(rng.choice([0.1, 0.6, 0.9]))

    def made(unit):
        return [
            RequestClass(
                f"c{i}",
                Poisson(raw[i] * most / load / unit),
                services={at: law.scaled(unit) for (k, at), law in laws.items() if k == i},
                priority=i,
            )
            for i in range(classes)
        ]

    def around(unit, found):
        whole = zip(names, counts, policies, strict=True)
        return Scenario(found, stations=[Station(n, k, p, transfer_s=0.05 * unit) for n, k, p in whole])

    kinds = [policy.name for policy in policies]
    # two halves of a class are two streams where the flows are by two moments, and others in a line by constants
    return Question(f"{kinds} {counts} {laws} load {most}", made, around, halves=jackson)


def closed(rng):
    """Users at one system or at stations in line."""
    classes, count = int(rng.integers(1, 3)), int(rng.integers(1, 4))
    users = [2 * int(rng.integers(1, 12)) for _ in range(classes)]
    think = [float(rng.choice([0.0, 0.5, 10.0])) for _ in range(classes)]
    policy, one = (PS(), FCFS(), LCFSPreemptive())[rng.integers(3)], Exponential(0.7)
    laws = [one if isinstance(policy, FCFS) else a_law(rng) for _ in range(classes)]
    count = 1 if isinstance(policy, LCFSPreemptive) else count

    def made(unit):
        return [
            RequestClass(f"c{i}", Closed(users[i], think[i] * unit), service=laws[i].scaled(unit))
            for i in range(classes)
        ]

    says = f"{policy.name} {count} servers, {users} users, think {think}, {laws}"
    system = System(servers=count)
    return Question(says, made, lambda unit, found: Scenario(found, policy=policy, system=system), open_rates=False)


TIMES = IterationTime(base=0.010, per_sequence=2e-4, per_context_token=2e-7, per_prefill_token=2e-5)


def engine(rng):
    """Continuous batching under its cap."""
    classes, cap = few(rng), int(rng.choice([16, 64, 256]))
    outputs = [
        (Geometric(200.0), Lognormal(150.0, 0.8), Uniform(20.0, 300.0), Deterministic(100.0))[rng.integers(4)]
        for _ in range(classes)
    ]
    inputs = [
        (Geometric(500.0), Lognormal(300.0, 2.0), Deterministic(64.0))[rng.integers(3)] for _ in range(classes)
    ]
    rate = float(rng.choice([0.3, 0.5, 0.7])) * cap / (200.0 * TIMES.seconds(cap, 600.0 * cap, 0.0))
    parts = [float(x) for x in rng.dirichlet([2.0] * classes)]
    hit = float(rng.choice([0.0, 0.5]))

    def made(unit):
        return [
            RequestClass(
                f"c{i}",
                Poisson(0.6 * rate * part / unit),
                factors={"input_tokens": inputs[i], "output_tokens": outputs[i]},
                prefix_hit=hit,
            )
            for i, part in enumerate(parts)
        ]

    def around(unit, found):
        taken = TIMES.times(unit)
        return Scenario(found, system=System(batching="continuous", max_batch=cap, iteration_time=taken))

    return Question(f"cap {cap} {inputs} {outputs} {parts} hit {hit}", made, around)


def batches(rng):
    """Batches that take as long as their longest answer, or full ones out of bins."""
    classes, most = few(rng), int(rng.choice([2, 4, 8]))
    outputs = [
        (Geometric(40.0), Uniform(10.0, 60.0), Deterministic(30.0), Lognormal(30.0, 1.0))[rng.integers(4)]
        for _ in range(classes)
    ]
    bins = rng.choice([None, 1, 2, 3])
    taken = IterationTime(0.010, 0.001)
    load = float(rng.choice([0.2, 0.5, 0.7]))
    parts = [float(x) for x in rng.dirichlet([2.0] * classes)]
    rate = load * most / (60.0 * taken.seconds(most))

    def made(unit):
        return [
            RequestClass(
                f"c{i}",
                Poisson(rate * part / unit),
                factors={"input_tokens": Deterministic(10.0), "output_tokens": outputs[i]},
            )
            for i, part in enumerate(parts)
        ]

    def around(unit, found):
        whole = {"max_batch": most, "iteration_time": taken.times(unit)}
        whole |= {} if bins is None else {"bins": int(bins), "min_batch": most}
        return Scenario(found, system=System(batching="dynamic", **whole))

    return Question(f"bins {bins}, {most} together, {outputs} {parts} load {load}", made, around)


def apart(rng):
    """Servers with queues of their own, and something out of the ordinary at each."""
    classes = few(rng)
    laws = [a_law(rng) for _ in range(classes)]
    rates = shares(rng, laws, load=3.0 * float(rng.choice([0.2, 0.7])))
    word = str(rng.choice(["setup_s", "vacation_s", "environment", "patience", "plain"]))
    kind = (FCFS, NonPreemptivePriority)[rng.integers(2)] if word != "environment" else FCFS
    kind = FCFS if word == "patience" else kind
    extra = {"patience": lambda unit, i: Exponential(5.0 * unit)} if word == "patience" else {}

    def system(unit):
        if word == "environment":
            rows = ((-0.1 / unit, 0.1 / unit), (0.3 / unit, -0.3 / unit))
            return {"environment": Environment((1.2, 0.8), rows)}
        return {word: Gamma(0.5 * unit, 0.5)} if word.endswith("_s") else {}

    def around(unit, found):
        at = System(servers=3, routing=Routing("random"), **system(unit))
        return Scenario(found, policy=kind(), system=at)

    made = partial(served, rates, laws, priority=lambda unit, i: i, **extra)
    return Question(f"{word} {kind.name} {laws} {rates}", lambda unit: made(unit=unit), around)


def bursts(rng):
    """A bursty class beside Poisson ones, at one server or at two."""
    count, classes = int(rng.integers(1, 3)), int(rng.integers(2, 4))
    law = Exponential(1.0)
    laws = [law if count > 1 else a_law(rng) for _ in range(classes)]
    rates = shares(rng, laws, count * float(rng.choice([0.2, 0.6, 0.85])))
    shape = Mmpp((1.0, 0.1), ((-0.05, 0.05), (0.1, -0.1)))

    def made(unit):
        burst = Mmpp(
            tuple(r / unit for r in shape.rates), tuple(tuple(x / unit for x in row) for row in shape.generator)
        )
        found = served(rates, laws, unit)
        return [replace(found[0], arrivals=burst.at_rate(rates[0] / unit)), *found[1:]]

    def around(unit, found):
        return Scenario(found, system=System(servers=count))

    return Question(f"{count} servers {laws} {rates}", made, around, halves=False)


def transformed(rng):
    """Services through a cache or in fewer steps, under several policies."""
    classes = few(rng)
    laws = [(Exponential(1.0), Gamma(1.0, 0.3), Lognormal(1.0, 2.0))[rng.integers(3)] for _ in range(classes)]
    rates = shares(rng, laws, float(rng.choice([0.2, 0.6, 0.85])))
    policy = (FCFS(), PS(), NonPreemptivePriority(), LCFS(), RandomOrder())[rng.integers(5)]
    kind = int(rng.integers(3))

    def change(unit):
        if kind == 0:
            return Cache(items=1000, capacity=100, zipf=0.9, saved_fraction=0.8, lookup_s=0.01 * unit)
        return (
            FewerSteps(fraction=0.5)
            if kind == 1
            else Cache(hit_ratio=0.4, saved_fraction=1.0, lookup_s=0.05 * unit)
        )

    def around(unit, found):
        return Scenario(found, policy=policy, transforms=(change(unit),))

    made = partial(served, rates, laws, priority=lambda unit, i: i)
    return Question(f"{kind} {policy.name} {laws} {rates}", lambda unit: made(unit=unit), around)


QUESTIONS = (line, closed, engine, batches, apart, bursts, transformed)
