"""Orders by predicted size: SPJF, PSPJF, SPRPT and TRAIL under a joint law of size S and prediction Y, exact means.

With r(y) = lambda E[S; Y <= y], for a request of size x and prediction y:

    SPJF   lambda E[S^2] / (2 (1 - r(y))^2) + x
    PSPJF  lambda E[S^2; Y <= y] / (2 (1 - r(y))^2) + x / (1 - r(y))
    SPRPT  lambda (E[S^2; Y <= y] + E[((S - (Y - y))^+)^2; Y > y]) / (2 (1 - r(y))^2)
           + int_0^x da / (1 - r((y - a)^+))
    TRAIL  as SPRPT with Y - y replaced by min(Y - y, C Y), and no new delay after age C y

The joint laws are in `prediction_laws` (a continuum of predictions) and `prediction_levels` (single values).
Sources: Mitzenmacher, *ITCS 2020* (arXiv 1902.00732); Shahout et al., TRAIL (arXiv 2410.01035); the general
result is SOAP: Scully, Harchol-Balter & Scheller-Wolf, *SIGMETRICS 2018*.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from qmodel.answer import NotAnalysable
from qmodel.policy import PSJF, PSPJF, SJF, SPJF, SPRPT, SRPT, TRAIL, Policy
from qmodel.scenario import ServedClass
from qmodel.theory.numerics.panels import Panels
from qmodel.theory.one_server.m_g_1 import INDEPENDENT, ONE_SERVER, POISSON
from qmodel.theory.prediction.prediction_errors import Predicted
from qmodel.theory.prediction.prediction_laws import is_smooth, predictors
from qmodel.theory.prediction.prediction_levels import level_means, takes_single_values
from qmodel.theory.rank.soap import Background
from qmodel.theory.result import ClassResult, Result
from qmodel.theory.size_order.size_based import size_based

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

WIDEST, ORDER = 8.0, 12
"""Ratio of the ends of a panel of predictions, at most, and its nodes."""
UNFELT = 1e-12
"""Share of all arrivals below which a component delays no one: requests of one size that are only asked about."""
EXACT_TWINS: dict[type[Policy], Policy] = {SPJF: SJF(), PSPJF: PSJF(), SPRPT: SRPT()}
ASSUMED = {
    "exact": "predictions are exact",
    "exponential": "prediction = size times an independent error factor",
    "lognormal": "prediction = size times an independent error factor",
    "correlated": "prediction has the size's law, joined to it by a Gaussian copula",
    "one-bit": "prediction is the mean size given a guess of one bit",
    "file": "prediction as measured for the nearest size",
}
SOURCES = {
    "spjf": "Mitzenmacher 2020",
    "pspjf": "Mitzenmacher 2020",
    "sprpt": "Mitzenmacher 2020",
    "trail": "Shahout et al. 2025; SOAP: Scully, Harchol-Balter & Scheller-Wolf 2018",
}


@dataclass(frozen=True)
class Portion:
    """A component of one class's sizes: its requests per second, its share in the class, and its predictions."""

    rate: float
    share: float
    predictions: Predicted


@dataclass(frozen=True)
class PredictedQueue:
    """All components, and the panels of predictions on which their sums are known.

    `background` goes before all of them; with `stretched` it interrupts service that nothing else interrupts.
    """

    portions: dict[str, list[Portion]]
    panels: Panels
    second_moment: float
    background: Background = field(default_factory=Background)
    stretched: bool = False
    _known: dict[tuple[Predicted, str, tuple[float, ...]], Floats] = field(default_factory=dict)

    @property
    def y(self) -> Floats:
        """Predictions."""
        return self.panels.nodes

    def total(self, values: str, *arguments: float) -> Floats:
        """Sum over all requests per second of an expectation at each prediction."""
        rates: dict[Predicted, float] = {}
        for part in (p for portions in self.portions.values() for p in portions):
            rates[part.predictions] = rates.get(part.predictions, 0.0) + part.rate
        least = UNFELT * math.fsum(rates.values())
        felt = ((guess, rate) for guess, rate in rates.items() if rate > least)
        return np.asarray(sum(rate * self._at(guess, values, arguments) for guess, rate in felt))

    @cached_property
    def idle(self) -> Floats:
        """1 - r(y), less the background's load."""
        return 1.0 - self.background.load - self.total("upto", 1)

    @property
    def alone(self) -> float:
        """Share of time left to a service that no other request of the order interrupts."""
        return 1.0 - self.background.load if self.stretched else 1.0

    def residual(self, policy: Policy) -> Floats:
        """Half the second moment of the work that comes before a prediction y when a request arrives."""
        more = self.background.residual
        if not policy.preemptive:
            return np.full_like(self.y, more + 0.5 * self.second_moment)
        smaller = self.total("upto", 2)
        if isinstance(policy, PSPJF):
            return more + 0.5 * smaller
        return more + 0.5 * (smaller + self.total("kept", limit_of(policy)))

    def mean_response(self, policy: Policy, name: str, mean_service: float) -> float:
        """Mean response of a class."""
        density, service = (self._mean(name, "density", k) for k in (0, 1))
        dy = self.panels.weights
        delay = float(dy @ (density * self.residual(policy) / self.idle**2))
        if not policy.preemptive:
            return delay + mean_service / self.alone
        if isinstance(policy, PSPJF):
            return delay + float(dy @ (service / self.idle))
        limit = limit_of(policy)
        passing = self._mean(name, "passing", limit)
        alone = sum(p.share * p.predictions.beyond(limit) for p in self.portions[name])
        return delay + float(dy @ (passing / self.idle)) + alone / self.alone

    def _mean(self, name: str, values: str, *arguments: float) -> Floats:
        parts = self.portions[name]
        return np.asarray(sum(p.share * self._at(p.predictions, values, arguments) for p in parts))

    def _at(self, guess: Predicted, values: str, arguments: tuple[float, ...]) -> Floats:
        """An expectation of one component at each prediction."""
        key = (guess, values, arguments)
        if key not in self._known:
            method = getattr(guess, values)
            found = method(*arguments, self.y) if values in ("upto", "density") else method(self.y, *arguments)
            self._known[key] = np.asarray(found)
        return self._known[key]


