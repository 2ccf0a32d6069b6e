"""From a policy and its requests to the event loop that serves them, and what becomes of each request."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from qmodel.errors import InputError
from qmodel.policy import (
    EDF,
    LAS,
    LCFS,
    MLFQ,
    SJF,
    SPJF,
    SPRPT,
    SRPT,
    TRAIL,
    NonPreemptivePriority,
    Policy,
    RandomOrder,
    RoundRobin,
)
from qmodel.simulation import own_rank
from qmodel.simulation.kernels import ordered, rank, stepped
from qmodel.simulation.kernels.attained import serve_least_attained
from qmodel.simulation.kernels.batched import serve_in_batches
from qmodel.simulation.kernels.columns import NEVER, NO_HYSTERESIS, Control, Log, blank_log
from qmodel.simulation.kernels.ordered import Order
from qmodel.simulation.kernels.queue import serve_in_turn_of_arrival
from qmodel.simulation.kernels.sharing import serve_by_sharing
from qmodel.simulation.kernels.single import serve_on_one
from qmodel.simulation.kernels.turns import serve_in_turns

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qmodel.scenario import Scenario
    from qmodel.service.iteration_time import IterationTime
    from qmodel.service.transform import QueueCondition
    from qmodel.simulation.requests import Requests

    Floats = NDArray[np.float64]

LOOKS_PER_SERVICE = 100
"""A rank that may get worse at any age is looked at this often in a mean service."""
NOTHING = np.empty(0)

KEYS: dict[Callable, Callable[[Requests], Floats]] = {
    Policy.rank: lambda r: r.arrival_s,
    LCFS.rank: lambda r: -r.arrival_s,
    RandomOrder.rank: lambda r: r.lottery,
    NonPreemptivePriority.rank: lambda r: r.priority,
    SJF.rank: lambda r: r.size_s,
    SRPT.rank: lambda r: r.size_s,
    SPJF.rank: lambda r: predicted(r),
    SPRPT.rank: lambda r: predicted(r),
    TRAIL.rank: lambda r: predicted(r),
    EDF.rank: lambda r: r.deadline_s,
    LAS.rank: lambda r: np.zeros(len(r)),
    MLFQ.rank: lambda r: np.zeros(len(r)),
    RoundRobin.rank: lambda r: np.zeros(len(r)),
}
"""Ranks before any service. A preset is known by its rank function, so a subclass with another rank is not it."""
SLOPES: dict[Callable, float] = {SRPT.rank: 1.0, SPRPT.rank: 1.0, TRAIL.rank: 1.0, LAS.rank: -1.0}
SIZED = (SJF.rank, SRPT.rank, SPJF.rank, SPRPT.rank, TRAIL.rank)


@dataclass(frozen=True)
class Rules:
    """What serves: servers, whether requests share, how many at most at once, the queue condition, and steps.

    With `batch_time`, a free server takes up to `batch_limit` of those that wait and serves them together.
    With `steps` (and `long_steps`), one entry a request, service is interrupted and shared between steps only, as a
    live loop does it.
    """

    servers: int = 1
    shares: bool = False
    share_limit: int | None = None
    condition: QueueCondition | None = None
    batch_time: IterationTime | None = None
    batch_limit: int | None = None
    steps: Floats | None = None
    long_steps: Floats | None = None

    @classmethod
    def of(cls, scenario: Scenario) -> Rules:
        """The rules of a scenario. Raises InputError for batching that is not simulated at this level."""
        batching = scenario.system.batching
        if batching == "dynamic":
            return cls(
                scenario.system.servers,
                condition=scenario.condition,
                batch_time=batch_time(scenario),
                batch_limit=scenario.system.max_batch,
            )
        if batching not in ("none", "processor-sharing"):
            raise InputError(
                "system, batching", f"'{batching}' is not simulated", "none, processor-sharing or dynamic"
            )
        limit = scenario.system.max_batch if batching == "processor-sharing" else None
        return cls(scenario.system.servers, scenario.shares_server, limit, scenario.condition)

    def in_steps(self, steps: Floats, long_steps: Floats) -> Rules:
        """The same rules with service in this many steps a request, in the two modes."""
        return replace(self, steps=steps, long_steps=long_steps)

    @property
    def control(self) -> Control:
        """The queue condition as the event loops read it."""
        if self.condition is None:
            return Control(NEVER, NO_HYSTERESIS, 0.0)
        below = NO_HYSTERESIS if self.condition.below is None else self.condition.below
        return Control(self.condition.above, below, float(self.condition.swap_time_s))


def serve(policy: Policy, requests: Requests, rules: Rules) -> tuple[Log, list[str]]:
    """Serve all requests; returns what became of each, and notes on how it was done.

    Raises InputError for what cannot be simulated, and for a rank that raises or is not a number.
    """
    if rules.batch_time is not None:
        return _batch(policy, requests, rules, rules.batch_time)
    log = blank_log(len(requests))
    rank_function = type(policy).rank
    if rules.steps is not None:
        return log, _step(policy, requests, rules, log)
    if rules.shares:
        return log, _share(policy, requests, rules, log)
    if isinstance(policy, RoundRobin) and rank_function is RoundRobin.rank:
        turn_s = np.full(len(requests), float(policy.quantum))
        serve_in_turns(requests.demand, turn_s, rules.control, rules.servers, log)
        return log, []
    if rank_function is LAS.rank and rules.servers == 1:
        _refuse_swap_time(rules)
        serve_least_attained(requests.demand, rules.control, log)
        return log, []
    if rank_function is Policy.rank and rules.servers == 1 and rules.condition is None:
        serve_in_turn_of_arrival(requests.demand, log)
        return log, []
    return log, _order(policy, requests, rules, log)


def batch_time(scenario: Scenario) -> IterationTime:
    """What a batch of the scenario takes. Raises InputError where that is not a function of its size alone."""
    found = scenario.system.iteration_time
    if found is None:
        raise InputError("system, iteration_time", "is missing", "dynamic batching needs base and per_sequence")
    if found.per_context_token or found.per_prefill_token:
        raise InputError("system, iteration_time", "counts tokens", "dynamic batching takes base and per_sequence")
    return found


def _batch(policy: Policy, requests: Requests, rules: Rules, taken: IterationTime) -> tuple[Log, list[str]]:
    if rules.condition is not None or requests.mark.size or rules.steps is not None:
        fault = "is served whole: no queue condition, no early delivery, no steps"
        raise InputError("system, batching", f"a dynamic batch {fault}", "leave out the transform")
    if policy.sharing is not None:
        raise InputError(f"policy '{policy.name}'", "does not say who joins a batch", "use fcfs or another order")
    log = blank_log(len(requests), batched=True)
    limit = len(requests) if rules.batch_limit is None else rules.batch_limit
    keys = first_ranks(policy, requests)
    serve_in_batches(requests.demand, keys, taken.base, taken.per_sequence, limit, rules.servers, log)
    note = f"a batch of b takes {taken.base:g} + {taken.per_sequence:g} b s, whatever its requests bring"
    return log, [f"{note}; mean batch of a request {log.batch.mean():.3g}"]


def predicted(requests: Requests) -> Floats:
    """Predicted sizes. Raises InputError naming a class that has none."""
    missing = np.isnan(requests.predicted_s)
    if missing.any():
        name = requests.classes[requests.class_index[np.argmax(missing)]].name
        raise InputError(f"class '{name}', predicted_size", "is none, but the policy needs it", "give its error")
    return requests.predicted_s


def form_of(policy: Policy, requests: Requests) -> rank.Form | None:
    """The rank of a preset in the form that the loops know; None for a user's own."""
    function = type(policy).rank
    if function not in KEYS:
        return None
    key = KEYS[function](requests).copy()
    return rank.Form(
        key,
        SLOPES.get(function, 0.0),
        float(policy.quantum) if isinstance(policy, RoundRobin) else math.inf,
        np.array(policy.thresholds, dtype=float) if isinstance(policy, MLFQ) else NOTHING,
        policy.limit * key if isinstance(policy, TRAIL) else NOTHING,
        function in SIZED,
    )


