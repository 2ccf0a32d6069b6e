"""The two modes of a service that depends on the queue's length, and a class's result under them."""

from __future__ import annotations

from collections.abc import Sequence

from qmodel.scenario import ServedClass
from qmodel.service.transform import QueueCondition, Service
from qmodel.theory.numerics.inversion import Law
from qmodel.theory.result import ClassResult
from qmodel.theory.supply import blended, delivery
from qmodel.workload import Distribution

SHORT, LONG = 0, 1


def mode_of(present: int, last: int, condition: QueueCondition) -> int:
    """Mode of a service that starts with `present` in the system, itself included, after one of mode `last`.

    >>> mode_of(5, SHORT, QueueCondition(above=4, below=2)), mode_of(2, LONG, QueueCondition(above=4, below=2))
    (1, 1)
    """
    if last == LONG and condition.below is not None:
        return LONG if present >= condition.below else SHORT
    return LONG if present > condition.above else SHORT


def service_in(served: ServedClass, mode: int) -> Service:
    """The class's service in that mode."""
    return served.long_queue if mode == LONG and served.long_queue is not None else served.service


def two_modes(classes: Sequence[ServedClass]) -> tuple[float, Distribution, Distribution]:
    """Rate of these classes together, and the law of a service of any of them in either mode."""
    rates = [served.rate for served in classes]
    short, long = (
        blended(rates, [service_in(served, mode).occupancy for served in classes]) for mode in (SHORT, LONG)
    )
    return sum(rates), short, long


def deliveries(served: ServedClass) -> tuple[Distribution, Distribution]:
    """Service until delivery in either mode."""
    return delivery(service_in(served, SHORT)), delivery(service_in(served, LONG))


def two_mode_results(
    served: ServedClass, wait: float, shares: Sequence[float], law: Law | None = None
) -> ClassResult:
    """T = W + D where the mode, of these shares, is independent of the class; the wait is not of the mode."""
    mean = sum(share * given.mean for share, given in zip(shares, deliveries(served), strict=True))
    return ClassResult(
        served=served,
        mean_service=mean,
        mean_response=wait + mean,
        law=law,
        extra={"share_reduced": shares[LONG]},
    )
