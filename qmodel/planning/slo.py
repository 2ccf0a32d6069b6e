"""What a plan must meet: bounds on metrics of classes, and how far an answer is from them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from qmodel.capacity import metric_of_slo
from qmodel.errors import InputError, nearest
from qmodel.scenario import Scenario
from qmodel.workload.request_class import COMMON_SLOS, SLO_NAME

AT_LEAST = ("quality", "attainment")
OTHERS = (*AT_LEAST, "energy_j_per_request")
EVERY = ""
"""Class of a bound that every class has to meet."""


@dataclass(frozen=True)
class Bound:
    """A limit on one metric of one class ("" for each of them); a least value for quality and attainment.

    >>> Bound("p99_ttft_s", 0.5).ratio(0.25), Bound("quality", 0.9).ratio(0.9)
    (0.5, 1.0)
    """

    metric: str
    limit: float
    class_name: str = EVERY

    @property
    def at_least(self) -> bool:
        """Whether more is better."""
        return self.metric in AT_LEAST

    def ratio(self, value: float | None) -> float:
        """How much of what is allowed is used up: at most 1 where the bound is met, infinite for no value."""
        if value is None or math.isnan(value):
            return math.inf
        if self.at_least:
            return self.limit / value if value > 0 else math.inf
        return value / self.limit

    def percent(self) -> float | None:
        """The percentile that the metric needs, None for a mean."""
        head = self.metric.split("_")[0]
        return float(head[1:]) if head[0] == "p" and head[1:2].isdigit() else None

    def __str__(self) -> str:
        of = f"{self.class_name}." if self.class_name else ""
        return f"{of}{self.metric} {'>=' if self.at_least else '<='} {self.limit:g}"


def parse_bound(text: str, classes: Sequence[str]) -> Bound:
    """A bound from `[CLASS.]METRIC=VALUE`. Raises InputError.

    >>> parse_bound("chat.ttft_p99_s=0.5", ["chat"])
    Bound(metric='p99_ttft_s', limit=0.5, class_name='chat')
    """
    place = f"--slo {text}"
    path, sign, number = text.partition("=")
    if not sign:
        raise InputError(place, "is no METRIC=VALUE", "e.g. --slo ttft_p99_s=0.5")
    owner, name = _split(path, classes)
    if owner and owner not in classes:
        raise InputError(place, f"there is no class '{owner}'", nearest(owner, list(classes)))
    if name not in OTHERS and SLO_NAME.fullmatch(name) is None:
        raise InputError(place, f"'{name}' is unknown", nearest(name, [*COMMON_SLOS, *OTHERS]))
    try:
        limit = float(number)
    except ValueError as error:
        raise InputError(place, f"{number!r} is no number", "e.g. --slo ttft_p99_s=0.5") from error
    if not (math.isfinite(limit) and limit > 0):
        raise InputError(place, f"{number} is not above 0", "give a limit above 0")
    return Bound(name if name in OTHERS else metric_of_slo(name), limit, owner)


def _split(path: str, classes: Sequence[str]) -> tuple[str, str]:
    """Class and metric; neither a class's name nor p99.9 may be cut at its point."""
    for name in classes:
        if path.startswith(f"{name}."):
            return name, path[len(name) + 1 :]
    if SLO_NAME.fullmatch(path) is not None:
        return EVERY, path
    owner, _, name = path.partition(".")
    return (owner, name) if name else (EVERY, path)


def bounds_of(scenario: Scenario, given: Iterable[str]) -> tuple[Bound, ...]:
    """The bounds given, else the classes' own SLOs. Raises InputError where there are none."""
    names = [each.name for each in scenario.classes]
    bounds = tuple(parse_bound(text, names) for text in given)
    if not bounds:
        bounds = tuple(
            Bound(metric_of_slo(name), limit, each.name)
            for each in scenario.classes
            for name, limit in each.slo.items()
        )
    if not bounds:
        raise InputError("--slo", "is missing, and no class has an slo", "e.g. --slo response_p95_s=2")
    return bounds


def percents_of(bounds: Iterable[Bound]) -> tuple[float, ...]:
    """The percentiles that the bounds need, in order."""
    return tuple(sorted({percent for bound in bounds if (percent := bound.percent()) is not None}))


def spread(bounds: Iterable[Bound], classes: Sequence[str]) -> list[Bound]:
    """The bounds class by class; quality, energy and attainment that name no class are of all requests."""
    found = []
    for bound in bounds:
        if bound.class_name:
            found.append(bound)
        elif bound.metric in OTHERS:
            found.append(Bound(bound.metric, bound.limit, "all"))
        else:
            found += [Bound(bound.metric, bound.limit, name) for name in classes]
    return found


def worst_of(ratios: Mapping[Bound, float]) -> tuple[Bound, float]:
    """The bound that is nearest to being missed, or missed by most."""
    bound = max(ratios, key=lambda each: ratios[each])
    return bound, ratios[bound]
