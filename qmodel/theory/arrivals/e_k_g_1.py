"""E_k/G/1 under FCFS, exactly: every k-th request of a Poisson stream, as round robin deals them out.

Requests come to the dealer at rate nu, so gaps are Erlang of k phases of rate nu. With s_1, ..., s_{k-1} the roots
of f(s) = (1 - s / nu)^k - S~(s) with Re(s) > 0, and f = f_1 s + f_2 s^2 + ... at 0,

    W~(s) = f_1 s prod_i (1 - s / s_i) / f(s),    P(W = 0) = (k / nu - E[S]) nu^k / prod_i s_i,
    E[W] = sum_i 1 / s_i + f_2 / f_1,    f_1 = E[S] - k / nu,    f_2 = (k (k - 1) / nu^2 - E[S^2]) / 2.

k = 1 is Pollaczek-Khinchine; with constant services it is M/D/k. Sources: Smith, *Proc. Camb. Phil. Soc.* 49 (1953)
449-461; Kleinrock, *Queueing Systems I* (1975), section 8.2; Iversen & Staalhagen, *Electronics Letters* 35 (1999)
(equality with M/D/k).
"""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np

from qmodel.errors import InputError
from qmodel.workload import Distribution

HOMOTOPY_STEPS, LAST_STEPS = (8, 32, 128), 6
"""Steps to the whole service, more where fewer lose a root, and Newton's steps there."""
SHIFT = 1e-6
"""Relative step of the numerical derivative; Newton only needs its first digits."""


class DealtQueue:
    """One of k queues that a stream of `rate` requests a second is dealt to in turn.

    >>> from qmodel.workload import Deterministic, Exponential
    >>> round(DealtQueue(1, 0.8, Exponential(mean=1.0)).mean_wait, 9)
    4.0
    >>> round(DealtQueue(2, 1.6, Deterministic(1.0)).mean_wait, 9)  # = M/D/2
    0.903283879
    """

    def __init__(self, queues: int, rate: float, size: Distribution) -> None:
        self.queues, self.rate, self.size = queues, rate, size

    @cached_property
    def roots(self) -> np.ndarray:
        """Roots with positive real part; those below the real axis are the conjugates of those above.

        Raises InputError where they cannot be told apart, for services that are nearly never over.
        """
        k = self.queues
        turn = np.exp(2j * np.pi * np.arange(1, k // 2 + 1) / k)
        for steps in HOMOTOPY_STEPS:
            upper = self._followed(turn, steps)
            if self._solved(upper):
                lower = np.conj(upper[: (k - 1) // 2])
                return np.concatenate((upper, lower))
        raise InputError("round robin", f"the waits of {k} queues cannot be computed", "use random routing")

    def _followed(self, turn: np.ndarray, steps: int) -> np.ndarray:
        """From the roots of a service without length to those of the whole one, by Newton at each step.

        s = nu (1 - w S~(s)^{1/k}), w a root of unity; the branch of the logarithm is carried along.
        """
        k, nu = self.queues, self.rate
        s, log = nu * (1.0 - turn), np.zeros(len(turn), dtype=complex)
        for part in [*np.linspace(0.0, 1.0, steps + 1)[1:], *(1.0,) * LAST_STEPS]:
            step = SHIFT * np.abs(s)
            here, beside = self.size.lst(part * s), self.size.lst(part * (s + step))
            log = _nearest(np.log(here), log)
            image = nu * (1.0 - turn * np.exp(log / k))
            slope = (image - nu) * np.log(beside / here) / (step * k)
            s = s - (s - image) / (1.0 - slope)
        return s

    def _solved(self, s: np.ndarray) -> bool:
        """Whether all are roots, to the right of 0, and no two the same."""
        gap = np.abs((1.0 - s / self.rate) ** self.queues - self.size.lst(s))
        apart = np.abs(np.subtract.outer(s, s)) + self.rate * np.eye(len(s))
        return bool((gap < 1e-9).all() and (s.real > 0).all() and (apart > 1e-9 * self.rate).all())

    @property
    def no_wait(self) -> float:
        """P(W = 0)."""
        k, nu = self.queues, self.rate
        return float(((1.0 - nu * self.size.mean / k) * k * np.prod(nu / self.roots)).real)

    @property
    def mean_wait(self) -> float:
        """E[W] (s); infinite if E[S^2] is."""
        k, nu, second = self.queues, self.rate, self.size.moment(2)
        if math.isinf(second):
            return math.inf
        bend = 0.5 * (k * (k - 1) / nu**2 - second) / (self.size.mean - k / nu)
        return bend + float((1.0 / self.roots).sum().real)

    def positive_wait(self, s: np.ndarray) -> np.ndarray:
        """Transform of W where W > 0, of mass 1 - P(W = 0)."""
        k, nu = self.queues, self.rate
        s = np.asarray(s, dtype=complex)
        phase = 1.0 - s / nu
        far = np.abs(phase) > 1.0
        scale = np.where(far, 1.0 / np.where(far, phase, 1.0), 1.0)  # both sides are divided by phase^k far out
        below = (scale * phase) ** k - self.size.lst(s) * scale**k
        above = np.prod((1.0 - np.divide.outer(s, self.roots)) * scale[..., None], axis=-1)
        return (self.size.mean - k / nu) * s * scale * above / below - self.no_wait


def _nearest(log: np.ndarray, before: np.ndarray) -> np.ndarray:
    """The branch of the logarithm next to the one before."""
    turns = np.round((before - log).imag / (2.0 * np.pi))
    return log + 2j * np.pi * turns
