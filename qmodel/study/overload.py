"""Live runs of more than the server can carry: what they measured over their finite horizon, and how sure that is.

The queue grows from empty, so there is no steady state, nothing is warm-up, and an interval from within one run
would be of nothing. Runs with different seeds are independent, as the simulated replications behind the prediction
are; the spread of those says how far the mean of a few runs may lie from the prediction by chance alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from qmodel.answer import ClassAnswer, PolicyAnswer
from qmodel.errors import InputError

if TYPE_CHECKING:
    from qmodel.live import LiveRun
    from qmodel.scenario import Scenario

STEADY, OVERLOAD = "steady state", "overload, finite horizon"
"""The regimes of a comparison."""


def measured_over_horizon(
    runs: Sequence[LiveRun], scenarios: Sequence[Scenario], percentiles: Sequence[float], predicted: PolicyAnswer
) -> PolicyAnswer:
    """Each metric over the runs, weighted by their requests, with the interval that a prediction must lie in.

    `scenarios`: the question of each run, on the host as it was then. `predicted` is the simulator's answer to the
    same horizon. Its 95 % interval, of half width h over R replications, gives the half width h sqrt(1 + R/k) for
    the difference between the prediction and the mean of k further runs (Law, *Simulation Modeling and Analysis*,
    5th ed. 2015, section 9.4.1, and the prediction interval of normal samples). Raises InputError for a prediction
    that was not made over a horizon.
    """
    from qmodel.live import measured_answer

    replications = predicted.run.get("replications")
    if not replications:
        raise InputError("prediction", "is not of a finite horizon", "predict it with a horizon")
    together = measured_answer(runs, scenarios, percentiles, 0.0)
    alone = [measured_answer(run, own, percentiles, 0.0) for run, own in zip(runs, scenarios, strict=True)]
    widening = math.sqrt(1.0 + replications / len(runs))
    classes = [_over(each, alone, predicted, widening) for each in together.classes]
    assumptions = [
        "nothing dropped as warm-up: the system starts empty",
        f"intervals: spread of {replications} simulated runs, for the mean of {len(runs)}",
    ]
    return replace(together, classes=classes, assumptions=assumptions, stable=False)


def _over(
    part: ClassAnswer, alone: Sequence[PolicyAnswer], predicted: PolicyAnswer, widening: float
) -> ClassAnswer:
    """Metrics of one class over all runs, with their intervals."""
    metrics = {name: _weighted(part.name, name, alone) for name in part.metrics}
    spread = {name: 0.5 * (high - low) for name, (low, high) in predicted[part.name].ci95.items()}
    intervals = {
        name: (value - widening * spread[name], value + widening * spread[name])
        for name, value in metrics.items()
        if value is not None and math.isfinite(spread.get(name, math.nan))
    }
    return replace(part, metrics=metrics, ci95=intervals)


def _weighted(part: str, name: str, alone: Sequence[PolicyAnswer]) -> float | None:
    """Mean over the runs, each with the number of its requests; None where some run does not have it."""
    values = [answer[part].metrics.get(name) for answer in alone]
    weights = [answer.run["horizon_s"] * (answer[part].metrics.get("throughput") or 0.0) for answer in alone]
    known = [value for value in values if value is not None]
    if len(known) < len(values) or not sum(weights):
        return None
    return sum(w * v for w, v in zip(weights, known, strict=True)) / sum(weights)
