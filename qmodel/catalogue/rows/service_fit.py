"""R17: a service function by analysis of variance and regression, and what it is for: a prediction."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from qmodel.catalogue.case import Case
from qmodel.catalogue.checks import near, true
from qmodel.catalogue.row import Check, Row, Setting

if TYPE_CHECKING:
    from qmodel.fit import Measurements

NOISE = 0.03


def planted(steps: float, batch: float) -> float:
    """Seconds that the server takes; its cores have no effect."""
    return 0.05 + 0.016 * steps + 0.004 * steps * batch


def measured(seed: int) -> Measurements:
    """A designed experiment on a server that takes the planted time, three times each cell."""
    import pandas as pd

    from qmodel.fit import Measurements

    rng = np.random.default_rng(seed)
    cells = product((5.0, 10.0, 20.0, 40.0), (1.0, 2.0, 4.0, 8.0), (1.0, 2.0), range(3))
    rows = [
        {"steps": steps, "batch_size": batch, "cores": cores, "replicate": k,
         "latency_s": planted(steps, batch) * np.exp(rng.normal(0.0, NOISE))}
        for steps, batch, cores, k in cells
    ]  # fmt: skip
    return Measurements(pd.DataFrame(rows), "latency_s", ("steps", "batch_size", "cores"))


def accept(case: Case) -> Iterator[Check]:
    """Planted effects are significant, the empty one is not; the function is found; so is the queue."""
    from qmodel.fit import fit_measurements

    fit = fit_measurements(measured(case.seed))
    assert fit.anova is not None
    p = fit.anova.table["PR(>F)"]
    for effect in ("steps", "batch_size", "steps:batch_size"):
        yield true(f"{effect}: p = {p[effect]:.1e} < 0.001", p[effect] < 1e-3)
    yield true(f"cores, without effect: p = {p['cores']:.2g} > 0.01", p["cores"] > 0.01)
    yield true("cores are not in the function chosen", "cores" not in fit.model.factors)
    for steps, batch in ((5, 8), (20, 1), (40, 4)):
        found = float(fit.model.predict({"steps": steps, "batch_size": batch}))
        yield near(f"time at {steps} steps, batch {batch}", found, planted(steps, batch), within=0.02)
    mean = float(fit.model.predict({"steps": 20, "batch_size": 1}))
    queue = case.mean({"class.requests.service.mean": mean})
    yield near("E[T] with the fitted time", queue, case.mean(), within=0.05)


ROW = Row(
    number=17,
    name="service-fit",
    title="a service function by ANOVA and regression",
    method="exact",
    idea="""Measure the service time over a designed grid of its factors, test by analysis of variance which
    of them matter, and fit the function that predicts best where it was not measured. Nested
    functions are told apart by what they predict. The function is what a queue is predicted with;
    its error is amplified there (see cdmpp).""",
    formula="F = (mean square of an effect) / (mean square of replicates); S = w0 + w1 steps + w2 steps batch",
    reference="""Montgomery, Design and Analysis of Experiments; Jain, The Art of Computer Systems Performance
    Analysis""",
    settings=(
        Setting("20 steps"),
        Setting("10 steps", {"class.requests.service.mean": 0.25}),
        Setting("24 steps", {"class.requests.service.mean": 0.53}),
    ),
    shown=("mean_service_s", "mean_wait_s", "mean_response_s", "p95_response_s"),
    no_live="it has one policy only: qmodel study measures, fits and runs such a server",
    accept=accept,
)
