"""Work in a queue driven by a Markov chain: bursty arrivals, a server whose speed changes, or both.

Phases 0..m-1 of a chain with rates D0 (without an arrival) and D_k (with one of stream k, which brings work of law
S_k); in phase j the server works off c_j >= 0 seconds of work a second. With M(s) = s C + D0 + sum_k D_k S_k~(s),
the stationary work V with its phase has the transform, a row vector,

    v(s) M(s) = s u,   u_j = c_j P(V = 0, phase j).

Watch the work only when it reaches a new minimum: the phase then is a Markov chain in the level, with a generator
Q on the phases where c_j > 0. Each pair -Q r = s r has M(s) (r, r_D) = 0, r_D on the phases without service; u is
the left null vector of Q, scaled to u 1 = pi C 1 - sum_k pi D_k 1 E[S_k]. Q is iterated by its eigenvectors from
D, all iterates generators, and the roots are then closed by Newton steps; what is left of the equation is checked.
Sources: Takine & Hasegawa, *Stochastic Models* 10 (1994) 183-204 (MAP/G/1); Asmussen, *Adv. Appl. Prob.* 27 (1995)
241-266 and *Applied Probability and Queues* (2003), chapters X and XI (Markov-modulated Levy processes).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from qmodel.theory.numerics.stationary import stationary_law
from qmodel.workload import Distribution

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]
    Complex = NDArray[np.complex128]

ITERATIONS = 20_000
"""Most iterations, divided by the number of phases."""
STILL, FINAL, CLOSED = 1e-6, 1e-12, 1e-8
"""Relative change of Q's rates from which Newton steps take over, at which iterations end without them, and largest
error of the equation that is accepted."""
BLOCK = 1 << 20
"""Numbers in the matrices that are solved at a time."""
ROUNDING, LOUDEST, MOST_BLURRED = 1e-14, 1e-10, 1e-4
ALIKE = 1e10
"""Condition of the eigenvectors from which two are taken to be one."""
ZERO = 1e-10
"""Roots below this, relative to the rates, are 0."""


class NoConvergence(ArithmeticError):
    """The equation for Q could not be solved to `CLOSED`, or its solution would drown in rounding errors."""


@dataclass(frozen=True)
class ModulatedWork:
    """The stationary work of streams with rates `marked[k]` and work `laws[k]`; `speeds[j]` in phase j."""

    d0: Matrix
    marked: tuple[Matrix, ...]
    laws: tuple[Distribution, ...]
    speeds: Matrix

    @cached_property
    def generator(self) -> Matrix:
        """D: rates of the phases."""
        return np.asarray(self.d0 + sum(self.marked))

    @cached_property
    def phases(self) -> Matrix:
        """pi: long-run share of time in each phase."""
        return stationary_law(self.generator)

    def rate(self, stream: int) -> float:
        """Arrivals per second of a stream."""
        return float((self.phases @ self.marked[stream]).sum())

    @property
    def drift(self) -> float:
        """Mean speed less the work that comes in a second: above 0 in a stable queue."""
        return float(self.phases @ self.speeds) - math.fsum(
            self.rate(k) * law.mean for k, law in enumerate(self.laws)
        )

    def at(self, s: Any) -> Complex:
        """M(s), shape (..., m, m)."""
        s = np.asarray(s, dtype=complex)
        out = s[..., None, None] * np.diag(self.speeds) + self.d0
        for rates, law in zip(self.marked, self.laws, strict=True):
            out = out + law.lst(s)[..., None, None] * rates
        return np.asarray(out)

    @property
    def blur(self) -> float:
        """Relative error that rounding leaves in means when the phase changes very rarely."""
        if len(self.d0) == 1:
            return 0.0
        slowest = np.linalg.svd(self.generator, compute_uv=False)[-2]
        return float(np.finfo(float).eps * (np.abs(self.d0).max() / slowest) ** 2)

    @cached_property
    def idle(self) -> Matrix:
        """u: share of the server's speed that finds no work, by phase. Raises NoConvergence."""
        if self.blur > MOST_BLURRED:
            raise NoConvergence("the phases change too rarely")
        working = self.speeds > 0
        q = level_generator(self)
        row = np.zeros(len(self.speeds))
        found = np.linalg.svd(q.T)[2][-1]
        row[working] = self.drift * found / found.sum()
        return row

    @cached_property
    def empty(self) -> Matrix:
        """P(V = 0, phase j)."""
        working = self.speeds > 0
        out = np.zeros(len(self.speeds))
        out[working] = self.idle[working] / self.speeds[working]
        if not working.all():
            stopped = ~working
            into = out[working] @ self.d0[np.ix_(working, stopped)]
            out[stopped] = np.linalg.solve(-self.d0[np.ix_(stopped, stopped)].T, into)
        return out

    def transform(self, s: Any) -> Complex:
        """v(s), shape (..., m), s != 0."""
        s = np.asarray(s, dtype=complex)
        flat, rows = s.reshape(-1), max(1, BLOCK // self.d0.size)
        parts = [self._transform(flat[i : i + rows]) for i in range(0, len(flat), rows)]
        return np.concatenate(parts or [np.empty(0, dtype=complex)]).reshape(*s.shape, len(self.d0))

    def _transform(self, s: Complex) -> Complex:
        near = np.abs(s) <= 0.1 * ROUNDING * np.abs(self.d0).max()  # of 0: M(s) is singular to the last digit
        s = np.where(near, np.abs(self.d0).max(), s)
        right = s[:, None] * self.idle
        found = np.linalg.solve(np.swapaxes(self.at(s), -1, -2), right[..., None])[..., 0]
        return np.asarray(np.where(near[:, None], self.phases, found))

    @cached_property
    def slope(self) -> Matrix:
        """v'(0): minus the mean work, by phase; needs finite E[S^2]."""
        pi, one = self.phases, np.ones(len(self.speeds))
        first, second = (
            sum(law.moment(k) * rates for rates, law in zip(self.marked, self.laws, strict=True)) for k in (1, 2)
        )
        net = np.diag(self.speeds) - first
        gap = self.idle - pi @ net
        scale = np.abs(self.generator).max() or 1.0
        part = -np.linalg.solve((scale * np.outer(one, pi) - self.generator).T, gap)
        share = -(0.5 * pi @ second @ one + part @ net @ one) / self.drift
        return np.asarray(part + share * pi)

    def seen(self, row: Any, marked: Matrix) -> Any:
        """A row of the work by phase as the arrivals with these rates find it, by the phase after the arrival."""
        return row @ marked / float((self.phases @ marked).sum())


def level_generator(work: ModulatedWork) -> Matrix:
    """Q: rates of the phase at new minima of the work, per second of work. Raises NoConvergence."""
    start = _folded(work, np.array([0j]), np.eye(int((work.speeds > 0).sum()), dtype=complex)[None])[0].real
    size = float(np.abs(work.d0).max() / work.speeds.max())
    near = _iterated(work, start, STILL, ROUNDING * size)
    closed = _closed(work, near, size)
    noise = 0.1 * ROUNDING * size * (10.0 + float(np.linalg.cond(np.linalg.eig(closed)[1])))
    if _within(_from_pairs(work, closed), closed, CLOSED, min(noise, LOUDEST * size)):
        return closed
    # roots that coincide, as alike streams have, attract one another's Newton steps: iterate to the end
    final = _iterated(work, near, FINAL, ROUNDING * size)
    if _within(_from_pairs(work, final), final, CLOSED, ROUNDING * size):
        return final
    raise NoConvergence("the phase at new minima of the work is not found")


def _iterated(work: ModulatedWork, q: Matrix, still: float, noise: float) -> Matrix:
    for _ in range(ITERATIONS // len(q)):
        old, q = q, _from_pairs(work, q)
        if _within(q, old, still, noise):
            break
    return q


def _within(new: Matrix, old: Matrix, relative: float, noise: float) -> bool:
    """Whether every rate is as it was, up to this share of itself and rounding errors."""
    return bool((np.abs(new - old) <= relative * np.abs(old) + noise).all())


def _folded(work: ModulatedWork, s: Complex, vectors: Complex) -> Complex:
    """C^-1 times the rates at each s, the phases without service folded in, applied to the vectors at that s."""
    working = work.speeds > 0
    rates = work.at(s) - s[:, None, None] * np.diag(work.speeds)
    upper = rates[:, working][:, :, working] @ vectors
    if not working.all():
        inner = np.linalg.solve(rates[:, ~working][:, :, ~working], rates[:, ~working][:, :, working] @ vectors)
        upper = upper - rates[:, working][:, :, ~working] @ inner
    return np.asarray(upper / work.speeds[working][:, None])


def _from_pairs(work: ModulatedWork, q: Matrix) -> Matrix:
    """The right side of the equation for Q, evaluated by the eigenvalues and eigenvectors of -Q."""
    values, vectors = np.linalg.eig(-q)
    values = np.where(values.real < 0, 1j * values.imag, values)
    images = _folded(work, values, vectors.T[:, :, None])[:, :, 0].T
    return np.asarray(np.linalg.solve(vectors.T, images.T).T.real)


def _closed(work: ModulatedWork, q: Matrix, size: float) -> Matrix:
    """Q after Newton steps on each root (the method of successive linear problems); 0 is a root already."""
    values, vectors = (found.astype(complex) for found in np.linalg.eig(-q))
    for i in range(len(values)):
        if abs(values[i]) > ZERO * size:
            values[i], vectors[:, i] = _root(work, values[i], vectors[:, i])
        else:
            values[i], vectors[:, i] = 0.0, 1.0
    if np.linalg.cond(vectors) > ALIKE:
        return q
    return np.asarray(((vectors * -values) @ np.linalg.inv(vectors)).real)


def _root(work: ModulatedWork, s: complex, vector: Complex) -> tuple[complex, Complex]:
    from scipy.linalg import eig  # two matrices, the second one perhaps singular

    working = work.speeds > 0
    for _ in range(8):
        step = 1e-6 * abs(s)
        here, left, right = work.at(np.array([s, s - step, s + step]))
        turns, shapes = eig(here, (right - left) / (2 * step))
        nearest = int(np.nanargmin(np.abs(turns)))
        if abs(turns[nearest]) > 0.1 * abs(s):
            break
        s, vector = s - turns[nearest], shapes[working, nearest]
        if abs(turns[nearest]) <= 1e-15 * abs(s):
            break
    return s, vector


def merged_streams(
    streams: Sequence[tuple[Matrix, Distribution]],
) -> tuple[tuple[Matrix, ...], tuple[Distribution, ...]]:
    """Streams of one law taken together: fewer transforms to compute."""
    together: dict[Distribution, Matrix] = {}
    for rates, law in streams:
        together[law] = together[law] + rates if law in together else rates
    return tuple(together.values()), tuple(together)
