"""Warm time of every result of the theory: the means alone, and a full table of percentiles.

    python benchmarks/policies_theory.py [WORD...]

One line a question: the result's name, milliseconds for the means (no percentiles), milliseconds for the means
with 50, 90, 95, 99 and 99.9 % percentiles, the targets, and whether both are met (10 and 100 ms; 1 s for a rank of
a user's own). WORDs keep the lines that hold one of them. Median CPU time of one thread after a first call; the
arrival rate differs by 1e-9 of itself from call to call, so that no finished answer is remembered, while what
belongs to a law alone may be.
"""

# ruff: noqa: E402 - the threads are counted when numpy is imported

from __future__ import annotations

import os

for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[threads] = "1"

import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from qmodel.answer import NotAnalysable
from qmodel.errors import InputError
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
    Policy,
    PreemptivePriority,
    RandomOrder,
    Rank,
)
from qmodel.policy.preemption import Preemption
from qmodel.policy.routing import Routing
from qmodel.scenario import Scenario, System
from qmodel.service.engine import Engine
from qmodel.service.environment import Environment
from qmodel.service.iteration_time import IterationTime
from qmodel.service.station import Station
from qmodel.service.transform import EarlyExit, ModelSwap, QueueCondition
from qmodel.theory import analyse
from qmodel.workload import (
    ArrivalProcess,
    Deterministic,
    Distribution,
    Exponential,
    Gamma,
    Hyperexponential,
    Lognormal,
    Mixture,
    Mmpp,
    Pause,
    Poisson,
    PredictedSize,
    Renewal,
    RequestClass,
    Uniform,
)

LOAD = 0.8
TABLE = (50.0, 90.0, 95.0, 99.0, 99.9)
MEAN_MS, TABLE_MS, RANK_MS = 10.0, 100.0, 1000.0
BURSTY = Mmpp((1.2, 0.4), ((-0.1, 0.1), (0.1, -0.1)))
EXP, H2, LOG = Exponential(1.0), Hyperexponential(1.0, 4.0), Lognormal(1.0, 4.0)
LAWS = {"exp": EXP, "H2": H2, "lognormal": LOG}
SHARES = (0.5, 0.3, 0.2)
GUESSES = {
    "exponential": PredictedSize("exponential"),
    "lognormal": PredictedSize("lognormal", scv=1.0),
    "correlated": PredictedSize("correlated", correlation=0.8),
    "one bit": PredictedSize("one-bit", threshold=1.0, accuracy=0.9),
    "file": PredictedSize("file", sizes_s=(0.2, 0.7, 1.5, 4.0), predictions_s=(0.3, 0.5, 2.0, 3.0)),
}


FINELY_CUT = {
    "nearly constant and exp": (Gamma(1.0, 1e-3), Gamma(2.1, 1e-3), Exponential(0.7)),
    "constant, lognormal, exp": (Mixture((0.3, 0.3, 0.4), (Deterministic(1.0), Lognormal(1.0, 0.25), EXP)), EXP),
    "H2 and constant": (Hyperexponential(1.0, 4.0), Deterministic(1.0)),
}


class SlowdownFirst(Rank):
    """Size times remaining size, a rank that no preset has."""

    preemptive = True

    def rank(self, request, attained):
        return request.size * (request.size - attained)


@dataclass(frozen=True)
class Row:
    """A question: its name, and the scenario at an arrival rate times a factor."""

    name: str
    make: Callable[[float], Scenario]
    mean_ms: float = MEAN_MS
    table_ms: float = TABLE_MS


def classes(law: Distribution, count: int, load: float = LOAD, **options: object) -> list[RequestClass]:
    """One class, or three whose sizes are 1, 2 and 0.5 times the law's."""
    if count == 1:
        return [RequestClass("a", Poisson(load / law.mean), law, **options)]
    scales = (1.0, 2.0, 0.5)
    return [
        RequestClass(f"c{i}", Poisson(load * share / (scale * law.mean)), law.scaled(scale), priority=i, **options)
        for i, (share, scale) in enumerate(zip(SHARES, scales, strict=True))
    ]


def at(scenario: Callable[[], Scenario]) -> Callable[[float], Scenario]:
    """The scenario by a factor on its rate."""
    plain = scenario()
    return lambda factor: replace(
        plain, classes=tuple(each.at_rate(each.rate * factor) for each in plain.classes), policy=plain.policy
    )


