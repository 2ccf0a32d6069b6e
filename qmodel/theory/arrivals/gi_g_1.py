"""GI/G/1 under FCFS: independent gamma gaps and any law of service, exact by Wiener-Hopf factorisation.

Gaps U are gamma of shape k = 1/scv and rate b = k lambda; Y = S - U, d = -E[Y] > 0. With

    F(z) = (1 - S~(z) (1 - z/b)^-k) (z - a) / z,   F(0) = d a,  F -> 1,

log F = log P(z) + log N(z), P analytic without zeros on the right and N on the left of a path that crosses the
real axis in (0, a) with no zero of F between it and the imaginary axis (their number is the winding of F):

    log N(s) = 1/(2 pi i) int log F(z) / (z - s) dz  for s on the left, log P(s) = minus that on the right,
    W~(s) = P(0) / P(s),   P(W = 0) = P(0) = d a / N(0),   E[W] = E[Y^2] / (2 d) - 1/a - (log N)'(0).

Where S~ is rational this is the textbook's product over roots (GI/M/1, GI/PH/1). The path bends to the right,
where S~ decays. Sources: Pollaczek, *C. R. Acad. Sci. Paris* 234 (1952) 2334-2336; Smith, *Proc. Camb. Phil. Soc.*
49 (1953) 449-461; Abate, Choudhury & Whitt, *Stochastic Models* 9 (1993) 311-336.

>>> from qmodel.workload import Exponential
>>> round(Factors(0.9, 0.5, Exponential(mean=1.0)).mean_wait, 9)  # GI/M/1: x/(1 - x), x = (1.8/(2.8 - x))^2
6.588283629
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from qmodel.answer import NotAnalysable
from qmodel.scenario import ServedClass
from qmodel.theory.one_server.m_g_1 import INDEPENDENT, ONE_SERVER, after_wait
from qmodel.theory.result import Result, Unstable
from qmodel.theory.supply import merged
from qmodel.workload import Distribution

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Complex = NDArray[np.complex128]

RENEWAL = "independent gaps of a gamma law"
NODES = 10
RATIO = 2.0
"""Panels of the path end at multiples of one another, at most this far apart."""
REACH = 1e12
"""The path goes on to so many times the gaps' rate."""
MOST_PANELS = 6000
BLOCK = 1 << 21


class TooRegular(ArithmeticError):
    """Gaps so nearly constant that the path would have to pass between zeros that all but touch the axis."""


