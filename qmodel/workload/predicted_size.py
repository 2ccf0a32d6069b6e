"""The predicted size: its law given the true size, and draws from it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qmodel.errors import InputError
from qmodel.workload.columns import number_column
from qmodel.workload.distribution import Distribution, positive
from qmodel.workload.partial import partial_moment

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

ERRORS: dict[str, tuple[str, ...]] = {
    "none": (),
    "exact": (),
    "exponential": (),
    "lognormal": ("scv",),
    "correlated": ("correlation",),
    "one-bit": ("threshold", "accuracy"),
    "file": ("sizes_s", "predictions_s"),
}
"""Kinds of prediction, and what each is given by."""


@dataclass(frozen=True)
class PredictedSize:
    """Law of the predicted size Y given the true size S (seconds).

    `error` is one of

    * "none": no prediction is made; "exact": Y = S;
    * "exponential": Y exponential with mean S (Mitzenmacher, ITCS 2020);
    * "lognormal": Y = S times a lognormal of mean 1 and this `scv`;
    * "correlated": Y has the same law as S, the two joined by a Gaussian copula of Spearman's rank `correlation`
      rho (the normals' is 2 sin(pi rho / 6)); 1 is exact, 0 tells nothing;
    * "one-bit": a guess whether S exceeds `threshold`, right with probability `accuracy`; Y = E[S | the guess];
    * "file": measured pairs; Y is a prediction, drawn evenly, of those made for the measured size nearest to S.
    """

    error: str = "exact"
    scv: float = 0.0
    correlation: float = 0.0
    threshold: float = 0.0
    accuracy: float = 1.0
    sizes_s: tuple[float, ...] = ()
    predictions_s: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        place = "predicted_size"
        if self.error not in ERRORS:
            raise InputError(f"{place}, error", f"{self.error!r} is unknown", "known: " + ", ".join(ERRORS))
        if self.error == "lognormal":
            positive(place, scv=self.scv)
        if self.error == "correlated" and not -1.0 < self.correlation <= 1.0:
            raise InputError(f"{place}, correlation", f"{self.correlation!r} is out of range", "give -1 < r <= 1")
        if self.error == "one-bit":
            positive(place, threshold=self.threshold)
            if not 0.5 <= self.accuracy <= 1.0:
                raise InputError(f"{place}, accuracy", f"{self.accuracy!r} is out of range", "give 0.5 to 1")
        if self.error == "file":
            self._check_pairs(f"{place}, file")

    def _check_pairs(self, place: str) -> None:
        object.__setattr__(self, "sizes_s", tuple(map(float, self.sizes_s)))
        object.__setattr__(self, "predictions_s", tuple(map(float, self.predictions_s)))
        if len(self.sizes_s) != len(self.predictions_s) or not self.sizes_s:
            raise InputError(place, "holds no pairs", "give columns size and predicted of one length")
        if not all(math.isfinite(x) and x >= 0 for x in (*self.sizes_s, *self.predictions_s)):
            raise InputError(place, "holds a value that is no number >= 0", "give seconds")

    @classmethod
    def from_csv(cls, path: Path) -> PredictedSize:
        """Measured pairs from the columns `size` and `predicted` of a CSV file. Raises InputError."""
        sizes, predictions = (number_column(path, [name]) for name in ("size", "predicted"))
        try:
            return cls("file", sizes_s=tuple(sizes), predictions_s=tuple(predictions))
        except InputError as error:
            raise InputError(str(path), error.fault, error.remedy) from error

    def to_table(self) -> dict[str, Any]:
        """As a scenario file spells it."""
        table: dict[str, Any] = {"error": self.error, "scv": self.scv}
        more = {name: getattr(self, name) for name in ERRORS[self.error] if name != "scv"}
        return table | {name: list(value) if isinstance(value, tuple) else value for name, value in more.items()}

    @property
    def normal_correlation(self) -> float:
        """Correlation of the normals of the copula.

        >>> PredictedSize("correlated", correlation=1.0).normal_correlation
        1.0
        """
        return 1.0 if self.correlation == 1.0 else 2.0 * math.sin(math.pi * self.correlation / 6.0)

    def draw(self, sizes: Floats, law: Distribution, rng: np.random.Generator) -> Floats:
        """Predictions for requests of these sizes, which are draws from `law`; NaN where none is made."""
        if self.error == "exact":
            return sizes
        if self.error == "exponential":
            return sizes * rng.standard_exponential(sizes.size)
        if self.error == "lognormal":
            sigma = math.sqrt(math.log1p(self.scv))
            return sizes * rng.lognormal(-0.5 * sigma**2, sigma, sizes.size)
        if self.error == "correlated":
            return self._correlated(sizes, law, rng)
        if self.error == "one-bit":
            right = rng.random(sizes.size) < self.accuracy
            short, long = self.guesses(law)
            return np.where((sizes <= self.threshold) == right, short[0], long[0])
        return self._measured(sizes, rng) if self.error == "file" else np.full(sizes.size, np.nan)

    def guesses(self, law: Distribution) -> tuple[tuple[float, float], tuple[float, float]]:
        """(Y, probability) of the guesses "short" and "long" of one bit.

        >>> from qmodel.workload import Uniform
        >>> PredictedSize("one-bit", threshold=1.0, accuracy=1.0).guesses(Uniform(0.0, 2.0))
        ((0.5, 0.5), (1.5, 0.5))
        """
        below, work = (float(partial_moment(law, k, self.threshold)) for k in (0, 1))
        a = self.accuracy
        short = a * below + (1.0 - a) * (1.0 - below)
        short_work = a * work + (1.0 - a) * (law.mean - work)
        told = [(short_work, short), (law.mean - short_work, 1.0 - short)]
        first, second = ((w / p if p > 0 else law.mean, max(p, 0.0)) for w, p in told)
        return first, second

    def _correlated(self, sizes: Floats, law: Distribution, rng: np.random.Generator) -> Floats:
        from scipy.special import ndtr, ndtri

        r = self.normal_correlation
        noise, ties = rng.standard_normal(sizes.size), rng.random(sizes.size)
        if r == 1.0:
            return sizes
        mass = dict(law.atoms())
        here = np.array([mass.get(float(size), 0.0) for size in sizes]) * ties if mass else 0.0
        below, beyond = np.asarray(law.cdf(sizes)) - here, np.asarray(law.sf(sizes)) + here
        z = np.where(below < 0.5, ndtri(np.maximum(below, 1e-300)), -ndtri(np.maximum(beyond, 1e-300)))
        other = r * z + math.sqrt(1.0 - r * r) * noise
        lower = np.asarray(law.quantile(ndtr(np.minimum(other, 0.0))))
        return np.where(other < 0, lower, np.asarray(law.upper_quantile(ndtr(-np.maximum(other, 0.0)))))

    def measured(self) -> tuple[Floats, list[Floats]]:
        """Distinct measured sizes, and the predictions made for each."""
        order = np.argsort(self.sizes_s, kind="stable")
        sizes, predictions = np.array(self.sizes_s)[order], np.array(self.predictions_s)[order]
        values, starts = np.unique(sizes, return_index=True)
        return values, np.split(predictions, starts[1:])

    def _measured(self, sizes: Floats, rng: np.random.Generator) -> Floats:
        values, groups = self.measured()
        counts = np.array([len(group) for group in groups])
        which = nearest_of(values, sizes)
        first = np.concatenate(([0], np.cumsum(counts)[:-1]))
        row = first[which] + np.minimum((rng.random(sizes.size) * counts[which]).astype(int), counts[which] - 1)
        return np.asarray(np.concatenate(groups)[row])


def nearest_of(values: Floats, sizes: Floats | Sequence[float]) -> NDArray[np.int_]:
    """Index of the nearest of increasing values; the smaller one in the middle between two.

    >>> nearest_of(np.array([1.0, 2.0]), np.array([0.1, 1.5, 1.6])).tolist()
    [0, 0, 1]
    """
    return np.searchsorted(0.5 * (values[1:] + values[:-1]), sizes, side="left")
