"""How good generated digits are: does a classifier see the digit asked for, and how far is the crowd from real.

Agreement: a support vector machine trained on the real digits is asked what each image shows. Fréchet distance
(Heusel et al. 2017, with principal components of the pixels in place of a network's features): between normal
distributions fitted to generated and to real images, |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)). It also sees
what agreement cannot: blur, and digits that are all alike. Both judge against the digits the model was trained
on, so neither sees memorising; the distance from each generated digit to the nearest real one does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from qmodel.errors import InputError, MissingExtra

COMPONENTS = 32
"""Principal components of the pixels that span the Fréchet distance's space (97 % of the real variance)."""
SPLITS = 20
"""Random halves of the real digits over which Fréchet distances are averaged."""
BATCH = 100
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Quality:
    """Quality of a sample set.

    `agreement` with its Wilson 95 % interval; `classifier_accuracy` is the judge's own, on held-out real digits
    (5-fold): agreement above it means nothing more. `frechet_distance` (grey levels in [0, 1]) is to a random
    half of the real digits; `real_frechet_distance`, the yardstick, is the other half's (as many images at most).
    `nearest_distance` is the median over the images of the distance to the nearest real digit,
    `real_nearest_distance` that of real digits to the nearest other one: a much smaller first means copies.
    """

    images: int
    agreement: float
    agreement_low: float
    agreement_high: float
    classifier_accuracy: float
    frechet_distance: float
    real_frechet_distance: float
    nearest_distance: float
    real_nearest_distance: float


def assess(images: Floats, labels: NDArray[np.integer]) -> Quality:
    """Quality of images (n, 8, 8) with grey levels in [0, 16] that were meant to show the labels (n,)."""
    if len(images) < 2 or len(images) != len(labels):
        raise InputError(
            "quality", f"{len(images)} images, {len(labels)} labels", "give two or more, as many of each"
        )
    judge = real_digits()
    agreed = int((judge.classifier.predict(images.reshape(len(images), -1)) == labels).sum())
    low, high = wilson(agreed, len(images))
    features = judge.features(images)
    frechet, nearest = judge.frechet_distances(features), judge.nearest_distances(features)
    return Quality(len(images), agreed / len(images), low, high, judge.accuracy, *frechet, *nearest)


def quality_by_steps(
    steps: Sequence[int],
    images: int = 1000,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> pd.DataFrame:
    """Quality of the digits diffusion model at each number of denoising steps: one row each, columns `steps` and
    the fields of `Quality`. Every row starts from the same noise and asks for the same labels, as many of each.

    `progress(done, total)` is called after each batch, in denoising steps.
    """
    from qmodel.measure.targets.digits import CLASSES, DigitsDiffusion
    from qmodel.measure.targets.levels import whole

    images = whole({"images": images}, "images", 1000, low=2)
    target = DigitsDiffusion()
    starts = range(0, images, BATCH)
    done, total = 0, sum(steps) * len(starts)
    rows = []
    for count in steps:
        jobs = []
        for start in starts:
            labels = np.arange(start, min(start + BATCH, images)) % CLASSES
            jobs.append(target.generate(len(labels), count, seed + start, labels))
            done += count
            if progress:
                progress(done, total)
        generated = np.concatenate([job.images for job in jobs])
        quality = assess(generated, np.concatenate([job.labels for job in jobs]))
        rows.append({"steps": count, **asdict(quality)})
    return pd.DataFrame(rows)


def wilson(hits: int, count: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a proportion.

    >>> [round(bound, 4) for bound in wilson(95, 100)]
    [0.8882, 0.9785]
    """
    from scipy.stats import binomtest

    interval = binomtest(hits, count).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


def frechet_distance(first: Floats, second: Floats) -> float:
    """Squared Fréchet distance of normal distributions fitted to two feature sets (n, d).

    >>> corners = np.array([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]])
    >>> round(frechet_distance(corners, corners + 3.0), 6)
    18.0
    """
    shift = first.mean(axis=0) - second.mean(axis=0)
    one, two = np.cov(first, rowvar=False), np.cov(second, rowvar=False)
    overlap = np.sqrt(np.clip(np.linalg.eigvals(one @ two).real, 0, None)).sum()
    return float(shift @ shift + np.trace(one) + np.trace(two) - 2 * overlap)


@dataclass(frozen=True)
class RealDigits:
    """The judge: a classifier and a feature space, both learned from scikit-learn's real digits."""

    classifier: Any
    accuracy: float
    components: Any
    images: Floats

    def features(self, images: Floats) -> Floats:
        """Principal components (n, COMPONENTS) of images with grey levels in [0, 16]."""
        projected: Floats = self.components.transform(images.reshape(len(images), -1) / 16)
        return projected

    def frechet_distances(self, features: Floats) -> tuple[float, float]:
        """Fréchet distance to a half of the real digits, of `features` and of the other half; means over splits."""
        real, found = self.features(self.images), []
        random = np.random.default_rng(0)
        for _ in range(SPLITS):
            order = random.permutation(len(real))
            half, other = real[order[::2]], real[order[1::2]][: len(features)]
            found.append((frechet_distance(features, half), frechet_distance(other, half)))
        distance, yardstick = np.mean(found, axis=0)
        return float(distance), float(yardstick)

    def nearest_distances(self, features: Floats) -> tuple[float, float]:
        """Median distance to the nearest real digit, of `features` and of real digits (to the nearest other)."""
        from scipy.spatial import cKDTree

        real = self.features(self.images)
        tree = cKDTree(real)
        own, others = tree.query(features)[0], tree.query(real, k=2)[0][:, 1]
        return float(np.median(own)), float(np.median(others))


@lru_cache(maxsize=1)
def real_digits() -> RealDigits:
    """Train the judge (about a second; once a process). Raises MissingExtra without scikit-learn."""
    try:
        from sklearn.datasets import load_digits
        from sklearn.decomposition import PCA
        from sklearn.model_selection import StratifiedKFold, cross_val_score
        from sklearn.svm import SVC
    except ImportError as error:
        raise MissingExtra("scikit-learn", "live") from error

    pixels, labels = load_digits(return_X_y=True)
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    accuracy = float(cross_val_score(SVC(C=10), pixels, labels, cv=folds).mean())
    components = PCA(COMPONENTS, svd_solver="full").fit(pixels / 16)
    return RealDigits(SVC(C=10).fit(pixels, labels), accuracy, components, pixels.reshape(-1, 8, 8))