def by_policy() -> Iterator[Row]:
    """Every preset on one server, by law and number of classes."""
    plain: list[Policy] = [FCFS(), LCFS(), LCFSPreemptive(), RandomOrder(), NonPreemptivePriority()]
    plain += [PreemptivePriority(), PS(), SJF(), PSJF(), SRPT(), LAS(), MLFQ(thresholds=(0.5, 1.0, 2.0, 4.0))]
    plain += [DPS(), Gittins(), AccumulatingPriority()]
    plain += [PreemptivePriority(within=each) for each in ("sjf", "srpt", "las", "sprpt", "gittins")]
    for policy in plain:
        within = f" within {policy.inner.name}" if hasattr(policy, "inner") else ""
        for law in LAWS:
            for count in (1, 3):
                name = f"{policy.name}{within}, {law}, {count}"
                yield Row(name, one(classes(LAWS[law], count), policy))
    for law in LAWS:
        yield Row(f"own rank, {law}, 1", one(classes(LAWS[law], 1), SlowdownFirst()), RANK_MS, RANK_MS)


def by_prediction() -> Iterator[Row]:
    """Orders by predicted size, by error."""
    for policy in (SPJF(), PSPJF(), SPRPT(), TRAIL()):
        for error, guess in GUESSES.items():
            for law in LAWS:
                for count in (1, 3):
                    made = classes(LAWS[law], count, predicted_size=guess)
                    yield Row(f"{policy.name} {error}, {law}, {count}", one(made, policy))


def out_of_the_ordinary() -> Iterator[Row]:
    """Preemption, arrivals, batches, state, servers, networks."""
    for law in LAWS:
        own = LAWS[law]
        for policy in (PreemptivePriority(), PSJF(), SRPT()):
            for word, preemption in (("cost", Preemption(cost_s=0.05)), ("grain", Preemption(grain_s=0.25))):
                made = classes(own, 3, 0.6)
                yield Row(f"{policy.name} {word}, {law}, 3", one(made, policy, preemption=preemption))
    for grain in (0.25, 0.1):
        for name, laws in FINELY_CUT.items():
            made = [
                RequestClass(f"c{i}", Poisson(0.6 / len(laws) / each.mean), each) for i, each in enumerate(laws)
            ]
            preemption = Preemption(grain_s=grain)
            yield Row(f"srpt grain {grain}, {name}", one(made, SRPT(), preemption=preemption))
        for word, process in (("GI", Renewal(LOAD, 3.0)), ("MAP", BURSTY.at_rate(LOAD))):
            yield Row(f"{word}/G/1, {law}", one([arriving(process, own)], FCFS()))
        for word, system in SYSTEMS.items():
            yield Row(f"{word}, {law}", one(classes(own, 1), FCFS(), system=system))
        yield Row(f"patience, {law}", one(classes(own, 1, patience=Exponential(4.0)), FCFS()))
        pause = Pause(0.3, Exponential(2.0))
        yield Row(f"pause, {law}", one(classes(own, 1, 0.5, pause=pause), FCFS()))
        for above in (1, 4, 16):
            swap = ModelSwap(QueueCondition(above), service_factor=0.5)
            yield Row(f"threshold {above}, {law}", one(classes(own, 1), FCFS(), transforms=(swap,)))
            for policy in (NonPreemptivePriority(), PreemptivePriority()):
                made = two(own)
                yield Row(f"threshold {above} {policy.name}, {law}", one(made, policy, transforms=(swap,)))
        exits = EarlyExit(fractions=(0.5, 1.0), probabilities=(0.4, 0.6), delivery="release")
        yield Row(f"early exit, {law}", one(classes(own, 3), FCFS(), transforms=(exits,)))
        for k in (2, 5):
            for kind in (own, Gamma(1.0, 0.5), Deterministic(1.0), Uniform(0.5, 1.5)):
                if kind is own or law == "exp":
                    name = law if kind is own else type(kind).__name__.lower()
                    made = classes(kind, 1, k * LOAD)
                    yield Row(f"M/G/{k} {name}", one(made, FCFS(), system=System(servers=k)))
        process = Renewal(2 * LOAD, 0.5)
        yield Row(f"GI/G/2, {law}", one([arriving(process, own)], FCFS(), system=System(servers=2)))
        for kind, choices in (
            ("random", None),
            ("round-robin", None),
            ("jsq", None),
            ("jsq", 2),
            ("least-work", None),
        ):
            system = System(servers=4, routing=Routing(kind, choices))
            yield Row(f"{kind} {choices or ''}, {law}", one(classes(own, 1, 4 * LOAD), FCFS(), system=system))


