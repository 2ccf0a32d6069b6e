"""Which levels differ: Tukey's comparisons of all pairs of one factor's levels, after an analysis of variance."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
from scipy.stats import studentized_range

from qmodel.errors import InputError, nearest
from qmodel.fit.anova import BLOCK, Anova, sum_coded


def tukey(anova: Anova, factor: str, confidence: float = 0.95) -> pd.DataFrame:
    """All pairs of levels of `factor` by Tukey and Kramer, the other factors' levels weighed equally.

    Means and their covariance come from the whole analysis, so its residual, not that of one factor alone, is the
    yardstick. One row a pair with statsmodels' names: group1, group2, meandiff (group2 - group1), p-adj, lower,
    upper, reject; `ratio` is exp(meandiff) where logs were analysed. The intervals hold for all pairs together.
    Raises InputError for a name that is not a factor of the analysis.
    """
    code = _code(anova, factor)
    blocks = [sum_coded(anova.data, effect) for effect in anova.effect_codes]
    design = np.hstack([np.ones((len(anova.data), 1)), *blocks])
    solution = np.linalg.lstsq(design, anova.data["y"].to_numpy(float), rcond=None)[0]
    start = 1 + sum(block.shape[1] for block in blocks[: anova.effect_codes.index((code,))])
    words = anova.levels[factor]
    part = slice(start, start + len(words) - 1)
    squares, freedom = anova.table.loc["Residual", ["sum_sq", "df"]].to_numpy(float)
    variance = squares / freedom
    inverse = np.linalg.inv(design.T @ design)[part, part]
    coded = np.vstack([np.eye(len(words) - 1), -np.ones(len(words) - 1)])
    limit = float(studentized_range.ppf(confidence, len(words), freedom))
    rows = []
    for i, j in itertools.combinations(range(len(words)), 2):
        contrast = coded[j] - coded[i]
        difference = float(contrast @ solution[part])
        error = float(np.sqrt(variance * (contrast @ inverse @ contrast) / 2.0))
        p = float(studentized_range.sf(abs(difference) / error, len(words), freedom))
        low, high = difference - limit * error, difference + limit * error
        rows.append((words[i], words[j], difference, p, low, high, p < 1.0 - confidence))
    table = pd.DataFrame(rows, columns=["group1", "group2", "meandiff", "p-adj", "lower", "upper", "reject"])
    return table.assign(ratio=np.exp(table["meandiff"])) if anova.transform == "log" else table


def _code(anova: Anova, factor: str) -> str:
    """The safe name of a factor whose main effect is in the analysis."""
    known = {name: f"f{k}" for k, name in enumerate(n for n in anova.factors if n != BLOCK)}
    known = {name: code for name, code in known.items() if (code,) in anova.effect_codes}
    if factor not in known:
        raise InputError("Tukey", f"'{factor}' is not a factor of the analysis", nearest(factor, list(known)))
    return known[factor]
