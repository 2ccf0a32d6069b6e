"""Analysis of variance: which factors and interactions move the response, and how much each explains.

statsmodels does the statistics and its column names are kept (sum_sq, df, F, PR(>F)); `share` is eta squared, the
effect's sum of squares over the total. Formulas are built from generated names (f0, f1, ...), never from user text.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd
import statsmodels.api as sm
from statsmodels.formula.api import ols

from qmodel.errors import InputError
from qmodel.fit.assumptions import Check, check_residuals
from qmodel.fit.cells import Array
from qmodel.fit.table import Measurements
from qmodel.fit.wording import listed
from qmodel.service.terms import level_text

Transform = Literal["log", "none"]

MOST_LEVELS = 12
"""A numeric factor with more levels is cut into groups of like size for the analysis of variance."""

GROUPS = 6
MOST_COLUMNS = 160
MOST_ROWS = 20_000
BLOCK = "block"


@dataclass(frozen=True)
class Anova:
    """The table and what it rests on.

    `table`: one row an effect (factor, `a:b` interactions, block, Residual) with sum_sq, df, F, PR(>F), share.
    `checks`: the assumptions. `remedies`: other analyses by name, done where an assumption failed.
    `data` holds what was analysed: factors f0, f1, ..., the response y, its residuals and fitted values;
    `effect_codes` are the effects in these names and `levels` the words for each factor's codes.
    """

    table: pd.DataFrame
    type: int
    transform: Transform
    checks: tuple[Check, ...]
    remedies: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    data: pd.DataFrame = field(default_factory=pd.DataFrame)
    factors: tuple[str, ...] = ()
    effect_codes: tuple[tuple[str, ...], ...] = ()
    levels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def sound(self) -> bool:
        """Whether every assumption that could be checked holds."""
        return all(check.passed for check in self.checks if check.passed is not None)

    def effects(self) -> pd.DataFrame:
        """Rows of factors and interactions alone, largest share first."""
        rows = self.table.drop(
            index=[name for name in ("Residual", BLOCK, "Intercept") if name in self.table.index]
        )
        return rows.sort_values("share", ascending=False, kind="stable")

    def significant(self, level: float = 0.05) -> list[str]:
        """Effects with p below `level`, largest share first."""
        rows = self.effects()
        return rows.index[rows["PR(>F)"] < level].tolist()

    def records(self) -> list[dict[str, Any]]:
        """The table as rows of plain values, for the model file."""
        return [{"effect": str(name), **{str(k): v for k, v in row.items()}} for name, row in self.table.iterrows()]

    def p_values(self) -> pd.DataFrame:
        """PR(>F) of every effect as analysed and by each remedy, side by side; largest share first."""
        rows = self.effects().index
        methods = {f"as analysed ({self.transform})": self.table, **self.remedies}
        return pd.DataFrame({name: table["PR(>F)"].reindex(rows) for name, table in methods.items()}, index=rows)

    def effect_sizes(self, confidence: float = 0.95) -> pd.DataFrame:
        """Partial eta squared with its interval and omega squared, largest effect first (`effect_sizes` module)."""
        from qmodel.fit.effect_sizes import effect_sizes

        return effect_sizes(self.table, confidence).reindex(self.effects().index)

    def conclusion(self) -> str:
        """What the remedies change."""
        if self.sound:
            return "The assumptions hold as far as they could be checked."
        failed = ", ".join(check.name for check in self.checks if check.passed is False)
        if not self.remedies:
            return f"Failed: {failed}. No remedy could be computed."
        changes = {name: changed(self, table) for name, table in self.remedies.items()}
        same = [name for name, changed in changes.items() if not changed]
        stories = [f"by {name} it differs on {', '.join(changed)}" for name, changed in changes.items() if changed]
        if same:
            stories.insert(0, f"by {listed(same)} it finds the same effects at the 5 % level")
        return f"Failed: {failed}. Done again " + "; ".join(stories) + "."


def analyse(
    measurements: Measurements,
    *,
    type: int = 2,
    transform: Transform = "log",
    order: int | None = None,
    remedies: bool = True,
) -> Anova:
    """N-way analysis of variance of the response, every factor taken by its levels, the block as a nuisance.

    `type` 1, 2 or 3 (sums of squares), `transform` "log" (effects multiply) or "none", `order` the largest
    interaction (default: as large as the data allow). Raises InputError where no variation is left to test against.
    """
    if type not in (1, 2, 3):
        raise InputError("ANOVA type", f"{type} is unknown", "known: 1, 2, 3")
    data, names, notes = _prepared(measurements, transform)
    effects = _estimable(data, names, order, notes)
    formula = "y ~ " + " + ".join(effect_code(effect) for effect in effects)
    fitted = ols(formula, data).fit()
    if fitted.df_resid < 1:
        raise InputError("ANOVA", "leaves no degree of freedom for the residual", "measure replicates")
    table = named(anova_table(fitted, type), names, data["y"])
    data = data.assign(residual=np.asarray(fitted.resid), fitted=np.asarray(fitted.fittedvalues))
    checks = check_residuals(data, [f for f in names if f != BLOCK], transform)
    levels = {name: _level_words(measurements.frame[name]) for code, name in names.items() if code != BLOCK}
    result = Anova(
        table, type, transform, checks, {}, tuple(notes), data, tuple(names.values()), tuple(effects), levels
    )
    if result.sound or not remedies:
        return result
    from qmodel.fit.remedies import with_remedies

    return with_remedies(result, measurements, formula, names, order)


def _prepared(measurements: Measurements, transform: Transform) -> tuple[pd.DataFrame, dict[str, str], list[str]]:
    """Levels as integer codes under safe names, the response as y; safe name -> factor."""
    frame, notes = measurements.frame, []
    if len(frame) > MOST_ROWS:
        notes.append(f"on a random {MOST_ROWS} of {len(frame)} rows")
        frame = frame.sample(MOST_ROWS, random_state=0).sort_index()
    names = {f"f{k}": name for k, name in enumerate(measurements.factors)}
    data = pd.DataFrame({code: _codes(frame[name], name, notes) for code, name in names.items()})
    if BLOCK in frame and frame[BLOCK].nunique() > 1:
        names[BLOCK] = BLOCK
        data[BLOCK] = pd.factorize(frame[BLOCK])[0]
    y = frame[measurements.response].to_numpy(float)
    data["y"] = np.log(y) if transform == "log" else y
    if "run_order" in frame:
        data["run_order"] = frame["run_order"].to_numpy(float)
    return data.reset_index(drop=True), names, notes


def _level_words(values: pd.Series) -> tuple[str, ...]:
    """A word for each code: the level, or the range of a group of levels."""
    present = np.sort(values.unique())
    codes = _codes(values, "", [])
    if codes.max() + 1 == len(present):
        return tuple(level_text(present).tolist())
    grouped = values.groupby(codes).agg(["min", "max"])
    return tuple(f"{low:g} to {high:g}" for low, high in grouped.to_numpy())


def _codes(values: pd.Series, name: str, notes: list[str]) -> np.ndarray:
    codes, levels = pd.factorize(values, sort=True)
    if len(levels) <= MOST_LEVELS or not pd.api.types.is_numeric_dtype(values):
        return np.asarray(codes)
    groups = pd.qcut(pd.Series(codes), GROUPS, labels=False, duplicates="drop").to_numpy()
    notes.append(f"{len(levels)} levels of {name} are taken in {len(np.unique(groups))} groups of like size")
    return np.asarray(groups)


def _estimable(
    data: pd.DataFrame, names: Mapping[str, str], order: int | None, notes: list[str]
) -> list[tuple[str, ...]]:
    """Main effects and the interactions that the cells determine with a residual left over."""
    factors = [name for name in names if name != BLOCK]
    block: list[tuple[str, ...]] = [(BLOCK,)] if BLOCK in names else []
    wanted = len(factors) if order is None else min(order, len(factors))
    for largest in range(wanted, 0, -1):
        effects = [e for size in range(1, largest + 1) for e in itertools.combinations(factors, size)]
        effects = block + [e for e in effects if len(e) == 1 or _filled(data, e)]
        columns = 1 + sum(int(np.prod([data[f].nunique() - 1 for f in e])) for e in effects)
        if columns > MOST_COLUMNS and largest > 1:
            notes.append(f"interactions of {largest} factors are left out: too many levels")
        elif columns >= len(data) and largest > 1:
            notes.append(f"interactions of {largest} factors serve as the residual: there are no replicates")
        elif largest == 1 or _full_rank(data, effects):
            break
        else:
            notes.append(f"interactions of {largest} factors are left out: some cells are missing")
    return _independent(data, effects, notes, names)


def _filled(data: pd.DataFrame, effect: tuple[str, ...]) -> bool:
    """Whether every combination of the levels of `effect` was measured."""
    return len(data[list(effect)].drop_duplicates()) == int(np.prod([data[f].nunique() for f in effect]))


def _full_rank(data: pd.DataFrame, effects: Sequence[tuple[str, ...]]) -> bool:
    distinct = data[sorted({f for e in effects for f in e})].drop_duplicates()
    x = np.hstack([np.ones((len(distinct), 1)), *(sum_coded(distinct, effect) for effect in effects)])
    return bool(np.linalg.matrix_rank(x) == x.shape[1])


def sum_coded(data: pd.DataFrame, effect: Sequence[str]) -> Array:
    """Columns of an effect under sum-to-zero coding; of an interaction, the products of its factors' columns.

    >>> sum_coded(pd.DataFrame({"f0": [0, 1, 2]}), ["f0"]).tolist()
    [[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]]
    """
    columns = np.ones((len(data), 1))
    for name in effect:
        codes, levels = pd.factorize(data[name], sort=True)
        coded = np.vstack([np.eye(len(levels) - 1), -np.ones(len(levels) - 1)])[codes]
        columns = (columns[:, :, None] * coded[:, None, :]).reshape(len(data), -1)
    return columns


def _independent(
    data: pd.DataFrame, effects: Sequence[tuple[str, ...]], notes: list[str], names: Mapping[str, str]
) -> list[tuple[str, ...]]:
    """Drop effects, from the last, that earlier ones already determine."""
    kept: list[tuple[str, ...]] = []
    for effect in effects:
        if _full_rank(data, [*kept, effect]):
            kept.append(effect)
        else:
            notes.append(
                f"{':'.join(names[f] for f in effect)} cannot be told from the effects before it: it is left out"
            )
    return kept


def effect_code(effect: tuple[str, ...]) -> str:
    """An effect in the formula: `C(f0, Sum):C(f1, Sum)`."""
    return ":".join(f"C({name}, Sum)" for name in effect)


def anova_table(fitted: Any, type: int, robust: str | None = None) -> pd.DataFrame:
    """statsmodels' table of this type."""
    return pd.DataFrame(sm.stats.anova_lm(fitted, typ=type, robust=robust))


