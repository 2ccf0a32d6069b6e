"""The joint law of token lengths: each marginal as a law a scenario can spell, and how the two hang together.

Candidates for a marginal are lognormal (maximum likelihood, and by moments), gamma, geometric, and a mixture of
the atoms (caps, canned answers) with a lognormal body; the empirical law is always right and needs the file. They
are judged by the Kolmogorov-Smirnov distance and by the mean, which sets the load. Dependence is told as rank
correlation and as the correlation of a Gaussian copula, 2 sin(pi rho / 6) of Spearman's rho.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qmodel.fit.pasting import inline
from qmodel.workload.continuous import Gamma
from qmodel.workload.discrete import Deterministic, Geometric
from qmodel.workload.distribution import Distribution, Mixture
from qmodel.workload.grammar import law_to_table
from qmodel.workload.heavy_tailed import Lognormal

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

ATOM, DISTINCT = 0.02, 20
"""Least share of all requests at an atom, and least number of different lengths for there to be any."""
FEWEST = 50
"""With fewer lengths nothing is fitted."""
TOLD = 0.1
"""From this rank correlation on, lengths are not taken as independent."""
CAP = 0.995
"""A heap from this share of the largest length on is a cap, and reaches to the largest."""
GOOD, MEAN_OFF = 0.05, 0.05
"""A law is good enough to paste when its distance and the error of its mean are at most these."""


@dataclass(frozen=True)
class LengthFit:
    """One law for one length: Kolmogorov-Smirnov distance, and its mean over the sample's, less 1."""

    name: str
    law: Distribution
    distance: float
    mean_off: float

    @property
    def good(self) -> bool:
        """Whether it may stand for the sample."""
        return self.distance <= GOOD and abs(self.mean_off) <= MEAN_OFF


@dataclass(frozen=True)
class Marginal:
    """One length: statistics of the sample, its atoms, the laws tried (nearest first)."""

    name: str
    n: int
    mean: float
    scv: float
    quantiles: tuple[float, float, float]
    largest: float
    atoms: tuple[tuple[float, float, int], ...]
    fits: tuple[LengthFit, ...]

    @property
    def chosen(self) -> LengthFit | None:
        """The nearest law that is good enough; None: take the empirical one."""
        return next((one for one in self.fits if one.good), None)

    def spelling(self, file: str = "FILE.csv") -> str:
        """The line of a scenario file."""
        if self.chosen is None:
            return f'{self.name} = "empirical:{file}:{self.name}"'
        return f"{self.name} = {inline(law_to_table(self.chosen.law))}"


@dataclass(frozen=True)
class Lengths:
    """Marginals and how they depend on each other."""

    marginals: tuple[Marginal, ...]
    spearman: float | None
    copula: float | None

    @property
    def dependent(self) -> bool:
        """Whether a scenario should draw the two together."""
        return self.spearman is not None and abs(self.spearman) > TOLD

    def spellings(self, file: str = "FILE.csv") -> list[str]:
        """The lines of a scenario file: laws, and the copula; or pairs of the file, where a law is missing."""
        if self.dependent and any(one.chosen is None for one in self.marginals):
            return [f'lengths = "empirical:{file}"']
        together = [f"lengths = {{ correlation = {self.spearman:.3g} }}"] if self.dependent else []
        return [*(one.spelling(file) for one in self.marginals), *together]


def fit_lengths(frame: pd.DataFrame) -> Lengths | None:
    """Laws of the columns input_tokens and output_tokens, rows with both above 0; None with too few."""
    names = [name for name in ("input_tokens", "output_tokens") if name in frame]
    values = {name: frame[name].to_numpy(float) for name in names}
    good = np.ones(len(frame), dtype=bool)
    for column in values.values():
        good &= np.isfinite(column) & (column > 0)
    if not names or good.sum() < FEWEST:
        return None
    marginals = tuple(fit_length(name, column[good]) for name, column in values.items())
    if len(names) < 2 or any(np.ptp(column[good]) == 0 for column in values.values()):
        return Lengths(marginals, None, None)
    rho = spearman(*(column[good] for column in values.values()))
    return Lengths(marginals, rho, 2.0 * math.sin(math.pi * rho / 6.0))


def spearman(x: Floats, y: Floats) -> float:
    """Rank correlation, ties at their average rank.

    >>> round(spearman(np.array([1.0, 2.0, 3.0, 4.0]), np.array([10.0, 20.0, 40.0, 30.0])), 6)
    0.8
    """
    from scipy.stats import rankdata

    return float(np.corrcoef(rankdata(x), rankdata(y))[0, 1])


def fit_length(name: str, values: Floats) -> Marginal:
    """Statistics and laws of one length (all above 0)."""
    mean, variance = float(values.mean()), float(values.var())
    found = tuple(heaps(values))
    fits: list[LengthFit] = []
    if variance > 0:
        ordered = np.sort(values)
        laws = _laws(values, mean, variance / mean**2, found)
        fits = [LengthFit(label, law, distance(law, ordered), law.mean / mean - 1.0) for label, law in laws]
    else:
        fits = [LengthFit("constant", Deterministic(mean), 0.0, 0.0)]
    fits.sort(key=lambda one: (not one.good, one.distance))
    p50, p95, p99 = (float(q) for q in np.quantile(values, (0.5, 0.95, 0.99)))
    return Marginal(
        name, values.size, mean, variance / mean**2, (p50, p95, p99), float(values.max()), found, tuple(fits)
    )


