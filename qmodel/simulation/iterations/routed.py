"""Several engines, each with its own queue and memory, and the router that deals requests out to them.

At random or in turn, the engines do not know of each other. Otherwise the router looks, when a request arrives, at
the requests in each engine, or at the tokens that each still has to compute; those that leave with the iteration
under way at that moment are gone for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from qmodel.errors import InputError
from qmodel.simulation.iterations import loop
from qmodel.simulation.iterations.columns import FLUSH, GROW, MORE, OVER, THRASHING, Records
from qmodel.simulation.iterations.outcome import TokenOutcome
from qmodel.simulation.iterations.serving import Run, Totals

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qmodel.policy import Policy
    from qmodel.simulation.iterations.rules import Rules
    from qmodel.simulation.iterations.token_requests import TokenRequests

One = Callable[..., tuple[TokenOutcome, Totals]]
PER_REQUEST = (
    "class_index", "prompt", "output", "prefix", "generated", "spoke_s", "born_s", "patience_s", "encode_s",
    "stage", "stages",
)  # fmt: skip


def routed(
    requests: TokenRequests, policy: Policy, rules: Rules, one: One, seed: int, jumps: bool
) -> tuple[TokenOutcome, Totals]:
    """Serve all requests on `rules.servers` engines; `one` serves those of one engine."""
    rng = np.random.default_rng(np.random.SeedSequence([seed, 2]))
    if rules.routing.kind in ("random", "round-robin"):
        chosen = np.arange(len(requests)) % rules.servers
        if rules.routing.kind == "random":
            chosen = rng.integers(rules.servers, size=len(requests))
        return _apart(requests, policy, replace(rules, servers=1), one, seed, jumps, chosen)
    if rules.routing.kind == "least-work" and np.isfinite(requests.patience_s).any():
        raise InputError("system, routing", "'least-work' is not simulated with patience", "give jsq")
    return _watched(requests, policy, rules, seed, jumps, rng)


def _apart(
    requests: TokenRequests,
    policy: Policy,
    rules: Rules,
    one: One,
    seed: int,
    jumps: bool,
    chosen: NDArray[np.int64],
) -> tuple[TokenOutcome, Totals]:  # fmt: skip
    totals, parts = Totals(), []
    for server in np.unique(chosen).tolist():
        own = np.flatnonzero(chosen == server)
        done, spent = one(requests.of(own), policy, rules, seed + server, jumps)
        totals.add(spent)
        parts.append(replace(done, request=own))
    return _together(parts), totals


def _together(parts: list[TokenOutcome]) -> TokenOutcome:
    columns = [np.concatenate([getattr(part, name) for part in parts]) for name in vars(parts[0])]
    order = np.argsort(columns[0])
    return TokenOutcome(*(column[order] for column in columns))


class _Engine:
    """One engine that is given its requests one by one, as they arrive."""

    def __init__(self, requests: TokenRequests, policy: Policy, rules: Rules, seed: int, jumps: bool) -> None:
        self.run = Run(requests, policy, rules, seed, jumps, 0.0, None)
        self.all, self.stages = requests.arrivals(is_last=True), requests.stages
        self.ranks = self.run.arriving
        self.mine = [name for name in ("key", "limit", "seen") if np.size(getattr(self.ranks, name, ()))]
        self.run.arriving = self.ranks._replace(**{n: getattr(self.ranks, n).copy() for n in self.mine})
        self.own = self.all._replace(**{name: getattr(self.all, name).copy() for name in PER_REQUEST})
        self.arrival_s = np.empty(len(requests))
        self.given: list[int] = []
        self.tokens = 0
        self.parts: list[Records] = []

    def take(self, number: int, tokens: int) -> None:
        """The request with this number is dealt out to this engine."""
        at = len(self.given)
        for name in PER_REQUEST:
            getattr(self.own, name)[at] = getattr(self.all, name)[number]
        for name in self.mine:
            getattr(self.run.arriving, name)[at] = getattr(self.ranks, name)[number]
        self.arrival_s[at] = self.all.arrival_s[number]
        self.given.append(number)
        self.tokens += tokens

    def advance(self, until_s: float) -> None:
        """Go on to the end of the iteration under way at this moment; for ever, to the end of all requests."""
        run = self.run
        arrivals = self.own._replace(arrival_s=self.arrival_s[: len(self.given)], until_s=until_s)
        while True:
            code = loop.run(
                run.engine, run.limits, run.times, run.form, run.arriving, arrivals, until_s == math.inf,
                self.stages, run.records, run.sinks,
            )  # fmt: skip
            if code == GROW:
                run.grow()
            if code in (FLUSH, OVER):
                run.flush(self._keep)
            if code == THRASHING:
                run.give_up()
            if code in (MORE, OVER):
                return

    def _keep(self, records: Records) -> None:
        columns: list[Any] = [column.copy() for column in records]
        self.parts.append(Records(*columns))

    @property
    def present(self) -> int:
        """Requests that it has not finished."""
        return int(self.run.engine.now["live"][0])

    @property
    def left(self) -> int:
        """Tokens that it still has to compute."""
        now = self.run.engine.now
        return self.tokens - int(now["computed"][0]) + int(now["recomputed"][0])

    @property
    def outcome(self) -> TokenOutcome:
        """What became of its requests, under their own numbers."""
        done = TokenOutcome.joined(self.parts)
        return replace(done, request=np.array(self.given)[done.request])


def _watched(
    requests: TokenRequests, policy: Policy, rules: Rules, seed: int, jumps: bool, rng: np.random.Generator
) -> tuple[TokenOutcome, Totals]:
    """The router looks at as many engines as it compares; ties are broken at random."""
    one = replace(rules, servers=1)
    engines = [_Engine(requests, policy, one, seed + server, jumps) for server in range(rules.servers)]
    compared = min(rules.routing.choices or rules.servers, rules.servers)
    by_work, tokens = rules.routing.kind == "least-work", _tokens(requests)
    for number in range(len(requests)):
        looked = engines
        if compared < rules.servers:
            looked = [engines[each] for each in rng.choice(rules.servers, compared, replace=False)]
        for each in looked:
            each.advance(float(requests.arrival_s[number]))
        burdens = [each.left if by_work else each.present for each in looked]
        least = [each for each, burden in zip(looked, burdens, strict=True) if burden == min(burdens)]
        least[int(rng.integers(len(least)))].take(number, tokens[number])
    totals = Totals()
    for each in engines:
        each.advance(math.inf)
        totals.add(each.run.totals())
    return _together([each.outcome for each in engines if each.given]), totals


def _tokens(requests: TokenRequests) -> list[int]:
    """Tokens that each request makes an engine compute, in all its services."""
    running = np.concatenate(([0], np.cumsum(requests.later.prompt + requests.later.output)))
    more = running[requests.later.first + requests.later.number] - running[requests.later.first]
    needed: list[int] = (requests.prompt + requests.output - 1 - requests.prefix + more).tolist()
    return needed
