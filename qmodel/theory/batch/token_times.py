"""Laws of TTFT, TPOT and E2E latency in a batching engine, from its means and fluctuations.

While a request decodes, the iteration time wanders about its mean as the number running does: a process with
variance V and memory theta per token (Ornstein and Uhlenbeck's). Over k tokens the time per token then has the
variance

    s^2(k) = 2 V' (theta k - 1 + exp(-theta k)) / theta^2,  V' = (b + c kappa)^2 V / (1 - pausing)^2,

to which prompts computed in between add k p^2 lambda E[t] E[I^2]; the sum is taken as gamma. A request that had
to wait starts at the cap, where iterations are longest, and forgets it at the rate theta; the wait itself is
exponential. TTFT is made of what is left of an iteration (uniform), the wait, and the iterations up to the first
token.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import gammainc, gammaincinv

from qmodel.theory.batch.bulk_wait import Pieces, PiecewiseLaw
from qmodel.theory.batch.continuous_batching import BatchingEngine
from qmodel.theory.batch.token_demand import Points
from qmodel.theory.numerics.roots import first_reaching

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

ERROR = 1e-2
"""Of a probability, as held against simulation."""
ABOVE = np.concatenate((np.linspace(1.0, 0.04, 24, endpoint=False), np.geomspace(0.04, 1e-5, 17)))
WAITS, WAIT_WEIGHTS = -np.log((ABOVE[1:] + ABOVE[:-1]) / 2), -np.diff(ABOVE) / (1.0 - ABOVE[-1])
"""An exponential wait of mean 1 as points with weights, close together in its tail."""
STATES, CELLS = 24, 3
"""Numbers running are taken together in so many groups at most; the rest of an iteration is cut in cells."""
LEVELS = np.concatenate(((np.arange(9) + 0.5) / 10, [0.925, 0.975]))


@dataclass(frozen=True)
class Decoding:
    """Time of k tokens after the first: its mean and variance, by k and by whether the request had to wait."""

    engine: BatchingEngine

    @cached_property
    def memory(self) -> float:
        """theta, per token."""
        engine = self.engine
        tokens = engine.demand.outputs.moment(1)
        brought = engine.demand.rate * self._slope * tokens
        return max(1.0 - brought, 0.02) / tokens

    @property
    def _slope(self) -> float:
        """Seconds that one more running request adds to an iteration."""
        taken, engine = self.engine.linear, self.engine
        each = taken.per_sequence + taken.per_context_token * engine.demand.context
        return each / (1.0 - engine.pausing)

    def mean(self, tokens: Floats, waited: bool) -> Floats:
        """Mean seconds of so many tokens."""
        engine, at_cap = self.engine, self.engine.at_cap
        slower = (float(engine.iteration[-1]) - float(engine.seen @ engine.iteration)) * self._recall(tokens)
        share = 1.0 if waited else -at_cap / max(1.0 - at_cap, 1e-12)
        return np.asarray(np.maximum(tokens * engine.per_token + share * slower, 0.2 * tokens * engine.per_token))

    def variance(self, tokens: Floats, waited: bool) -> Floats:
        """Variance of the same."""
        engine, theta = self.engine, self.memory
        wander = 2.0 * (theta * tokens - 1.0 + np.exp(-theta * tokens)) / theta**2
        if waited:
            wander = wander - self._recall(tokens) ** 2
        prompts = engine.linear.per_prefill_token**2 * engine.demand.rate * engine.demand.prefills.moment(2)
        return np.asarray(self._slope**2 * engine.running_variance * wander + prompts * engine.per_token * tokens)

    def moments(self, tokens: Floats) -> dict[bool, tuple[Floats, Floats]]:
        """Mean and variance, never quite 0, without and with a wait."""
        found = {}
        for waited in (False, True):
            mean = self.mean(tokens, waited)
            found[waited] = mean, np.maximum(self.variance(tokens, waited), 1e-8 * mean**2)
        return found

    def _recall(self, tokens: Floats) -> Floats:
        return np.asarray((1.0 - np.exp(-self.memory * tokens)) / self.memory)


@dataclass(frozen=True)
class ResponseLaw:
    """E2E latency of requests with these prompts and outputs."""

    engine: BatchingEngine
    prompts: Points
    outputs: Points
    error: float = ERROR

    def cdf(self, t: float) -> float:
        """P(E2E <= t)."""
        at_cap, engine = self.engine.at_cap, self.engine
        start = engine.residual + self._first
        free = self._decoded(t - start, waited=False)
        if at_cap < 1e-9:
            return free
        waits = WAITS * engine.wait / at_cap
        waited = float(WAIT_WEIGHTS @ [self._decoded(t - start - wait, waited=True) for wait in waits])
        return (1.0 - at_cap) * free + at_cap * waited

    def percentile(self, percent: float) -> float:
        """The least t with P(E2E <= t) >= percent / 100."""
        return first_reaching(self.cdf, percent / 100.0, self.engine.response, 1e-6)

    @cached_property
    def _first(self) -> float:
        return self.engine.prompts.mean_prefill(self.prompts)

    def _decoded(self, seconds: float, waited: bool) -> float:
        """P(all tokens after the first take at most so long)."""
        if seconds <= 0:
            return 0.0
        mean, variance = self._moments[waited]
        return float(self.outputs.weights @ gammainc(mean**2 / variance, seconds * mean / variance))

    @cached_property
    def _moments(self) -> dict[bool, tuple[Floats, Floats]]:
        return Decoding(self.engine).moments(np.maximum(self.outputs.values - 1.0, 1e-3))


@dataclass(frozen=True)
class PerTokenLaw:
    """TPOT of requests with these outputs, those of one token left out."""

    engine: BatchingEngine
    outputs: Points
    error: float = ERROR

    def cdf(self, t: float) -> float:
        """P(TPOT <= t)."""
        at_cap = self.engine.at_cap
        parts = ((1.0 - at_cap, False), (at_cap, True))
        return math.fsum(share * self._part(t, waited) for share, waited in parts if share > 0)

    def percentile(self, percent: float) -> float:
        """The least t with P(TPOT <= t) >= percent / 100."""
        return first_reaching(self.cdf, percent / 100.0, self.engine.per_token, 1e-6)

    @cached_property
    def _several(self) -> Points:
        """Tokens after the first, of the requests that have any."""
        several = self.outputs.values > 1.5
        weights = self.outputs.weights[several]
        return Points(self.outputs.values[several] - 1.0, weights / weights.sum())

    @cached_property
    def _moments(self) -> dict[bool, tuple[Floats, Floats]]:
        return Decoding(self.engine).moments(self._several.values)

    def _part(self, t: float, waited: bool) -> float:
        mean, variance = self._moments[waited]
        tokens, weights = self._several.values, self._several.weights
        return float(weights @ gammainc(mean**2 / variance, t * tokens * mean / variance))


@dataclass(frozen=True)
class FirstTokenLaw:
    """TTFT of requests with these prompts, put together when it is asked for."""

    engine: BatchingEngine
    prompts: Points
    error: float = ERROR

    def cdf(self, t: float) -> float:
        """P(TTFT <= t)."""
        return self._law.cdf(t)

    def percentile(self, percent: float) -> float:
        """The least t with P(TTFT <= t) >= percent / 100."""
        return self._law.percentile(percent)

    @cached_property
    def _law(self) -> PiecewiseLaw:
        return first_token_law(self.engine, self.prompts)


def first_token_law(engine: BatchingEngine, prompts: Points) -> PiecewiseLaw:
    """TTFT of requests with these prompts."""
    pieces = Pieces()
    lengths, shares = _grouped(prompts)
    for running, weight in _states(engine):
        busy = weight if running else weight * engine.idle_pausing
        if running == 0:
            alone = engine.beside(0, lengths)
            pieces.add(alone, 0.0, (weight - busy) * shares)
        _add(pieces, engine, running, lengths, busy * shares)
    return PiecewiseLaw(pieces, ERROR)


def _states(engine: BatchingEngine) -> list[tuple[int, float]]:
    """Numbers running, neighbours taken together, with their probabilities; 0 and the cap stand alone."""
    groups = [np.array([0]), *np.array_split(np.arange(1, engine.cap), min(STATES, max(1, engine.cap - 1)))]
    found = []
    for group in groups:
        weight = float(engine.seen[group].sum())
        if weight > 1e-9:
            found.append((round(float(group @ engine.seen[group]) / weight), weight))
    return [*found, (engine.cap, engine.at_cap)]


def _add(pieces: Pieces, engine: BatchingEngine, running: int, lengths: Floats, weights: Floats) -> None:
    """Pieces for an arrival that finds so many running and brings a prompt of one of these lengths."""
    prompts = _prompt_seconds(engine, running, float(engine.iteration[running]))
    iterations = prompts + float(engine.decoding(running))
    waits, shares = _waits(engine, running)
    for whole in iterations:
        left = whole * (np.arange(CELLS) + 0.5) / CELLS
        first = _first_iterations(engine, running, lengths[:, None, None], whole, left[:, None])
        at = waits + (left[:, None] + first)[..., None]
        each = whole / iterations.sum() / (CELLS * first.shape[-1]) * weights[:, None, None, None] * shares
        pieces.add(at.reshape(-1), whole / CELLS, np.broadcast_to(each, at.shape).reshape(-1))


def _waits(engine: BatchingEngine, running: int) -> tuple[Floats, Floats]:
    """Waits for a place and their weights: exponential at the cap, else none."""
    if running < engine.cap:
        return np.zeros(1), np.ones(1)
    return WAITS * engine.wait / max(engine.at_cap, 1e-300), WAIT_WEIGHTS


def _first_iterations(engine: BatchingEngine, running: int, length: Floats, whole: float, left: Floats) -> Floats:
    """Seconds from admission to the first token, for equally likely amounts (last axis) of the prompts beside it.

    Those that came before, in the part of the iteration gone by, go first; what exceeds the budget goes into
    further iterations.
    """
    each = _prompt_token(engine, running)
    others = _prompt_seconds(engine, running, whole) / each if each > 0 else np.zeros(1)
    room = max(engine.budget - running, 1)
    before = length + others * (1.0 - left / whole)
    full = np.floor(before / room)
    last = np.minimum(length + others - full * room, room)
    if engine.packed:
        return np.asarray(full * engine.beside(running, room) + engine.beside(running, last))
    decode = float(engine.decoding(min(running + 1, engine.cap)))
    return np.asarray((1.0 + full) * decode + each * (full * room + last))


def _prompt_token(engine: BatchingEngine, running: int) -> float:
    """Seconds of a prompt token beside so many that decode."""
    if not engine.packed:
        return engine.taken.per_prefill_token
    return float(np.ravel(engine.pauses)[running]) / engine.demand.prefill_rate


def _prompt_seconds(engine: BatchingEngine, running: int, span: float) -> Floats:
    """Equally likely times that the prompts take which come within `span` seconds; gamma with their moments."""
    came, each = engine.demand.rate * span, _prompt_token(engine, running)
    mean = each * came * engine.demand.prefills.moment(1)
    if mean < 1e-9 * span:
        return np.zeros(1)
    squares = np.ravel(engine.prompt_squares)
    variance = each**2 * came * engine.demand.prefills.moment(2) if squares.size == 1 else came * squares[running]
    return np.asarray(gammaincinv(mean**2 / variance, LEVELS) * variance / mean)


def _grouped(points: Points) -> tuple[Floats, Floats]:
    """Few lengths that stand for the law: means over cells of probability, the upper ones narrow."""
    order = np.argsort(points.values)
    values, weights = points.values[order], points.weights[order]
    level = np.cumsum(weights) - weights / 2
    cell = np.digitize(level, (0.2, 0.4, 0.6, 0.75, 0.85, 0.92, 0.96, 0.98, 0.99, 0.995, 0.999))
    shares = np.bincount(cell, weights)
    means = np.bincount(cell, weights * values) / np.maximum(shares, 1e-300)
    kept = shares > 0
    return np.asarray(means[kept], dtype=float), np.asarray(shares[kept], dtype=float)