def _share(policy: Policy, requests: Requests, rules: Rules, log: Log) -> list[str]:
    weighted = policy.sharing == "weighted"
    if weighted and rules.servers > 1:
        raise InputError("system, servers", "several servers are not shared by weight", "use 1, or policy ps")
    _refuse_swap_time(rules)
    limit, admission = len(requests), requests.arrival_s
    if rules.share_limit is not None:
        limit = rules.share_limit * rules.servers
        admission = admission if policy.sharing else first_ranks(policy, requests)
    weight = requests.weight if weighted else np.ones(len(requests))
    serve_by_sharing(requests.demand, weight, weighted, admission, limit, rules.servers, rules.control, log)
    return []


def first_ranks(policy: Policy, requests: Requests) -> Floats:
    """Ranks before any service."""
    form = form_of(policy, requests)
    if form is not None:
        return form.key
    own, callback = own_rank.own(policy, requests)
    keys = np.empty(len(requests))
    rank.own_keys(own, keys)
    own_rank.check(own, callback, policy)
    return keys


def _order(policy: Policy, requests: Requests, rules: Rules, log: Log) -> list[str]:
    arguments = (rules.control, rules.servers, log)
    form = form_of(policy, requests)
    if form is None and not policy.preemptive:
        form = rank.Form(first_ranks(policy, requests), 0.0, math.inf, NOTHING, NOTHING, False)
    look = float(requests.service_s.mean()) / LOOKS_PER_SERVICE
    plain = rules.servers == 1 and rules.condition is None and not requests.mark.size
    if form is not None and plain and form.slope >= 0 and not form.thresholds.size:
        serve_on_one(requests.demand, form, policy.preemptive, log)
        return []
    if form is not None:
        falls = policy.preemptive and form.slope < 0
        order = Order(policy.preemptive, form.thresholds, look if falls else math.inf)
        ordered.serve(requests.demand, form, order, *arguments)
        return [_looks(look)] if falls else []
    own, callback = own_rank.own(policy, requests)
    rises = own_rank.rises(own, requests)
    if plain and not rises:
        serve_on_one(requests.demand, own, True, log)
    else:
        ordered.serve(requests.demand, own, Order(True, NOTHING, look if rises else math.inf), *arguments)
    own_rank.check(own, callback, policy)
    return [*([_looks(look)] if rises else []), *([] if callback is None else [PYTHON_RANK])]


