"""FCFS with a queue threshold: the transform of the wait, jointly with the mode of the own service, exact.

The mode of a service depends on arrivals behind the tagged request, so the wait is not that of an M/G/1
queue. Follow the tagged request: at a service start it holds position p (p = 1: its own) with r requests
behind it. With alpha_a(s) = E[exp(-sX); a arrivals in X] of that service,

    g_p(r) = sum_a alpha_a(s) g_{p-1}(r + a),

and once r >= K all services to come are long: g_p = f_p, a power of one transform. A request that arrives finds a
service under way, begun with n' present; it has j arrivals before it in that service and i behind it, with
transform K_{j,i}(s) of the rest of the service, where sum K_{j,i} z^j w^i = (X~(lambda(1-z)) -
X~(s+lambda(1-w))) / (s + lambda z - lambda w). It then holds position n' + j with i behind it. The sum over all of
f_p is one of powers, by the generating functions of `threshold_begun`; g_p(i) - f_p is soon negligible, as
hardly ever fewer than K arrive in many services.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import comb
from typing import TYPE_CHECKING

import numpy as np

from qmodel.service.transform import QueueCondition
from qmodel.theory.numerics.inversion import InvertedLaw, Law
from qmodel.theory.state.modes import LONG, SHORT, mode_of
from qmodel.theory.state.threshold import ThresholdChain
from qmodel.theory.state.threshold_begun import FARTHEST, MODES, Begun, Change, Step
from qmodel.workload import Distribution

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Complex = NDArray[np.complex128]

HIGHEST = 12
"""Largest threshold: the work for a point grows with it."""
GROWN = 1e7
"""Growth of rounding errors, as binomials, from which on the table of K_{j,i} is not made one i by another."""
FEW = 4
"""Threshold up to which few points give the coefficients alpha_a, at a radius that costs them five digits."""
NEGLIGIBLE = 1e-9
"""Probability of positions, and transform from there on, that are left out."""
BLOCK = 256
MOST_TERMS = 4096
STILL = 5e-6
"""Change of a probability on doubling the terms of its inversion below which it stands."""


def alpha(step: Step, s: Complex, most: int) -> Complex:
    """E[exp(-sX); A = a] for a = 0..most - 1, one row an a."""
    if most == 1:
        return np.asarray(step.law.lst(s + step.rate))[None]
    points, radius = (most + 2, 0.02) if most <= FEW else (8 * most, 1e-14 ** (0.125 / most))
    z = radius * np.exp(2j * np.pi * np.arange(points) / points)
    values = step.law.lst(s + step.rate * (1.0 - z[:, None]))
    return np.asarray(np.fft.fft(values, axis=0)[:most] * (radius ** -np.arange(float(most)) / points)[:, None])


def rest(step: Step, s: Complex, alphas: Complex, whole: Complex) -> tuple[Complex, Complex]:
    """K_{j,i}(s), i < K, as [i, j, s], and its sum over all i, as [j, s]."""
    sources = np.repeat(step.counts.astype(complex)[:, None], len(s), axis=1)
    less = s - step.rate
    most, followed = len(alphas), len(step.counts)
    table = _one_by_one(step, s, alphas) if comb(followed + most, most) <= GROWN else _around(step, s, most)
    return table, _rising(less, np.abs(less) > step.rate, step.rate, sources, whole)


def _around(step: Step, s: Complex, most: int) -> Complex:
    """The same table from values at w around a circle: one recursion each, so no error grows with i."""
    points, radius = 8 * most, 1e-14 ** (0.125 / most)
    w = radius * np.exp(2j * np.pi * np.arange(points) / points)
    turned = np.subtract.outer(-step.rate * w, -s).ravel()  # s - lambda w
    sources = np.repeat(step.counts.astype(complex)[:, None], turned.size, axis=1)
    first = np.asarray(step.law.lst(turned + step.rate))
    found = _rising(turned, np.abs(turned) > step.rate, step.rate, sources, first)
    turns = np.fft.fft(found.reshape(-1, points, len(s)), axis=1)[:, :most]
    scaled = turns * (radius ** -np.arange(float(most)) / points)[:, None]
    return np.ascontiguousarray(scaled.swapaxes(0, 1))


def _one_by_one(step: Step, s: Complex, alphas: Complex) -> Complex:
    """The table, each i from the one before: errors grow with the binomials of j + i."""
    up = np.abs(s) > step.rate
    table = np.empty((len(alphas), len(step.counts), len(s)), dtype=complex)
    sources = np.repeat(step.counts.astype(complex)[:, None], len(s), axis=1)
    before = sources
    for i, first in enumerate(alphas):
        before = table[i] = _rising(s, up, step.rate, before, first)
        before = step.rate * before
    return table


def _rising(s: Complex, up: NDArray[np.bool_], rate: float, sources: Complex, first: Complex) -> Complex:
    """x_j with s x_j + rate x_{j-1} = sources_j - [j = 0] first: upwards where |s| > rate, else downwards."""
    out = np.zeros_like(sources)
    if up.any():
        _upwards(out, up, s, rate, sources, first)
    if not up.all():
        _downwards(out, ~up, s, rate, sources)
    return out


def _upwards(
    out: Complex, up: NDArray[np.bool_], s: Complex, rate: float, sources: Complex, first: Complex
) -> None:
    inverse = 1.0 / s[up]
    part = sources[:, up] * inverse
    part[0] -= first[up] * inverse
    inverse *= -rate
    for j in range(1, len(part)):
        part[j] += inverse * part[j - 1]
    out[:, up] = part


def _downwards(out: Complex, down: NDArray[np.bool_], s: Complex, rate: float, sources: Complex) -> None:
    part = np.zeros((len(sources), int(down.sum())), dtype=complex)
    part[:-1] = sources[1:, down] / rate
    factor = -s[down] / rate
    for j in range(len(part) - 2, -1, -1):
        part[j] += factor * part[j + 1]
    out[:, down] = part


@dataclass(frozen=True)
class TaggedWait:
    """Wait and mode of the own service of a request, under FCFS with a queue condition."""

    rate: float
    laws: tuple[Distribution, Distribution]
    condition: QueueCondition
    chain: ThresholdChain

    @cached_property
    def begun(self) -> Begun:
        """What an arrival finds under way."""
        return Begun(self.rate, self.laws, self.condition, self.chain)

    @cached_property
    def idle(self) -> dict[Change, float]:
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
    def _changes(self) -> list[Change]:
        """Changes of mode that occur."""
        return [change for change, found in self.begun.by_number.items() if found.any()]

    @cached_property
    def _positions(self) -> int:
        """The position from which on it is negligible that fewer than K arrive until the own service, or less."""
        above, begun = self.condition.above, self.begun
        beyond = np.full(FARTHEST, 1.0 - sum(self.idle.values()))
        for change in self._changes:
            left = np.append(1.0 - begun.steps[change].counts[0], begun.steps[change].tails[1:])
            beyond[1:] -= np.convolve(begun.by_number[change], left)[: FARTHEST - 1].cumsum()
        most = [np.cumsum(np.pad(begun.steps[c].counts, (0, above))[:above]) for c in self._changes]
        law, few = np.diff(np.max(most, axis=0), prepend=0.0), np.eye(1, above)[0]
        p = 1
        while p < FARTHEST - 1 and (p <= above + 1 or few.sum() * beyond[p] >= NEGLIGIBLE):
            few, p = np.convolve(few, law)[:above], p + 1
        return p

    def _busy(self, s: Complex) -> Complex:
        steps = self.begun.steps
        alphas = {step: alpha(step, s, self.condition.above) for step in set(steps.values())}
        wholes = {step: np.asarray(step.law.lst(s)) for step in alphas}
        rests = {step: rest(step, s, alphas[step], wholes[step]) for step in {steps[c] for c in self._changes}}
        ahead = self._ahead(s, alphas, wholes)
        out = np.zeros((2, len(s)), dtype=complex)
        for change in self._changes:
            near, all_behind = rests[steps[change]]
            out[LONG] += self._far(change, s, all_behind, wholes)
            weights = self._weights(change)
            for r, table in enumerate(near):
                found = (weights @ table.view(float)).view(complex)
                out += np.einsum("ps,pms->ms", found, ahead[change[1]][1:, r])
        return out

    def _weights(self, change: Change) -> NDArray[np.float64]:
        """lambda times services begun with n, at [position - 1, arrivals before]; the position is n + those."""
        begun = self.begun.by_number[change]
        places = np.subtract.outer(np.arange(1, self._positions), np.arange(len(self.begun.steps[change].counts)))
        return np.where(places > 0, begun[np.maximum(places, 0)], 0.0) * self.rate

    def _far(self, change: Change, s: Complex, rests: Complex, wholes: dict[Step, Complex]) -> Complex:
        """sum of f_p over the arrivals that find this change under way."""
        begun, mode = self.begun, change[1]
        power = wholes[begun.steps[LONG, LONG]]
        later = np.zeros_like(s)
        for part in rests[:0:-1]:
            later = later * power + part
        further = begun.generating(change, power, 1) * later + rests[0] * begun.generating(change, power, 2)
        first = begun.known[change][1] * rests[0] * self._own_swap(mode, LONG, s)
        return self.rate * (first + wholes[begun.steps[mode, LONG]] * further)

    def _own_swap(self, last: int, mode: int, s: Complex) -> Complex:
        return np.exp(-s * self.swap_s) if last != mode else np.ones_like(s)

    def _ahead(self, s: Complex, alphas: dict[Step, Complex], wholes: dict[Step, Complex]) -> list[Complex]:
        """g_p(r) - f_p, r = 0..K-1, by the mode of the last service: [p, r, own mode, s]."""
        above, steps = self.condition.above, self.begun.steps
        out = [np.zeros((self._positions, above, 2, len(s)), dtype=complex) for _ in MODES]
        far = [self._own_swap(last, LONG, s) for last in MODES]
        for last in MODES:
            for r in range(above):
                mode = mode_of(1 + r, last, self.condition)
                out[last][1, r, mode] += self._own_swap(last, mode, s)
                out[last][1, r, LONG] -= far[last]
        for p in range(2, above + 1):
            further = [wholes[steps[last, LONG]] * far[LONG] for last in MODES]
            for last in MODES:
                for r in range(above):
                    mode = mode_of(p + r, last, self.condition)
                    own = alphas[steps[last, mode]][: above - r]
                    out[last][p, r] = np.einsum("as,ams->ms", own, out[mode][p - 1, r:])
                    out[last][p, r, LONG] += wholes[steps[last, mode]] * far[mode] - further[last]
            far = further
        for last in (LONG, SHORT):
            self._all_long(out, last, alphas[steps[last, LONG]])
        return out

    def _all_long(self, out: list[Complex], last: int, own: Complex) -> None:
        """From position K + 1 on, in place: by long services, of which the first may come after a short one."""
        above, steps = self.condition.above, self.begun.steps
        if last == SHORT and steps[last, LONG] is steps[LONG, LONG]:
            out[last][above + 1 :] = out[LONG][above + 1 :]
            return
        for p in range(above + 1, self._positions):
            here, before = out[last][p], out[LONG][p - 1]
            for a in range(above):
                here[: above - a] += own[a] * before[a:]


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
    if wait.condition.above > HIGHEST or wait.begun.too_long:
        return [None] * len(deliveries)
    busy = RememberedWait(wait)
    return [_response_law(wait, busy, laws, scale) for laws in deliveries]


def _response_law(
    wait: TaggedWait, busy: RememberedWait, laws: Sequence[Distribution], scale: float
) -> InvertedLaw:
    def until_delivery(s: Complex) -> Complex:
        return np.asarray(sum(part * law.lst(s) for part, law in zip(busy(s), laws, strict=True)))

    def known(t: float) -> float:
        return sum(
            p * float(laws[mode].cdf(t - (wait.swap_s if last != mode else 0.0)))
            for (last, mode), p in wait.idle.items()
        )

    return InvertedLaw(until_delivery, 1.0 - sum(wait.idle.values()), known, scale, MOST_TERMS, still=STILL)
