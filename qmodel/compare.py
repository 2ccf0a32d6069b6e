"""Answers held against each other: predicted beside measured, error, inside or outside the interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qmodel.answer import Answer, PolicyAnswer
from qmodel.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    "policy rate class metric predicted predicted_method measured measured_method low high relative_error inside"
).split()
METRICS = ("mean_response_s", "p50_response_s", "p95_response_s", "p99_response_s", "mean_wait_s", "mean_service_s")


@dataclass(frozen=True)
class Comparison:
    """Rows of metrics that both answers have.

    `frame` columns: policy, rate, class, metric, predicted, predicted_method, measured, measured_method, low,
    high (95 % interval of measured), relative_error (predicted/measured - 1), inside (predicted in [low, high];
    None where there is no interval).
    """

    frame: pd.DataFrame

    def share_inside(self, metric: str | None = None) -> float:
        """Share of rows whose prediction lies inside the interval; NaN without any interval."""
        rows = self.frame if metric is None else self.frame[self.frame.metric == metric]
        known = rows.inside.dropna()
        return float(known.astype(float).mean()) if len(known) else math.nan

    def __str__(self) -> str:
        return str(self.frame.to_string(index=False, float_format=lambda value: f"{value:.4g}"))


def compare(predicted: Answer, measured: Answer, metrics: Sequence[str] = METRICS) -> Comparison:
    """Hold a prediction against a simulation or a measurement, policy by policy and class by class.

    Results are matched by policy and rate (within 1e-6). Raises InputError when nothing matches.
    """
    import pandas as pd

    rows = []
    for result in predicted.results:
        partner = _partner(result, measured)
        if partner is not None:
            rows += compare_results(result, partner, metrics)
    if not rows:
        raise InputError("compare", "no policy and rate is in both answers", "answer the same scenario twice")
    return Comparison(pd.DataFrame(rows, columns=COLUMNS))


def compare_results(
    predicted: PolicyAnswer, measured: PolicyAnswer, metrics: Sequence[str] = METRICS
) -> list[dict]:
    """One row a class and metric that both have."""
    known = {answer.name for answer in measured.classes}
    return [
        _row(predicted, measured, answer.name, metric)
        for answer in predicted.classes
        if answer.name in known
        for metric in metrics
        if answer.metrics.get(metric) is not None and measured[answer.name].metrics.get(metric) is not None
    ]


def _partner(result: PolicyAnswer, measured: Answer) -> PolicyAnswer | None:
    same = (m for m in measured.results if m.policy == result.policy)
    return next((m for m in same if math.isclose(m.rate, result.rate, rel_tol=1e-6)), None)


def _row(predicted: PolicyAnswer, measured: PolicyAnswer, name: str, metric: str) -> dict:
    guess, truth = predicted[name].metrics[metric], measured[name].metrics[metric]
    assert guess is not None and truth is not None
    low, high = measured[name].ci95.get(metric, (math.nan, math.nan))
    bounded = math.isfinite(low) and math.isfinite(high)
    return {
        "policy": predicted.policy,
        "rate": predicted.rate,
        "class": name,
        "metric": metric,
        "predicted": guess,
        "predicted_method": predicted.method_of(name, metric),
        "measured": truth,
        "measured_method": measured.method_of(name, metric),
        "low": low,
        "high": high,
        "relative_error": guess / truth - 1.0 if truth else math.nan,
        "inside": bool(low <= guess <= high) if bounded else None,
    }
