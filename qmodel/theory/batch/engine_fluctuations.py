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
"""Range of angular frequencies, in units of 1 / E[L]."""


def variance_ratio(taken: IterationTime, demand: Demand) -> float:
    """Var N over that of requests which weigh alike; 1 where contexts cost nothing and lengths are exponential."""
    return _variance(taken, demand, alike=False) / _variance(taken, demand, alike=True)


def _variance(taken: IterationTime, demand: Demand, alike: bool) -> float:
    outputs = _exponential(demand.outputs.moment(1)) if alike else demand.outputs
    omega = np.geomspace(SLOWEST, FASTEST, FREQUENCIES) / outputs.moment(1)
    present, brought, spread = _kernels(taken, demand, outputs, omega, alike)

    def mean(values: Complex | Floats) -> Complex:
        return np.asarray(values @ outputs.weights)

    of_present, of_brought = mean(present), mean(brought)
    own = mean(np.abs(present) ** 2) - np.abs(of_present) ** 2
    marks = mean(np.abs(brought) ** 2 + spread) - np.abs(of_brought) ** 2
    both = mean(brought * present.conj()) - of_brought * of_present.conj()
    gain = of_present / (1.0 - of_brought)
    spectrum = (np.abs(gain) ** 2 * (1.0 + marks) + own + 2.0 * gain * both).real
    beyond = 2.0 / float(omega[-1])  # the spectrum falls as 2 / omega^2
    return _arrivals(taken, demand, outputs) * (float(np.trapezoid(spectrum, omega)) + beyond) / math.pi


def _kernels(
    taken: IterationTime, demand: Demand, outputs: Points, omega: Floats, alike: bool
) -> tuple[Complex, Complex, Floats]:
    """By frequency and output: transforms of presence and of arrivals brought, and the spread that inputs add."""
    w = omega[:, None]
    turned = np.exp(-1j * w * outputs.values)
    present = (1.0 - turned) / (1j * w)
    pulse, per_context = demand.rate * taken.per_prefill_token, demand.rate * taken.per_context_token
    if alike:
        each = demand.rate * taken.per_sequence + per_context * demand.context
        return present, each * present + pulse * demand.prefills.moment(1), np.zeros(present.shape)
    inputs = demand.by_output(lambda c: c.inputs.moment(1))
    prefills = demand.by_output(lambda c: c.prefills.moment(1))
    aged = (present - outputs.values * turned) / (1j * w)
    flat = demand.rate * taken.per_sequence + per_context * inputs
    of_input = demand.by_output(lambda c: c.inputs.moment(2)) - inputs**2
    spread = of_input * np.abs(per_context * present + pulse * prefills / inputs) ** 2
    return present, flat * present + per_context * aged + pulse * prefills, spread


def _arrivals(taken: IterationTime, demand: Demand, outputs: Points) -> float:
    """Arrivals per iteration in the long run, Lambda = lambda a / (1 - E[int g])."""
    each = taken.per_sequence + taken.per_context_token * demand.context
    brought = demand.rate * each * outputs.moment(1) + taken.per_prefill_token * demand.prefill_rate
    return demand.rate * taken.base / (1.0 - brought)


def _exponential(mean: float) -> Points:
    from qmodel.workload import Exponential

    return Points.of(Exponential(mean))
