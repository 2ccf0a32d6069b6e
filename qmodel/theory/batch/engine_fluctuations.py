"""How much more the number in a batching engine varies because requests weigh differently in an iteration.

Count time in iterations. A running request is then served one token a unit of time for exactly L units, and since
an iteration of n requests takes a + sum_i (b + c x_i) seconds, x_i the tokens in the cache of request i, arrivals
come at a rate lambda (a + sum_i (b + c x_i)): every request present brings others, more of them the longer its
context. That is a Hawkes process with random marks, and its spectrum is known. With f the indicator of being
present, g = lambda (b + c x) f + lambda p I delta_0 the rate of arrivals that a request brings, hats for
transforms and F = E[f^] / (1 - E[g^]),

    S_N = Lambda (|F|^2 (1 + Var g^) + Var f^ + 2 Re(F Cov(g^, f^))),  Var N = int_0^inf S_N d omega / pi.

The ratio of this variance to that of the same engine with contexts all alike and exponential lengths says how
much wider the law of the number in it is than the product form's. Source: Bartlett's spectrum of self-exciting
processes, Hawkes, *Biometrika* 58 (1971) 83-90; Daley & Vere-Jones, *An Introduction to the Theory of Point
Processes*, ch. 8.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from qmodel.service.iteration_time import IterationTime
from qmodel.theory.batch.token_demand import Demand, Points

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Complex = NDArray[np.complex128]
    Floats = NDArray[np.float64]

FREQUENCIES = 1500
SLOWEST, FASTEST = 1e-6, 60.0
OMEGA = np.geomspace(SLOWEST, FASTEST, FREQUENCIES)
"""Angular frequencies, in units of 1 / E[L]."""


def variance_ratio(taken: IterationTime, demand: Demand) -> float:
    """Var N over that of requests which weigh alike; 1 where contexts cost nothing and lengths are exponential."""
    return _variance(taken, demand, alike=False) / _variance(taken, demand, alike=True)


def _variance(taken: IterationTime, demand: Demand, alike: bool) -> float:
    unit = demand.outputs.moment(1)
    brought = _alike(taken, demand) if alike else _by_class(taken, demand)
    omega = OMEGA / unit
    present, arriving = np.zeros_like(omega, dtype=complex), np.zeros_like(omega, dtype=complex)
    own, marks, both = np.zeros_like(omega), np.zeros_like(omega), np.zeros_like(omega, dtype=complex)
    for share, outputs, each in brought:
        kernels = _kernels((outputs.values / unit).tobytes(), outputs.weights.tobytes()).over(unit)
        present += share * kernels.present
        arriving += share * each.mean(kernels)
        own += share * kernels.present_square
        marks += share * each.square(kernels)
        both += share * each.times_present(kernels)
    own -= np.abs(present) ** 2
    marks -= np.abs(arriving) ** 2
    both -= arriving * present.conj()
    gain = present / (1.0 - arriving)
    spectrum = (np.abs(gain) ** 2 * (1.0 + marks) + own + 2.0 * gain * both).real
    beyond = 2.0 / float(omega[-1])  # the spectrum falls as 2 / omega^2
    return _arrivals(taken, demand, unit) * (float(np.trapezoid(spectrum, omega)) + beyond) / math.pi


@dataclass(frozen=True)
class Kernels:
    """By frequency w, means over a law of lengths L of p = int_0^L exp(-iwt) dt and q = int_0^L t exp(-iwt) dt.

    `crossed` is E[q p*], * for the conjugate.
    """

    present: Complex
    aged: Complex
    present_square: Floats
    aged_square: Floats
    crossed: Complex

    def over(self, unit: float) -> Kernels:
        """The same for lengths so many times as long, and frequencies so many times as low."""
        powers = (unit, unit**2, unit**2, unit**4, unit**3)
        return Kernels(*(power * part for power, part in zip(powers, vars(self).values(), strict=True)))


@lru_cache(maxsize=32)
def _kernels(values: bytes, weights: bytes) -> Kernels:
    """Of lengths with weights, at the frequencies OMEGA; a few ms, so what was asked last is kept."""
    own = np.frombuffer(weights)
    w = OMEGA
    x = np.outer(w, np.frombuffer(values))
    half = np.sin(0.5 * x)
    sine, less = 2.0 * half * np.cos(0.5 * x), 2.0 * half**2  # of x: sin, and 1 - cos to its last digit
    real, imaginary = x * sine - less, x - sine - x * less  # of w^2 q
    mixed = (real * sine - imaginary * less) @ own, (real * less + imaginary * sine) @ own
    return Kernels(
        present=np.asarray((sine @ own - 1j * (less @ own)) / w),
        aged=np.asarray((real @ own + 1j * (imaginary @ own)) / w**2),
        present_square=2.0 * (less @ own) / w**2,
        aged_square=(real**2 + imaginary**2) @ own / w**4,
        crossed=np.asarray((mixed[0] + 1j * mixed[1]) / w**3),
    )


@dataclass(frozen=True)
class Brought:
    """Transform of the arrivals that a request of a class brings, g^ = flat p + per_context q + at_once.

    Inputs count by their mean in `flat` and `at_once`; their variance is `of_input`, and a token more or less of
    them brings per_context p + per_input.
    """

    flat: float
    per_context: float
    at_once: float
    of_input: float = 0.0
    per_input: float = 0.0

    def mean(self, k: Kernels) -> Complex:
        """E[g^]."""
        return np.asarray(self.flat * k.present + self.per_context * k.aged + self.at_once)

    def square(self, k: Kernels) -> Floats:
        """E[|g^|^2], the variance of the inputs included."""
        continued = self.flat * k.present + self.per_context * k.aged
        lengths = self.flat**2 * k.present_square + self.per_context**2 * k.aged_square
        lengths = lengths + 2.0 * (self.flat * self.per_context * k.crossed + self.at_once * continued).real
        inputs = self.per_context**2 * k.present_square + 2.0 * self.per_context * self.per_input * k.present.real
        return np.asarray(lengths + self.at_once**2 + self.of_input * (inputs + self.per_input**2))

    def times_present(self, k: Kernels) -> Complex:
        """E[g^ p*]."""
        length = self.flat * k.present_square + self.per_context * k.crossed
        return np.asarray(length + self.at_once * k.present.conj())


def _by_class(taken: IterationTime, demand: Demand) -> list[tuple[float, Points, Brought]]:
    """Shares, lengths and what is brought, by class."""
    pulse, per_context = demand.rate * taken.per_prefill_token, demand.rate * taken.per_context_token
    found = []
    for each in demand.classes:
        inputs, prefills = each.inputs.moment(1), each.prefills.moment(1)
        flat = demand.rate * taken.per_sequence + per_context * inputs
        of_input = each.inputs.moment(2) - inputs**2
        brought = Brought(flat, per_context, pulse * prefills, of_input, pulse * prefills / inputs)
        found.append((each.share, each.outputs, brought))
    return found


def _alike(taken: IterationTime, demand: Demand) -> list[tuple[float, Points, Brought]]:
    """The same with contexts all alike, and exponential lengths."""
    flat = demand.rate * (taken.per_sequence + taken.per_context_token * demand.context)
    at_once = demand.rate * taken.per_prefill_token * demand.prefills.moment(1)
    unit, scale = _exponential(), demand.outputs.moment(1)
    return [(1.0, Points(unit.values * scale, unit.weights), Brought(flat, 0.0, at_once))]


def _arrivals(taken: IterationTime, demand: Demand, unit: float) -> float:
    """Arrivals per iteration in the long run, Lambda = lambda a / (1 - E[int g])."""
    each = taken.per_sequence + taken.per_context_token * demand.context
    brought = demand.rate * each * unit + taken.per_prefill_token * demand.prefill_rate
    return demand.rate * taken.base / (1.0 - brought)


@lru_cache(maxsize=1)
def _exponential() -> Points:
    """Of mean 1."""
    from qmodel.workload import Exponential

    return Points.of(Exponential(1.0))
