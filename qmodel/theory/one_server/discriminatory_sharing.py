"""Discriminatory processor sharing (DPS), sizes that are mixtures of exponentials: exact means by a linear system.

Class k is served at g_k / sum_j g_j n_j of the server's speed. For exponential sizes of rate mu_k,

    T_k (1 - sum_j lambda_j g_j / d_jk) - sum_j lambda_j g_j T_j / d_jk = 1 / mu_k,   d_jk = mu_j g_j + mu_k g_k.

A mixture of exponentials is several such classes of one weight. Source: Fayolle, Mitrani & Iasnogorodski, *J.
ACM* 27 (1980) 519-532.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qmodel.answer import NotAnalysable
from qmodel.scenario import ServedClass
from qmodel.theory.numerics.phases import exponential_phases
from qmodel.theory.one_server.m_g_1 import INDEPENDENT, POISSON
from qmodel.theory.result import ClassResult, Result

SOURCE = "Fayolle, Mitrani & Iasnogorodski 1980"


def mean_responses(rates: Sequence[float], means: Sequence[float], weights: Sequence[float]) -> list[float]:
    """Mean response of each exponential class.

    >>> [round(t, 9) for t in mean_responses([0.4, 0.4], [1.0, 1.0], [2.0, 1.0])]
    [3.888888889, 6.111111111]
    """
    g, mu = np.asarray(weights, dtype=float), 1.0 / np.asarray(means, dtype=float)
    pull = np.asarray(rates) * g / (mu * g + (mu * g)[:, None])
    system = np.diag(1.0 - pull.sum(axis=1)) - pull
    return [float(t) for t in np.linalg.solve(system, 1.0 / mu)]


def discriminatory_sharing(classes: Sequence[ServedClass]) -> Result | NotAnalysable:
    """Every class's mean response under DPS."""
    if any(served.service.delivered_at is not None for served in classes):
        return NotAnalysable("results leave before their service ends", "the same early exit with delivery 'stop'")
    phases = {served.name: exponential_phases(served.size) for served in classes}
    parts = []
    for served in classes:
        found = phases[served.name]
        if found is None:
            reason = f"sizes of class '{served.name}' are no mixture of exponentials"
            return NotAnalysable(reason, "exponential or hyperexponential sizes; or ps, which knows no weights")
        parts += [(served, p, mean) for p, mean in found]
    times = mean_responses(
        [served.rate * p for served, p, _ in parts], [m for *_, m in parts], [s.weight for s, *_ in parts]
    )
    means = {served.name: 0.0 for served in classes}
    for (served, p, _), time in zip(parts, times, strict=True):
        means[served.name] += p * time
    return Result(
        classes=tuple(ClassResult(served, served.size.mean, means[served.name]) for served in classes),
        name="M/M/1 discriminatory processor sharing",
        source=SOURCE,
        assumptions=(POISSON, INDEPENDENT, "sizes are mixtures of exponentials", "switching is free"),
    )
