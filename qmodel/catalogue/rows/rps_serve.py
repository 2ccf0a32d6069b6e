"""R37: rocks, pebbles and sand: priority by what a request needs, with aging."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from qmodel.catalogue.case import Case, value
from qmodel.catalogue.checks import at_most, inside, near
from qmodel.catalogue.row import Check, Row, Setting

FCFS: dict[str, Any] = {"policy": {"preset": "fcfs"}}
STATIC: dict[str, Any] = {"policy": {"preset": "np-priority"}}
KINDS = ("sand", "pebble", "rock")


def aging(ratio: float) -> dict[str, Any]:
    """Credit grows `ratio` times as fast from each kind to the next smaller one."""
    rates = dict(zip(KINDS, (ratio**2, ratio, 1.0), strict=True))
    return {"policy": {"preset": "accumulating", "options": {"rates": rates}}}


def waits(case: Case, changes: dict[str, Any]) -> list[float]:
    """Mean wait of each kind."""
    found = case.theory(changes)
    return [value(found, f"{kind}:mean_wait_s") for kind in KINDS]


def accept(case: Case) -> Iterator[Check]:
    """Equal slopes are FCFS, endless ones Cobham's priority; between them rocks wait less than under priority."""
    fcfs, static, aged = waits(case, FCFS), waits(case, STATIC), waits(case, {})
    for kind, equal, first in zip(KINDS, waits(case, aging(1.0)), fcfs, strict=True):
        yield near(f"{kind}, equal slopes", equal, first, within=1e-9)
    for kind, steep, cobham in zip(KINDS, waits(case, aging(1e7)), static, strict=True):
        yield near(f"{kind}, slopes far apart", steep, cobham, within=1e-5)
    served = case.scenario().served
    kept = math.fsum(c.load * wait for c, wait in zip(served, aged, strict=True))
    yield near("sum of rho_i W_i", kept, case.scenario().utilisation * fcfs[0], within=1e-9)
    yield at_most("rocks' wait with aging", aged[2], "under static priority", static[2])
    cut = 100 * (1 - case.mean(name="sand") / case.mean(FCFS, "sand"))
    yield inside("cut of the sand's response, per cent", cut, 40, 90)


ROW = Row(
    number=37,
    name="rps-serve",
    title="rocks, pebbles, sand: priority with aging",
    method="exact",
    idea="""Video requests (rocks), images (pebbles) and text (sand) share a server. Text first keeps its
    response short; credit that grows with the wait, faster for the small, keeps rocks from
    starving. Slopes set the bargain: equal ones are FCFS, ones far apart strict priority.""",
    formula="""W_k = [W0 / (1 - rho) - sum_(i>k) rho_i W_i (1 - b_i / b_k)] / (1 - sum_(i<k) rho_i (1 - b_k /
    b_i)), i > k the classes that gain credit more slowly (Kleinrock)""",
    reference="Papaioannou & Doudali 2026, arXiv 2603.26498; Kleinrock 1964; Stanford, Taylor & Ziedins 2014",
    unchecked="""RPS-Serve-like: the aging rule of the paper is taken as linear in the wait; TTFT is stood for by
    the response of a server that does the whole request; preprocessing and encoding are inside the
    service""",
    settings=(
        Setting("aging, slopes 40:4:1"),
        Setting("static priority", STATIC),
        Setting("fcfs", FCFS),
    ),
    shown=("sand:mean_response_s", "pebble:mean_response_s", "rock:mean_response_s", "sand:p95_response_s"),
    accept=accept,
)
