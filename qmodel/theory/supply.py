"""What theory reads of a class's service: the law until delivery, and classes merged into one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from qmodel.scenario import ServedClass
from qmodel.service.transform import Service
from qmodel.workload import Distribution, Mixture

Stream = tuple[float, Distribution | None]
"""Requests per second and the law of their service; no law where there are none."""


def delivery(service: Service) -> Distribution:
    """Law of the service received when the result is out: a share of the occupancy, or all of it."""
    share = service.delivered_at
    if share is None:
        return service.occupancy
    laws = tuple(service.occupancy.scaled(f) for f in share.values)
    return laws[0] if len(laws) == 1 else Mixture(share.probabilities, laws)


def blended(rates: Sequence[float], laws: Sequence[Distribution]) -> Distribution:
    """The law of a request taken from these streams together; streams of one law count as one."""
    total = math.fsum(rates)
    alike: dict[Distribution, list[float]] = {}
    for rate, law in zip(rates, laws, strict=True):
        alike.setdefault(law, []).append(rate)
    if len(alike) == 1:
        return laws[0]
    return Mixture(tuple(math.fsum(found) / total for found in alike.values()), tuple(alike))


def merged(classes: Iterable[ServedClass]) -> tuple[float, Distribution]:
    """Rate and service law of these classes taken together."""
    parts = list(classes)
    return math.fsum(served.rate for served in parts), blended(
        [served.rate for served in parts], [served.size for served in parts]
    )


def stream(classes: Sequence[ServedClass]) -> Stream:
    """As `merged`, with rate 0 and no law for no class at all."""
    return merged(classes) if classes else (0.0, None)


def levels(classes: Sequence[ServedClass]) -> list[list[ServedClass]]:
    """Classes by priority number, lowest first; classes of one number are together."""
    numbers = sorted({served.priority for served in classes})
    return [[served for served in classes if served.priority == number] for number in numbers]