SYSTEMS = {
    "limited sharing": System(batching="processor-sharing", max_batch=8),
    "vacation": System(vacation_s=Exponential(0.5)),
    "setup": System(setup_s=Deterministic(0.5)),
    "environment": System(environment=Environment((1.0, 1.5), ((-0.1, 0.1), (0.2, -0.2)))),
    "buffer": System(buffer=20),
}


def batches() -> Iterator[Row]:
    """Dynamic, static and multi-bin batching; continuous batching."""
    times = IterationTime(0.01, 0.002)
    for most, least, bins in ((None, None, None), (8, None, None), (32, None, None), (8, 8, None), (8, None, 4)):
        system = System(batching="dynamic", max_batch=most, min_batch=least, bins=bins, iteration_time=times)
        rate = 200.0 if most != 8 else 150.0
        made = [RequestClass("a", Poisson(rate), service=Deterministic(times.seconds(1)))]
        yield Row(f"dynamic batching {most} {least} {bins}", one(made, FCFS(), system=system))
    engine = IterationTime(0.01, 2e-4, 2e-7, 2e-5)
    for most in (8, 64, 256):
        for tokens in (Exponential(200.0), Lognormal(200.0, 2.0), Deterministic(200.0)):
            factors = {"input_tokens": Lognormal(500.0, 1.0), "output_tokens": tokens}
            made = [RequestClass("a", Poisson(1.0), factors=factors)]
            system = System(batching="continuous", max_batch=most, iteration_time=engine, engine=Engine())
            name = f"continuous batching {most} {type(tokens).__name__.lower()}"
            yield Row(name, one(made, FCFS(), system=system))


def networks() -> Iterator[Row]:
    """Tandems."""
    for law, own in LAWS.items():
        stations = [Station("first"), Station("second", servers=2)]
        made = RequestClass("a", Poisson(LOAD), services={"first": own, "second": own})
        yield Row(f"tandem, {law}", one([made], FCFS(), stations=stations))


def one(made: Sequence[RequestClass], policy: Policy, **options: object) -> Callable[[float], Scenario]:
    return at(lambda: Scenario(made, policy=policy, **options))


def two(law: Distribution) -> list[RequestClass]:
    return [RequestClass(f"c{i}", Poisson(LOAD / 2), law, priority=i) for i in range(2)]


def arriving(process: ArrivalProcess, law: Distribution) -> RequestClass:
    return RequestClass("a", process, law)


def milliseconds(row: Row, percentiles: tuple[float, ...]) -> tuple[float, str]:
    """Median CPU time of a warm call, and the method of its answer."""
    answer = analyse(row.make(1.0), percentiles=percentiles)
    method = "none" if isinstance(answer, NotAnalysable) else answer.method if answer.stable else "unstable"
    times: list[float] = []
    for number in range(1, 8):
        scenario = row.make(1.0 - (number + 100 * len(percentiles)) * 1e-9)
        scenario.served  # noqa: B018 - read once per scenario, as the caller of several questions would
        begin = time.process_time()
        analyse(scenario, percentiles=percentiles)
        times.append(time.process_time() - begin)
        if sum(times) > 1.0:
            break
    return 1e3 * statistics.median(times), method


def main(words: Sequence[str]) -> None:
    print(f"{'result':44}{'mean ms':>10}{'table ms':>10}{'targets':>12}  ok   method")
    missed = 0
    for row in (*by_policy(), *by_prediction(), *out_of_the_ordinary(), *batches(), *networks()):
        if words and not any(word in row.name for word in words):
            continue
        try:
            mean, method = milliseconds(row, ())
            table, _ = milliseconds(row, TABLE)
        except InputError as error:
            print(f"{row.name:44}{error}", flush=True)
            continue
        met = mean <= row.mean_ms and table <= row.table_ms
        missed += not met
        targets = f"{row.mean_ms:g}, {row.table_ms:g}"
        print(
            f"{row.name:44}{mean:10.2f}{table:10.1f}{targets:>12}  {'yes' if met else 'NO ':4} {method}", flush=True
        )
    print(f"{missed} outside their target")


if __name__ == "__main__":
    main(sys.argv[1:])
