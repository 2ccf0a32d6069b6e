"""Any scenario that theory may be asked about, drawn from a seed, which can be asked again in another form.

The same question in another unit of time, at another rate, or with each class split into two equal halves.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from qmodel.policy import (
    DPS,
    FCFS,
    LAS,
    LCFS,
    MLFQ,
    PS,
    PSJF,
    PSPJF,
    SJF,
    SPJF,
    SPRPT,
    SRPT,
    TRAIL,
    AccumulatingPriority,
    Gittins,
    LCFSPreemptive,
    NonPreemptivePriority,
    PreemptivePriority,
    RandomOrder,
)
from qmodel.policy.preemption import Preemption
from qmodel.policy.routing import Routing
from qmodel.scenario import Scenario, System
from qmodel.service.environment import Environment
from qmodel.service.iteration_time import IterationTime
from qmodel.service.station import Station
from qmodel.service.transform import EarlyExit, ModelSwap, QueueCondition
from qmodel.workload import (
    BoundedPareto,
    Deterministic,
    Discrete,
    Erlang,
    Exponential,
    Gamma,
    Hyperexponential,
    Lognormal,
    Mixture,
    Mmpp,
    Pareto,
    Pause,
    Poisson,
    PredictedSize,
    Renewal,
    RequestClass,
    Uniform,
    Weibull,
)

LOADS = (0.01, 0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999)
BLIND = (FCFS, LCFS, RandomOrder, NonPreemptivePriority)
"""Orders that are blind to size and never interrupt."""
SIZED = (SJF, PSJF, SRPT, LAS)
PREDICTED = (SPJF, PSPJF, SPRPT, TRAIL)
WITHIN = ("lcfs", "sjf", "psjf", "srpt", "las", "lcfs-pr", "gittins", "spjf", "sprpt", "trail")


@dataclass(frozen=True)
class Part:
    """A class in units of the mean service: its share of the load, and what is asked of it."""

    share: float
    law: object
    priority: int = 0
    weight: float = 1.0
    options: Callable[[float], dict] = lambda unit: {}
    arrivals: Callable[[float], object] = Poisson


@dataclass(frozen=True)
class Asked:
    """A question; `unit` is the length of its unit of time in seconds."""

    room: str
    parts: tuple[Part, ...]
    load: float
    policy: Callable[[float], object]
    unit: float
    system: Callable[[float], dict] = lambda unit: {}
    options: Callable[[float], dict] = lambda unit: {}
    says: str = ""
    servers: int = 1
    slo: dict = field(default_factory=dict)

    def scenario(self, stretch: float = 1.0, more: float = 1.0, split: bool = False, policy: object = None):
        """The question with its unit of time stretched, at `more` times the rate, or with split classes."""
        unit = self.unit * stretch
        made = []
        for i, part in enumerate(self.parts):
            rate = more * self.load * self.servers * part.share / (part.law.mean * unit)
            for half in ("", "'") if split else ("",):
                process = part.arrivals(rate / 2 if split else rate)
                options = {"service": part.law.scaled(unit)} | part.options(unit)
                made.append(
                    RequestClass(
                        f"c{i}{half}",
                        process,
                        priority=part.priority,
                        weight=part.weight,
                        slo={name: value * stretch for name, value in self.slo.items()},
                        **{name: value for name, value in options.items() if value is not None},
                    )
                )
        system = System(**({"servers": self.servers} | self.system(unit)))
        return Scenario(made, policy=policy or self.policy(unit), system=system, **self.options(unit))

    def __str__(self) -> str:
        laws = ", ".join(f"{part.share:.3g} {part.law}" for part in self.parts[:4])
        asked = f"load {self.load:g}, unit {self.unit:.3g} s, {len(self.parts)} classes"
        return f"{self.room}: {asked}: {laws}; {self.says}"


def any_law(rng, heavy=True):
    """A law of mean about 1."""
    scv = float(rng.choice([0.01, 0.1, 0.5, 0.9999, 1.0, 1.0001, 2.0, 10.0, 100.0]))
    kinds = [
        lambda: Exponential(1.0),
        lambda: Deterministic(1.0),
        lambda: Erlang(int(rng.integers(2, 20)), 1.0),
        lambda: Gamma(1.0, scv),
        lambda: Hyperexponential(1.0, max(scv, 1.0)),
        lambda: Lognormal(1.0, scv),
        lambda: Weibull(1.0, min(scv, 20.0)),
        lambda: Uniform(0.0, 2.0),
        lambda: Uniform(0.5, 1.5),
        lambda: BoundedPareto(0.1, 100.0, float(rng.uniform(0.5, 2.5))),
        lambda: Discrete((0.5, 1.0, 4.0), (0.4, 0.4, 0.2)),
        lambda: Mixture((0.7, 0.3), (Exponential(0.5), Deterministic(2.0))),
        lambda: Exponential(0.5).shifted(0.5),
    ]
    if heavy:
        kinds.append(lambda: Pareto(1.0, float(rng.choice([1.1, 1.5, 2.0, 2.5, 3.5]))))
    return kinds[rng.integers(len(kinds))]()


def any_parts(rng, most=4, heavy=True, **options):
    """Classes with shares of the load."""
    count = int(rng.choice([1, 1, 2, 3, most]))
    shares = rng.dirichlet([1.0] * count)
    shares = [max(float(share), 1e-6) for share in shares]
    total = math.fsum(shares)
    return tuple(
        Part(
            share / total,
            any_law(rng, heavy).scaled(float(10.0 ** rng.choice([0.0, 0.0, rng.uniform(-2, 2)]))),
            int(rng.integers(3)),
            float(10.0 ** rng.uniform(-2, 2)),
            **options,
        )
        for share in shares
    )


def asked(rng, room, parts, policy, says="", **rest):
    """The question at a load and unit drawn."""
    unit = float(10.0 ** rng.choice([0.0, rng.uniform(-9, 9)]))
    load = rest.pop("load", None) or float(rng.choice(LOADS))
    made = policy if callable(policy) and not isinstance(policy, type) else lambda unit: policy()
    return Asked(room, parts, load, made, unit, says=says, **rest)


def plain(rng):
    kind = rng.choice([FCFS, LCFS, LCFSPreemptive, RandomOrder, NonPreemptivePriority, PreemptivePriority, PS])
    return asked(rng, kind.name, any_parts(rng, most=30), kind)


def sized(rng):
    kind = rng.choice([*SIZED, MLFQ])
    if kind is MLFQ:
        ends = sorted({float(x) for x in rng.choice([0.1, 0.5, 1.0, 1.5, 4.0, 20.0], 3)})
        return asked(rng, "mlfq", any_parts(rng), lambda unit: MLFQ(tuple(e * unit for e in ends)), f"ends {ends}")
    return asked(rng, kind.name, any_parts(rng, most=10), kind)


def sharing(rng):
    if rng.random() < 0.5:
        return asked(rng, "dps", any_parts(rng, most=8), DPS)
    places = int(rng.choice([1, 2, 3, 10]))
    system = {"batching": "processor-sharing", "max_batch": places}
    return asked(rng, "limited", any_parts(rng), FCFS, f"{places} places", system=lambda unit: system)


def accumulating(rng):
    parts = any_parts(rng, most=10)
    return asked(rng, "accumulating", parts, AccumulatingPriority)


def gittins(rng):
    return asked(rng, "gittins", any_parts(rng, most=3), Gittins)


def guess(rng):
    """Predictions by the unit of time."""
    kind = rng.choice(["exact", "exponential", "lognormal", "correlated", "one-bit", "file"])
    if kind == "lognormal":
        scv = float(rng.choice([0.01, 0.3, 1.0, 5.0]))
        return f"lognormal {scv}", lambda unit: PredictedSize("lognormal", scv=scv)
    if kind == "correlated":
        r = float(rng.choice([-0.5, 0.0, 0.5, 0.9, 0.99, 1.0]))
        return f"correlated {r}", lambda unit: PredictedSize("correlated", correlation=r)
    if kind == "one-bit":
        end, accuracy = float(rng.choice([1e-3, 0.5, 1.0, 4.0, 1e4])), float(rng.choice([0.5, 0.8, 1.0]))
        says = f"one bit {end} {accuracy}"
        return says, lambda unit: PredictedSize("one-bit", threshold=end * unit, accuracy=accuracy)
    if kind == "file":
        values, told = (0.2, 0.7, 0.7, 1.5, 4.0), (0.3, 0.5, 1.1, 2.0, 3.0)
        return "file", lambda unit: PredictedSize(
            "file", sizes_s=tuple(v * unit for v in values), predictions_s=tuple(t * unit for t in told)
        )
    return str(kind), lambda unit: PredictedSize(str(kind))


def predicted(rng):
    kind = rng.choice(PREDICTED)
    says, made = guess(rng)
    parts = any_parts(rng, most=3, options=lambda unit: {"predicted_size": made(unit)})
    return asked(rng, kind.name, parts, kind, says)


def nested(rng):
    kind = rng.choice([NonPreemptivePriority, PreemptivePriority])
    within = str(rng.choice(WITHIN))
    return asked(rng, f"{kind.name} within", any_parts(rng), lambda unit: kind(within=within), within)


def preemption(rng):
    kind = rng.choice([PreemptivePriority, PSJF, SRPT, LCFSPreemptive, LAS])
    cost, grain = float(rng.choice([0.0, 1e-6, 0.01, 0.1])), float(rng.choice([0.0, 1e-3, 0.1, 1.0, 50.0]))
    if rng.random() < 0.5:
        cost, grain = (0.0, grain) if rng.random() < 0.5 else (cost, 0.0)
    extra = {"options": lambda unit: {"preemption": Preemption(cost * unit, grain * unit)}}
    load = float(rng.choice([0.01, 0.3, 0.6, 0.9]))
    parts = any_parts(rng, heavy=rng.random() < 0.3)
    return asked(rng, f"{kind.name} preemption", parts, kind, f"cost {cost} grain {grain}", load=load, **extra)


def renewal(rng):
    scv = float(rng.choice([1e-3, 0.25, 0.5, 0.9, 2.0, 10.0, 50.0]))
    parts = tuple(
        replace(part, arrivals=(lambda rate: Renewal(rate, scv)) if i == 0 else Poisson)
        for i, part in enumerate(any_parts(rng, most=2))
    )
    return asked(rng, "renewal", parts, rng.choice([FCFS, FCFS, PS, NonPreemptivePriority]), f"scv {scv}")


def modulated(rng):
    pace, ratio = float(10.0 ** rng.uniform(-3, 1)), float(rng.choice([0.0, 0.1, 0.9]))
    plain = Mmpp((1.0, ratio), ((-pace, pace), (2 * pace, -2 * pace)))
    parts = tuple(replace(part, arrivals=plain.at_rate) for part in any_parts(rng, most=2))[:1]
    parts = (replace(parts[0], share=1.0),)
    return asked(rng, "mmpp", parts, FCFS, f"pace {pace:.3g} ratio {ratio}", servers=int(rng.choice([1, 1, 2])))


def away(rng):
    law = any_law(rng, heavy=False).scaled(float(10.0 ** rng.uniform(-3, 2)))
    word = str(rng.choice(["setup_s", "vacation_s"]))
    kind = rng.choice([FCFS, NonPreemptivePriority])
    return asked(rng, word, any_parts(rng), kind, str(law), system=lambda unit: {word: law.scaled(unit)})


def environment(rng):
    speeds, pace = (1.0, float(rng.choice([0.0, 0.5, 3.0]))), float(10.0 ** rng.uniform(-2, 2))

    def system(unit):
        rows = ((-pace / unit, pace / unit), (2 * pace / unit, -2 * pace / unit))
        return {"environment": Environment(speeds, rows)}

    load = float(rng.choice([0.01, 0.3, 0.6]))
    return asked(rng, "environment", any_parts(rng, most=2), FCFS, f"{speeds} {pace:.3g}", system=system, load=load)


def patience(rng):
    law = any_law(rng).scaled(float(10.0 ** rng.uniform(-3, 3)))
    servers = int(rng.choice([1, 1, 1, 3]))
    parts = any_parts(rng, most=2, options=lambda unit: {"patience": law.scaled(unit)})
    if servers > 1:
        parts = tuple(replace(part, law=Exponential(1.0)) for part in parts)
    load = float(rng.choice([0.1, 0.7, 1.0, 1.5, 5.0]))
    return asked(rng, "patience", parts, FCFS, str(law), load=load, servers=servers)


def buffer(rng):
    places, servers = int(rng.choice([1, 2, 5, 50, 300])), int(rng.choice([1, 1, 2, 5]))
    parts = any_parts(rng, most=2)
    if servers > 1 and rng.random() < 0.7:
        parts = tuple(replace(part, law=Exponential(1.0)) for part in parts)
    load = float(rng.choice([0.01, 0.5, 0.9, 1.0, 1.2, 10.0]))
    kind = rng.choice([FCFS, PS])
    servers = 1 if kind is PS else servers
    return asked(
        rng,
        "buffer",
        parts,
        kind,
        f"{places} places",
        system=lambda unit: {"buffer": max(places, servers)},
        load=load,
        servers=servers,
    )


def batching(rng):
    most = rng.choice([None, 1, 2, 8, 64])
    most = None if most is None else int(most)
    least = None if most is None else rng.choice([None, 1, most])
    times = IterationTime(1.0, float(rng.choice([1e-3, 0.1, 1.0])))
    top = 1.0 / times.per_sequence if most is None else most / (1.0 + most * times.per_sequence)
    load = float(rng.choice([0.01, 0.3, 0.7, 0.95]))

    def system(unit):
        taken = IterationTime(times.base * unit, times.per_sequence * unit)
        return {"batching": "dynamic", "max_batch": most, "min_batch": least, "iteration_time": taken}

    one = Deterministic(1.0)
    tokens = {"service": None, "factors": {"input_tokens": one, "output_tokens": one}}
    part = Part(1.0, Deterministic(1.0), options=lambda unit: tokens)
    return asked(rng, "batching", (part,), FCFS, f"{most} {least} {times}", system=system, load=load * top)


def threshold(rng):
    above = int(rng.choice([0, 1, 2, 5, 20]))
    below = None if rng.random() < 0.6 or above < 2 else int(rng.integers(1, above + 1))
    factor, swap = float(rng.choice([0.1, 0.5, 0.99])), float(rng.choice([0.0, 0.0, 0.1]))
    kind = rng.choice([FCFS, NonPreemptivePriority, PreemptivePriority])

    def options(unit):
        when = QueueCondition(above, below, swap * unit)
        return {"transforms": (ModelSwap(when, service_factor=factor),)}

    parts = any_parts(rng, most=2, heavy=False)
    says = f"{kind.name} above {above} below {below} factor {factor} swap {swap}"
    load = float(rng.choice([0.01, 0.5, 0.9, 1.1])) if factor < 0.9 else 0.8
    return asked(rng, "threshold", parts, kind, says, options=options, load=load)


def early_exit(rng):
    transform = EarlyExit(
        fractions=(0.3, 1.0), probabilities=(0.4, 0.6), delivery=str(rng.choice(["stop", "release"]))
    )
    kind = rng.choice([FCFS, LCFS, PS, SRPT, SJF, NonPreemptivePriority, PreemptivePriority, LAS])
    says = f"{kind.name} {transform.delivery}"
    return asked(rng, "early exit", any_parts(rng), kind, says, options=lambda unit: {"transforms": (transform,)})


def servers(rng):
    count = int(rng.choice([2, 3, 8, 50]))
    kind = rng.choice([FCFS, NonPreemptivePriority, PreemptivePriority, PS, LCFS])
    parts = any_parts(rng, most=3)
    if rng.random() < 0.3:
        parts = tuple(replace(part, law=Exponential(2.0)) for part in parts)
    return asked(rng, "servers", parts, kind, f"{kind.name} {count}", servers=count)


def routing(rng):
    word, choices = [
        ("random", None),
        ("round-robin", None),
        ("jsq", None),
        ("jsq", 2),
        ("least-work", None),
    ][rng.integers(5)]
    count = int(rng.choice([2, 4, 16]))
    parts = any_parts(rng, most=2)
    says = f"{word} {choices} {count}"
    return asked(
        rng, "routing", parts, FCFS, says, servers=count, system=lambda unit: {"routing": Routing(word, choices)}
    )


def paused(rng):
    chance, rest = float(rng.choice([0.01, 0.3, 0.8])), any_law(rng).scaled(float(10.0 ** rng.uniform(-2, 3)))
    parts = any_parts(rng, most=2, options=lambda unit: {"pause": Pause(chance, rest.scaled(unit))})
    load = float(rng.choice([0.01, 0.5, 0.9])) * (1.0 - chance)
    kind = rng.choice([FCFS, PS])
    return asked(rng, "pause", parts, kind, f"{kind.name} {chance} {rest}", load=load)


def tandem(rng):
    count = int(rng.choice([1, 2, 3]))
    laws = [any_law(rng, heavy=False) for _ in range(count)]
    names = [f"s{i}" for i in range(count)]

    def options(unit):
        return {"stations": [Station(name, transfer_s=0.1 * unit) for name in names]}

    def own(unit):
        return {"service": None, "services": {n: law.scaled(unit) for n, law in zip(names, laws, strict=True)}}

    part = Part(1.0, Deterministic(max(law.mean for law in laws)), options=own)
    return asked(rng, "tandem", (part,), FCFS, str(laws), options=options)


ROOMS = (
    plain,
    sized,
    sharing,
    accumulating,
    gittins,
    predicted,
    nested,
    preemption,
    renewal,
    modulated,
    away,
    environment,
    patience,
    buffer,
    batching,
    threshold,
    early_exit,
    servers,
    routing,
    paused,
    tandem,
)
