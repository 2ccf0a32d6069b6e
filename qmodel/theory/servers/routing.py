"""k servers, each with a queue of its own: what the routing of arrivals makes of each queue.

    random        k independent queues with Poisson arrivals of rate lambda / k: any result for one server
    round robin   k queues with Erlang-k gaps: E_k/G/1, exactly, for orders that know no sizes
    least work    the queue that frees up first: under FCFS the same waits as one shared queue, M/G/k
    jsq, jsq:d    the shortest of all, or of d drawn at random: `shortest_queue`, for exponential services

Sources: Foss, *Siberian Math. J.* 21 (1980) 836-842 (least work); Harchol-Balter (2013), section 24.2, 25.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from qmodel.answer import NotAnalysable
from qmodel.policy import FCFS, LCFS, PS, RandomOrder
from qmodel.policy.routing import Routing
from qmodel.scenario import Scenario, ServedClass
from qmodel.theory.arrivals.e_k_g_1 import DealtQueue
from qmodel.theory.numerics.inversion import Transform
from qmodel.theory.numerics.phases import exponential_phases
from qmodel.theory.one_server.m_g_1 import INDEPENDENT, POISSON, after_wait
from qmodel.theory.result import ClassResult, Result, Unstable
from qmodel.theory.servers.m_g_k import wait_of
from qmodel.theory.servers.several_servers import in_turn
from qmodel.theory.servers.shortest_queue import Found, found_by_arrivals
from qmodel.theory.supply import delivery, merged

OWN_QUEUES = "each server has its own queue, and requests stay where they joined"
EXACT = 1e-6
"""Relative gap of the chain's means below which the result counts as exact."""
PS_ERROR = 0.03
"""Gupta et al. (2007), table 2: mean response of JSQ with PS over service laws, scv 0 to 19."""

Answered = Result | NotAnalysable | Unstable


def routed(scenario: Scenario) -> Answered:
    """The answer of a system whose servers have their own queues."""
    kind = scenario.system.routing.kind
    if kind == "random":
        return _at_random(scenario)
    others = scenario.features - {"routing"}
    if others or scenario.system.batching != "none" or scenario.condition is not None:
        words = ", ".join(sorted(others)) or "batching or a queue threshold"
        return NotAnalysable(f"no result for {words} with {kind} routing", "random routing")
    load = math.fsum(served.load for served in scenario.served) / scenario.system.servers
    if load >= 1.0:
        return Unstable(load)
    routes: dict[str, Callable[[Scenario], Answered]] = {
        "round-robin": _dealt,
        "least-work": _least_work,
        "jsq": _shortest,
    }
    return routes[kind](scenario)


def _at_random(scenario: Scenario) -> Answered:
    """Each server on its own, with its share of the arrivals; the answer is then told of the whole rate."""
    from qmodel.theory.dispatch import result_of

    servers = scenario.system.servers
    one = replace(scenario, system=replace(scenario.system, servers=1, routing=Routing()))
    found = result_of(one.at_rate(scenario.rate / servers))
    if not isinstance(found, Result):
        return found
    whole = {served.name: served for served in scenario.served}
    parts = tuple(replace(part, served=whole[part.served.name]) for part in found.classes)
    assumptions = (*found.assumptions, "a server for each arrival drawn at random", OWN_QUEUES)
    return replace(found, classes=parts, name=f"{found.name}, at each of {servers}", assumptions=assumptions)


def _dealt(scenario: Scenario) -> Answered:
    """Round robin: a queue sees every k-th request."""
    policy, servers = scenario.policy, scenario.system.servers
    if type(policy) not in (FCFS, LCFS, RandomOrder):
        return NotAnalysable(f"no result for policy '{policy.name}' with round-robin routing", "fcfs, or random")
    rate, size = merged(scenario.served)
    queue = DealtQueue(servers, rate, size)
    wait, busy = queue.mean_wait, 1.0 - queue.no_wait
    parts = [after_wait(served, wait, queue.positive_wait, busy) for served in scenario.served]
    if type(policy) is not FCFS:
        parts = [replace(part, law=None) for part in parts]
    return Result(
        classes=tuple(parts),
        name=f"E{servers}/G/1 {policy.name.upper()} at each of {servers}: roots of its kernel",
        source="Smith 1953; Kleinrock 1975, section 8.2",
        assumptions=(POISSON, INDEPENDENT, "requests are dealt to the servers in turn", OWN_QUEUES),
    )


def _least_work(scenario: Scenario) -> Answered:
    if type(scenario.policy) is not FCFS:
        return NotAnalysable(f"no result for policy '{scenario.policy.name}' with least-work routing", "fcfs")
    found = in_turn(scenario.served, wait_of(scenario.system.servers, *merged(scenario.served)))
    return replace(found, assumptions=(*found.assumptions, "the work left at each server is known to the router"))


def _shortest(scenario: Scenario) -> Answered:
    """JSQ(d): the law of the number found at the queue joined gives the rest."""
    policy, servers = scenario.policy, scenario.system.servers
    rate, size = merged(scenario.served)
    memoryless = exponential_phases(size) is not None and len({m for _, m in exponential_phases(size) or []}) == 1
    if type(policy) not in (FCFS, PS) or (type(policy) is FCFS and not memoryless):
        return NotAnalysable("joining the shortest queue is analysed for exponential services or PS", "least-work")
    choices = min(scenario.system.routing.choices or servers, servers)
    if choices == 1:
        return _at_random(scenario)
    found = found_by_arrivals(servers, rate * size.mean / servers, choices)
    if found is None:
        return NotAnalysable(f"no result to 5 % for the shortest of {choices} of {servers} queues", "jsq:2")
    parts = _first_come(scenario.served, found) if type(policy) is FCFS else _sharing(scenario.served, found)
    exact = found.error < EXACT and memoryless
    return Result(
        classes=tuple(parts),
        name=f"JSQ({choices}) of {servers} queues: {found.name}",
        source="Adan, van Houtum & van der Wal 1994" if "chain" in found.name else "Mitzenmacher 2001; Gast 2017",
        assumptions=(POISSON, INDEPENDENT, "numbers present are known to the router", OWN_QUEUES),
        method="exact" if exact else "approximation",
        notes=()
        if exact
        else (f"stated error: mean response {found.error + (0 if memoryless else PS_ERROR):.1%}",),
    )


def _first_come(classes: Sequence[ServedClass], found: Found) -> list[ClassResult]:
    """Who finds n waits for n exponential services."""
    mean = merged(classes)[1].mean
    busy = 1.0 - float(found.probabilities[0])
    wait = (found.mean_response - 1.0) * mean
    return [after_wait(served, wait, _services(found, mean), busy) for served in classes]


def _services(found: Found, mean: float) -> Transform:
    chances = found.probabilities[1:]

    def positive(s: np.ndarray) -> np.ndarray:
        one = 1.0 / (1.0 + np.asarray(s, dtype=complex) * mean)
        return one * np.polynomial.polynomial.polyval(one, chances)

    return positive


def _sharing(classes: Sequence[ServedClass], found: Found) -> list[ClassResult]:
    """Under PS the mean number is taken as that of exponential services; each class's share of it as its load's."""
    parts = []
    for served in classes:
        given, share = delivery(served.service), served.service.delivered_at
        slowdown = found.mean_response * (1.0 if share is None else share.mean)
        parts.append(ClassResult(served, given.mean, given.mean * found.mean_response, slowdown))
    return parts
