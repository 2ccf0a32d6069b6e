"""From a policy and its requests to the event loop that serves them, and what becomes of each request."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeGuard

import numpy as np

from qmodel.errors import InputError
from qmodel.policy import LAS, NonPreemptivePriority, Policy, RoundRobin
from qmodel.simulation import own_rank
from qmodel.simulation.forms import LOOKS_PER_SERVICE, NOTHING, form_of, looks
from qmodel.simulation.kernels import levels, ordered, rank, stepped
from qmodel.simulation.kernels.attained import serve_least_attained
from qmodel.simulation.kernels.columns import NEVER, NO_HYSTERESIS, Control, Log, blank_log
from qmodel.simulation.kernels.ordered import Order
from qmodel.simulation.kernels.queue import serve_in_turn_of_arrival
from qmodel.simulation.kernels.sharing import serve_by_sharing
from qmodel.simulation.kernels.single import serve_on_one
from qmodel.simulation.kernels.turns import serve_in_turns

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qmodel.scenario import Scenario
    from qmodel.service.transform import QueueCondition
    from qmodel.simulation.requests import Requests

    Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Rules:
    """What serves: servers, whether requests share, how many at most at once, the queue condition, and steps.

    With `steps` (and `long_steps`), one entry a request, service is interrupted and shared between steps only, as a
    live loop does it.
    """

    servers: int = 1
    shares: bool = False
    share_limit: int | None = None
    condition: QueueCondition | None = None
    steps: Floats | None = None
    long_steps: Floats | None = None

    @classmethod
    def of(cls, scenario: Scenario) -> Rules:
        """The rules of a scenario. Raises InputError for batching that is not simulated at this level."""
        batching = scenario.system.batching
        if batching not in ("none", "processor-sharing"):
            raise InputError("system, batching", f"'{batching}' is not simulated", "none or processor-sharing")
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
    if policy.timed:
        fault = "has a rank that changes while a request waits"
        raise InputError(f"policy '{policy.name}'", f"{fault}, which is not simulated here", "leave out the steps")
    log = blank_log(len(requests), at_end=not requests.mark.size and rules.steps is None)
    rank_function = type(policy).rank
    if rules.steps is not None:
        return log, _step(policy, requests, rules, log)
    if rules.shares:
        return log, _share(policy, requests, rules, log)
    if _takes_turns(policy):
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


def _takes_turns(policy: Policy) -> TypeGuard[RoundRobin]:
    return isinstance(policy, RoundRobin) and type(policy).rank is RoundRobin.rank


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
    if _takes_turns(policy):
        return np.zeros(len(requests))
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
    plain = rules.servers == 1 and rules.condition is None and not requests.mark.size
    if plain and type(policy).rank is NonPreemptivePriority.rank:
        priorities, level_of = np.unique([served.priority for served in requests.classes], return_inverse=True)
        levels.serve_by_level(
            requests.demand, level_of, requests.class_index, priorities.size, policy.preemptive, log
        )
        return []
    form = form_of(policy, requests)
    if form is None and not policy.preemptive:
        form = rank.Form(first_ranks(policy, requests), 0.0, NOTHING, NOTHING, False)
    look = float(requests.service_s.mean()) / LOOKS_PER_SERVICE
    if form is not None and plain and form.slope >= 0 and not form.thresholds.size:
        serve_on_one(requests.demand, form, policy.preemptive, log)
        return []
    if form is not None:
        falls = policy.preemptive and form.slope < 0
        order = Order(policy.preemptive, form.thresholds, look if falls else math.inf)
        ordered.serve(requests.demand, form, order, *arguments)
        return [looks(look)] if falls else []
    own, callback = own_rank.own(policy, requests)
    rises = own_rank.rises(own, requests)
    if plain and not rises:
        serve_on_one(requests.demand, own, True, log)
    else:
        ordered.serve(requests.demand, own, Order(True, NOTHING, look if rises else math.inf), *arguments)
    own_rank.check(own, callback, policy)
    return [*([looks(look)] if rises else []), *([] if callback is None else [own_rank.PYTHON_RANK])]


def _step(policy: Policy, requests: Requests, rules: Rules, log: Log) -> list[str]:
    if rules.servers > 1 or rules.share_limit is not None or (rules.shares and policy.sharing is None):
        raise InputError("system", "service in steps is for one server without max_batch", "leave out the steps")
    _refuse_swap_time(rules)
    assert rules.steps is not None and rules.long_steps is not None
    weight = requests.weight if policy.sharing == "weighted" else np.ones(len(requests))
    steps = stepped.Steps(rules.steps, rules.long_steps, requests.size_s, requests.long_size_s, weight)
    turn_s = float(policy.quantum) if _takes_turns(policy) else math.inf
    arguments = (policy.sharing is not None, policy.preemptive, turn_s, rules.control, log)
    in_turn = rank.Form(np.zeros(len(requests)), 0.0, NOTHING, NOTHING, False)
    form = in_turn if turn_s < math.inf else form_of(policy, requests)
    if form is not None:
        stepped.serve(requests.demand, steps, form, *arguments)
        return []
    own, callback = own_rank.own(policy, requests)
    stepped.serve(requests.demand, steps, own, *arguments)
    own_rank.check(own, callback, policy)
    return [] if callback is None else [own_rank.PYTHON_RANK]


def _refuse_swap_time(rules: Rules) -> None:
    if rules.condition is not None and rules.condition.swap_time_s > 0:
        fault = "means nothing where requests in both modes are served at once, or in steps"
        raise InputError("transform, swap_time_s", fault, "set it to 0, or take another policy")
