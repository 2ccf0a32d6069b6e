"""Which result answers a scenario: read from the policy's declared structure, never guessed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module

from qmodel.answer import NotAnalysable, PolicyAnswer, unstable
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
    RoundRobin,
)
from qmodel.policy.priority import NestedPreemptivePriority, NestedPriority
from qmodel.scenario import Scenario, ServedClass, processor_sharing
from qmodel.service.transform import Cache
from qmodel.theory.result import Result, Unstable, answer_of

Model = Callable[[Sequence[ServedClass]], Result | NotAnalysable]
Found = Result | NotAnalysable | Unstable


@dataclass(frozen=True)
class Room:
    """Results for scenarios out of the ordinary: the features they handle, and where the function stands.

    `answer` is "module:function" in this package, taking the scenario and judging stability itself. A scenario goes
    to the first room that handles all its features, of which `needs` are among them.
    """

    handles: frozenset[str]
    answer: str
    needs: frozenset[str] = frozenset()

    def __call__(self, scenario: Scenario) -> Found:
        module, _, name = self.answer.partition(":")
        found: Found = getattr(import_module(f"qmodel.theory.{module}"), name)(scenario)
        return found


ONE_SERVER = frozenset({"preemption-cost", "grain", "setup", "vacation", "environment", "patience"})
ROUTING = frozenset({"routing"})
BATCHED = frozenset({"dynamic", "static-batching", "bins"})
ROOMS: tuple[Room, ...] = (
    Room(frozenset({"not-poisson"}), "arrivals.bursty:bursty"),
    Room(frozenset({"environment", "not-poisson"}), "arrivals.random_environment:in_environment"),
    Room(frozenset({"preemption-cost", "grain"}), "preemption.preemption:preemption"),
    Room(frozenset({"vacation"}), "arrivals.away:vacations"),
    Room(frozenset({"setup"}), "arrivals.away:setups"),
    Room(frozenset({"patience"}), "state.impatience:impatience"),
    Room(frozenset({"buffer"}), "state.finite_buffer:finite_buffer"),
    Room(BATCHED, "batch.batching:dynamic_batching"),
    Room(
        frozenset({"continuous", "prefix-hit"}),
        "batch.engine_answer:continuous_batching",
        frozenset({"continuous"}),
    ),
    Room(frozenset({"stations", "not-poisson"}), "network.tandem:tandem", frozenset({"stations"})),
    Room(
        frozenset({"closed", "stations", "not-poisson"}), "network.closed:closed_population", frozenset({"closed"})
    ),
    Room(frozenset({"pause"}), "network.feedback:paused"),
    Room(ROUTING | ONE_SERVER | BATCHED | {"continuous"}, "servers.routing:routed", ROUTING),
)


def analyse_scenario(scenario: Scenario, percentiles: tuple[float, ...]) -> PolicyAnswer | NotAnalysable:
    """See `qmodel.theory.analyse`."""
    scenario = processor_sharing(scenario)
    found = result_of(scenario)
    if isinstance(found, Unstable):
        rates = {served.name: served.rate for served in scenario.served}
        return unstable(scenario.policy.name, scenario.rate, found.utilisation, rates)
    return (
        found if isinstance(found, NotAnalysable) else answer_of(scenario, _with_hits(scenario, found), percentiles)
    )


def _with_hits(scenario: Scenario, found: Result) -> Result:
    """The result, no longer exact where hits follow from a cache's capacity and are taken as independent."""
    caches = [transform for transform in scenario.transforms if isinstance(transform, Cache)]
    derived = [cache for cache in caches if cache.items is not None]
    if not derived:
        return found
    shares = ", ".join(f"{cache.hits:.4g}" for cache in derived)
    note = f"hit ratio {shares} by the characteristic time of the cache (Che), hits as if independent"
    return replace(found, method="approximation", notes=(*found.notes, note))


def result_of(scenario: Scenario) -> Found:
    """The strongest result, before it is made an answer."""
    asked = features(scenario)
    if not asked:
        load = long_run_load(scenario)
        return Unstable(load) if load >= 1.0 else _result(scenario)
    room = next((room for room in ROOMS if room.needs <= asked <= room.handles), None)
    return _refusal(scenario, asked) if room is None else room(scenario)


def features(scenario: Scenario) -> frozenset[str]:
    """What is out of the ordinary for theory: the scenario's own features, its batching and its arrivals."""
    batching = {scenario.system.batching} & {"dynamic", "continuous"}
    bursty = any(not served.arrivals.is_poisson for served in scenario.served)
    absorbed = set() if batching else {"joint-lengths"}  # the law of a service has taken them in
    return (scenario.features - absorbed) | batching | ({"not-poisson"} if bursty else set())