def limit_of(policy: Policy) -> float:
    """Share of the predicted size after which nothing interrupts."""
    return policy.limit if isinstance(policy, TRAIL) else math.inf


def by_prediction(policy: Policy, classes: Sequence[ServedClass]) -> Result | NotAnalysable:
    """Every class's mean response under an order by predicted size."""
    kinds = {served.predicted_size.error for served in classes}
    if kinds == {"exact"} and type(policy) in EXACT_TWINS:
        return size_based(EXACT_TWINS[type(policy)], classes)
    if any(served.service.delivered_at is not None for served in classes):
        return NotAnalysable("results leave before their service ends", "the same early exit with delivery 'stop'")
    means = predicted_means(policy, classes)
    if isinstance(means, NotAnalysable):
        return means
    return Result(
        classes=tuple(ClassResult(served, served.size.mean, means[served.name]) for served in classes),
        name=f"M/G/1 {policy.name.upper()} with predicted sizes",
        source=SOURCES[policy.name],
        assumptions=(POISSON, INDEPENDENT, ONE_SERVER, *sorted(ASSUMED[kind] for kind in kinds)),
    )


def predicted_means(
    policy: Policy,
    classes: Sequence[ServedClass],
    background: Background | None = None,
    stretched: bool = False,
) -> dict[str, float] | NotAnalysable:
    """Mean response of each class, with a background of requests that go first (see `PredictedQueue`)."""
    silent = [served.name for served in classes if served.predicted_size.error == "none"]
    if silent:
        return NotAnalysable(f"class '{silent[0]}' makes no prediction", 'predicted_size = { error = "exact" }')
    before = background or Background()
    if all(takes_single_values(served) for served in classes):
        return level_means(policy, limit_of(policy), classes, before, stretched)
    stepped = [served.name for served in classes if takes_single_values(served) or not is_smooth(served)]
    if stepped:
        reason = f"predictions of class '{stepped[0]}' take single values, those of others or of other sizes do not"
        return NotAnalysable(reason, "predictions of one kind, sizes of one kind")
    if any(math.isinf(served.size.moment(2)) for served in classes):
        endless = _without_second_moment(policy, classes)
        if endless is not None:
            return endless
    queue = _queue(classes, before, stretched, limit_of(policy))
    return {served.name: queue.mean_response(policy, served.name, served.size.mean) for served in classes}


def _without_second_moment(
    policy: Policy, classes: Sequence[ServedClass]
) -> dict[str, float] | NotAnalysable | None:
    """Everyone's mean is infinite if what stays before others has no second moment; None where it has one."""
    heavy = [served for served in classes if math.isinf(served.size.moment(2))]
    mistaken = [served for served in heavy if served.predicted_size.error != "exact"]
    if not policy.preemptive or (mistaken and not isinstance(policy, PSPJF)) or limit_of(policy) < 1.0:
        return {served.name: math.inf for served in classes}
    blurred = [served.name for served in mistaken if served.predicted_size.error == "correlated"]
    if blurred:
        reason = f"sizes of class '{blurred[0]}' have no second moment and are correlated with predictions"
        return NotAnalysable(reason, "exact predictions, or errors that are factors")
    return None


def _queue(
    classes: Sequence[ServedClass], background: Background, stretched: bool, limit: float = math.inf
) -> PredictedQueue:
    portions: dict[str, list[Portion]] = {}
    ends: set[float] = set()
    for served in classes:
        portions[served.name] = []
        for share, guess in predictors(served, limit):
            portions[served.name].append(Portion(served.rate * share, share, guess))
            ends |= guess.ends()
    second = math.fsum(served.rate * served.size.moment(2) for served in classes)
    return PredictedQueue(portions, Panels.through(ends, WIDEST, ORDER), second, background, stretched)
