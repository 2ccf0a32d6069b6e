"""FCFS with a queue threshold: the transform of the wait, jointly with the mode of the own service, exact.

The mode of a service depends on arrivals behind the tagged request, so the wait is not that of an M/G/1
queue. Follow the tagged request: at a service start it holds position p (p = 1: its own) with r requests
behind it. With alpha_a(s) = E[exp(-sX); a arrivals in X] of that service,

    g_p(r) = sum_a alpha_a(s) g_{p-1}(r + a),

and once r >= K all services to come are long, a power of one transform. A request that arrives finds a
service under way, begun with n' present; it has j arrivals before it in that service and i behind it, with
transform K_{j,i}(s) of the rest of the service, where sum K_{j,i} z^j w^i = (X~(lambda(1-z)) -
X~(s+lambda(1-w))) / (s + lambda z - lambda w). It then holds position n' + j with i behind it. Numbers
present of total probability below 1e-10 are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from qmodel.service.transform import QueueCondition
from qmodel.theory.numerics.arrival_counts import coefficients, count_probabilities
from qmodel.theory.numerics.inversion import InvertedLaw, Law
from qmodel.theory.state.modes import LONG, SHORT, mode_of
from qmodel.theory.state.threshold import ThresholdChain
from qmodel.workload import Distribution

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Complex = NDArray[np.complex128]

LEFT_OUT = 1e-10
MOST_PRESENT = 4000
HIGHEST = 12
"""Largest threshold: rounding errors of the recursion for K_{j,i} grow with binomials of it."""
MOST_ARRIVALS = 128
BLOCK = 1024
MOST_TERMS = 4096
MODES = (SHORT, LONG)


@dataclass(frozen=True)
class Step:
    """A service, its swap included, and the arrivals during it."""

    law: Distribution
    rate: float

    @cached_property
    def counts(self) -> NDArray[np.float64]:
        """P(A = j) up to where it is negligible, or MOST_ARRIVALS."""
        most = 32
        while True:
            found = count_probabilities(self.law.lst, self.rate, most)
            if 1.0 - found.sum() < 0.01 * LEFT_OUT or most == MOST_ARRIVALS:
                return found
            most *= 2

    def alpha(self, s: Complex, most: int) -> Complex:
        """E[exp(-sX); A = a] for a = 0..most - 1, along the last axis."""

        def generating(z: Complex) -> Complex:
            return self.law.lst(s[:, None] + self.rate * (1.0 - z))

        return coefficients(generating, most - 1)

    def rest(self, s: Complex, alpha: Complex) -> tuple[Complex, Complex]:
        """K_{j,i}(s), i < K, as [i, j, s], and its sum over all i as [j, s]."""
        table = np.empty((alpha.shape[1], len(self.counts), len(s)), dtype=complex)
        own: Complex = np.outer(self.counts, np.ones(len(s))).astype(complex)
        before = own
        for i in range(len(table)):
            sources = own if i == 0 else self.rate * before
            before = table[i] = _rising(s, self.rate, sources, alpha[:, i])
        return table, _rising(s - self.rate, self.rate, own, self.law.lst(s))


def _rising(s: Complex, rate: float, sources: Complex, first: Complex) -> Complex:
    """x_j with s x_j + rate x_{j-1} = sources_j - [j = 0] first: upwards where |s| > rate, else downwards."""
    out = np.zeros_like(sources)
    up = np.abs(s) > rate
    out[0, up] = (sources[0, up] - first[up]) / s[up]
    for j in range(1, len(sources)):
        out[j, up] = (sources[j, up] - rate * out[j - 1, up]) / s[up]
    for j in range(len(sources) - 1, 0, -1):
        out[j - 1, ~up] = (sources[j, ~up] - s[~up] * out[j, ~up]) / rate
    return out


@dataclass(frozen=True)
class TaggedWait:
    """Wait and mode of the own service of a request, under FCFS with a queue condition."""

    rate: float
    laws: tuple[Distribution, Distribution]
    condition: QueueCondition
    chain: ThresholdChain

    @cached_property
    def idle(self) -> dict[tuple[int, int], float]:
        """Probability that an arrival finds nobody, by the mode of the last service and of its own."""
        found = self.chain.boundary[:, 0] / self.chain.total
        return {(last, mode_of(1, last, self.condition)): float(found[last]) for last in MODES}

    @property
    def swap_s(self) -> float:
        """Seconds of a change of mode."""
        return self.condition.swap_time_s

    def busy(self, s: Complex) -> Complex:
        """E[exp(-sW); own mode = m, found busy] as [m, s], the own swap counted in W."""
        blocks = [self._busy(s[i : i + BLOCK]) for i in range(0, len(s), BLOCK)]
        return np.concatenate(blocks, axis=1)

    @cached_property
    def too_long(self) -> bool:
        """Whether arrivals in one service, or requests present, are too many to follow."""
        left = max(1.0 - float(step.counts.sum()) for step in self._steps.values())
        return left > LEFT_OUT or self._begun is None

    @cached_property
    def _steps(self) -> dict[tuple[int, int], Step]:
        changes = [(last, mode) for last in MODES for mode in MODES]
        return {
            (last, mode): Step(self.laws[mode].shifted(self.swap_s if last != mode else 0.0), self.rate)
            for last, mode in changes
        }

    @cached_property
    def _begun(self) -> dict[tuple[int, int], NDArray[np.float64]] | None:
        """Per departure, services begun with n = 0, 1, ... present, by change of mode; None if n goes too far."""
        boundary, above = self.chain.boundary / self.chain.total, self.condition.above
        begun = {change: np.zeros(MOST_PRESENT) for change in self._steps}
        for last in MODES:
            for n in range(above + 1):
                begun[last, mode_of(max(n, 1), last, self.condition)][max(n, 1)] += boundary[last, n]
        tails = {change: np.append(1.0 - np.cumsum(step.counts), 0.0) for change, step in self._steps.items()}
        left = 1.0 - float(boundary.sum())
        for n in range(above + 1, MOST_PRESENT):
            if left < LEFT_OUT:
                return {change: found[:n] for change, found in begun.items()}
            upward = sum(_convolved(found, tails[change], n) for change, found in begun.items())
            after_short = sum(
                _convolved(begun[last, SHORT], self._steps[last, SHORT].counts, n + 1) for last in MODES
            )
            stay, change = self._steps[LONG, LONG].counts[0], self._steps[SHORT, LONG].counts[0]
            begun[SHORT, LONG][n] = after_short
            begun[LONG, LONG][n] = max(upward - after_short * change, 0.0) / stay
            left -= begun[SHORT, LONG][n] + begun[LONG, LONG][n]
        return None

    def _busy(self, s: Complex) -> Complex:
        assert self._begun is not None
        above = self.condition.above
        alphas = {change: step.alpha(s, above) for change, step in self._steps.items()}
        wholes = {change: step.law.lst(s) for change, step in self._steps.items()}
        arriving = {change: self._found(change, s, alphas[change]) for change in self._steps}
        most = max(len(found) for found in self._begun.values())
        ahead = self._own_start(s)
        far = {last: self._own_swap(last, LONG, s) for last in MODES}
        out = np.zeros((2, len(s)), dtype=complex)
        for p in range(1, most):
            for (_, mode), (near, beyond) in arriving.items():
                out += np.einsum("rs,rms->ms", near[:, p], ahead[mode])
                out[LONG] += beyond[p] * far[mode]
            ahead, far = self._one_ahead_more(p + 1, ahead, far, alphas, wholes)
        return out

    def _found(self, change: tuple[int, int], s: Complex, alpha: Complex) -> tuple[Complex, Complex]:
        """Of arrivals that find this change under way: transform until its end with r = 0..K-1 behind, as
        [r, position, s], and with more behind, as [position, s]."""
        assert self._begun is not None
        table, whole = self._steps[change].rest(s, alpha)
        begun = self._begun[change]
        places = np.subtract.outer(np.arange(len(begun)), np.arange(len(whole)))
        weights = np.where(places > 0, begun[np.maximum(places, 0)], 0.0) * self.rate
        near = np.array([weights @ part for part in table])
        return near, weights @ whole - near.sum(axis=0)

    def _own_swap(self, last: int, mode: int, s: Complex) -> Complex:
        return np.exp(-s * self.swap_s) if last != mode else np.ones_like(s)

    def _own_start(self, s: Complex) -> dict[int, Complex]:
        """At the own start (p = 1), by mode of the last service: [r, own mode, s]."""
        out = {}
        for last in MODES:
            out[last] = np.zeros((self.condition.above, 2, len(s)), dtype=complex)
            for r in range(self.condition.above):
                mode = mode_of(1 + r, last, self.condition)
                out[last][r, mode] = self._own_swap(last, mode, s)
        return out

    def _one_ahead_more(
        self,
        p: int,
        ahead: dict[int, Complex],
        far: dict[int, Complex],
        alphas: dict[tuple[int, int], Complex],
        wholes: dict[tuple[int, int], Complex],
    ) -> tuple[dict[int, Complex], dict[int, Complex]]:
        """From position p - 1 to position p."""
        out = {last: np.zeros_like(ahead[last]) for last in MODES}
        for last in MODES:
            for r in range(self.condition.above):
                mode = mode_of(p + r, last, self.condition)
                alpha = alphas[last, mode][:, : self.condition.above - r]
                out[last][r] = np.einsum("sa,ams->ms", alpha, ahead[mode][r:])
                out[last][r, LONG] += (wholes[last, mode] - alpha.sum(axis=1)) * far[mode]
        return out, {last: wholes[last, LONG] * far[LONG] for last in MODES}


def _convolved(begun: NDArray[np.float64], law: NDArray[np.float64], n: int) -> float:
    """sum_k begun_k law_{n-k} for k < n."""
    first = max(0, n - len(law) + 1)
    return float(begun[first:n] @ law[n - first : 0 : -1])


class RememberedWait:
    """`TaggedWait.busy` for several classes that ask at the same points."""

    def __init__(self, wait: TaggedWait) -> None:
        self._wait = wait
        self._known: dict[tuple[complex, complex, int], Complex] = {}

    def __call__(self, s: Complex) -> Complex:
        key = (complex(s[0]), complex(s[-1]), len(s))
        if key not in self._known:
            self._known[key] = self._wait.busy(s)
        return self._known[key]


def response_laws(wait: TaggedWait, deliveries: Sequence[Sequence[Distribution]], scale: float) -> list[Law | None]:
    """Law of the response of each class, given by its service until delivery in either mode."""
    if wait.condition.above > HIGHEST or wait.too_long:
        return [None] * len(deliveries)
    busy = RememberedWait(wait)
    return [_response_law(wait, busy, laws, scale) for laws in deliveries]


def _response_law(
    wait: TaggedWait, busy: RememberedWait, laws: Sequence[Distribution], scale: float
) -> InvertedLaw:
    def rest(s: Complex) -> Complex:
        return np.asarray(sum(part * law.lst(s) for part, law in zip(busy(s), laws, strict=True)))

    def known(t: float) -> float:
        return sum(
            p * float(laws[mode].cdf(t - (wait.swap_s if last != mode else 0.0)))
            for (last, mode), p in wait.idle.items()
        )

    return InvertedLaw(rest, 1.0 - sum(wait.idle.values()), known, scale, MOST_TERMS)