@dataclass(frozen=True)
class Factors:
    """The factorisation for gamma gaps of this rate and scv, and services of law `size`; the load is below 1."""

    rate: float
    scv: float
    size: Distribution

    @property
    def shape(self) -> float:
        """k: shape of the gaps."""
        return 1.0 / self.scv

    @property
    def gap_rate(self) -> float:
        """b: rate parameter of the gaps; a is the same number."""
        return self.rate / self.scv

    @property
    def slack(self) -> float:
        """d: mean gap less mean service."""
        return 1.0 / self.rate - self.size.mean

    def f(self, z: Complex) -> Complex:
        """F(z) for Re(z) > 0 off the real axis beyond b."""
        b = self.gap_rate
        return np.asarray((1.0 - self.size.lst(z) * np.exp(-self.shape * np.log(1.0 - z / b))) * (z - b) / z)

    @cached_property
    def path(self) -> tuple[float, Complex, Complex, Complex]:
        """Where the path crosses the axis, its nodes and weights above it, and log F there. Raises TooRegular."""
        crossing = 0.5 * self.gap_rate
        while _panels(crossing, self.gap_rate, self.shape) <= MOST_PANELS:
            z, weights = _upper_half(crossing, self.gap_rate, self.shape)
            values = self.f(z)
            turning = np.unwrap(np.angle(values))
            if (
                abs(turning[-1]) < 1.0
            ):  # no zero of F between the axis and the path: half way there is clear of them
                z, weights = _upper_half(0.5 * crossing, self.gap_rate, self.shape)
                values = self.f(z)
                return 0.5 * crossing, z, weights, np.log(np.abs(values)) + 1j * np.unwrap(np.angle(values))
            crossing *= 0.5
        raise TooRegular(f"scv of the gaps is {self.scv:g}")

    @cached_property
    def at_once(self) -> float:
        """P(W = 0)."""
        _, z, weights, logs = self.path
        return self.slack * self.gap_rate * math.exp(-float((weights * logs / z).imag.sum()) / math.pi)

    @cached_property
    def mean_wait(self) -> float:
        """E[W] (s), infinite with E[S^2]."""
        _, z, weights, logs = self.path
        gap = 1.0 / self.rate
        second = self.size.moment(2) - 2.0 * self.size.mean * gap + (1.0 + self.scv) * gap**2
        turn = float((weights * logs / z**2).imag.sum()) / math.pi
        return second / (2.0 * self.slack) - 1.0 / self.gap_rate - turn

    def positive(self, s: Complex) -> Complex:
        """Transform of W where W > 0, Re(s) > 0; shape of s kept."""
        flat = np.asarray(s, dtype=complex).reshape(-1)
        rows = max(1, BLOCK // (2 * len(self.path[1])))
        parts = [self._factor(flat[i : i + rows]) for i in range(0, len(flat), rows)]
        return np.asarray((self.at_once / np.concatenate(parts)).reshape(np.shape(s)) - self.at_once)

    def _factor(self, s: Complex) -> Complex:
        """P(s), by the integral on either side of the path; its singularity is taken out where s is near."""
        crossing, upper, weights, logs = self.path
        z = np.concatenate((upper.conj()[::-1], upper))
        w = np.concatenate((-weights.conj()[::-1], weights))
        values = np.concatenate((logs.conj()[::-1], logs))
        gaps = z - s[:, None]
        nearest = np.abs(gaps).argmin(axis=1)
        right = s.real > crossing + np.maximum(np.abs(s.imag) - self.gap_rate, 0.0)
        near = np.abs(gaps[np.arange(len(s)), nearest]) < _widths(np.abs(w))[nearest]
        here = np.log(self.f(np.where(near | ~right, s, upper[0])))
        turns = np.round((values[nearest].imag - here.imag) / (2.0 * np.pi))
        taken = np.where(near, here + 2j * np.pi * turns, 0.0)
        integral = ((values - taken[:, None]) / gaps) @ w
        ends = np.log(z[-1] - s) - np.log(z[0] - s) - 2j * np.pi * right  # of dz/(z - s), clockwise on the right
        log_n = (integral + taken * ends) / (2j * np.pi)
        return np.asarray(np.exp(np.where(right, -log_n, here - log_n)))


def _widths(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """By node, the width of its panel or of the wider one beside it: singularities nearer than that are felt."""
    widths = np.pad(weights.reshape(-1, NODES).sum(axis=1), 1, mode="edge")
    return np.repeat(np.maximum(np.maximum(widths[:-2], widths[2:]), widths[1:-1]), NODES)


def _panels(crossing: float, gap_rate: float, shape: float) -> float:
    return 2.0 * gap_rate / min(crossing, 4.0 * gap_rate / shape)


def _upper_half(crossing: float, gap_rate: float, shape: float) -> tuple[Complex, Complex]:
    """Gauss nodes and complex weights from the axis up: straight to the height b, then slanting to the right."""
    width = min(crossing, 4.0 * gap_rate / shape)
    low = np.linspace(0.0, 2.0 * gap_rate, 2 * max(1, math.ceil(gap_rate / width)) + 1)
    low = np.unique(np.concatenate((low, low[1] * 0.5 ** np.arange(1.0, 4.0))))
    ends, step = low.tolist(), float(low[-1] - low[-2])
    while ends[-1] < REACH * gap_rate:
        step = min(RATIO * step, (RATIO - 1.0) * ends[-1])
        ends.append(ends[-1] + step)
    edges = np.array(ends)
    x, w = np.polynomial.legendre.leggauss(NODES)
    half = 0.5 * np.diff(edges)[:, None]
    y = (edges[:-1, None] + half * (x + 1.0)).reshape(-1)
    slanting = y > gap_rate
    z = crossing + np.where(slanting, y - gap_rate, 0.0) + 1j * y
    return z, np.asarray((half * w).reshape(-1) * np.where(slanting, 1.0 + 1j, 1j))


def gi_g_1(classes: Sequence[ServedClass], rate: float, scv: float) -> Result | NotAnalysable | Unstable:
    """Mean and law of the response of classes that come as one renewal stream of this rate and scv."""
    size = merged(classes)[1]
    if rate * size.mean >= 1.0:
        return Unstable(rate * size.mean)
    factors = Factors(rate, scv, size)
    try:
        busy = 1.0 - factors.at_once
    except TooRegular:
        return NotAnalysable(f"gaps of scv {scv:g} are all but constant", "scv = 0.01")
    wait = max(0.0, factors.mean_wait)  # rounding errors, where hardly anyone waits
    return Result(
        classes=tuple(after_wait(served, wait, factors.positive, busy) for served in classes),
        name="GI/G/1 FCFS: Wiener-Hopf factorisation",
        source="Pollaczek 1952; Smith 1953; Abate, Choudhury & Whitt 1993",
        assumptions=(RENEWAL, INDEPENDENT, ONE_SERVER),
    )