PYTHON_RANK = "the rank could not be compiled and was called in Python, which is slower"


def _looks(look: float) -> str:
    return f"between arrivals the rank is looked at every {look:.3g} s of service"


def _step(policy: Policy, requests: Requests, rules: Rules, log: Log) -> list[str]:
    if rules.servers > 1 or rules.share_limit is not None or (rules.shares and policy.sharing is None):
        raise InputError("system", "service in steps is for one server without max_batch", "leave out the steps")
    _refuse_swap_time(rules)
    assert rules.steps is not None and rules.long_steps is not None
    weight = requests.weight if policy.sharing == "weighted" else np.ones(len(requests))
    steps = stepped.Steps(rules.steps, rules.long_steps, requests.size_s, requests.long_size_s, weight)
    arguments = (policy.sharing is not None, policy.preemptive, rules.control, log)
    form = form_of(policy, requests)
    if form is not None:
        stepped.serve(requests.demand, steps, form, *arguments)
        return []
    own, callback = own_rank.own(policy, requests)
    stepped.serve(requests.demand, steps, own, *arguments)
    own_rank.check(own, callback, policy)
    return [] if callback is None else [PYTHON_RANK]


def _refuse_swap_time(rules: Rules) -> None:
    if rules.condition is not None and rules.condition.swap_time_s > 0:
        fault = "means nothing where requests in both modes are served at once, or in steps"
        raise InputError("transform, swap_time_s", fault, "set it to 0, or take another policy")
