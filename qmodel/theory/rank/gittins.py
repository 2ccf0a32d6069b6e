"""M/G/1 under the Gittins policy: exact means for any law of size, and the least mean response without sizes.

The rank by age is the inverse Gittins index (`qmodel.policy.gittins_index`); means by SOAP. One class:

    hazard that falls      LAS        lambda E[min(S, x)^2] / (2 (1 - rho_x)^2) + x / (1 - rho_x)
    no age worse than 0    FCFS       Pollaczek-Khinchine, with percentiles
    any other law          SOAP, on straight pieces of the rank; an error e of the rank moves the mean by e^2

Sources: Gittins, *J. R. Statist. Soc.* B 41 (1979) 148-177; Aalto, Ayesta & Righter, *Queueing Systems* 63
(2009) 437-458; Scully, Harchol-Balter & Scheller-Wolf (SIGMETRICS 2018).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from qmodel.answer import NotAnalysable
from qmodel.policy import LAS, Gittins
from qmodel.policy.gittins_index import RankTable
from qmodel.scenario import ServedClass
from qmodel.theory.one_server.m_g_1 import INDEPENDENT, ONE_SERVER, POISSON, fcfs
from qmodel.theory.rank.blind_order import blind_means
from qmodel.theory.rank.rank_path import Path
from qmodel.theory.result import ClassResult, Result
from qmodel.theory.size_order.size_based import size_based

SOURCE = "Gittins 1979; Aalto, Ayesta & Righter 2009; SOAP: Scully, Harchol-Balter & Scheller-Wolf 2018"
FAR = 1e60
"""Paths end at so many times the last age of the table."""
ASSUMED = (POISSON, INDEPENDENT, ONE_SERVER, "the laws of sizes are known, sizes are not")


def gittins(policy: Gittins, classes: Sequence[ServedClass]) -> Result | NotAnalysable:
    """Every class's mean response; the policy is bound to these classes."""
    if any(served.service.delivered_at is not None for served in classes):
        return NotAnalysable("results leave before their service ends", "the same early exit with delivery 'stop'")
    if len(classes) == 1:
        table = policy.tables[classes[0].name]
        if table.falls:
            return _named(fcfs(classes), "FCFS: no age is worse than the first")
        if table.rises:
            return _named(size_based(LAS(), classes), "LAS: the hazard of the size falls")
    means = blind_means(gittins_paths(policy, classes), classes)
    return Result(
        classes=tuple(ClassResult(served, served.size.mean, means[served.name]) for served in classes),
        name="M/G/1 Gittins: SOAP",
        source=SOURCE,
        assumptions=ASSUMED,
    )


def _named(found: Result, why: str) -> Result:
    return replace(
        found, name=f"M/G/1 Gittins, here {why}", source=f"{SOURCE}; {found.source}", assumptions=ASSUMED
    )


def gittins_paths(policy: Gittins, classes: Sequence[ServedClass]) -> dict[str, Path]:
    """The rank by age of each class."""
    return {served.name: path_of_table(policy.tables[served.name]) for served in classes}


def path_of_table(table: RankTable) -> Path:
    """The table as straight pieces; after the last it stays, or goes on to rise."""
    ends, lasts = table.end.copy(), table.last.copy()
    if lasts[-1] > table.first[-1]:
        slope = (lasts[-1] - table.first[-1]) / (ends[-1] - table.start[-1])
        ends[-1] *= FAR
        lasts[-1] = table.first[-1] + slope * (ends[-1] - table.start[-1])
        return Path(table.start, ends, table.first, lasts)
    level = table.last[-1:]
    start = np.append(table.start, ends[-1])
    return Path(start, np.append(ends, FAR * ends[-1]), np.append(table.first, level), np.append(lasts, level))
