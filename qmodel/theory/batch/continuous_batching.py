"""Continuous batching as processor sharing whose speed depends on how many run.

An iteration of n decoding requests takes d(n) = a + (b + c kappa) n seconds, kappa their mean context, and gives
each a token; prefills of p I seconds come in between. Seen without the time of prefills, requests come in
clusters, one at the start of a pause and those that come during it, whose number K is the total progeny of a
branching process (Dwass), and leave at rate mu(n) = min(n, B) / (E[L] d(min(n, B))), B the cap:

    mu(n + 1) pi(n + 1) = lambda sum_{j <= n} pi(j) P(K > n - j).

Below the cap the law holds for every law of output lengths (product form, insensitive); contexts that differ
widen it: pi(n)^(1/v) for n <= B and a fall slower by sqrt(v) beyond, v from `engine_fluctuations`. Above it
lengths matter: the wait is scaled from exponential lengths by Kimura's interpolation with D = 1/2 (1 + (1 -
rho)(B - 1)(sqrt(4 + 5B) - 2) / (16 rho B)),

    W = f W_exp,  f = (1 + c^2) / (2 c^2 + (1 - c^2) / D),  c^2 the squared coefficient of variation of L.

A request that comes waits out the iteration under way (its residual, E[t^2] / (2 E[t])), then for a place, then
for its first iteration, in which it and the others that came prefill; then its L - 1 decode iterations:

    TTFT = W + residual + prefill,  E2E = W + residual + E[N_running] / lambda.

Where queries times keys cost time too, d(n) is quadratic and prompts go by n: `packed_attention`.

All of it is an approximation. It was held against an iteration-level simulation: a = 10 ms, b =
0.2 ms, c = 0.2 us, p = 20 us, inputs of mean 500 and scv 1, outputs of mean 200 and scv 0 to 4, caps 8 to 256,
loads 0.3 to 0.95.

Sources: Cohen, *Acta Informatica* 12 (1979) (state-dependent sharing); Dwass, *J. Appl. Prob.* 6 (1969) 682-686
(total progeny); Zhang & Zwart, *Queueing Syst.* 60 (2008) and Gupta & Zhang, *Stoch. Syst.* 4 (2014) (limited
sharing); Kimura, *Oper. Res.* 34 (1986).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from qmodel.service.iteration_time import IterationTime, query_keys
from qmodel.theory.batch import packed_attention
from qmodel.theory.batch.engine_fluctuations import variance_ratio
from qmodel.theory.batch.progeny import progeny
from qmodel.theory.batch.prompt_queue import PromptQueue
from qmodel.theory.batch.token_demand import Demand

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

NEGLIGIBLE = 1e-15
MOST_STATES = 200_000


@dataclass(frozen=True)
class BatchingEngine:
    """An engine with iteration time `taken`, at most `cap` requests and `budget` tokens an iteration.

    >>> from qmodel.theory.batch.token_demand import Points, together
    >>> from qmodel.workload import Deterministic
    >>> five, ten = (Points.of(Deterministic(n)) for n in (5, 10))
    >>> engine = BatchingEngine(IterationTime(base=0.1), together([0.5], [(five, five, ten)]), cap=1)
    >>> round(engine.load, 12)
    0.5
    """

    taken: IterationTime
    demand: Demand
    cap: int
    budget: int = 2048

    @cached_property
    def load(self) -> float:
        """Arrival rate over the largest the engine sustains with B running all the time.

        lambda (E[L] (a / B + b) + c E[(L-1) I + L (L-1) / 2] + p E[I]): L iterations, of which all but the first,
        the prefill, look at the context.
        """
        each = self.demand.outputs.moment(1) * (self.taken.base / self.cap + self.taken.per_sequence)
        seen = self.taken.per_context_token * self.demand.context_seen
        prompts = self.taken.per_prefill_token * self.demand.prefill_rate
        return self.demand.rate * (each + seen) + prompts + self._pairing

    @property
    def jams(self) -> bool:
        """Whether a full engine serves fewer requests a second than one that is less full."""
        served = np.arange(1.0, self.cap + 1.0) / self.iteration[1:]
        return bool(served[-1] < 0.98 * served.max())

    @property
    def _pairing(self) -> float:
        """What queries times keys add to the load: lambda E[L] / B g E[Q K] with B running all the time."""
        if not self.packed:
            return 0.0
        pairs = packed_attention.pairs_at_cap(self.demand, self.cap) / self.cap
        return self.demand.rate * self.demand.outputs.moment(1) * self.taken.per_query_key * pairs

    @property
    def packed(self) -> bool:
        """Whether queries times keys cost time."""
        return self.taken.per_query_key > 0

    @cached_property
    def pauses(self) -> float | Floats:
        """Share of time in which prompts are computed; by the number running, 0..cap, where it goes by that."""
        if self.packed:
            return packed_attention.pausing(self.taken, self.demand, self.decoding(np.arange(self.cap + 1.0)))
        return self.taken.per_prefill_token * self.demand.prefill_rate

    @property
    def idle_pausing(self) -> float:
        """The same with nobody else running."""
        return float(np.ravel(self.pauses)[0])

    @property
    def pausing(self) -> float:
        """The same about the mean number running."""
        return self.linear.per_prefill_token * self.demand.prefill_rate

    @cached_property
    def linear(self) -> IterationTime:
        """The iteration time, made linear about the mean number running where it is not; its base is of no matter.

        What one more running adds to an iteration, its effect on the time of prompts included, is its slope.
        """
        if not self.packed:
            return self.taken
        law = self._product_form() / self._product_form().sum()
        running = np.minimum(np.arange(law.size), self.cap)
        at = float(law @ running)
        pauses = np.asarray(self.pauses)
        share = float(np.interp(at, np.arange(pauses.size), pauses))
        slope = float(np.interp(at, np.arange(pauses.size), np.gradient(self.iteration))) * (1.0 - share)
        context = self.taken.per_context_token + self.taken.per_query_key * at
        each = max(slope - context * self.demand.context, self.taken.per_sequence)
        return IterationTime(self.taken.base + 1e-300, each, context, share / self.demand.prefill_rate)

    def decoding(self, running: int | Floats) -> Floats:
        """d(n): seconds of an iteration without prefills."""
        n = np.asarray(running, dtype=float)
        each = self.taken.per_sequence + self.taken.per_context_token * self.demand.context
        alone = self.taken.base + each * n
        return np.asarray(alone + self.taken.per_query_key * self.demand.context * n**2 if self.packed else alone)

    def beside(self, running: int | Floats, prompts: float | Floats) -> Floats:
        """Seconds of an iteration that takes one more up and computes so many prompt tokens beside the running."""
        n = np.minimum(np.asarray(running, dtype=float) + 1.0, self.cap)
        alone = self.decoding(n) + self.taken.per_prefill_token * prompts
        if not self.packed:
            return alone
        decoding, context = n - 1.0, self.demand.context
        pairs = query_keys(decoding, decoding * context, prompts) - context * n**2
        return np.asarray(alone + self.taken.per_query_key * pairs)

    @cached_property
    def variance_ratio(self) -> float:
        """v, with which the law of the number in the engine is widened; 1 above what its branching sustains."""
        brought = self._brought
        return variance_ratio(self.linear, self.demand) if brought < 0.999 else 1.0

    @property
    def _brought(self) -> float:
        """Share of the arrivals that come because others are present, without a cap."""
        each = self.linear.per_sequence + self.linear.per_context_token * self.demand.context
        return self.demand.rate * each * self.demand.outputs.moment(1) + self.pausing

    @cached_property
    def occupancy(self) -> Floats:
        """Law of the number in the engine and waiting, seen without the time of prefills, n = 0, 1, ..."""
        logs = np.log(np.maximum(self._product_form(), 1e-300))
        below, beyond = logs[: self.cap + 1], logs[self.cap + 1 :]
        below, beyond = below / self.variance_ratio, (beyond - below[-1]) / math.sqrt(self.variance_ratio)
        widened = np.concatenate((below, below[-1] + beyond))
        law = np.exp(widened - widened.max())
        return np.asarray(law / law.sum())

    def _product_form(self) -> Floats:
        """The law for exponential lengths; beyond the cap it falls geometrically and is continued so."""
        if self.packed:
            return self._packed_form
        cluster = progeny(self.pausing, self.demand.prefills.scv)
        more = 1.0 - np.cumsum(cluster)
        states = self.cap + 4 * cluster.size + 50
        law = np.zeros(states + 1)
        law[0] = 1.0
        for n in range(states):
            recent = law[max(0, n - more.size + 1) : n + 1][::-1]
            law[n + 1] = self.demand.rate * float(recent @ more[: recent.size]) / self._leaving(n + 1)
            if law[n + 1] > 1e200:
                law /= 1e200
        return self._continued(law)

    @cached_property
    def _packed_form(self) -> Floats:
        """The same where clusters depend on the number present."""
        more = packed_attention.beyond(self.taken, self.demand, np.asarray(self.pauses))
        leaving = np.array([self._leaving(n) for n in range(self.cap + 1)])
        return packed_attention.occupancy(self.demand.rate, more, leaving, self.cap + 4 * more.shape[1] + 50)

    @cached_property
    def by_time(self) -> Floats:
        """Law of the number in the engine and waiting, time of prefills included but for those who prefill."""
        if not self.packed:
            return self.occupancy
        free = 1.0 - np.asarray(self.pauses)[np.minimum(np.arange(self.occupancy.size), self.cap)]
        return np.asarray(self.occupancy / free / float((self.occupancy / free).sum()))

    def _over_time(self, values: float | Floats) -> float:
        """Mean by time of what depends on the number running."""
        if np.ndim(values) == 0:
            return float(values)
        return float(self.by_time @ np.asarray(values)[np.minimum(np.arange(self.by_time.size), self.cap)])

    def _continued(self, law: Floats) -> Floats:
        fall = math.log(law[-2] / law[-1]) if law[-1] > 0 else 1.0
        steps = int(min(MOST_STATES, -math.log(NEGLIGIBLE) * self.variance_ratio / fall))
        return np.concatenate((law, law[-1] * np.exp(-fall * np.arange(1, steps + 1))))

    def _leaving(self, present: int) -> float:
        running = min(present, self.cap)
        return running / (self.demand.outputs.moment(1) * float(self.decoding(running)))

    @cached_property
    def at_cap(self) -> float:
        """Probability that all places are taken: the share of requests that wait for one."""
        return float(self.by_time[self.cap :].sum())

    @cached_property
    def wait(self) -> float:
        """Mean wait for a place, seconds."""
        beyond = np.maximum(np.arange(self.by_time.size) - self.cap, 0)
        return float(self.by_time @ beyond) / self.demand.rate * self.length_factor

    @property
    def length_factor(self) -> float:
        """f: by how much the wait differs from that of exponential lengths."""
        rho, places = self.load, float(self.cap)
        fixed = 0.5 * (
            1.0 + (1.0 - rho) * (places - 1.0) * (math.sqrt(4.0 + 5.0 * places) - 2.0) / (16.0 * rho * places)
        )
        scv = self.demand.outputs.scv
        return (1.0 + scv) / (2.0 * scv + (1.0 - scv) / min(1.0, fixed))

    @cached_property
    def running(self) -> float:
        """Mean number running, by time: prefills add themselves and those that come while they last."""
        decoding = float(self.by_time @ np.minimum(np.arange(self.by_time.size), self.cap))
        pause, scv = self.pauses, self.demand.prefills.scv
        return decoding + self._over_time(pause * (1.0 + pause * (1.0 + scv) / (2.0 * (1.0 - pause) ** 2)))

    @cached_property
    def running_variance(self) -> float:
        """Variance of the number running."""
        running = np.minimum(np.arange(self.by_time.size), self.cap)
        return float(self.by_time @ running**2) - float(self.by_time @ running) ** 2

    @cached_property
    def seen(self) -> Floats:
        """Law of the number running that an arrival finds, 0..cap."""
        law = self.by_time[: self.cap + 1].copy()
        law[-1] = self.at_cap
        return law

    @cached_property
    def iteration(self) -> Floats:
        """Mean seconds of an iteration with n running, prefills of arrivals included, n = 0..cap."""
        return np.asarray(self.decoding(np.arange(self.cap + 1.0)) / (1.0 - self.pauses))

    @cached_property
    def iteration_square(self) -> Floats:
        """E[t^2] of the same: the number of prompts in an iteration is Poisson."""
        return np.asarray(self.iteration**2 + self.demand.rate * self.iteration * self.prompt_squares)

    @cached_property
    def prompt_squares(self) -> float | Floats:
        """E[S^2] of the seconds that a prompt adds; by the number running where it goes by that."""
        if self.packed:
            return packed_attention.prompt_moments(self.taken, self.demand, np.arange(self.cap + 1.0))[1]
        return self.taken.per_prefill_token**2 * self.demand.prefills.moment(2)

    @cached_property
    def residuals(self) -> Floats:
        """Mean seconds left of the iteration under way, by the number running; none when idle."""
        left = self.iteration_square / (2.0 * self.iteration)
        left[0] *= self.idle_pausing
        return left

    @property
    def residual(self) -> float:
        """Mean seconds left of the iteration under way as a request comes."""
        return float(self.seen @ self.residuals)

    @cached_property
    def others(self) -> Floats:
        """Mean number of requests that prefill in the same iteration as one that comes, by the number running."""
        found = self.demand.rate * self.iteration_square / self.iteration
        found[0] *= self.idle_pausing
        return found

    @cached_property
    def prompts(self) -> PromptQueue:
        """Prompts as they share iterations and their token budget."""
        return PromptQueue(self)

    @cached_property
    def first_token(self) -> float:
        """Mean seconds from admission to the first token."""
        return self.prompts.mean_prefill(self.demand.prefills)

    @property
    def ttft(self) -> float:
        """Mean time to the first token, seconds."""
        return self.wait + self.residual + self.first_token

    @property
    def per_token(self) -> float:
        """Mean seconds of a token after the first."""
        rest = self.demand.outputs.moment(1) - 1.0
        if rest <= 0:
            return float(self.seen @ self.iteration)
        return (self.running / self.demand.rate - self.first_token) / rest

    @property
    def response(self) -> float:
        """Mean seconds from arrival to the last token."""
        return self.wait + self.residual + self.running / self.demand.rate
