"""Two-level designs, full (2^k r) and fractional (2^(k-p)): effects, allocation of variation, confounding.

Every factor is coded -1 and +1. The effect of a column x of signs is q = mean(x y) over cells, its sum of squares
2^(k-p) r q^2, and its share of the variation that sum over the total (Jain 1991, chapters 17 to 19).
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import t as t_law

from qmodel.errors import InputError
from qmodel.fit.cells import Array, Cells
from qmodel.fit.table import Measurements
from qmodel.fit.wording import listed, percent
from qmodel.service.terms import level_text

MOST_FACTORS = 11
Word = tuple[int, ...]
"""Positions of the factors whose signs are multiplied; empty for the identity I."""


@dataclass(frozen=True)
class TwoLevel:
    """`table`: one row an effect with aliases, effect (q), sum_sq, share, low, high (95 %), significant.

    `generators`: as `D = ABC`; `words`: the defining relation; `resolution`: length of its shortest word (None for
    a full design); `replicates` a cell; `error_share`: share of the variation that replicates explain; `method`:
    where the intervals come from (replicates, or Lenth's pseudo standard error without any).
    """

    table: pd.DataFrame
    letters: dict[str, str]
    levels: dict[str, tuple[str, str]]
    generators: tuple[str, ...]
    words: tuple[str, ...]
    resolution: int | None
    replicates: int
    error_share: float
    method: str

    @property
    def title(self) -> str:
        """`2^(5-2) design, resolution III, 4 replicates`."""
        k, p = len(self.letters), len(self.generators)
        size = f"2^{k}" if not p else f"2^({k}-{p})"
        resolution = f", resolution {roman(self.resolution)}" if self.resolution else ""
        return f"{size} design{resolution}, {self.replicates} replicate{'s' if self.replicates > 1 else ''} a cell"

    def sentences(self) -> list[str]:
        """What the letters stand for, what is confounded, and where the intervals come from."""
        coded = [f"{a} = {n} ({self.levels[n][0]} -, {self.levels[n][1]} +)" for n, a in self.letters.items()]
        out = [f"{self.title}: {listed(coded)}."]
        if self.generators:
            relation = " = ".join(("I", *self.words))
            out.append(f"Generators {listed(list(self.generators))}; defining relation {relation}.")
            out.append("Aliased effects cannot be told apart: each line holds their sum.")
        if self.replicates > 1:
            out.append(f"Replicates explain {percent(self.error_share)} of the variation.")
        return [*out, f"Intervals by {self.method}."]


def two_level(m: Measurements, transform: str = "log") -> TwoLevel:
    """Analyse a design whose factors have two levels each, every cell measured equally often.

    `transform` "log" (effects multiply) or "none". Raises InputError for a factor with more levels, for unequal
    replicates, and for a set of cells that is no regular fraction.
    """
    names = list(m.factors)
    if len(names) > MOST_FACTORS:
        raise InputError("2^k design", f"{len(names)} factors are too many", f"take at most {MOST_FACTORS}")
    y = np.log(m.y) if transform == "log" else m.y
    cells = Cells.of(m.frame, m.factors, m.y)
    signs, levels = _signs(cells, names)
    counts = np.unique(cells.count)
    if len(counts) > 1:
        raise InputError("2^k design", "has unequal replicates", "measure every cell equally often")
    letters = {name: "ABCDEFGHJKL"[k] for k, name in enumerate(names)}
    words = defining_words(signs)
    p = len(names) - round(math.log2(len(signs)))
    if len(signs) != 2 ** (len(names) - p) or len(words) != 2**p - 1:
        fault = f"{len(signs)} cells are no regular fraction"
        raise InputError("2^k design", fault, "analyse it as a general design")
    means = np.bincount(cells.row_cell, weights=y) / cells.count
    classes = alias_classes(len(names), words)
    replicates = int(counts[0])
    table, error, method = _effects(signs, means, y, cells, classes, words, "".join(letters.values()))
    return TwoLevel(
        table,
        letters,
        levels,
        tuple(_generators(words, len(names), p, signs, "".join(letters.values()))),
        tuple(_signed(word, signs, "".join(letters.values())) for word in words),
        min(map(len, words)) if words else None,
        replicates,
        error,
        method,
    )


def defining_words(signs: Array) -> list[Word]:
    """Products of factors that are constant over the cells, shortest first: none in a full design.

    >>> full = np.array(list(itertools.product((-1, 1), repeat=2)))
    >>> defining_words(np.column_stack([full, full[:, 0] * full[:, 1]]))
    [(0, 1, 2)]
    """
    k = signs.shape[1]
    every = (word for size in range(1, k + 1) for word in itertools.combinations(range(k), size))
    return [word for word in every if abs(np.prod(signs[:, list(word)], axis=1).sum()) == len(signs)]


def alias_classes(k: int, words: list[Word]) -> list[list[Word]]:
    """All effects but I, grouped with their aliases, the simplest of each first.

    >>> alias_classes(3, [(0, 1, 2)])
    [[(0,), (1, 2)], [(1,), (0, 2)], [(2,), (0, 1)]]
    """
    relation = [frozenset(word) for word in words]
    seen: set[frozenset[int]] = {frozenset(), *relation}
    classes = []
    for size in range(1, k + 1):
        for word in itertools.combinations(range(k), size):
            if frozenset(word) in seen:
                continue
            group = {frozenset(word), *(frozenset(word) ^ other for other in relation)}
            seen |= group
            classes.append(sorted((tuple(sorted(w)) for w in group), key=lambda w: (len(w), w)))
    return classes


def lenth(effects: Array, confidence: float = 0.95) -> float:
    """Margin of error by Lenth's pseudo standard error (1989): 1.5 median of those |q| below 2.5 x 1.5 median |q|.

    >>> round(lenth(np.array([0.1, -0.2, 0.15, 5.0, 0.05, -0.1, 0.12])), 4)
    0.6211
    """
    size = np.abs(effects)
    first = 1.5 * float(np.median(size))
    kept = size[size < 2.5 * first] if first > 0 else size
    pse = 1.5 * float(np.median(kept)) if kept.size else 0.0
    return float(t_law.ppf(0.5 + confidence / 2.0, len(effects) / 3.0)) * pse


def roman(number: int | None) -> str:
    """Resolutions are written so.

    >>> roman(4), roman(3)
    ('IV', 'III')
    """
    pairs = ((10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I"))
    text, left = "", number or 0
    for value, letter in pairs:
        text, left = text + letter * (left // value), left % value
    return text


def _signs(cells: Cells, names: list[str]) -> tuple[Array, dict[str, tuple[str, str]]]:
    columns, levels = [], {}
    for name in names:
        values = cells.levels[name]
        present = np.unique(values)
        if len(present) != 2:
            fault = f"{name} has {len(present)} levels"
            raise InputError("2^k design", fault, "give every factor two levels, or keep some with --where")
        columns.append(np.where(values == present[0], -1.0, 1.0))
        low, high = level_text(present).tolist()
        levels[name] = (low, high)
    return np.column_stack(columns), levels


def _effects(
    signs: Array, means: Array, y: Array, cells: Cells, classes: list[list[Word]], words: list[Word], letters: str
) -> tuple[pd.DataFrame, float, str]:
    size, replicates = len(signs), int(cells.count[0])
    columns = [np.prod(signs[:, list(group[0])], axis=1) for group in classes]
    q = np.array([float(x @ means) / size for x in columns])
    squares = size * replicates * q**2
    error = float(np.sum((y - means[cells.row_cell]) ** 2))
    total = float(squares.sum()) + error
    if replicates > 1:
        freedom = size * (replicates - 1)
        margin = float(t_law.ppf(0.975, freedom)) * math.sqrt(error / freedom / (size * replicates))
        method = f"replicates (t with {freedom} degrees of freedom)"
    else:
        margin, method = lenth(q), "Lenth's pseudo standard error, for nothing was repeated"
    rows = []
    for group, value, square in zip(classes, q, squares, strict=True):
        aliases = ", ".join(_alias(word, group[0], signs, letters) for word in group[1:])
        low, high = value - margin, value + margin
        share = square / total if total > 0 else 0.0
        rows.append((_letters(group[0], letters), aliases, value, square, share, low, high, bool(low * high > 0)))
    columns_named = ["name", "aliases", "effect", "sum_sq", "share", "low", "high", "significant"]
    table = pd.DataFrame(rows, columns=columns_named).set_index("name")
    return table.sort_values("share", ascending=False, kind="stable"), (error / total if total > 0 else 0.0), method


def _letters(word: Word, letters: str) -> str:
    return "".join(letters[k] for k in word) or "I"


def _signed(word: Word, signs: Array, letters: str) -> str:
    """The word, with a minus where its product is -1."""
    return ("-" if np.prod(signs[0, list(word)]) < 0 else "") + _letters(word, letters)


def _alias(word: Word, first: Word, signs: Array, letters: str) -> str:
    """The alias, with a minus where its column is the negative of the first's."""
    same = np.prod(signs[0, list(word)]) * np.prod(signs[0, list(first)])
    return ("-" if same < 0 else "") + _letters(word, letters)


def _generators(words: list[Word], k: int, p: int, signs: Array, letters: str) -> list[str]:
    """p independent words, each solved for a factor that no other generator defines: `D = ABC`."""
    chosen: list[tuple[int, Word]] = []
    span: set[frozenset[int]] = {frozenset()}
    for factor in reversed(range(k)):
        taken = {f for f, _ in chosen}
        for word in words:
            fresh = frozenset(word) not in span
            if len(chosen) < p and fresh and word[-1] == factor and not taken & set(word):
                chosen.append((factor, word))
                span |= {s ^ frozenset(word) for s in span}
                break
    texts = []
    for factor, word in sorted(chosen):
        others = tuple(j for j in word if j != factor)
        sign = "-" if np.prod(signs[0, list(word)]) < 0 else ""
        texts.append(f"{letters[factor]} = {sign}{_letters(others, letters)}")
    return texts
