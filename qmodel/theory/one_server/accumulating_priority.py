"""Accumulating (time-dependent) priority, non-preemptive M/G/1: Kleinrock's mean waits.

A request of class i that waits has credit b_i times its time in the system; most credit is served next. With
W0 = sum_i lambda_i E[S_i^2] / 2, rho_i the loads and rho their sum, from the lowest rate up,

    E[W_p] = (W0 / (1 - rho) - sum_{b_i < b_p} rho_i E[W_i] (1 - b_i / b_p))
             / (1 - sum_{b_i > b_p} rho_i (1 - b_p / b_i)).

Equal rates: FCFS. Rates ever further apart: Cobham's non-preemptive priority. sum_i rho_i E[W_i] is that of FCFS.
Sources: Kleinrock, *Naval Research Logistics Quarterly* 11 (1964) 329-341, and *Queueing Systems II* (1976),
section 3.7; Stanford, Taylor & Ziedins, *Queueing Systems* 77 (2014) 297-330.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from qmodel.policy import AccumulatingPriority
from qmodel.scenario import ServedClass
from qmodel.theory.one_server.m_g_1 import INDEPENDENT, ONE_SERVER, POISSON, fcfs, given_slowdown
from qmodel.theory.one_server.np_priority import residual_work
from qmodel.theory.result import ClassResult, Result
from qmodel.theory.supply import delivery


def accumulating_priority(policy: AccumulatingPriority, classes: Sequence[ServedClass]) -> Result:
    """Every class's mean response; with equal rates the law too, which is that of FCFS."""
    rates = [policy.rate_of(served.name) for served in classes]
    waits = mean_waits(rates, [served.load for served in classes], residual_work(classes))
    laws = {part.served.name: part.law for part in fcfs(classes).classes} if len(set(rates)) == 1 else {}
    return Result(
        classes=tuple(
            ClassResult(
                served=served,
                mean_service=delivery(served.service).mean,
                mean_response=wait + delivery(served.service).mean,
                mean_slowdown=given_slowdown(served, wait),
                law=laws.get(served.name),
            )
            for served, wait in zip(classes, waits, strict=True)
        ),
        name="M/G/1 accumulating priority: Kleinrock",
        source="Kleinrock 1964; Stanford, Taylor & Ziedins 2014",
        assumptions=(POISSON, INDEPENDENT, ONE_SERVER, "service is never interrupted"),
    )


def mean_waits(rates: Sequence[float], loads: Sequence[float], residual: float) -> list[float]:
    """E[W] of each class: rates of credit, loads, and mean residual service W0 (s).

    >>> [round(wait, 9) for wait in mean_waits([1e12, 1.0], [0.3, 0.5], 0.8)]
    [1.142857143, 5.714285714]
    """
    common = residual / (1.0 - math.fsum(loads))
    waits: dict[int, float] = {}
    for p in sorted(range(len(rates)), key=lambda i: rates[i]):
        lower = math.fsum(loads[i] * waits[i] * (1.0 - rates[i] / rates[p]) for i in waits)
        higher = math.fsum(load * max(0.0, 1.0 - rates[p] / rate) for load, rate in zip(loads, rates, strict=True))
        waits[p] = (common - lower) / (1.0 - higher)
    return [waits[i] for i in range(len(rates))]
