"""Arrivals that are not Poisson, FCFS: exact where there is a chain or one renewal stream.

One server, any law of service (several servers: MAP/M/k, one exponential law): one class with gamma gaps is GI/G/1,
and classes driven by Markov chains are MAP/G/1, both exact. Several classes of which some have gamma gaps that no
small chain has: their gaps become phase-type gaps of the same moments (three for scv > 1, two below), the rest
stays exact. Where even that chain is too large, renewal streams become one renewal stream, whose gaps have the scv
w sum p_i c_i^2 + 1 - w, w = 1 / (1 + 4 (1 - rho)^2 (v - 1)), v = 1 / sum p_i^2, p_i a stream's share of the
requests, with the mean wait of Kraemer and Langenbach-Belz (scv <= 1) or Marchal (> 1). Sources: Whitt, *Bell Syst.
Tech. J.* 62 (1983) 2779-2815 (superposition); Whitt, *Oper. Res.* 30 (1982) 125-147 (hyperexponential gaps); Tijms,
*Stochastic Models* (1994), appendix B (mixed Erlang gaps); Kraemer & Langenbach-Belz, 8th ITC (1976); Marchal,
*Oper. Res.* 24 (1976).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from qmodel.answer import NotAnalysable
from qmodel.policy import FCFS
from qmodel.scenario import Scenario, ServedClass
from qmodel.theory import formulas
from qmodel.theory.arrivals.gi_g_1 import gi_g_1
from qmodel.theory.arrivals.map_g_1 import map_g_1
from qmodel.theory.one_server.m_g_1 import INDEPENDENT, ONE_SERVER, given_slowdown
from qmodel.theory.premises import MOST_PHASES, common_mean, driven, unmet
from qmodel.theory.result import ClassResult, Result, Unstable
from qmodel.theory.servers.gi_g_k import gi_g_k
from qmodel.theory.servers.map_m_k import map_m_k
from qmodel.theory.supply import delivery, merged
from qmodel.workload import ArrivalProcess, Map, Renewal, RenewalGaps, Trace
from qmodel.workload.markov_arrivals import rows_of
from qmodel.workload.superposition import as_matrices

ERROR = (
    "the formula is within 22 % of the mean wait with gamma gaps at loads from 0.7 and 7 % from 0.9 (gaps of scv "
    "0.3 to 9, services of scv 0 to 4); taking the streams as one adds to that"
)
PHASES_ERROR = (
    "gaps of equal moments, not of equal law: mean responses within 2.5 % for gaps of scv below 1; above, up to 4, "
    "within 6 % at loads from 0.6 and 1 % from 0.8, and too low by up to 14 % at load 0.4"
)
INDEPENDENT_STREAMS = "independent streams"


def bursty(scenario: Scenario) -> Result | NotAnalysable | Unstable:
    """Every class's response where some class's arrivals are not Poisson."""
    refusal = unmet(scenario, (FCFS,), most_servers=None)
    if refusal is not None:
        return refusal
    classes = scenario.served
    processes = [served.arrivals for served in classes]
    if any(isinstance(process, Trace) for process in processes):
        return NotAnalysable("arrivals are recorded: theory asks for a stationary process", "--method simulation")
    if any(isinstance(process, RenewalGaps) and as_matrices(process) is None for process in processes):
        nearest = "gamma gaps of the same scv (process = 'renewal' with rate and scv), or --method simulation"
        return NotAnalysable("gaps between arrivals are neither gamma nor hyperexponential", nearest)
    if scenario.system.servers > 1:
        return _several_servers(classes, processes, scenario.system.servers)
    if len(processes) == 1 and isinstance(processes[0], Renewal):
        return gi_g_1(classes, processes[0].rate, processes[0].scv)
    arrivals = driven(processes)
    exact = None if arrivals is None else map_g_1(classes, arrivals)
    return exact if isinstance(exact, Result | Unstable) else _approximately(classes, processes)


def _several_servers(
    classes: Sequence[ServedClass], processes: Sequence[ArrivalProcess], servers: int
) -> Result | NotAnalysable | Unstable:
    """One exponential law of service for all, or none."""
    mean, exact = common_mean(classes), driven(processes)
    arrivals = driven([_few_phases(process) for process in processes]) if exact is None else exact
    unfit = mean is None or arrivals is None
    if unfit and all(process.is_poisson or isinstance(process, Renewal) for process in processes):
        return gi_g_k(classes, servers)
    if mean is None or arrivals is None:
        nearest = "one exponential service law for all classes" if mean is None else "fewer bursty classes"
        return NotAnalysable("several servers with arrivals that are not Poisson", nearest)
    found = map_m_k(classes, arrivals, servers, mean)
    return found if exact is not None or isinstance(found, Unstable) else _by_moments(found)


def _few_phases(process: ArrivalProcess) -> ArrivalProcess:
    """Gamma gaps by phase-type gaps, unless these have more phases than can be solved for."""
    if not isinstance(process, Renewal) or process.scv * MOST_PHASES < 1.0:
        return process
    return phase_type_gaps(process)


def _approximately(
    classes: Sequence[ServedClass], processes: Sequence[ArrivalProcess]
) -> Result | NotAnalysable | Unstable:
    """Gamma gaps by a few phases, or all streams as one if they are renewal streams."""
    arrivals = driven([_few_phases(process) for process in processes])
    found = None if arrivals is None else map_g_1(classes, arrivals)
    if isinstance(found, Result):
        return _by_moments(found)
    if isinstance(found, Unstable):
        return found
    if all(process.is_poisson or isinstance(process, Renewal) for process in processes):
        return as_one_stream(classes, processes)
    return found or NotAnalysable(f"the arrivals' chain has more than {MOST_PHASES} phases", "fewer bursty classes")


def _by_moments(found: Result) -> Result:
    """What the chain with phase-type gaps says, as an approximation of what gamma gaps would."""
    return replace(
        found,
        name=f"{found.name}, gamma gaps by phase-type gaps of the same moments",
        source=f"{found.source}; Whitt 1982; Tijms 1994",
        assumptions=(*found.assumptions, INDEPENDENT_STREAMS),
        method="approximation",
        notes=(PHASES_ERROR,),
    )


def phase_type_gaps(process: Renewal) -> Renewal | Map:
    """Renewal arrivals whose gaps have the moments of the gamma gaps and few phases.

    >>> [round(m, 12) for m in phase_type_gaps(Renewal(rate=2.0, scv=4.0)).gap_moments(3)]  # 1/2, 5/4, 45/8
    [0.5, 1.25, 5.625]
    >>> round(phase_type_gaps(Renewal(rate=2.0, scv=0.3)).scv, 12)
    0.3
    """
    d = _hyperexponential(process.scv) if process.scv > 1 else _mixed_erlang(process.scv)
    return process if process.is_poisson else Map(rows_of(process.rate * d[0]), rows_of(process.rate * d[1]))


def _hyperexponential(scv: float) -> tuple[np.ndarray, np.ndarray]:
    """Two phases with the first three moments 1, 1 + c, (1 + c)(1 + 2 c) of a gamma law."""
    second, third = (1.0 + scv) / 2.0, (1.0 + scv) * (1.0 + 2.0 * scv) / 6.0  # E[X^k]/k!: moments of the means
    total = (third - second) / (second - 1.0)  # of the two means, whose product is total - second
    root = math.sqrt(total**2 - 4.0 * (total - second))
    long, short = (total + root) / 2.0, (total - root) / 2.0
    p = np.array([(long - 1.0) / (long - short), (1.0 - short) / (long - short)])
    rates = 1.0 / np.array([short, long])
    return -np.diag(rates), np.outer(rates, p)


def _mixed_erlang(scv: float) -> tuple[np.ndarray, np.ndarray]:
    """k - 1 phases with probability p, else k, of one rate: mean 1 and scv between 1/k and 1/(k - 1)."""
    k = math.ceil(1.0 / scv)
    p = max(0.0, (k * scv - math.sqrt(k * (1.0 + scv) - k**2 * scv)) / (1.0 + scv))
    each = k - p
    d0, d1 = each * (np.eye(k, k=1) - np.eye(k)), np.zeros((k, k))
    d1[-1, 0], d1[-1, min(1, k - 1)] = each * (1.0 - p), each * p
    return d0, d1


def as_one_stream(classes: Sequence[ServedClass], processes: Sequence[ArrivalProcess]) -> Result | Unstable:
    """All streams as one renewal stream, means by Kraemer and Langenbach-Belz."""
    rate, size = merged(classes)
    load = rate * size.mean
    if load >= 1.0:
        return Unstable(load)
    scvs = [process.scv if isinstance(process, Renewal) else 1.0 for process in processes]
    gaps = superposed_scv([(served.rate, scv) for served, scv in zip(classes, scvs, strict=True)], load)
    wait = mean_wait(rate, gaps, size.mean, size.scv)
    bound = formulas.KINGMAN(rate, gaps / rate**2, size.variance, load)
    return Result(
        classes=tuple(_waited(served, wait) for served in classes),
        name="GI/G/1 FCFS by two moments, streams as one",
        source=f"{(formulas.KRAEMER if gaps < 1 else formulas.MARCHAL).source}; Whitt 1983",
        assumptions=(INDEPENDENT_STREAMS, INDEPENDENT, ONE_SERVER, "the streams together are as a renewal stream"),
        method="approximation",
        notes=(
            ERROR,
            f"Kingman's bound for a renewal stream of this variability: mean wait at most {bound:.4g} s",
        ),
    )


def superposed_scv(streams: Sequence[tuple[float, float]], load: float) -> float:
    """scv of the gaps of streams (rate, scv) taken as one.

    >>> superposed_scv([(1.0, 4.0)], 0.5)
    4.0
    """
    rate = math.fsum(r for r, _ in streams)
    spread = 1.0 / math.fsum((r / rate) ** 2 for r, _ in streams)
    weight = 1.0 / (1.0 + 4.0 * (1.0 - load) ** 2 * (spread - 1.0))
    return weight * math.fsum(r / rate * scv for r, scv in streams) + 1.0 - weight


def mean_wait(rate: float, gap_scv: float, mean: float, scv: float) -> float:
    """E[W] of GI/G/1 by two moments; exact for Poisson arrivals; infinite with infinite scv.

    >>> round(mean_wait(0.8, 1.0, 1.0, 1.0), 12)
    4.0
    """
    if math.isinf(scv):
        return math.inf
    if gap_scv < 1:
        return formulas.KRAEMER(mean, gap_scv, scv, rate * mean)
    return formulas.MARCHAL(rate, gap_scv, scv, rate * mean)


def _waited(served: ServedClass, wait: float) -> ClassResult:
    given = delivery(served.service)
    return ClassResult(served, given.mean, wait + given.mean, mean_slowdown=given_slowdown(served, wait))
