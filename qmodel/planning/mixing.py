"""How a fleet of two kinds is dealt its arrivals: at random, by class, by expected work, or the best of these.

At random and by class each kind is a queue of its own with Poisson arrivals, which theory answers where it can; by
expected work the arrivals of each kind hang together with the other's, and are simulated.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from qmodel.errors import InputError, nearest
from qmodel.planning.candidates import Setting
from qmodel.planning.expected_work import fleet_by_work
from qmodel.planning.fleets import Dealing, Fleet, best_fleet, check_mix
from qmodel.planning.judging import Judge
from qmodel.planning.split_classes import fleet_by_class

BEST = "best"


def check_dealing(dealing: str) -> None:
    """Raise InputError for a way of dealing that is not known."""
    known = [*get_args(Dealing), BEST]
    if dealing not in known:
        raise InputError("--dealing", f"'{dealing}' is unknown", nearest(dealing, known))


def mixed_fleet(
    settings: Sequence[Setting], counts: Sequence[int], judge: Judge, objective: str, requests: int, dealing: str
) -> Fleet | None:
    """The best fleet of two kinds that is confirmed, its arrivals dealt so; None where none meets the bounds.

    Of ways that come out alike the plainest is taken. Raises InputError for what is not dealt in that way.
    """
    check_mix(settings, judge, objective)
    ways = {"random": best_fleet, "class": fleet_by_class, "work": fleet_by_work}
    if dealing != BEST:
        return ways[dealing](settings, counts, judge, objective, requests)
    found: list[Fleet] = []
    for way in ways.values():
        try:
            one = way(settings, counts, judge, objective, requests)
        except InputError:  # not for these servers or classes; dealing at random is for all
            continue
        found += [one] if one else []
    return min(found, key=lambda each: each.merit(objective), default=None)
