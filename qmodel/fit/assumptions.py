"""Assumptions of the analysis of variance: tested on its residuals, each with a verdict in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.diagnostic import het_breuschpagan
from statsmodels.stats.stattools import durbin_watson

from qmodel.fit.cells import Array
from qmodel.fit.wording import p_equals

LEVEL = 0.01
"""An assumption is called failed below this p: with many rows, slight departures are always found at 5 %."""

WEAK = 0.05
"""Between the two, a sign is weak: told, and no failure."""

SAMPLE = 5000
"""Largest sample on which Shapiro and Wilk's p is trusted."""


@dataclass(frozen=True)
class Check:
    """One assumption: the test, its statistic and p, and whether it holds (None: could not be tested)."""

    name: str
    test: str
    statistic: float | None
    p: float | None
    passed: bool | None
    verdict: str


def check_residuals(data: pd.DataFrame, factors: Sequence[str], transform: str = "log") -> tuple[Check, ...]:
    """Normality, equal variance and independence of `data["residual"]`."""
    scale = "log scale" if transform == "log" else "measured scale"
    residual = data["residual"].to_numpy(float)
    return (
        normality(residual, scale),
        equal_variance(data, factors, scale),
        independence(residual, data["run_order"].to_numpy(float) if "run_order" in data else None),
    )


def normality(residual: Array, scale: str = "measured scale") -> Check:
    """Shapiro and Wilk's test, on a random 5000 residuals where there are more."""
    test = "Shapiro-Wilk"
    if len(residual) < 8 or np.ptp(residual) == 0:
        return Check("normality", test, None, None, None, "Too few distinct residuals to test normality.")
    sample = (
        residual if len(residual) <= SAMPLE else np.random.default_rng(0).choice(residual, SAMPLE, replace=False)
    )
    statistic, p = (float(x) for x in stats.shapiro(sample))
    if p >= LEVEL:
        verdict = f"{_found(p)} that residuals are not normal on the {scale} ({p_equals(p)})."
        return Check("normality", test, statistic, p, True, verdict)
    skew, tail = float(stats.skew(residual)), float(stats.kurtosis(residual))
    shape = "a long right tail" if skew > 0.5 else "a long left tail" if skew < -0.5 else "heavy tails"
    shape = shape if tail > 0 or abs(skew) > 0.5 else "light tails"
    verdict = f"Residuals are not normal on the {scale} ({p_equals(p)}): {shape} (skew {skew:.1f})."
    return Check("normality", test, statistic, p, False, verdict)


def equal_variance(data: pd.DataFrame, factors: Sequence[str], scale: str = "measured scale") -> Check:
    """Brown and Forsythe's test between cells, Breusch and Pagan's along the fitted values (Koenker's form).

    The first sees any difference but is weak with few replicates, the second sees noise that grows with the time;
    p is twice the smaller of the two. Without replicates only the second is done.
    """
    tests = {name: p for name, p in (_brown_forsythe(data, factors), _breusch_pagan(data)) if p is not None}
    if not tests:
        return Check("equal variance", "none", None, None, None, "Too few rows to test equal variance.")
    strongest = min(tests, key=lambda name: tests[name][1])
    statistic, p = tests[strongest][0], min(1.0, len(tests) * tests[strongest][1])
    how = "along the fitted values" if strongest == "Breusch-Pagan" else "between cells"
    verdict = f"Variance differs {how} on the {scale} ({p_equals(p)})."
    if p >= LEVEL:
        where = f" {how}" if p < WEAK else ""
        verdict = f"{_found(p)} that variance differs{where} on the {scale} ({p_equals(p)})."
    return Check("equal variance", strongest, statistic, p, p >= LEVEL, verdict)


def _found(p: float) -> str:
    return "No sign" if p >= WEAK else "A weak sign"


Outcome = tuple[str, tuple[float, float] | None]
"""Name of a test, and its statistic and p where it could be done."""


def _brown_forsythe(data: pd.DataFrame, factors: Sequence[str]) -> Outcome:
    cells = [g.to_numpy(float) for _, g in data.groupby(list(factors))["residual"] if len(g) >= 3]
    if len(cells) < 2 or not any(np.ptp(cell) > 0 for cell in cells):
        return "Brown-Forsythe", None
    statistic, p = stats.levene(*cells, center="median")
    return "Brown-Forsythe", (float(statistic), float(p))


def _breusch_pagan(data: pd.DataFrame) -> Outcome:
    if len(data) <= 8 or np.ptp(data["residual"]) == 0 or np.ptp(data["fitted"]) == 0:
        return "Breusch-Pagan", None
    x = np.column_stack([np.ones(len(data)), data["fitted"]])
    statistic, p = het_breuschpagan(data["residual"], x)[:2]
    return "Breusch-Pagan", (float(statistic), float(p))


def independence(residual: Array, run_order: Array | None) -> Check:
    """Lag-1 correlation of residuals in run order, with Durbin and Watson's statistic; and drift over the run."""
    test = "Durbin-Watson"
    if run_order is None or not np.all(np.isfinite(run_order)):
        return Check(
            "independence", test, None, None, None, "No run order in the data: independence is not tested."
        )
    if len(residual) < 10 or np.ptp(residual) == 0:
        return Check("independence", test, None, None, None, "Too few rows to test independence.")
    ordered = residual[np.argsort(run_order, kind="stable")]
    statistic, p_lag = float(durbin_watson(ordered)), lag_test(ordered)
    drift, p_drift = (float(x) for x in stats.spearmanr(np.arange(len(ordered)), ordered))
    p = min(1.0, 2.0 * min(p_lag, p_drift))
    if p >= LEVEL:
        verdict = f"{_found(p)} of drift or correlation over run order ({p_equals(p)})."
    elif p_drift <= p_lag:
        verdict = f"The response drifts {'up' if drift > 0 else 'down'} over run order ({p_equals(p_drift)})."
    else:
        verdict = f"Neighbours in run order are correlated (Durbin-Watson {statistic:.2f}, {p_equals(p_lag)})."
    return Check("independence", test, statistic, p, p >= LEVEL, verdict)


def lag_test(ordered: Array) -> float:
    """Two-sided p of the lag-1 correlation r, sqrt(n) r being standard normal for independent values.

    >>> round(lag_test(np.array([1.0, -1.0] * 8)), 4)
    0.0002
    """
    centred = ordered - ordered.mean()
    r = float(centred[1:] @ centred[:-1] / (centred @ centred))
    return float(2.0 * stats.norm.sf(abs(r) * np.sqrt(len(ordered))))
