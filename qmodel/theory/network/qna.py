"""Queues fed by one another's departures, by two moments: Whitt's queueing network analyser, for stations in line.

A flow is known by its rate and the squared coefficient of variation c^2 of its gaps. With load rho, k servers:

    wait          E[W] ~ (ca^2 + cs^2) / 2 * E[W] of M/M/k * g, where ca^2 < 1
                  g = exp(-2 (1 - rho) (1 - ca^2)^2 / (3 rho (ca^2 + cs^2))), else 1
    departures    cd^2 = 1 + (1 - rho^2) (ca^2 - 1) + rho^2 (max(cs^2, 0.2) - 1) / sqrt(k)
    split         c^2 of a random share p of a flow:  p c^2 + 1 - p
    merged        ca^2 = w sum_f p_f c_f^2 + 1 - w,  w = 1 / (1 + 4 (1 - rho)^2 (v - 1)),  v = 1 / sum_f p_f^2

Exact for M/M/k and M/G/1. Sources: Whitt, *Bell Syst. Tech. J.* 62 (1983) 2779-2815; Kraemer & Langenbach-Belz,
*8th ITC* (1976) (g); Allen, *Probability, Statistics, and Queueing Theory* (1990), section 5.3.3 (Allen-Cunneen).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from qmodel.theory import formulas
from qmodel.theory.servers.m_g_k import exponential_wait

LEAST_SERVICE_SCV = 0.2


@dataclass(frozen=True)
class Flow:
    """A stream of requests: rate (1/s) and squared coefficient of variation of its gaps."""

    rate: float
    scv: float

    def share(self, rate: float) -> Flow:
        """A random part of it, of that rate.

        >>> Flow(2.0, 3.0).share(1.0)
        Flow(rate=1.0, scv=2.0)
        """
        part = rate / self.rate
        return Flow(rate, part * self.scv + 1.0 - part)


def merged_flow(flows: Sequence[Flow], load: float) -> Flow:
    """The flows together, as a station of that load feels them.

    >>> merged_flow([Flow(1.0, 1.0), Flow(2.0, 1.0)], 0.5)
    Flow(rate=3.0, scv=1.0)
    """
    rate = math.fsum(flow.rate for flow in flows)
    parts = [flow.rate / rate for flow in flows]
    streams = 1.0 / math.fsum(part**2 for part in parts)
    weight = 1.0 / (1.0 + 4.0 * (1.0 - load) ** 2 * (streams - 1.0))
    mean = math.fsum(part * flow.scv for part, flow in zip(parts, flows, strict=True))
    return Flow(rate, weight * mean + 1.0 - weight)


def mean_wait(servers: int, arriving: Flow, service: float, service_scv: float) -> float:
    """E[W] of GI/G/k by two moments (s).

    >>> round(mean_wait(1, Flow(0.8, 1.0), 1.0, 4.0), 12)
    10.0
    """
    both = arriving.scv + service_scv
    if math.isinf(both) or both == 0:
        return both
    load = arriving.rate * service / servers
    short = max(1.0 - arriving.scv, 0.0)
    smooth = math.exp(-2.0 * (1.0 - load) * short**2 / (3.0 * load * both))
    memoryless = exponential_wait(servers, arriving.rate, service)
    return formulas.ALLEN_CUNNEEN(arriving.scv, service_scv, memoryless) * smooth


def departures(servers: int, arriving: Flow, service: float, service_scv: float) -> Flow:
    """What leaves the station.

    >>> departures(1, Flow(0.5, 1.0), 1.0, 1.0)
    Flow(rate=0.5, scv=1.0)
    """
    load = arriving.rate * service / servers
    own = load**2 * (max(service_scv, LEAST_SERVICE_SCV) - 1.0) / math.sqrt(servers)
    return Flow(arriving.rate, 1.0 + (1.0 - load**2) * (arriving.scv - 1.0) + own)
