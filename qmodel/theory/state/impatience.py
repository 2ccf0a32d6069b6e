"""Impatience under FCFS: a request that has waited for its patience leaves unserved.

k servers, exponential services of mean 1/mu for all, any law of patience (Erlang-A with exponential patience,
M/M/k+D with deadlines): with p_j = p_0 a^j / j!, j < k, a = lambda / mu, the offered wait has the density

    f(x) = lambda p_{k-1} exp(sum_i lambda_i E[min(G_i, x)] - k mu x).

One server and any law of service: the integral equation of `offered_wait`. A request of class i is served with
probability p(V = 0) + int f P(G_i > x); waits and responses are those of the served. Always stable if no one waits
for ever. Sources: Baccelli & Hebuterne, *Performance '81*, 159-179; Palm (1957) and Garnett, Mandelbaum & Reiman,
*MSOM* 4 (2002) 208-227 (Erlang-A); Zeltyn & Mandelbaum, *Queueing Systems* 51 (2005) 361-402 (M/M/k+G).

>>> from qmodel.workload import Exponential
>>> erlang_a = Memoryless(10, 1.0, (Stream(9.0, Exponential(1.0), Exponential(2.0)),))
>>> round(1.0 - erlang_a.idle, 9), round(1.0 - erlang_a.served(erlang_a.streams[0]), 9)  # P(wait), P(abandon)
(0.468941704, 0.067011715)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np

from qmodel.answer import NotAnalysable
from qmodel.policy import FCFS
from qmodel.scenario import Scenario, ServedClass
from qmodel.theory.numerics.panels import Panels
from qmodel.theory.numerics.phases import exponential_phases
from qmodel.theory.numerics.roots import first_reaching
from qmodel.theory.numerics.sizes import landmarks
from qmodel.theory.one_server.m_g_1 import INDEPENDENT, POISSON, given_slowdown
from qmodel.theory.premises import common_mean, unmet
from qmodel.theory.result import ClassResult, Result, Unstable
from qmodel.theory.state.offered_wait import Grids, Stream, offered_waits
from qmodel.theory.supply import delivery
from qmodel.workload import Distribution
from qmodel.workload.partial import limited_moment

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Vector = NDArray[np.float64]

LEAVING = "a request leaves when its patience ends before its service begins; responses are those of the served"
FORGOTTEN = 45.0
"""exp(-45) of the largest density does not count."""
EVEN_PANELS = 200
GOOD, HOPELESS = 1e-5, 0.05
"""Estimated relative error up to which the integral equation's results are called exact, and from which they are
not given."""


@dataclass(frozen=True)
class Memoryless:
    """Offered wait of M/M/k+G: `servers`, mean service (s) and the streams."""

    servers: int
    mean: float
    streams: tuple[Stream, ...]

    @property
    def rate(self) -> float:
        """Arrivals per second of all streams."""
        return math.fsum(stream.rate for stream in self.streams)

    def log_density(self, x: Vector) -> Vector:
        """log(f(x) / f(0)), f(0) = lambda p_{k-1}."""
        stays = sum(
            stream.rate * (x if stream.patience is None else limited_moment(stream.patience, 1, x))
            for stream in self.streams
        )
        return np.asarray(stays - self.servers / self.mean * x)

    @cached_property
    def panels(self) -> Panels:
        """Panels from 0 to where the density is forgotten, ending at the landmarks of the patience."""
        laws = [stream.patience for stream in self.streams if stream.patience is not None]
        end = self.mean / self.servers
        while True:
            x = np.linspace(0.0, end, EVEN_PANELS + 1)
            logs = self.log_density(x)
            if logs[-1] < logs.max() - FORGOTTEN:
                break
            end *= 1.5
        marks = {mark for law in laws for mark in landmarks(law) if mark < end}
        return Panels.through({*x[1:].tolist(), *marks}, 3.0)

    @cached_property
    def weighed(self) -> tuple[float, Vector, float]:
        """P(V = 0), f times the quadrature weight at the nodes, and log f(0)."""
        logs = self.log_density(self.panels.nodes)
        offered = self.rate * self.mean
        below = np.concatenate(([0.0], np.cumsum(np.log(offered / np.arange(1.0, self.servers)))))
        top = max(float(below.max()), float(logs.max()) + float(below[-1]) + math.log(self.rate))
        start = float(below[-1]) + math.log(self.rate) - top
        none = math.exp(float(np.logaddexp.reduce(below)) - top)
        some = np.exp(logs + start) * self.panels.weights
        whole = none + float(some.sum())
        return none / whole, some / whole, start - math.log(whole)

    @property
    def idle(self) -> float:
        """P(V = 0): some server is free."""
        return self.weighed[0]

    def staying(self, stream: Stream) -> Vector:
        """f P(G > x) times the weight at the nodes."""
        x = self.panels.nodes
        return self.weighed[1] * (1.0 if stream.patience is None else stream.patience.sf(x))

    def served(self, stream: Stream) -> float:
        """Probability that a request of the stream is served."""
        return self.idle + float(self.staying(stream).sum())

    def mean_wait(self, stream: Stream) -> float:
        """Mean wait (s) of the served."""
        return float(self.staying(stream) @ self.panels.nodes) / self.served(stream)

    def cdf(self, stream: Stream, own: Distribution, t: float) -> float:
        """P(wait of a served request + `own` <= t): panels up to t, as the integrand bends there."""
        whole, edges = self.staying(stream), self.panels.edges
        full = int(np.searchsorted(edges, t, side="right"))
        nodes = len(self.panels.nodes) // len(edges)
        x = self.panels.nodes[: full * nodes]
        waited = float(whole[: full * nodes] @ own.cdf(t - x))
        if full < len(edges):
            waited += self._last_panel(stream, own, t, 0.0 if full == 0 else float(edges[full - 1]))
        return (self.idle * float(own.cdf(t)) + waited) / self.served(stream)

    def _last_panel(self, stream: Stream, own: Distribution, t: float, start: float) -> float:
        node, weight = np.polynomial.legendre.leggauss(16)
        x, w = start + 0.5 * (t - start) * (node + 1.0), 0.5 * (t - start) * weight
        stays = 1.0 if stream.patience is None else stream.patience.sf(x)
        return float((w * np.exp(self.log_density(x) + self.weighed[2]) * stays) @ own.cdf(t - x))


class ServedLaw:
    """Law of the response of the served of one class."""

    def __init__(self, cdf: Callable[[float], float], scale: float, error: float) -> None:
        self._cdf, self._scale, self.error = cdf, scale, error

    def cdf(self, t: float) -> float:
        """P(T <= t)."""
        return min(max(self._cdf(t), 0.0), 1.0) if t > 0 else 0.0

    def percentile(self, percent: float) -> float:
        """Smallest t with P(T <= t) >= percent/100."""
        return first_reaching(self.cdf, percent / 100.0, self._scale, 1e-9)


def impatience(scenario: Scenario) -> Result | NotAnalysable | Unstable:
    """Share abandoned, and the response of those served (`class.patience`)."""
    refusal = unmet(scenario, (FCFS,), most_servers=None)
    if refusal is not None:
        return refusal
    classes, servers = scenario.served, scenario.system.servers
    streams = tuple(Stream(served.rate, served.size, served.patience) for served in classes)
    patient = math.fsum(served.load for served in classes if served.patience is None) / servers
    if patient >= 1.0:
        return Unstable(patient)
    mean = common_mean(classes)
    if mean is not None:
        return _memoryless(classes, Memoryless(servers, mean, streams))
    if servers > 1:
        return NotAnalysable("patience with several servers needs one exponential service law", "servers = 1")
    return _general(classes, offered_waits(streams), streams)


def _memoryless(classes: Sequence[ServedClass], queue: Memoryless) -> Result:
    busy = math.fsum(s.rate * queue.served(s) for s in queue.streams) * queue.mean / queue.servers
    name = "Erlang-A" if all(_exponential(s.patience) for s in queue.streams) else "Baccelli & Hebuterne"
    return Result(
        classes=tuple(
            _class(served, queue.served(s), queue.mean_wait(s), partial(queue.cdf, s), 1e-9)
            for served, s in zip(classes, queue.streams, strict=True)
        ),
        name=f"M/M/{queue.servers}+G FCFS: {name}",
        source="Baccelli & Hebuterne 1981; Zeltyn & Mandelbaum 2005",
        assumptions=(POISSON, INDEPENDENT, LEAVING),
        utilisation=busy,
    )


def _exponential(law: Distribution | None) -> bool:
    phases = None if law is None else exponential_phases(law)
    return phases is not None and len(phases) == 1


def _general(classes: Sequence[ServedClass], grids: Grids, streams: Sequence[Stream]) -> Result | NotAnalysable:
    served, waits = [grids.served(s) for s in streams], [grids.mean_wait(s) for s in streams]
    error = max(*(grids.error(s) for s in streams), grids.waits[-1].beyond)
    of_law = [max(grids.law_error(s), error) for s in streams]
    if not error < HOPELESS:
        return NotAnalysable("patience and service are too far apart for one grid", "laws with lighter tails")
    return Result(
        classes=tuple(
            _class(c, share, wait, partial(grids.law.cdf, s), off)
            for c, s, share, wait, off in zip(classes, streams, served, waits, of_law, strict=True)
        ),
        name="M/G/1+G FCFS: offered wait by level crossing",
        source="Brill & Posner 1977; Baccelli, Boyer & Hebuterne 1984",
        assumptions=(POISSON, INDEPENDENT, "one server", LEAVING),
        method="exact" if error < GOOD else "approximation",
        utilisation=math.fsum(s.rate * share * s.size.mean for s, share in zip(streams, served, strict=True)),
        notes=(f"integral equation solved on a grid, estimated relative error {error:.0e}",),
    )


def _class(
    served: ServedClass, share: float, wait: float, cdf: Callable[[Distribution, float], float], error: float
) -> ClassResult:
    given = delivery(served.service)
    return ClassResult(
        served=served,
        mean_service=given.mean,
        mean_response=wait + given.mean,
        mean_slowdown=given_slowdown(served, wait),
        law=ServedLaw(lambda t: cdf(given, t), wait + given.mean, error),
        extra={"abandoned_share": 1.0 - share},
    )