def named(table: pd.DataFrame, names: Mapping[str, str], y: pd.Series) -> pd.DataFrame:
    """Effects under their own names, with the share of the total sum of squares."""
    total = float(((y - y.mean()) ** 2).sum())
    out = table[["sum_sq", "df", "F", "PR(>F)"]].copy()
    out["share"] = out["sum_sq"] / total if total > 0 else 0.0
    out.index = pd.Index([effect_name(str(label), names) for label in out.index], name="effect")
    return out


def effect_name(label: str, names: Mapping[str, str]) -> str:
    """`C(f0, Sum):C(f1, Sum)` under the factors' own names.

    >>> effect_name("C(f0, Sum):C(f1, Sum)", {"f0": "batch_size", "f1": "steps"})
    'batch_size:steps'
    """
    parts = [part.removeprefix("C(").removesuffix(", Sum)") for part in label.split(":")]
    return ":".join(names.get(part, part) for part in parts)


def changed(result: Anova, table: pd.DataFrame) -> list[str]:
    """Effects whose significance at the 5 % level another analysis turns over."""
    mine = result.table["PR(>F)"].drop(index=[BLOCK, "Residual", "Intercept"], errors="ignore") < 0.05
    other = table["PR(>F)"].reindex(mine.index)
    return [str(e) for e in mine.index if pd.notna(other[e]) and bool(other[e] < 0.05) != bool(mine[e])]
