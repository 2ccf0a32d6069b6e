"""The law of a class's service time from a fitted model and the laws of the model's factors."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from qmodel.errors import InputError
from qmodel.workload.discrete import Deterministic, Discrete
from qmodel.workload.distribution import Distribution, Mixture
from qmodel.workload.joint_lengths import LENGTHS, JointLengths
from qmodel.workload.quadrature import nodes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qmodel.service.model import Residual

    Floats = NDArray[np.float64]

MAX_LEVELS = 64
"""A factor with more levels than these is stood for by so many; so are the times that noise is laid around."""

MAX_VALUES = 1024
"""Values of an empirical residual around all times together."""


class FittedModel(Protocol):
    """What a fitted service model offers here. Where it `broadcasts`, its `predict` takes arrays of levels too."""

    @property
    def fingerprint(self) -> str:
        """Equal for equal models, and for no others."""

    @property
    def factors(self) -> tuple[str, ...]:
        """Names of its factors."""

    @property
    def residual(self) -> Residual:
        """The law of measured over predicted."""

    @property
    def residual_scv(self) -> float:
        """Its squared coefficient of variation."""

    def predict(self, levels: Mapping[str, Any]) -> Any:
        """Seconds at these levels."""


def service_law(
    model: FittedModel, factors: Mapping[str, Distribution], place: str, joint: JointLengths | None = None
) -> Distribution:
    """Mixture over the factor levels of the predicted time, each with the residual law that the fit chose.

    Factors are independent, but for lengths with a `joint` law. Times are merged to MAX_LEVELS before noise is laid
    around them; what stands for them has their first three moments, and so has the product,
    E[(T R)^k] = E[T^k] E[R^k].
    Raises InputError when `factors` misses one of the model's.
    """
    missing = [name for name in model.factors if name not in factors]
    if missing:
        raise InputError(
            place, f"lacks the model's factor '{missing[0]}'", "the model has " + ", ".join(model.factors)
        )
    settings, masses = _grid(model.factors, factors, joint)
    seconds = _predicted(model, settings, masses.size)
    if not (good := np.isfinite(seconds) & (seconds > 0)).all():
        fault = f"the model predicts {seconds[~good][0]} s"
        raise InputError(place, fault, "keep the factors inside the range it saw")
    times, which = np.unique(seconds, return_inverse=True)
    together = np.bincount(which.ravel(), masses)
    return _with_residual(dict(zip(times.tolist(), together.tolist(), strict=True)), model.residual)


def _predicted(model: FittedModel, settings: Mapping[str, Floats], count: int) -> Floats:
    """Seconds at so many settings: at all of them in one call where the model says that its levels `broadcast`."""
    if getattr(model, "broadcasts", False):
        return np.broadcast_to(np.asarray(model.predict(settings), dtype=float), count)
    rows = ({name: float(column[row]) for name, column in settings.items()} for row in range(count))
    return np.array([float(model.predict(setting)) for setting in rows])


def _grid(
    names: Sequence[str], laws: Mapping[str, Distribution], joint: JointLengths | None
) -> tuple[dict[str, Floats], Floats]:
    """Levels of the named factors, every combination, and the probability of each."""
    points = {name: levels(laws[name]) for name in names}
    parts: list[tuple[tuple[str, ...], Floats]] = []
    if joint is not None and set(LENGTHS) <= set(names):
        pairs = joint.pairs(laws, {name: points.pop(name) for name in LENGTHS})
        parts.append((LENGTHS, np.array(list(pairs))))
    parts += [((name,), np.array(pairs)) for name, pairs in points.items()]
    settings: dict[str, Floats] = {}
    masses = np.ones(1)
    for own, table in parts:
        *values, share = table.T
        before = {name: np.repeat(column, share.size) for name, column in settings.items()}
        settings = before | {name: np.tile(v, masses.size) for name, v in zip(own, values, strict=True)}
        masses = np.repeat(masses, share.size) * np.tile(share, masses.size)
    return settings, masses


def _with_residual(times: Mapping[float, float], residual: Residual) -> Distribution:
    """The law of T R: T with these probabilities, R the residual, independent of it."""
    around = residual.law(1.0)
    if isinstance(around, Discrete):
        return _product(times, around)
    exact = _discrete(list(times.items()))
    few = levels(exact)
    laws = tuple(residual.law(seconds) for seconds, _ in few)
    return laws[0] if len(laws) == 1 else Mixture(tuple(p for _, p in few), laws)


def _product(times: Mapping[float, float], around: Discrete) -> Discrete:
    """All products of a time and a value around 1; many are stood for by MAX_VALUES."""
    if isinstance(around, Deterministic):
        return _discrete(list(times.items()))
    few = levels(_discrete(list(times.items())))
    pairs = [(seconds * value, p * q) for seconds, p in few for value, q in around.atoms()]
    return _discrete(levels(_discrete(pairs), MAX_VALUES))


def _discrete(pairs: Sequence[tuple[float, float]]) -> Discrete:
    if len(pairs) == 1:
        return Deterministic(pairs[0][0])
    values, masses = zip(*pairs, strict=True)
    return Discrete(values, masses)


def levels(law: Distribution, most: int = MAX_LEVELS) -> list[tuple[float, float]]:
    """(value, probability) pairs that stand for the law: its point masses, if they are few.

    Otherwise two points in each of most/2 cells, so placed that the first three moments of every cell hold,
    and with them those of the law: an affine service time keeps its mean, variance and skewness.
    Raises InputError where the variance is infinite.
    """
    atoms = law.atoms()
    whole = bool(atoms) and math.isclose(math.fsum(p for _, p in atoms), 1.0, rel_tol=1e-9)
    if whole and len(atoms) <= most:
        return atoms
    if math.isinf(law.moment(2)):
        raise InputError("factor", "has an infinite variance", "use bounded_pareto, with the largest value")
    values, masses = np.array(atoms).T if whole else nodes(law)
    masses = masses / masses.sum()
    cell = _cells(values, masses, most // 2)
    pairs = [pair for k in range(cell[-1] + 1) for pair in _two_points(values[cell == k], masses[cell == k])]
    correction = law.mean / math.fsum(value * p for value, p in pairs)
    return [(value * correction, p) for value, p in pairs]


def _cells(values: NDArray[np.float64], masses: NDArray[np.float64], most: int) -> NDArray[np.int64]:
    """Cell of each value: cells share out the probability and the second moment alike, so that tails count."""
    second = masses * values**2
    spread = np.cumsum(masses + second / second.sum())
    _, cell = np.unique(np.minimum(spread / 2.0, 1 - 1e-9) * most // 1, return_inverse=True)
    return cell


def _two_points(values: NDArray[np.float64], masses: NDArray[np.float64]) -> list[tuple[float, float]]:
    """The two-point Gauss rule of these masses: it has their moments up to the third."""
    mass = float(masses.sum())
    mean = float(values @ masses) / mass
    deviation = math.sqrt(float((values - mean) ** 2 @ masses) / mass)
    if deviation <= 1e-12 * mean:
        return [(mean, mass)]
    skewness = float((values - mean) ** 3 @ masses) / (mass * deviation**3)
    root = math.sqrt(4.0 + skewness**2)
    below, above = (mean + deviation * (skewness + sign * root) / 2.0 for sign in (-1, 1))
    share = (1.0 + skewness / root) / 2.0
    return [(below, mass * share), (above, mass * (1.0 - share))]


def mapped(law: Distribution, function: Callable[[float], float]) -> Discrete:
    """The law of function(value), over the law's levels."""
    masses: dict[float, float] = {}
    for value, p in levels(law):
        image = float(function(value))
        masses[image] = masses.get(image, 0.0) + p
    return Discrete(tuple(masses), tuple(masses.values()))
