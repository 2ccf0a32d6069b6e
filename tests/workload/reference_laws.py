"""The textbook densities in mpmath, with parameters solved apart from the code under test."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import mpmath as mp

from qmodel.workload import (
    BoundedPareto,
    Distribution,
    Erlang,
    Exponential,
    Gamma,
    Hyperexponential,
    Lognormal,
    Pareto,
    Uniform,
    Weibull,
)

Density = Callable[[mp.mpc], mp.mpc]


@dataclass
class Reference:
    """A law under test, its density, and points between which that is smooth."""

    law: Distribution
    density: Density
    edges: tuple[float, ...] = (0,)
    turn: float = 0.25
    """Angle (in units of pi) by which the path of integration of the transform may leave the real axis."""

    closed: dict[str, float] = field(default_factory=dict)

    def integral(self, function: Callable, start: float | None = None, end: float | None = None) -> mp.mpf:
        low = self.edges[0] if start is None else start
        high = (self.edges[1] if len(self.edges) > 1 else mp.inf) if end is None else end
        if high <= low:
            return mp.mpf(0)
        # x = low + t**6 takes the sting out of densities that are infinite at their low end
        ends = [0, *((self.law.mean * mp.mpf(10) ** k) ** (mp.mpf(1) / 6) for k in range(-6, 7))]
        last = mp.inf if high == mp.inf else (mp.mpf(high) - low) ** (mp.mpf(1) / 6)

        def integrand(t: mp.mpf) -> mp.mpf:
            x = low + t**6
            return 6 * t**5 * function(x) * self.density(x) if t else mp.mpf(0)

        return mp.quad(integrand, [*(t for t in ends if t < last), last])

    def transform(self, s: complex) -> complex:
        """E[exp(-sS)]; an infinite path is turned into the lower half-plane, where the integrand dies out."""
        s = mp.mpmathify(s)
        if len(self.edges) > 1:
            ratio = mp.mpf(self.edges[1]) / self.edges[0]
            points = [self.edges[0] * ratio ** (mp.mpf(i) / 160) for i in range(161)]
            return complex(mp.quad(lambda x: self.density(x) * mp.exp(-s * x), points))
        low, ray = mp.mpf(self.edges[0]), mp.expjpi(-self.turn)
        points = [0, *((mp.mpf(10) ** k / abs(s)) ** (mp.mpf(1) / 6) for k in range(-8, 4))]

        def integrand(t: mp.mpf) -> mp.mpc:
            x = low + t**6 * ray
            return 6 * t**5 * ray * self.density(x) * mp.exp(-s * x) if t else mp.mpc(0)

        return complex(mp.quad(integrand, points))


def gamma(mean: float, scv: float) -> Density:
    shape, scale = 1 / mp.mpf(scv), mp.mpf(mean) * scv
    return lambda x: x ** (shape - 1) * mp.exp(-x / scale) / (mp.gamma(shape) * scale**shape)


def hyperexponential(mean: float, scv: float) -> Density:
    p = (1 + mp.sqrt((mp.mpf(scv) - 1) / (mp.mpf(scv) + 1))) / 2
    rates = (2 * p / mean, 2 * (1 - p) / mean)
    return lambda x: p * rates[0] * mp.exp(-rates[0] * x) + (1 - p) * rates[1] * mp.exp(-rates[1] * x)


def lognormal(mean: float, scv: float) -> Density:
    variance = mp.log(1 + mp.mpf(scv))
    mu = mp.log(mean) - variance / 2
    return lambda x: mp.exp(-((mp.log(x) - mu) ** 2) / (2 * variance)) / (x * mp.sqrt(2 * mp.pi * variance))


def weibull(mean: float, scv: float) -> Density:
    def gap(k: mp.mpf) -> mp.mpf:
        return mp.log(mp.gamma(1 + 2 / k)) - 2 * mp.log(mp.gamma(1 + 1 / k)) - mp.log(1 + mp.mpf(scv))

    k = mp.findroot(gap, 1 / mp.sqrt(scv))
    scale = mean / mp.gamma(1 + 1 / k)
    return lambda x: k / scale * (x / scale) ** (k - 1) * mp.exp(-((x / scale) ** k))


def pareto(mean: float, alpha: float) -> tuple[Density, mp.mpf]:
    alpha = mp.mpf(alpha)
    low = mean * (alpha - 1) / alpha
    return (lambda x: alpha * low**alpha / x ** (alpha + 1)), low


def bounded_pareto(low: float, high: float, alpha: float) -> Density:
    low, high, alpha = mp.mpf(low), mp.mpf(high), mp.mpf(alpha)
    return lambda x: alpha * low**alpha * x ** (-alpha - 1) / (1 - (low / high) ** alpha)


def _pareto(mean: float, alpha: float) -> Reference:
    density, low = pareto(mean, alpha)
    return Reference(Pareto(mean, alpha), density, (low,))


REFERENCES: dict[str, Reference] = {
    "exponential": Reference(Exponential(2.0), gamma(2, 1)),
    "gamma 0.3": Reference(Gamma(1.5, 0.3), gamma(1.5, 0.3)),
    "gamma 3": Reference(Gamma(2.0, 3.0), gamma(2, 3)),
    "erlang 4": Reference(Erlang(4, 1.0), gamma(1, 0.25)),
    "hyperexponential 4": Reference(Hyperexponential(1.0, 4.0), hyperexponential(1, 4)),
    "hyperexponential 1": Reference(Hyperexponential(3.0, 1.0), gamma(3, 1)),
    "hyperexponential 400": Reference(Hyperexponential(1e-3, 400.0), hyperexponential(1e-3, 400)),
    "lognormal 3": Reference(Lognormal(2.0, 3.0), lognormal(2, 3)),
    "lognormal 0.02": Reference(Lognormal(0.01, 0.02), lognormal(0.01, 0.02)),
    "weibull 4": Reference(Weibull(1.0, 4.0), weibull(1, 4)),
    "weibull 0.5": Reference(Weibull(3.0, 0.5), weibull(3, 0.5)),
    "uniform": Reference(Uniform(1.0, 3.0), lambda x: mp.mpf("0.5"), (1, 3)),
    "pareto 2.5": _pareto(1.0, 2.5),
    "pareto 1.3": _pareto(4.0, 1.3),
    "bounded pareto 1.1": Reference(BoundedPareto(0.1, 50.0, 1.1), bounded_pareto(0.1, 50, 1.1), (0.1, 50)),
    "bounded pareto 1": Reference(BoundedPareto(1.0, 100.0, 1.0), bounded_pareto(1, 100, 1), (1, 100)),
    "bounded pareto 2": Reference(BoundedPareto(0.5, 9.0, 2.0), bounded_pareto(0.5, 9, 2), (0.5, 9)),
}


def finite_moments(law: Distribution) -> Iterable[int]:
    top = getattr(law, "alpha", 99) if isinstance(law, Pareto) else 99
    return [k for k in (1, 2, 3, 4) if k < top]
