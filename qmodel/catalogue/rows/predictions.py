"""R19: queueing with predictions: what a wrong size is still worth."""

from __future__ import annotations

from collections.abc import Iterator

from qmodel.catalogue.case import Case
from qmodel.catalogue.checks import agrees, at_most, near, true
from qmodel.catalogue.row import Check, Row, Setting

EXACT = {"spjf": 3.3757864, "pspjf": 3.1944751, "sprpt": 3.1375246}


def under(preset: str) -> dict[str, str]:
    """Another order."""
    return {"policy.preset": preset}


def accept(case: Case) -> Iterator[Check]:
    """Three formulas by independent quadrature, the simulation, and where the orders lie between."""
    for preset, expected in EXACT.items():
        yield near(preset, case.mean(under(preset)), expected, within=1e-6)
    simulated = case.simulate(requests=400_000)
    yield agrees("sprpt", EXACT["sprpt"], simulated)
    srpt, fcfs = case.mean(under("srpt")), case.mean(under("fcfs"))
    yield at_most("srpt with true sizes", srpt, "sprpt", EXACT["sprpt"])
    yield at_most("sprpt", EXACT["sprpt"], "fcfs", fcfs)
    yield true(f"price of misprediction {EXACT['sprpt'] / srpt:.4f} > 1", EXACT["sprpt"] > srpt)


ROW = Row(
    number=19,
    name="predictions",
    title="shortest first by wrong predictions",
    method="exact",
    idea="""Requests are put in order by predicted size, or predicted remaining size, and the predictions
    are wrong. How much of the gain of knowing the sizes is left? Most of it, even with an error as
    wide as the size itself.""",
    formula="""rho'_y = lambda int_0^y int x g(x, t); SPJF: W(y) = lambda E[S^2] / (2 (1 - rho'_y)^2); SPRPT:
    T(x, y) = lambda [int_(t<=y) x^2 g + int_(t>y) ((x - (t - y))^+)^2 g] / (2 (1 - rho'_y)^2) +
    int_0^x da / (1 - rho'_((y - a)^+))""",
    reference="Mitzenmacher, ITCS 2020, arXiv 1902.00732; Mitzenmacher & Shahout 2025, arXiv 2503.07545",
    settings=(
        Setting("sprpt"),
        Setting("pspjf", under("pspjf")),
        Setting("spjf", under("spjf")),
        Setting("trail, limit 0.8", {"policy": {"preset": "trail", "options": {"limit": 0.8}}}),
        Setting("srpt, true sizes", under("srpt")),
        Setting("fcfs", under("fcfs")),
    ),
    shown=("mean_response_s", "p95_response_s", "p99_response_s"),
    accept=accept,
)
