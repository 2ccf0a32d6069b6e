"""R3: the ML.ENERGY leaderboard: energy a token, and how it falls as batches fill."""

from __future__ import annotations

from collections.abc import Iterator

from qmodel.catalogue.case import Case, value
from qmodel.catalogue.checks import falling, near, true
from qmodel.catalogue.row import Check, Row, Setting

RATES = (0.5, 2.0, 5.0, 8.0)


def at(rate: float) -> dict[str, float]:
    """So many requests a second."""
    return {"class.chat.arrivals.rate": rate}


def accept(case: Case) -> Iterator[Check]:
    """Energy a token falls with the rate; ten times the tokens cost more than ten times as much."""
    found = [case.simulate(at(rate), requests=20_000) for rate in RATES]
    each = [value(answer, "energy_j_per_token") for answer in found]
    yield falling(f"J/token at {RATES} requests/s", each)
    per_request = value(found[-1], "energy_j_per_request")
    yield near("J/request over J/token", per_request / each[-1], 200.0, within=0.02)
    long = {**at(0.4), "class.chat.output_tokens.mean": 2000}
    factor = value(case.simulate(long, requests=5_000), "energy_j_per_request") / per_request
    yield true(f"ten times the tokens take {factor:.1f} times the energy a response, above 10", factor > 10)


ROW = Row(
    number=3,
    name="ml-energy",
    title="energy a token, falling as the batch fills",
    method="simulation",
    idea="""Energy is measured in the steady state of the batch, not from the data sheet. The base of an
    iteration is shared by all that run in it, so a fuller engine spends less on each token: energy
    efficiency never falls with the load. Long answers cost more than in proportion, because
    contexts grow.""",
    formula="E[J/token] = sum over iterations of P tau / tokens; efficiency is non-decreasing in lambda (Inoue)",
    reference="""Chung et al., NeurIPS D&B 2025, arXiv 2505.06371; Inoue, Performance Evaluation 2021, arXiv
    1912.06322""",
    settings=(
        Setting("8 requests/s", requests=20_000, method="simulation"),
        Setting("2 requests/s", at(2.0), requests=20_000, method="simulation"),
        Setting("0.5 requests/s", at(0.5), requests=20_000, method="simulation"),
    ),
    shown=("energy_j_per_token", "energy_j_per_request", "mean_tpot_s", "throughput_tokens_per_s"),
    missing="a power that depends on the batch: it is constant while an iteration runs; the live integral of NVML",
    no_live="energy is read from a GPU, and no engine of this machine has one",
    accept=accept,
)
