"""Effect sizes with intervals: partial eta squared and omega squared, by the noncentral F law.

An effect's F has the noncentral law with noncentrality l; in the population the effect makes l / (l + N) of what it
and the residual vary by, N = df + df_residual + 1 (Steiger 2004). The interval holds every l under which the F seen
is no surprise.
"""

from __future__ import annotations

import math

import pandas as pd
from scipy.optimize import brentq
from scipy.special import fdtr, ncfdtr

LARGE = 1e6
"""Noncentrality beyond which Patnaik's central F (1949) stands for the noncentral one."""

CERTAIN = 1e10
"""An F above this comes of data without noise: the effect explains everything."""


def effect_sizes(table: pd.DataFrame, confidence: float = 0.95) -> pd.DataFrame:
    """One row an effect of an analysis of variance with `Residual`: partial_eta_sq, omega_sq, low, high.

    partial_eta_sq = SS / (SS + SS_residual) describes the sample; omega_sq = df (F - 1) / (df (F - 1) + N) is
    nearly unbiased for the population; `low` and `high` bound the population's partial eta squared.
    """
    freedom = float(table["df"].loc["Residual"])
    effects = table.drop(index=[n for n in ("Residual", "Intercept") if n in table.index])
    rows = {}
    for name, df, f in zip(effects.index, effects["df"].to_numpy(float), effects["F"].to_numpy(float), strict=True):
        low, high = partial_eta_interval(f, df, freedom, confidence)
        excess, size = df * (f - 1.0), df + freedom + 1.0
        eta = df * f / (df * f + freedom) if math.isfinite(f) else 1.0
        omega = max(0.0, excess / (excess + size)) if math.isfinite(f) else 1.0
        rows[name] = {"partial_eta_sq": eta, "omega_sq": omega, "low": low, "high": high}
    out = pd.DataFrame.from_dict(rows, orient="index", columns=["partial_eta_sq", "omega_sq", "low", "high"])
    return out.rename_axis("effect")


def partial_eta_interval(f: float, df: float, freedom: float, confidence: float = 0.95) -> tuple[float, float]:
    """Interval of the population's partial eta squared.

    >>> [round(x, 3) for x in partial_eta_interval(5.0, 2, 30)]
    [0.013, 0.444]
    """
    if math.isnan(f):
        return math.nan, math.nan
    if f > CERTAIN:
        return 1.0, 1.0
    tail, size = (1.0 - confidence) / 2.0, df + freedom + 1.0
    low, high = (noncentrality(f, df, freedom, p) for p in (1.0 - tail, tail))
    return low / (low + size), high / (high + size)


def noncentrality(f: float, df: float, freedom: float, p: float) -> float:
    """The noncentrality under which a value of at most `f` has probability `p`; 0 where none is that small."""
    if _cdf(f, df, freedom, 0.0) <= p:
        return 0.0
    high = max(1.0, 2.0 * df * f)
    while _cdf(f, df, freedom, high) > p:
        high *= 2.0
    return float(brentq(lambda nc: _cdf(f, df, freedom, nc) - p, 0.0, high, xtol=1e-9 * high, rtol=1e-10))


def _cdf(f: float, df: float, freedom: float, nc: float) -> float:
    """P(F <= f); for large noncentrality (1 + nc/df) times a central F with (df + nc)^2 / (df + 2 nc) for df."""
    if nc < LARGE:
        return float(ncfdtr(df, freedom, nc, f))
    return float(fdtr((df + nc) ** 2 / (df + 2.0 * nc), freedom, f / (1.0 + nc / df)))
