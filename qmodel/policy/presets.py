"""The presets by name: one name, one meaning. A new preset is one class here and one line in `PRESETS`."""

from __future__ import annotations

import importlib
import inspect
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from qmodel.errors import InputError, nearest
from qmodel.policy.accumulating import AccumulatingPriority
from qmodel.policy.base import Policy, Request
from qmodel.policy.gittins import Gittins
from qmodel.policy.priority import NonPreemptivePriority, PreemptivePriority
from qmodel.workload.distribution import positive


class FCFS(Policy):
    """First come, first served."""

    name, depends_on = "fcfs", frozenset({"arrival"})


class LCFS(Policy):
    """Last come, first served; service is never interrupted."""

    name, depends_on = "lcfs", frozenset({"arrival"})

    def rank(self, request: Request, attained: float) -> float:
        return -request.arrival_s


class LCFSPreemptive(LCFS):
    """Last come, first served at once; interrupted work is resumed."""

    name, preemptive = "lcfs-pr", True


class RandomOrder(Policy):
    """Service in random order, never interrupted: lots are drawn once, at arrival, the lowest waiting goes next.

    The mean is that of the textbook's order, which draws anew whenever a service starts; the wait varies more here
    (a high lot stays behind), so that deviations and percentiles are not the textbook's.
    """

    name, depends_on = "random", frozenset({"random"})

    def rank(self, request: Request, attained: float) -> float:
        return request.lottery


class PS(Policy):
    """Processor sharing: everyone present at the same speed."""

    name, preemptive, sharing = "ps", True, "equal"


class DPS(Policy):
    """Discriminatory processor sharing: speeds in proportion to class weights."""

    name, preemptive, sharing, depends_on = "dps", True, "weighted", frozenset({"class"})


@dataclass(frozen=True)
class RoundRobin(Policy):
    """Turns of `quantum` seconds each, in cyclic order; PS as the quantum goes to 0.

    A newcomer joins behind all that wait. A turn ends when the service attained reaches a multiple of the quantum;
    the request then joins again, behind those that arrived meanwhile.
    """

    quantum: float = 0.01
    name = "round-robin"
    preemptive = True
    depends_on = frozenset({"turn"})

    def __post_init__(self) -> None:
        positive("round-robin", quantum=self.quantum)

    def turns(self, attained: float) -> int:
        """Whole turns in so much service.

        >>> RoundRobin(quantum=0.1).turns(0.3)
        3
        """
        return math.floor(attained / self.quantum + 1e-9)

    def rank(self, request: Request, attained: float) -> float:
        return request.joined


class SJF(Policy):
    """Shortest job first, never interrupted."""

    name, depends_on = "sjf", frozenset({"size"})

    def rank(self, request: Request, attained: float) -> float:
        return request.size


class PSJF(SJF):
    """Smallest original size first, preemptive."""

    name, preemptive = "psjf", True


class SRPT(Policy):
    """Shortest remaining processing time first, preemptive; minimises the mean response time."""

    name, preemptive, depends_on = "srpt", True, frozenset({"size", "age"})

    def rank(self, request: Request, attained: float) -> float:
        return request.size - attained


class LAS(Policy):
    """Least attained service first (foreground-background), shared among equals."""

    name, preemptive, depends_on = "las", True, frozenset({"age"})

    def rank(self, request: Request, attained: float) -> float:
        return attained


@dataclass(frozen=True)
class MLFQ(Policy):
    """Multilevel feedback: lowest level first, FCFS inside a level; level i ends at `thresholds[i]` seconds."""

    thresholds: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
    name = "mlfq"
    preemptive = True
    depends_on = frozenset({"age"})

    def __post_init__(self) -> None:
        times = self.thresholds
        numbers = isinstance(times, tuple | list) and all(isinstance(time, int | float) for time in times)
        if not numbers or not times or not all(a < b for a, b in pairwise((0.0, *times, math.inf))):
            raise InputError("mlfq, thresholds", "must be positive and increasing", "e.g. [1.0, 2.0, 4.0]")

    def rank(self, request: Request, attained: float) -> float:
        return float(sum(attained >= threshold for threshold in self.thresholds))


