"""Remedies where an assumption of the analysis of variance fails: the same question asked with fewer assumptions.

| remedy | answers |
|---|---|
| log, Box-Cox | a long tail, or variance that grows with the time |
| weighted | variance that differs between cells |
| robust (HC3) | variance that differs, whatever its pattern (MacKinnon and White 1985) |
| robust (Huber) | outliers: residuals beyond 1.345 robust deviations count less |
| aligned ranks | any distribution at all |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import statsmodels.api as sm
from scipy.optimize import minimize_scalar
from scipy.stats import chi2
from scipy.stats import f as f_law
from statsmodels.formula.api import ols, rlm, wls

from qmodel.fit.anova import BLOCK, Anova, analyse, anova_table, effect_code, effect_name, named, sum_coded
from qmodel.fit.cells import Array
from qmodel.fit.table import Measurements

WIDEST = 3.0
"""Box-Cox exponents are sought between -3 and 3."""


def with_remedies(
    result: Anova, measurements: Measurements, formula: str, names: Mapping[str, str], order: int | None
) -> Anova:
    """`result` with every remedy that these data admit."""
    data, remedies, effects = result.data, {}, result.effect_codes
    if result.transform == "none":
        remedies["log"] = analyse(measurements, type=result.type, order=order, remedies=False).table
    raw = (np.exp(data["y"]) if result.transform == "log" else data["y"]).to_numpy(float)
    exponent = box_cox(data, effects, raw, 0.0 if result.transform == "log" else 1.0)
    if exponent is not None:
        changed = data.assign(y=box_cox_transformed(raw, exponent))
        table = anova_table(ols(formula, changed).fit(), result.type)
        remedies[f"Box-Cox ({exponent:.2f})"] = named(table, names, changed["y"])
    weights = _cell_weights(data, [f for f in names if f != BLOCK])
    if weights is not None:
        fitted = wls(formula, data, weights=weights).fit()
        remedies["weighted"] = named(anova_table(fitted, result.type), names, data["y"])
    plain = ols(formula, data).fit()
    if result.type != 1 and np.max(plain.get_influence().hat_matrix_diag) < 1 - 1e-9:
        remedies["robust (HC3)"] = named(anova_table(plain, result.type, "hc3"), names, data["y"])
    robust = huber(data, formula, effects, names)
    if robust is not None:
        remedies["robust (Huber)"] = robust
    remedies["aligned ranks"] = aligned_ranks(data, formula, effects, names, result.type)
    return replace(result, remedies=remedies)


def box_cox(data: pd.DataFrame, effects: Sequence[tuple[str, ...]], y: Array, used: float) -> float | None:
    """The exponent with the largest profile likelihood under the linear model of the effects (Box and Cox 1964).

    With z = (y^l - 1) / (l g^(l-1)), g the geometric mean, twice the log likelihood is -n ln RSS(z). None where the
    exponent `used` already lies in the 95 % interval (likelihood ratio), where a value is not above zero, and where
    the optimum lies at the edge of the search.
    """
    if np.any(y <= 0):
        return None
    design = np.hstack([np.ones((len(data), 1)), *(sum_coded(data, effect) for effect in effects)])
    q = np.linalg.qr(design)[0]

    def loss(exponent: float) -> float:
        z = box_cox_transformed(y, exponent)
        return float(np.log(np.sum((z - q @ (q.T @ z)) ** 2)))

    found = minimize_scalar(loss, bounds=(-WIDEST, WIDEST), method="bounded", options={"xatol": 1e-4})
    gain = len(y) * (loss(used) - float(found.fun))
    return float(found.x) if abs(found.x) < WIDEST - 1e-2 and gain > chi2.ppf(0.95, 1) else None


def box_cox_transformed(y: Array, exponent: float) -> Array:
    """(y^l - 1) / (l g^(l-1)) with the geometric mean g; g ln y at l = 0.

    >>> box_cox_transformed(np.array([1.0, 4.0]), 1.0).tolist()
    [0.0, 3.0]
    """
    middle = float(np.exp(np.mean(np.log(y))))
    if abs(exponent) < 1e-8:
        return np.asarray(middle * np.log(y))
    return np.asarray((y**exponent - 1.0) / (exponent * middle ** (exponent - 1.0)))


def huber(
    data: pd.DataFrame, formula: str, effects: Sequence[tuple[str, ...]], names: Mapping[str, str]
) -> pd.DataFrame | None:
    """Huber's M estimate (statsmodels RLM); each effect by F = b' V^-1 b / df. None where the scale is zero."""
    fitted = rlm(formula, data, M=sm.robust.norms.HuberT()).fit()
    beta, covariance = np.asarray(fitted.params), np.asarray(fitted.cov_params())
    if not (fitted.scale > 0 and np.all(np.isfinite(covariance))):
        return None
    rows, start, freedom = {}, 1, float(fitted.df_resid)
    for effect in effects:
        width = sum_coded(data, effect).shape[1]
        part = slice(start, start := start + width)
        statistic = float(beta[part] @ np.linalg.pinv(covariance[part, part]) @ beta[part]) / width
        p = float(f_law.sf(statistic, width, freedom))
        label = effect_name(effect_code(effect), names)
        rows[label] = {"sum_sq": np.nan, "df": float(width), "F": statistic, "PR(>F)": p, "share": np.nan}
    rows["Residual"] = {"sum_sq": np.nan, "df": freedom, "F": np.nan, "PR(>F)": np.nan, "share": np.nan}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("effect")


def _cell_weights(data: pd.DataFrame, factors: Sequence[str]) -> Array | None:
    """1 / variance of each row's cell; None unless every cell has four replicates that differ."""
    groups = data.groupby(list(factors))["residual"]
    if groups.size().min() < 4:
        return None
    variance = groups.transform("var").to_numpy(float)
    return None if np.any(variance <= 0) else 1.0 / variance


def aligned_ranks(
    data: pd.DataFrame, formula: str, effects: Sequence[tuple[str, ...]], names: Mapping[str, str], type: int
) -> pd.DataFrame:
    """Aligned rank transform (Wobbrock et al. 2011): for each effect, rank the residual plus that effect alone.

    Free of normality; each row of the table comes from the analysis of its own ranks.
    """
    blocks = [sum_coded(data, effect) for effect in effects]
    design = np.hstack([np.ones((len(data), 1)), *blocks])
    coefficients = np.linalg.lstsq(design, data["y"].to_numpy(float), rcond=None)[0]
    parts = np.split(coefficients[1:], np.cumsum([block.shape[1] for block in blocks])[:-1])
    residual = data["y"].to_numpy(float) - design @ coefficients
    rows = []
    for effect, block, part in zip(effects, blocks, parts, strict=True):
        aligned = residual + block @ part
        ranked = data.assign(y=pd.Series(aligned).round(12).rank().to_numpy())
        table = named(anova_table(ols(formula, ranked).fit(), type), names, ranked["y"])
        rows.append(table.loc[[effect_name(effect_code(effect), names)]])
    return pd.concat([*rows, table.loc[["Residual"]]])
