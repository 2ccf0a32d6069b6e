"""How an answer moves: with an error in the service times, with the rate, and up to where an SLO is missed.

Service times are uncertain as the fitted model says: its coefficients b are jointly normal, b = b^ + R z with R
R' their covariance, truncated to b_i >= 0 where b^_i >= 0. The directions of z that move the classes' mean
services are kept (those above 5 % of the largest, three at most), the means are computed anew at the nodes of a
Gauss-Hermite product rule along them (and the ratios of percentiles to means along the first), and 1/mean is
interpolated between the nodes over a fine set of equally likely z: so the interval is that of the metric itself,
not of its tangent, and a queue that some coefficients make unstable counts as infinite (1/mean = 0). Without a
fitted model all services are longer or shorter by one factor of mean 1 and the given relative error.

Elasticities are d log(metric) / d log(rate) and d log(metric) / d log(service), by central differences: 2.5 says
that 1 % more raises the metric by 2.5 %.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from qmodel.answer import NotAnalysable, PolicyAnswer, percentile_name
from qmodel.capacity import Capacity, capacity
from qmodel.errors import InputError
from qmodel.predict import Asking, NoTheory, answer_one
from qmodel.scenario import Scenario
from qmodel.service.coefficient_spread import Spread, spread_of
from qmodel.service.iteration_time import IterationTime
from qmodel.service.transform import ModelSwap
from qmodel.workload import RequestClass

DEFAULT_ERROR = 0.05
"""Relative standard error of service times where no fitted model says it."""
NODES = {1: (11,), 2: (9, 5), 3: (7, 5, 3)}
"""Gauss-Hermite nodes along each direction, by how many there are."""
FINE = 4096
"""Equally likely points between the nodes."""
LEAST_EFFECT = 0.05
STEP = 1e-3
"""Relative step of the elasticities."""

MEAN = "mean_response_s"

Metrics = dict[tuple[str, str], float]
Fields = dict[tuple[str, str], np.ndarray]


@dataclass(frozen=True)
class Moved:
    """One metric of one class: value, interval and elasticities (None where they cannot be had).

    `high` is infinite where the queue is unstable within the interval.
    """

    class_name: str
    metric: str
    value: float
    low: float
    high: float
    by_rate: float | None
    by_service: float | None


@dataclass(frozen=True)
class Sensitivity:
    """How the metrics of one policy at one rate move.

    `first_missed` is the largest rate at which every SLO is met, with the SLO missed above it (None without SLOs).
    """

    policy: str
    rate: float
    moved: tuple[Moved, ...]
    source: str
    confidence: float
    unstable_share: float
    first_missed: Capacity | None

    def __getitem__(self, key: tuple[str, str]) -> Moved:
        """By (class, metric)."""
        return next(row for row in self.moved if (row.class_name, row.metric) == key)

    def to_dict(self) -> dict[str, Any]:
        """As in the JSON: infinite ends are null."""
        rows = [{k: _plain(v) for k, v in vars(row).items()} for row in self.moved]
        found: dict[str, Any] = {"source": self.source, "confidence": self.confidence}
        found |= {"unstable_share": self.unstable_share, "moved": rows}
        if self.first_missed is not None:
            limit = self.first_missed.limited_by
            found["first_missed_rate"] = self.first_missed.rate
            found["first_missed_slo"] = None if limit is None else list(limit)
        return found


def sensitivity(
    scenario: Scenario,
    *,
    asking: Asking | None = None,
    service_error: float = DEFAULT_ERROR,
    confidence: float = 0.95,
) -> Sensitivity:
    """How mean and percentiles of every class move. Theory answers, or else the simulation that `asking` describes:
    all of it, also where theory has a result for the scenario itself but none for one that is moved.

    `service_error` is the relative standard error of service times, used only where no fitted model has one.
    Raises InputError for an unstable scenario.

    >>> from qmodel.workload import Exponential, Poisson
    >>> queue = Scenario([RequestClass("a", Poisson(0.5), service=Exponential(1.0))])
    >>> found = sensitivity(queue, service_error=0.1)["a", "mean_response_s"]
    >>> round(found.by_rate, 4), round(found.by_service, 4), round(found.low, 2), round(found.high, 2)
    (1.0, 2.0, 1.34, 2.97)
    """
    if not (0 < confidence < 1 and 0 < service_error < 1):
        raise InputError("sensitivity", "confidence and service error are shares", "give values between 0 and 1")
    asked = asking or Asking()
    settled = _settled(scenario, asked)
    try:
        return _moved(scenario, settled, service_error, confidence)
    except NoTheory:
        if asked.method != "auto":
            raise
        return _moved(scenario, replace(asked, method="simulation"), service_error, confidence)


def _moved(scenario: Scenario, asking: Asking, service_error: float, confidence: float) -> Sensitivity:
    base = _metrics(scenario, asking)
    if base is None:
        raise InputError("sensitivity", "the queue is unstable as it is", "lower the rate")
    changes, source = _uncertain(scenario, service_error)
    lows, highs, unstable = _intervals(base, changes, asking, confidence)
    by_rate = _elasticity(
        lambda f: scenario.at_rate(scenario.rate * f), asking, base, "closed" in scenario.features
    )
    by_service = _elasticity(lambda f: stretched(scenario, f), asking, base, False)
    return Sensitivity(
        policy=scenario.policy.name,
        rate=scenario.rate,
        moved=tuple(Moved(*k, v, lows[k], highs[k], by_rate.get(k), by_service.get(k)) for k, v in base.items()),
        source=source,
        confidence=confidence,
        unstable_share=unstable,
        first_missed=_first_missed(scenario, asking),
    )


def _settled(scenario: Scenario, asking: Asking) -> Asking:
    """Theory wherever it has a result; nothing is simulated for a percentile alone."""
    from qmodel.theory import analyse

    if asking.method == "simulation":
        return asking
    analysed = analyse(scenario, percentiles=())
    if isinstance(analysed, NotAnalysable) and asking.method == "auto":
        return replace(asking, method="simulation")
    return replace(asking, method="theory")


def _metrics(scenario: Scenario, asking: Asking) -> Metrics | None:
    """Mean and percentiles by (class, metric); None where the queue is unstable."""
    answer: PolicyAnswer = answer_one(scenario, asking)
    if not answer.stable:
        return None
    names = [MEAN, *map(percentile_name, asking.percentiles)]
    return {
        (part.name, name): value
        for part in answer.classes
        for name in names
        if (value := part.metrics.get(name)) is not None and part.metrics.get(MEAN) is not None
    }


def stretched(scenario: Scenario, factor: float) -> Scenario:
    """The scenario with all services `factor` times as long. Raises InputError where they cannot be."""
    system = scenario.system
    if system.iteration_time is not None:
        given = system.iteration_time
        if not isinstance(given, IterationTime):
            raise InputError("sensitivity", "iteration times of this kind cannot be stretched", "write them out")
        return replace(
            scenario, system=replace(system, iteration_time=IterationTime(**_times(vars(given), factor)))
        )
    classes = tuple(_stretched(request_class, factor) for request_class in scenario.classes)
    swap = ModelSwap(service_factor=factor, energy_factor=1.0)
    fitted = any(c.service is None and not c.services for c in scenario.classes)
    transforms = (swap, *scenario.transforms) if fitted else scenario.transforms
    return replace(scenario, classes=classes, transforms=transforms)


def _times(fields: dict[str, float], factor: float) -> dict[str, float]:
    return {name: value * factor for name, value in fields.items()}


def _stretched(request_class: RequestClass, factor: float) -> RequestClass:
    service = None if request_class.service is None else request_class.service.scaled(factor)
    services = {name: law.scaled(factor) for name, law in request_class.services.items()}
    return replace(request_class, service=service, services=services)


@dataclass(frozen=True)
class Changes:
    """The scenario at standard normal z, how many z there are, and which z are allowed."""

    made: Callable[[np.ndarray], Scenario]
    directions: int
    allowed: Callable[[np.ndarray], np.ndarray]


def _uncertain(scenario: Scenario, service_error: float) -> tuple[Changes, str]:
    spread = spread_of(scenario.system.model)
    if spread is None:
        return Changes(
            lambda z: stretched(scenario, 1.0 + service_error * z[0]),
            1,
            lambda points: 1.0 + service_error * points[:, 0] > 0,
        ), f"services longer or shorter by {service_error:.0%} (standard error)"
    steps = _directions(scenario, spread)

    def made(z: np.ndarray) -> Scenario:
        model = spread.rebuilt(spread.values + steps @ z)
        return replace(scenario, system=replace(scenario.system, model=model))

    kept = spread.values >= 0

    def allowed(points: np.ndarray) -> np.ndarray:
        return np.asarray(((spread.values + points @ steps.T)[:, kept] >= 0).all(axis=1))

    return Changes(made, steps.shape[1], allowed), "coefficients of the fitted model"


def _directions(scenario: Scenario, spread: Spread) -> np.ndarray:
    """Columns R v: what one standard deviation along each direction does to the coefficients."""
    base = _mean_services(scenario)
    effects = []
    for column in spread.root.T:
        model = spread.rebuilt(spread.values + 1e-3 * column)
        moved = _mean_services(replace(scenario, system=replace(scenario.system, model=model)))
        effects.append((moved / base - 1.0) / 1e-3)
    _, sizes, turned = np.linalg.svd(np.array(effects).T)
    several = min(int((sizes > LEAST_EFFECT * sizes[0]).sum()), max(NODES))
    return np.asarray(spread.root @ turned[: max(several, 1)].T)


def _mean_services(scenario: Scenario) -> np.ndarray:
    return np.array([served.size.mean for served in scenario.served])


def _intervals(
    base: Metrics, changes: Changes, asking: Asking, confidence: float
) -> tuple[Metrics, Metrics, float]:
    """Lower and upper ends, and the probability that the queue is unstable."""
    axes = [np.polynomial.hermite_e.hermegauss(n)[0] for n in NODES[changes.directions]]
    inverse, reached = _inverse_means(base, changes, asking, axes)
    points = _equally_likely(changes)
    lows, highs, stopped = {}, {}, 0.0
    along, ratios = _ratios(base, changes, asking, axes[0])
    for key in base:
        at = _between(axes, _spread_out(_onward(inverse[key[0], MEAN], axes[0]), reached), points)
        if key[1] != MEAN:
            at = at / np.interp(points[:, 0], along, ratios[key])
        high, low = (float(end) for end in np.quantile(at, (0.5 * (1.0 - confidence), 0.5 * (1.0 + confidence))))
        lows[key], highs[key] = 1.0 / low, 1.0 / high if high > 0 else math.inf
        stopped = max(stopped, float((at <= 0).mean()))
    return lows, highs, stopped


def _inverse_means(
    base: Metrics, changes: Changes, asking: Asking, axes: list[np.ndarray]
) -> tuple[Fields, np.ndarray]:
    """1 / mean at every node, 0 where the queue is unstable; and which nodes are allowed."""
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    shape = grid.shape[:-1]
    reached = changes.allowed(grid.reshape(-1, len(axes))).reshape(shape)
    inverse = {key: np.zeros(shape) for key in base if key[1] == MEAN}
    for place in map(tuple, np.argwhere(reached)):
        found = _metrics(changes.made(grid[place]), replace(asking, percentiles=())) or {}
        for key in inverse:
            inverse[key][place] = 1.0 / found[key] if key in found else 0.0
    return inverse, reached


def _ratios(base: Metrics, changes: Changes, asking: Asking, axis: np.ndarray) -> tuple[np.ndarray, Fields]:
    """Percentile over mean at every other node of the first direction: it moves far less than either."""
    along, found = [], []
    others = np.zeros(changes.directions - 1)
    for z in axis[1:-1:2] if asking.percentiles else ():
        here = np.concatenate(([z], others))
        metrics = _metrics(changes.made(here), asking) if changes.allowed(here[None, :])[0] else None
        if metrics is not None and len(metrics) == len(base):
            along.append(float(z))
            found.append(metrics)
    if not along:
        along, found = [0.0], [base]
    keys = [key for key in base if key[1] != MEAN]
    return np.array(along), {key: np.array([each[key] / each[key[0], MEAN] for each in found]) for key in keys}


def _equally_likely(changes: Changes) -> np.ndarray:
    """Points of the truncated normal law. Raises InputError where hardly any is allowed."""
    from scipy.special import ndtri
    from scipy.stats import qmc

    uniform = qmc.Sobol(changes.directions, scramble=True, rng=np.random.default_rng(1)).random(FINE)
    points = np.asarray(ndtri(np.clip(uniform, 1e-9, 1 - 1e-9)))
    kept = points[changes.allowed(points)]
    if len(kept) < FINE // 100:
        raise InputError("sensitivity", "the coefficients are too uncertain to be times", "measure more")
    return np.asarray(kept)


def _onward(values: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """Below 0 beyond saturation: 1/mean goes on along the first axis as the nearest four stable nodes bend it."""
    out = values.copy()
    for line in map(tuple, np.ndindex(*values.shape[1:])):
        column = out[(slice(None), *line)]
        stable = np.flatnonzero(column > 0)
        for i in np.flatnonzero(column == 0) if len(stable) > 3 else ():
            near = stable[np.argsort(np.abs(stable - i))[:4]]
            bend = np.polynomial.Polynomial.fit(axis[near], values[(near, *line)], 3)
            column[i] = min(float(bend(axis[i])), -1e-12)
    return out


def _spread_out(values: np.ndarray, reached: np.ndarray) -> np.ndarray:
    """Where a node is not allowed, the value of the nearest that is."""
    if reached.all():
        return values
    from scipy.ndimage import distance_transform_edt

    nearest = distance_transform_edt(~reached, return_distances=False, return_indices=True)
    return np.asarray(values[tuple(nearest)])


def _between(axes: list[np.ndarray], values: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Linear between the nodes, and constant beyond the last."""
    from scipy.interpolate import RegularGridInterpolator

    inside = np.stack([np.clip(points[:, i], axis[0], axis[-1]) for i, axis in enumerate(axes)], axis=1)
    return np.asarray(RegularGridInterpolator(tuple(axes), values)(inside))


def _elasticity(changed: Callable[[float], Scenario], asking: Asking, base: Metrics, skip: bool) -> Metrics:
    """d log(metric) / d log(factor) at 1."""
    if skip:
        return {}
    step = STEP if asking.method == "theory" else 10 * STEP
    low, high = (_metrics(changed(1.0 + sign * step), asking) or {} for sign in (-1, 1))
    width = math.log1p(step) - math.log1p(-step)
    return {key: math.log(high[key] / low[key]) / width for key in base if key in low and key in high}


def _first_missed(scenario: Scenario, asking: Asking) -> Capacity | None:
    if "closed" in scenario.features or not any(request_class.slo for request_class in scenario.classes):
        return None
    try:
        return capacity(scenario, asking)
    except InputError:  # the metric of an SLO is not known: the others move all the same
        return None


def _plain(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value
