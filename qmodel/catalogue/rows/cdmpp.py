"""R14: CDMPP: what the error of a predicted cost becomes in a queue."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from qmodel.catalogue.case import Case, value
from qmodel.catalogue.checks import near, true
from qmodel.catalogue.row import Check, Row, Setting

RIGHT: dict[str, Any] = {"transform": []}
ERRORS = {0.1085: (117.0, -45.0), 0.1403: (196.0, -53.0)}
"""By relative error of the service, what it makes of the wait at load 0.8, too high and too low (per cent)."""


def scaled(factor: float) -> dict[str, float]:
    """Service so many times as long."""
    return {"transform.model-swap.service_factor": factor}


def accept(case: Case) -> Iterator[Check]:
    """W with service too long or too short by the published errors, by P-K and by simulation."""
    rho, right = case.scenario(RIGHT).utilisation, value(case.theory(RIGHT), "mean_wait_s")
    for error, published in ERRORS.items():
        for sign, percent in zip((1, -1), published, strict=True):
            off = 1 + sign * error
            wait = value(case.theory(scaled(off)), "mean_wait_s")
            by_hand = off**2 * (1 - rho) / (1 - rho * off) * right
            yield near(f"W of service times {off:.4f}", wait, by_hand, within=1e-9)
            moved = round(100 * (wait / right - 1))
            yield true(f"moves by {moved:+.0f} %, listed as {percent:+.0f} %", moved == percent)
    simulated = value(case.simulate(scaled(0.8915), requests=400_000), "mean_wait_s")
    yield near(
        "W simulated, service too short", simulated, value(case.theory(scaled(0.8915)), "mean_wait_s"), within=0.03
    )


ROW = Row(
    number=14,
    name="cdmpp",
    title="a cost model's error, amplified by the queue",
    method="exact",
    idea="""A model predicts the latency of a tensor program on a device it was never run on, about 11 % off
    across devices and 14 % across models. Put such a service time into a queue and the error grows:
    at load 0.8 the wait moves by six times the relative error, and by more upwards than downwards.""",
    formula="""W((1 + e) S) / W(S) = (1 + e)^2 (1 - rho) / (1 - rho (1 + e)); d ln W / d ln S = (2 - rho) / (1
    - rho)""",
    reference="Hu, Su, Zhao, Peng, Zhu, Lin & Wu, EuroSys 2024, arXiv 2311.09690",
    missing="the predictor itself: its errors are injected; your own fitted model goes in by --model",
    settings=(
        Setting("10.85 % longer than predicted"),
        Setting("10.85 % shorter", scaled(0.8915)),
        Setting("14.03 % longer", scaled(1.1403)),
        Setting("14.03 % shorter", scaled(0.8597)),
        Setting("as predicted", RIGHT),
    ),
    shown=("mean_service_s", "mean_wait_s", "mean_response_s"),
    no_live="it has one policy only: the error of a prediction is injected",
    accept=accept,
)
