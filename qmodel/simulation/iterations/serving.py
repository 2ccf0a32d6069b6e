"""Serving token requests: the loop is fed with arrivals by the chunk, and hands on its records as it goes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from qmodel.errors import InputError
from qmodel.policy import LAS, MLFQ, RoundRobin
from qmodel.simulation import own_rank
from qmodel.simulation.forms import KEYS, form_of
from qmodel.simulation.iterations import loop
from qmodel.simulation.iterations.columns import (
    FLUSH,
    GAP_BINS,
    GROW,
    MORE,
    OVER,
    THRASHING,
    Records,
    Sinks,
    blank_engine,
    blank_records,
    grown,
)
from qmodel.simulation.iterations.ranks import by_row
from qmodel.simulation.iterations.rules import Rules, limits_of, times_of
from qmodel.simulation.iterations.token_requests import TokenRequests
from qmodel.simulation.kernels.rank import Own

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qmodel.policy import Policy

ROWS, RECORDS, SPOKEN, SAMPLES = 1024, 65_536, 1 << 20, 1 << 16
Handler = Callable[[Records], None]
TokenHandler = Callable[["NDArray[np.int64]", "NDArray[np.float64]"], None]


@dataclass(frozen=True)
class GapsSoFar:
    """The gaps between tokens when so many requests had left: by bin, and their sum (s)."""

    left: int
    gaps: NDArray[np.int64]
    gap_s: float


@dataclass
class Totals:
    """What a run comes to. Times in seconds, `gaps` by logarithmic bin of the gap between tokens.

    `gaps_so_far`: the same now and then on the way, of a run on one engine that was asked for it.
    """

    now_s: float = 0.0
    busy_s: float = 0.0
    gap_s: float = 0.0
    iterations: int = 0
    left: int = 0
    tokens: int = 0
    computed: int = 0
    recomputed: int = 0
    swapped: int = 0
    preemptions: int = 0
    outside: int = 0
    used: int = 0
    peak_running: int = 0
    peak_tokens: int = 0
    peak_blocks: int = 0
    gaps: NDArray[np.int64] = field(default_factory=lambda: np.zeros(GAP_BINS, dtype=np.int64))
    samples: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 4)))
    gaps_so_far: list[GapsSoFar] = field(default_factory=list)

    def add(self, other: Totals) -> None:
        """Add what another engine did beside this one."""
        for name, value in vars(other).items():
            if name in ("samples", "gaps_so_far"):
                continue
            mine = getattr(self, name)
            setattr(self, name, max(mine, value) if name.startswith("peak") else mine + value)


def serve(
    requests: TokenRequests | Iterable[TokenRequests],
    policy: Policy,
    rules: Rules,
    handle: Handler,
    *,
    seed: int = 0,
    jumps: bool = True,
    sample_s: float = 0.0,
    hear: TokenHandler | None = None,
    stretches: int = 0,
) -> Totals:
    """Serve all requests; `handle` is given the records of those that left, again and again, in order of leaving.

    `requests` may be an iterable of chunks in order of time: no more than two are held. With `sample_s`, the state
    is sampled at multiples of it: columns time, running, waiting, KV blocks. `hear` is given (request, time) of
    every token. `jumps = False` goes iteration by iteration. The gaps between tokens are noted about `stretches`
    times on the way.

    Raises InputError for a policy that admits nobody in particular, or a rank that raises or is not a number.
    """
    if policy.sharing is not None:
        raise InputError(
            f"policy '{policy.name}'", "does not say who is admitted first", "use fcfs or another order"
        )
    if policy.timed:
        fault = "has a rank that changes while a request waits, which is not simulated with continuous batching"
        raise InputError(f"policy '{policy.name}'", fault, "use np-priority or another order")
    if rules.engine.pools or len(rules.engine.pipeline) > 1:
        raise InputError("system.engine, pools", "are not simulated token by token", "take one pool")
    chunks = iter([requests] if isinstance(requests, TokenRequests) else requests)
    first = next(chunks, None)
    if first is None:
        raise InputError("replay", "holds no request", "give at least one")
    return Run(first, policy, rules, seed, jumps, sample_s, hear, stretches).through(first, chunks, handle)


class Run:
    """One run: the engine's state, and what it is fed with and gathers."""

    def __init__(
        self, first: TokenRequests, policy: Policy, rules: Rules, seed: int, jumps: bool, sample_s: float,
        hear: TokenHandler | None, stretches: int = 0,
    ) -> None:  # fmt: skip
        self.policy, self.hear = policy, hear
        self.arriving, self.callback = ranks(policy, first)
        context = float(first.prompt.mean() + 0.5 * first.output.mean())
        self.limits = limits_of(
            rules, policy, first.classes, volatile=is_volatile(policy), context=context, seed=seed, jumps=jumps,
            sample_s=sample_s, timeline=hear is not None,
        )  # fmt: skip
        self.times = times_of(rules)
        self.engine = blank_engine(ROWS, self.limits.block_tokens)
        self.form = by_row(self.arriving, ROWS)
        tokens = max(SPOKEN, 8 * rules.batch_limit * (1 + self.limits.drafts)) if hear else 0
        samples = SAMPLES if sample_s else 0
        self.sinks = Sinks(
            np.zeros(GAP_BINS, dtype=np.int64), np.empty(samples), np.empty((samples, 3), dtype=np.int64),
            np.empty(tokens, dtype=np.int64), np.empty(tokens),
        )  # fmt: skip
        self.left = 0
        rows = min(RECORDS, len(first) // stretches) if stretches else RECORDS
        self.records = blank_records(max(rows, 8 * rules.batch_limit))
        self.gaps_so_far: list[GapsSoFar] | None = [] if stretches else None

    def through(self, chunk: TokenRequests, chunks: Iterator[TokenRequests], handle: Handler) -> Totals:
        """Serve this chunk and all that follow."""
        now: Any = self.engine.now
        upcoming = next(chunks, None)
        arrivals = chunk.arrivals(upcoming is None)
        while True:
            code = loop.run(
                self.engine, self.limits, self.times, self.form, self.arriving, arrivals, upcoming is None,
                chunk.stages, self.records, self.sinks,
            )  # fmt: skip
            now = self.engine.now
            if code in (FLUSH, OVER):
                self.flush(handle)
            if code == OVER:
                return self.totals()
            if code == THRASHING:
                self.give_up()
            if code == GROW:
                self.grow()
            if code == MORE:
                assert upcoming is not None
                chunk, upcoming = upcoming, next(chunks, None)
                arrivals = chunk.arrivals(upcoming is None)
                self.arriving, self.callback = ranks(self.policy, chunk)
                now["next"] = 0

    def grow(self) -> None:
        """Make room for twice as many live requests."""
        self.engine = grown(self.engine)
        rows = self.engine.live.size
        before, self.form = self.form, by_row(self.form, rows)
        for name in ("key", "limit", "seen"):
            if hasattr(before, name):
                old = getattr(before, name)
                getattr(self.form, name)[: old.size] = old

    def flush(self, handle: Handler) -> None:
        """Hand on the records and token times so far."""
        now: Any = self.engine.now
        count = int(now["records"][0])
        self.left += count
        if count:
            columns: list[Any] = [column[:count] for column in self.records]
            handle(Records(*columns))
        now["records"] = 0
        if self.gaps_so_far is not None:
            self.gaps_so_far.append(GapsSoFar(self.left, self.sinks.gaps.copy(), float(now["gap_s"][0])))
        if self.hear is not None:
            spoken = int(now["spoken"][0])
            self.hear(self.sinks.token_request[:spoken].copy(), self.sinks.token_s[:spoken].copy())
            now["spoken"] = 0

    def give_up(self) -> NoReturn:
        """Raise InputError: requests evict each other's caches before they have made use of them."""
        now: Any = self.engine.now[0]
        again, most = int(now["recomputed"]), int(now["computed"])
        fault = f"of {most:,} tokens computed by {now['now_s']:g} s, {again:,} were evicted and computed again"
        remedy = "give eviction = 'swap', more KV memory, or an order that preempts less"
        raise InputError(f"policy '{self.policy.name}'", fault, remedy)

    def totals(self) -> Totals:
        """What the run came to. Raises InputError where a user's rank was not a number."""
        if isinstance(self.form, Own):
            own_rank.check(self.form, self.callback, self.policy)
        now: Any = self.engine.now[0]
        names = [n for n in vars(Totals()) if n not in ("gaps", "samples", "left", "gaps_so_far")]
        values = {name: now[name].item() for name in names}
        taken = int(now["samples"])
        samples = np.column_stack([self.sinks.sampled_s[:taken], self.sinks.sampled[:taken]])
        so_far = self.gaps_so_far or []
        return Totals(**values, left=self.left, gaps=self.sinks.gaps, samples=samples, gaps_so_far=so_far)


def ranks(policy: Policy, requests: TokenRequests) -> tuple[Any, Any]:
    """The ranks of arriving requests, and the callback of a rank that stays Python."""
    form = form_of(policy, requests)  # type: ignore[arg-type]
    return (form, None) if form is not None else own_rank.own(policy, requests)  # type: ignore[arg-type]


def is_volatile(policy: Policy) -> bool:
    """Whether the rank of a request may get worse while it is served, so that each iteration must look again."""
    if not policy.preemptive:
        return False
    known = type(policy).rank
    return known in (LAS.rank, MLFQ.rank, RoundRobin.rank) or known not in KEYS
