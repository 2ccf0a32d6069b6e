"""Blocks as a random effect: which part of the variation is between blocks, and what fixed effects are judged by.

Where every cell was measured equally often in every block, expected mean squares give exact tests: with blocks and
their interaction with cells random, E[MS_cells] = s2 + n s2_bc + ..., so effects are tested against the mean square
of blocks x cells, not against repetitions of one visit. Otherwise a mixed model is fitted by REML (statsmodels
MixedLM) and effects are tested by Wald's statistic.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import chi2
from scipy.stats import f as f_law

from qmodel.errors import InputError
from qmodel.fit.anova import BLOCK, Anova, sum_coded
from qmodel.fit.cells import Array, Index

MOST_ROWS = 4000
"""A mixed model of more rows takes too long here."""


@dataclass(frozen=True)
class RandomBlocks:
    """`table`: effects with sum_sq, df, F, PR(>F) (statsmodels' names) and `df_denominator`.

    `components`: variances of block, block x cell and repetition, on the scale analysed; `method` is
    "expected mean squares" or "REML".
    """

    table: pd.DataFrame
    components: Mapping[str, float]
    method: str
    blocks: int

    def sentence(self) -> str:
        """Standard deviations, and what is significant at 5 %."""
        from qmodel.fit.wording import listed, percent

        spread = {k: percent(float(np.sqrt(v))) for k, v in self.components.items()}
        parts = [f"{value} {name}" for name, value in spread.items()]
        kept = self.table.index[self.table["PR(>F)"] < 0.05].tolist()
        return (
            f"Blocks as random ({self.method}, {self.blocks} blocks): standard deviation {listed(parts)}; "
            f"significant at 5 %: {listed([str(k) for k in kept])}."
        )


def random_blocks(anova: Anova) -> RandomBlocks:
    """The analysis again with blocks as a random effect. Raises InputError without blocks."""
    if BLOCK not in anova.data:
        raise InputError("random blocks", "there is one block", "measure in several blocks")
    factors = [f"f{k}" for k, name in enumerate(n for n in anova.factors if n != BLOCK)]
    cell = anova.data.groupby(factors, sort=True).ngroup().to_numpy()
    counts = pd.crosstab(cell, anova.data[BLOCK]).to_numpy()
    effects = [e for e in anova.effect_codes if e != (BLOCK,)]
    if counts.shape[0] > 1 and counts.min() == counts.max() and _saturated(anova, effects, counts.shape[0]):
        return _mean_squares(anova, effects, cell, int(counts[0, 0]))
    return _mixed(anova, effects, factors, cell)


def _saturated(anova: Anova, effects: Sequence[tuple[str, ...]], cells: int) -> bool:
    """Whether the effects make up all differences between cells."""
    return 1 + sum(sum_coded(anova.data, e).shape[1] for e in effects) == cells


def _mean_squares(anova: Anova, effects: Sequence[tuple[str, ...]], cell: Index, n: int) -> RandomBlocks:
    y, block = anova.data["y"].to_numpy(float), anova.data[BLOCK].to_numpy()
    a, b = int(cell.max()) + 1, int(block.max()) + 1
    table = pd.crosstab(cell, block, values=y, aggfunc="mean").to_numpy()
    rows, columns, grand = table.mean(axis=1), table.mean(axis=0), table.mean()
    between = a * n * float(np.sum((columns - grand) ** 2)) / (b - 1)
    freedom = (a - 1) * (b - 1)
    crossed = n * float(np.sum((table - rows[:, None] - columns + grand) ** 2)) / freedom
    within = float(np.sum((y - table[cell, block]) ** 2)) / (a * b * (n - 1)) if n > 1 else 0.0
    components = {"between blocks": max(0.0, (between - crossed) / (a * n))}
    if n > 1:
        components["between visits of a cell"] = max(0.0, (crossed - within) / n)
        components["between repetitions"] = within
    else:
        components["between visits of a cell"] = crossed
    out = _rows(anova, effects, y)
    out["F"] = out["sum_sq"] / out["df"] / crossed if crossed > 0 else np.inf
    out["PR(>F)"] = f_law.sf(out["F"], out["df"], freedom)
    out["df_denominator"] = float(freedom)
    return RandomBlocks(out, components, "expected mean squares", b)


def _rows(anova: Anova, effects: Sequence[tuple[str, ...]], y: Array) -> pd.DataFrame:
    """Sums of squares of a balanced design: projections on each effect's own columns."""
    rows = {}
    for effect in effects:
        x = sum_coded(anova.data, effect)
        fitted = x @ np.linalg.lstsq(x, y - y.mean(), rcond=None)[0]
        rows[effect_words(anova, effect)] = {"sum_sq": float(fitted @ fitted), "df": float(x.shape[1])}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("effect")


def effect_words(anova: Anova, effect: Sequence[str]) -> str:
    """`f0`, `f1` under the factors' own names, joined by a colon."""
    names = [name for name in anova.factors if name != BLOCK]
    return ":".join(BLOCK if code == BLOCK else names[int(code[1:])] for code in effect)


def _mixed(anova: Anova, effects: Sequence[tuple[str, ...]], factors: Sequence[str], cell: Index) -> RandomBlocks:
    """REML with a variance component for blocks and one for visits, where visits were repeated."""
    from statsmodels.regression.mixed_linear_model import MixedLM

    data = anova.data
    if len(data) > MOST_ROWS:
        data = data.sample(MOST_ROWS, random_state=0)
        cell = cell[data.index.to_numpy()]
    columns = [sum_coded(data, effect) for effect in effects]
    x = np.hstack([np.ones((len(data), 1)), *columns])
    visit = data[BLOCK].astype(str) + "/" + pd.Series(cell, index=data.index).astype(str)
    repeated = visit.duplicated().any()
    exog = _visits(visit, data[BLOCK]) if repeated else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        each = np.ones((len(data), 1))
        model = MixedLM(data["y"].to_numpy(float), x, data[BLOCK].to_numpy(), exog_re=each, exog_vc=exog)
        fitted = model.fit(reml=True)
    found = {"between blocks": max(0.0, float(np.asarray(fitted.cov_re)[0, 0]))}
    if repeated:
        found["between visits of a cell"] = max(0.0, float(fitted.vcomp[0]))
    found["between repetitions"] = float(fitted.scale)
    beta, covariance = np.asarray(fitted.fe_params), np.asarray(fitted.cov_params())[: x.shape[1], : x.shape[1]]
    rows, start = {}, 1
    for effect, block in zip(effects, columns, strict=True):
        part = slice(start, start := start + block.shape[1])
        wald = float(beta[part] @ np.linalg.solve(covariance[part, part], beta[part]))
        df = float(block.shape[1])
        p = float(chi2.sf(wald, df))
        rows[effect_words(anova, effect)] = {
            "sum_sq": np.nan,
            "df": df,
            "F": wald / df,
            "PR(>F)": p,
            "df_denominator": np.inf,
        }
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("effect")
    return RandomBlocks(table, found, "REML", int(data[BLOCK].nunique()))


def _visits(visit: pd.Series, block: pd.Series) -> object:
    """The variance component of visits, one matrix of indicators a block."""
    from statsmodels.regression.mixed_linear_model import VCSpec

    matrices, names = [], []
    for level in sorted(block.unique()):
        dummies = pd.get_dummies(visit[block == level])
        matrices.append(dummies.to_numpy(float))
        names.append([str(c) for c in dummies.columns])
    return VCSpec(["visit"], [names], [matrices])