def _laws(
    values: Floats, mean: float, scv: float, atoms: tuple[tuple[float, float, int], ...]
) -> Iterator[tuple[str, Distribution]]:
    yield "lognormal", _lognormal(values)
    yield "lognormal by moments", Lognormal(mean=mean, scv=scv)
    yield "gamma", Gamma(mean=mean, scv=scv)
    if mean > 1:
        yield "geometric", Geometric(mean=mean)
    body = values
    for low, high, _ in atoms:
        body = body[(body < low) | (body > high)]
    if atoms and body.size >= FEWEST and np.ptp(body) > 0:
        heap = [(values[(values >= low) & (values <= high)]) for low, high, _ in atoms]
        shares = [one.size / values.size for one in heap]
        atomic = tuple(Deterministic(float(one.mean())) for one in heap)
        rest = (*shares, 1.0 - math.fsum(shares))
        yield "atoms and lognormal", Mixture(rest, (*atomic, _lognormal(body)))
        spread = float(body.var() / body.mean() ** 2)
        yield "atoms and gamma", Mixture(rest, (*atomic, Gamma(mean=float(body.mean()), scv=spread)))


def _lognormal(values: Floats) -> Lognormal:
    """Maximum likelihood."""
    logs = np.log(values)
    variance = min(float(logs.var()), 20.0)
    return Lognormal(mean=math.exp(float(logs.mean()) + variance / 2.0), scv=max(math.expm1(variance), 1e-9))


def distance(law: Distribution, ordered: Floats) -> float:
    """Largest difference of the law's and the sample's distribution functions, at whole tokens.

    Lengths are whole: a continuous law stands for the whole number nearest to what it draws.
    """
    levels, counts = np.unique(ordered, return_counts=True)
    share = np.cumsum(counts) / ordered.size
    return float(np.max(np.abs(np.asarray(law.cdf(levels + 0.5)) - share)))


def heaps(lengths: Floats) -> list[tuple[float, float, int]]:
    """(lowest, highest, number) of the heaps of a sample of lengths, the largest three.

    A heap is a length that `ATOM` of all have, ten times as many as have the typical one of the 40 lengths around
    it; neighbours within 1 % make one heap (two tokenizers count one cap a little differently).
    """
    levels, counts = np.unique(lengths, return_counts=True)
    if lengths.size < 50 or levels.size < DISTINCT:
        return []
    width = min(20, levels.size // 4)
    typical = np.array([np.median(counts[max(0, k - width) : k + width + 1]) for k in range(levels.size)])
    found: list[tuple[float, float, int]] = []
    for level, count in zip(levels, counts, strict=True):
        near = bool(found) and level - found[-1][1] <= 0.01 * level
        index = int(np.searchsorted(levels, level))
        high = count > 10.0 * typical[index]
        if high and near:
            found[-1] = (found[-1][0], float(level), found[-1][2] + int(count))
        elif high:
            found.append((float(level), float(level), int(count)))
    large = [_to_the_end(heap, lengths) for heap in found if heap[2] >= ATOM * lengths.size]
    return sorted(large, key=lambda heap: -heap[2])[:3]


def _to_the_end(heap: tuple[float, float, int], lengths: Floats) -> tuple[float, float, int]:
    """A cap with all that lies above it."""
    low, high, _ = heap
    top = float(lengths.max()) if high >= CAP * lengths.max() else high
    return low, top, int(((lengths >= low) & (lengths <= top)).sum())


def length_lines(found: Lengths, file: str = "FILE.csv") -> Iterator[str]:
    """The laws of lengths as text of at most 80 columns, but for the lines to paste."""
    for one in found.marginals:
        p50, p95, p99 = one.quantiles
        points = f"p50 {p50:.0f}, p95 {p95:.0f}, p99 {p99:.0f}, max {one.largest:.0f}"
        yield f"  {one.name:<16}mean {one.mean:.5g}, scv {one.scv:.3g}; {points}"
        for low, high, count in one.atoms:
            place = f"{low:g}" if low == high else f"{low:g} to {high:g}"
            yield f"  {'':<16}atom at {place}: {100 * count / one.n:.1f} %"
        for fit in one.fits[:3]:
            mark = " *" if fit is one.chosen else ""
            yield f"  {'':<16}{fit.name:<22}distance {fit.distance:.3f}, mean {100 * fit.mean_off:+.1f} %{mark}"
        if one.chosen is None:
            yield f"  {'':<16}no law comes within {GOOD:g}: draw from the file"
    if found.spearman is not None and found.copula is not None:
        yield f"  {'together':<16}rank correlation {found.spearman:.2f}, Gaussian copula {found.copula:.2f}"
    for line in found.spellings(file):
        yield f"  paste: {line}"