class SPJF(Policy):
    """Shortest predicted job first, never interrupted."""

    name, depends_on = "spjf", frozenset({"prediction"})

    def rank(self, request: Request, attained: float) -> float:
        return request.predicted_size


class PSPJF(SPJF):
    """Smallest predicted size first, preemptive."""

    name, preemptive = "pspjf", True


class SPRPT(Policy):
    """Shortest predicted remaining processing time first, preemptive."""

    name, preemptive, depends_on = "sprpt", True, frozenset({"prediction", "age"})

    def rank(self, request: Request, attained: float) -> float:
        return request.predicted_size - attained


@dataclass(frozen=True)
class TRAIL(Policy):
    """SPRPT that no longer preempts a request past `limit` times its predicted size (Shahout et al. 2024)."""

    limit: float = 0.8
    name = "trail"
    preemptive = True
    depends_on = frozenset({"prediction", "age"})

    def __post_init__(self) -> None:
        positive("trail", limit=self.limit)

    def rank(self, request: Request, attained: float) -> float:
        if attained >= self.limit * request.predicted_size:
            return float("-inf")
        return request.predicted_size - attained


class EDF(Policy):
    """Earliest deadline first, preemptive; the deadline is arrival plus the class's response SLO."""

    name, preemptive, depends_on = "edf", True, frozenset({"deadline"})

    def rank(self, request: Request, attained: float) -> float:
        return request.deadline_s


_CLASSES: tuple[Callable[..., Policy], ...] = (
    FCFS, LCFS, LCFSPreemptive, RandomOrder, PS, DPS, RoundRobin, NonPreemptivePriority, PreemptivePriority,
    AccumulatingPriority, SJF, PSJF, SRPT, LAS, MLFQ, Gittins, SPJF, PSPJF, SPRPT, TRAIL, EDF,
)  # fmt: skip
PRESETS: dict[str, Callable[..., Policy]] = {made.name: made for made in _CLASSES}  # type: ignore[attr-defined]


def make_policy(name: str, folder: Path | None = None, /, **options: Any) -> Policy:
    """A preset by its name, or a user's own policy by `module:Class` (found in the working folder or `folder`).

    Raises InputError for an unknown name or option.

    >>> make_policy("srpt").rank(Request(0.0, 3.0, 3.0), 1.0)
    2.0
    """
    factory = _load(name, folder) if ":" in name else PRESETS.get(name)
    if factory is None:
        raise InputError(f"policy '{name}'", "is unknown", nearest(name, list(PRESETS)))
    _check_options(name, factory, options)
    try:
        return factory(**options)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"policy '{name}'", f"cannot be made: {error}", "correct its options") from error


def _check_options(name: str, factory: Callable[..., Policy], options: Mapping[str, Any]) -> None:
    taken = inspect.signature(factory).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in taken.values()):
        return
    unknown = next((option for option in options if option not in taken), None)
    if unknown is not None:
        remedy = nearest(unknown, list(taken)) if taken else "it has no options"
        raise InputError(f"policy '{name}', {unknown}", "is no option of it", remedy)


def _load(name: str, folder: Path | None) -> Callable[..., Policy]:
    module_name, _, attribute = name.partition(":")
    for place in (folder, Path()):
        if place is not None and str(place.resolve()) not in sys.path:
            sys.path.insert(0, str(place.resolve()))
    try:
        loaded = getattr(importlib.import_module(module_name), attribute)
    except (Exception, SystemExit) as error:  # whatever the user's module does when it is imported
        fault = f"cannot be loaded: {type(error).__name__}: {error}"
        raise InputError(f"policy '{name}'", fault, "name an importable MODULE:CLASS") from error
    if not (isinstance(loaded, type) and issubclass(loaded, Policy)):
        raise InputError(f"policy '{name}'", "is not a policy", "derive it from qmodel.policy.Rank")
    if loaded not in _CLASSES and vars(loaded).get("name", "") in ("", *PRESETS):
        loaded.name = name  # a preset's name, say an inherited one, would claim the preset's results
    return loaded
