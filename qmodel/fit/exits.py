"""The law of exits: how often requests leave a network at each exit, and whether that depends on anything else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy.stats import chi2_contingency
from statsmodels.stats.proportion import multinomial_proportions_confint

from qmodel.errors import InputError, nearest
from qmodel.fit.columns import ABSENT
from qmodel.fit.csv_text import TextTable
from qmodel.fit.wording import listed, p_value, percent, plain_table, wrapped
from qmodel.service.terms import level_text

MOST_EXITS = 200
GROUPS = 4
"""A numeric column is cut into as many groups of like size to see whether exits depend on it."""

LEVEL = 0.01


@dataclass(frozen=True)
class ExitLaw:
    """`table`: one row an exit (shallow first) with count, probability, low, high (95 %, all together), fraction.

    `fraction` is the exit's share of the deepest one's depth: of the work that is done. `dependence`: p of the test
    that exits do not depend on a column (Pearson's chi squared). `skipped` rows had no exit.
    """

    table: pd.DataFrame
    dependence: Mapping[str, float] = field(default_factory=dict)
    skipped: int = 0
    source: str = ""

    @property
    def mean_fraction(self) -> float:
        """Mean share of the work that is done."""
        return float(np.sum(self.table["probability"].to_numpy() * self.table["fraction"].to_numpy()))

    def summary(self) -> str:
        """The law as plain text, 80 columns wide."""
        t = self.table
        spans = [f"{percent(a)} to {percent(b)}" for a, b in zip(t["low"], t["high"], strict=True)]
        shown = pd.DataFrame(
            {
                "exit": t.index,
                "requests": t["count"],
                "probability": [percent(p) for p in t["probability"]],
                "95 % interval": spans,
                "work done": [percent(f) for f in t["fraction"]],
            }
        )
        heading = f"Exits of {int(t['count'].sum())} requests"
        origin = [wrapped(f"From {self.source}."), ""] if self.source else []
        return "\n".join([heading, "-" * len(heading), *origin, plain_table(shown), "", wrapped(self.paragraph())])

    def paragraph(self) -> str:
        """In plain words."""
        text = f"On average {percent(self.mean_fraction)} of the work is done."
        moved = [name for name, p in self.dependence.items() if p < LEVEL]
        if moved:
            known = listed([f"{name} (p {_compared(self.dependence[name])})" for name in moved])
            text += f" Exits depend on {known}: one law for all requests hides that; fit each class apart."
        elif self.dependence:
            text += f" No dependence on {listed(list(self.dependence))} was found."
        return text + (f" {self.skipped} row(s) without an exit were left out." if self.skipped else "")

    def to_toml(self) -> str:
        """The `[[transform]]` table of a scenario in which requests leave at these exits."""
        fractions = ", ".join(f"{x:.6g}" for x in self.table["fraction"])
        shares = [round(float(p), 9) for p in self.table["probability"]]
        shares[-1] = round(1.0 - sum(shares[:-1]), 9)
        probabilities = ", ".join(f"{x:.9g}" for x in shares)
        head = '[[transform]]\nkind = "early-exit"\ndelivery = "stop"\n'
        return f"{head}fractions = [{fractions}]\nprobabilities = [{probabilities}]\n"


def exit_law(
    table: TextTable, column: str = "exit", by: Sequence[str] | None = None, depth: float | None = None
) -> ExitLaw:
    """Count the exits in `column`: layer numbers, each of which does (number / `depth`) of the work.

    `depth` is that of the whole network (default: the deepest exit seen). `by` names columns that exits may depend
    on (default: class, prompt and output lengths where they are there). Intervals are Goodman's (1965), together.
    Raises InputError where the column is missing or holds anything but positive numbers.
    """
    frame = table.frame
    if column not in frame:
        raise InputError(f"{table.path}, column {column}", "is missing", nearest(column, list(frame.columns)))
    text = frame[column]
    known = ~text.str.lower().isin(ABSENT)
    if "status" in frame:
        known &= frame["status"].str.lower().isin(["ok", ""])
    numbers = pd.to_numeric(text[known], errors="coerce")
    if numbers.empty:
        raise InputError(f"{table.path}, column {column}", "holds no exit", "record the exit of each request")
    bad = ~(np.isfinite(numbers) & (numbers > 0))
    if bad.any():
        line = int(bad.index[bad][0])
        raise InputError(table.place(line, column), f"'{text[line]}' is no layer", "give the number of the layer")
    levels, counts = np.unique(numbers.to_numpy(float), return_counts=True)
    whole = float(levels[-1]) if depth is None else float(depth)
    if len(levels) > MOST_EXITS or whole < levels[-1]:
        fault = f"{len(levels)} exits up to {levels[-1]:g}"
        raise InputError(f"{table.path}, column {column}", fault, "give layers, and a depth not below the deepest")
    named = [name for name in by if name in frame] if by is not None else [n for n in LIKELY if n in frame]
    return ExitLaw(
        _counted(levels, counts, whole),
        _dependence(frame.loc[numbers.index], numbers, named),
        int(len(frame) - len(numbers)),
        table.path,
    )


LIKELY = ("class", "input_tokens", "output_tokens", "steps")


def _counted(levels: np.ndarray, counts: np.ndarray, depth: float) -> pd.DataFrame:
    bounds = np.clip(np.asarray(multinomial_proportions_confint(counts, method="goodman")), 0.0, 1.0)
    if len(levels) == 1:
        bounds = np.array([[0.05 ** (1.0 / counts.sum()), 1.0]])  # exact, from (low)^n = 5 %
    return pd.DataFrame(
        {
            "count": counts,
            "probability": counts / counts.sum(),
            "low": bounds[:, 0],
            "high": bounds[:, 1],
            "fraction": levels / depth,
        },
        index=pd.Index(level_text(levels).tolist(), name="exit"),
    )


def _dependence(frame: pd.DataFrame, exits: pd.Series, by: Sequence[str]) -> dict[str, float]:
    """p of independence for each column with two groups or more, groups of fewer than five expected merged away."""
    found = {}
    for name in by:
        group = _grouped(frame[name])
        counts = pd.crosstab(group, exits).to_numpy()
        counts = counts[:, counts.sum(axis=0) >= 5 * len(counts)]
        if min(counts.shape) >= 2:
            found[name] = float(chi2_contingency(counts).pvalue)
    return found


def _grouped(values: pd.Series) -> pd.Series:
    numbers = pd.to_numeric(values, errors="coerce")
    if numbers.notna().all() and numbers.nunique() > GROUPS:
        return pd.qcut(numbers, GROUPS, labels=False, duplicates="drop")
    return values


def _compared(p: float) -> str:
    text = p_value(p)
    return text if text.startswith("<") else f"= {text}"