def _result(scenario: Scenario) -> Result | NotAnalysable:
    condition, classes = scenario.condition, scenario.served
    if condition is not None:
        if scenario.system.servers > 1 or scenario.system.max_batch is not None:
            return NotAnalysable("a queue threshold is analysed for one server and one request at a time", "that")
        from qmodel.theory.state.threshold_models import always_long, threshold_result

        if condition.above > 0:
            return threshold_result(scenario.policy, classes, condition)
        classes = always_long(classes)
    return _steady(scenario, classes)


def _steady(scenario: Scenario, classes: Sequence[ServedClass]) -> Result | NotAnalysable:
    """Service that does not depend on the queue."""
    system, policy = scenario.system, scenario.policy
    if system.batching == "processor-sharing":
        return _limited(scenario, classes)
    if system.servers > 1:
        from qmodel.theory.servers.several_servers import several_servers

        return several_servers(policy, classes, system.servers)
    model = _model(policy)
    return model if isinstance(model, NotAnalysable) else model(classes)


def _limited(scenario: Scenario, classes: Sequence[ServedClass]) -> Result | NotAnalysable:
    """Sharing with a cap; without one the scenario has become policy PS before."""
    places = scenario.system.max_batch
    if scenario.system.servers > 1 or type(scenario.policy) not in (FCFS, PS) or places is None:
        return NotAnalysable("limited sharing is analysed for one server and admission FCFS", "servers = 1, fcfs")
    from qmodel.theory.one_server.limited_sharing import limited_sharing

    return limited_sharing(classes, places)


def long_run_load(scenario: Scenario) -> float:
    """Load that decides stability: with a queue condition, that of the service of long queues."""
    services = [served.long_queue or served.service for served in scenario.served]
    rates = [served.rate for served in scenario.served]
    return math.fsum(r * s.occupancy.mean for r, s in zip(rates, services, strict=True)) / scenario.system.servers


def _refusal(scenario: Scenario, asked: frozenset[str]) -> NotAnalysable:
    bursty = [served.name for served in scenario.served if not served.arrivals.is_poisson]
    if bursty:
        return NotAnalysable(
            f"arrivals of class '{bursty[0]}' are not Poisson", "Poisson arrivals at the same rate"
        )
    if scenario.system.batches:
        return NotAnalysable(f"batching is '{scenario.system.batching}'", "one request at a time")
    words = " with ".join(sorted(asked))
    return NotAnalysable(f"no result for {words} under policy '{scenario.policy.name}'", "the same without it")


def _model(policy: Policy) -> Model | NotAnalysable:
    kind = type(policy)
    if kind in (LCFS, LCFSPreemptive, RandomOrder):
        from qmodel.theory.one_server import last_come

        return {
            LCFS: last_come.last_come_first_served,
            LCFSPreemptive: last_come.preemptive_last_come,
            RandomOrder: last_come.random_order,
        }[kind]
    if kind in (SJF, PSJF, SRPT, LAS, MLFQ):
        from qmodel.theory.size_order.size_based import size_based

        return partial(size_based, policy)
    if kind is DPS:
        from qmodel.theory.one_server.discriminatory_sharing import discriminatory_sharing

        return discriminatory_sharing
    if isinstance(policy, Gittins):
        from qmodel.theory.rank.gittins import gittins

        return partial(gittins, policy)
    if isinstance(policy, NestedPriority | NestedPreemptivePriority):
        from qmodel.theory.rank.nested_order import nested_order

        return partial(nested_order, policy)
    if isinstance(policy, AccumulatingPriority):
        from qmodel.theory.one_server.accumulating_priority import accumulating_priority

        return partial(accumulating_priority, policy)
    if kind in (SPJF, PSPJF, SPRPT, TRAIL):
        from qmodel.theory.prediction.predictions import by_prediction

        return partial(by_prediction, policy)
    from qmodel.theory.one_server.m_g_1 import fcfs
    from qmodel.theory.one_server.np_priority import non_preemptive
    from qmodel.theory.one_server.preemptive_priority import preemptive_resume
    from qmodel.theory.one_server.processor_sharing import processor_sharing as sharing

    if kind is RoundRobin:
        return NotAnalysable(f"no result for the turns of policy '{policy.name}'", "ps, their limit")
    models: dict[type[Policy], Model] = {
        FCFS: fcfs,
        NonPreemptivePriority: non_preemptive,
        PreemptivePriority: preemptive_resume,
        PS: sharing,
    }
    if kind in models:
        return models[kind]
    if policy.sharing is not None:
        return NotAnalysable(f"no result for the sharing of policy '{policy.name}'", "ps or dps")
    if policy.timed or kind.rank_at is not Policy.rank_at:
        return NotAnalysable(f"the rank of policy '{policy.name}' changes as time goes by", "accumulating, or fcfs")
    from qmodel.theory.rank.rank_order import by_rank

    return partial(by_rank, policy)
