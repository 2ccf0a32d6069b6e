"""From a policy's rank to SOAP: what the rank reads is found by asking it, then kinds of requests are made."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from qmodel.answer import NotAnalysable
from qmodel.policy import Policy, Request
from qmodel.scenario import ServedClass
from qmodel.theory.numerics.sizes import SizeGrid
from qmodel.theory.one_server.m_g_1 import INDEPENDENT, ONE_SERVER, POISSON
from qmodel.theory.one_server.np_priority import non_preemptive
from qmodel.theory.one_server.preemptive_priority import preemptive_resume
from qmodel.theory.prediction.prediction_sample import guesser
from qmodel.theory.rank.blind_order import blind_means
from qmodel.theory.rank.rank_path import Path, path_of
from qmodel.theory.rank.sample import sample_of
from qmodel.theory.rank.soap import Background, Kind, Newcomers, Relevance, mean_response
from qmodel.theory.result import ClassResult, Result
from qmodel.theory.supply import merged

SOURCE = "SOAP: Scully, Harchol-Balter & Scheller-Wolf 2018"
CELLS, STEPS = 120, 200
"""Sizes (of each component, and by free capacity) by which a rank that knows sizes is sampled; and half."""
NOISY_CELLS, NOISY_STEPS = 60, 0
"""The same where there are prediction errors."""
TAIL, NOISY_TAIL = (0.75, 1e-13), (0.6, 1e-10)
"""Ratio of the probabilities beyond successive cells of a tail, and where it ends."""
MOST_STEPS, FEW_STEPS = 160, 30
"""Ranks at birth at which paths are cut, at most; of more, which are small steps, so many are taken."""
CLOSE = 1e-3
"""Relative error up to which an extrapolated sample counts as exact."""
OUTSIDE = {
    "arrival_s": ("the time of arrival", 7.3),
    "deadline_s": ("the deadline", 5.1),
    "lottery": ("a draw", 0.21),
}


def by_rank(policy: Policy, classes: Sequence[ServedClass]) -> Result | NotAnalysable:
    """Every class's mean response under the policy's own rank."""
    read = facts_read(policy, classes)
    refusal = _refusal(policy, classes, read)
    if refusal is not None:
        return refusal
    if not read & {"size", "predicted_size"}:
        found = _by_class(policy, classes)
        if found is not None:
            return found
    means, error = _means(policy, classes, read, None)
    return _result(policy, classes, means, error)


def ranked_means(
    policy: Policy, classes: Sequence[ServedClass], background: Background
) -> tuple[dict[str, float], float] | NotAnalysable:
    """Mean response of each class under the policy's own rank, with requests that go before all of them.

    With the estimated relative error.
    """
    read = facts_read(policy, classes)
    refusal = _refusal(policy, classes, read)
    return _means(policy, classes, read, background) if refusal is None else refusal


def _refusal(policy: Policy, classes: Sequence[ServedClass], read: set[str]) -> NotAnalysable | None:
    if any(served.service.delivered_at is not None for served in classes):
        return NotAnalysable("results leave before their service ends", "the same early exit with delivery 'stop'")
    outside = [what for fact, (what, _) in OUTSIDE.items() if fact in read]
    if outside:
        reason = f"the rank of policy '{policy.name}' depends on {outside[0]}, so it is no order of facts and age"
        return NotAnalysable(reason, "a rank of class, size, prediction and attained service; fcfs")
    silent = [served.name for served in classes if served.predicted_size.error == "none"]
    if "predicted_size" in read and silent:
        return NotAnalysable(f"class '{silent[0]}' makes no prediction", 'predicted_size = { error = "exact" }')
    if read & {"size", "predicted_size"} and any(math.isinf(served.size.moment(2)) for served in classes):
        return NotAnalysable(
            "sizes without a second moment cannot be sampled for a rank that knows them", "srpt or las"
        )
    return None


def _means(
    policy: Policy, classes: Sequence[ServedClass], read: set[str], background: Background | None
) -> tuple[dict[str, float], float]:
    """Mean responses, and their estimated relative error."""
    if not read & {"size", "predicted_size"}:
        return _blind(policy, classes, background), 0.0
    predicts = "predicted_size" in read
    coarse, fine = (_knowing(policy, classes, predicts, part, background) for part in (0.5, 1.0))
    means = {name: fine[name] + (fine[name] - coarse[name]) / 3.0 for name in fine}
    return means, max(abs(fine[name] - coarse[name]) / fine[name] for name in fine)


def _by_class(policy: Policy, classes: Sequence[ServedClass]) -> Result | None:
    """A rank of the class alone: a priority, with percentiles; None if age plays a part."""
    ranks = {}
    for served in classes:
        seen = {float(policy.rank(_request(served, math.nan, math.nan), age)) for age in _ages(served)}
        if policy.preemptive and len(seen) > 1:
            return None
        ranks[served.name] = float(policy.rank(_request(served, math.nan, math.nan), 0.0))
    order = sorted(set(ranks.values()))
    ordered = [replace(served, priority=order.index(ranks[served.name])) for served in classes]
    found = (preemptive_resume if policy.preemptive else non_preemptive)(ordered)
    return replace(found, name=f"{found.name} (by class, as {policy.name or type(policy).__name__} ranks them)")


def _ages(served: ServedClass) -> np.ndarray:
    return np.concatenate(([0.0], served.size.mean * np.geomspace(1e-6, 1e3, 200)))


def _result(policy: Policy, classes: Sequence[ServedClass], means: dict[str, float], error: float) -> Result:
    return Result(
        classes=tuple(ClassResult(served, served.size.mean, means[served.name]) for served in classes),
        name=f"M/G/1 {policy.name or type(policy).__name__}: SOAP",
        source=SOURCE,
        assumptions=(POISSON, INDEPENDENT, ONE_SERVER, "the rank is the same function whenever it is asked"),
        method="exact" if error < CLOSE else "approximation",
        notes=sampling_notes(error),
    )


def sampling_notes(error: float) -> tuple[str, ...]:
    """What to say of means from a sample of sizes; nothing where there was none."""
    return (f"sizes sampled, extrapolated; estimated relative error {error:.0e}",) if error else ()


def _request(served: ServedClass, size: float, predicted: float) -> Request:
    return Request(
        arrival_s=0.0,
        size=size,
        predicted_size=predicted,
        priority=served.priority,
        weight=served.weight,
        class_name=served.name,
    )


def facts_read(policy: Policy, classes: Sequence[ServedClass]) -> set[str]:
    """Facts of a request that change its rank, found by changing them one at a time at several ages and sizes."""
    read: set[str] = set()
    for served in classes:
        for size in (0.6 * served.size.mean, 1.7 * served.size.mean):
            plain = _request(served, size, size)
            changed = {fact: replace(plain) for fact in (*OUTSIDE, "size", "predicted_size")}
            for fact, other in changed.items():
                setattr(other, fact, OUTSIDE[fact][1] if fact in OUTSIDE else 2.3 * size)
            for age in (0.0, 0.11 * size, 0.47 * size, 0.93 * size):
                before = policy.rank(plain, age)
                read |= {fact for fact, other in changed.items() if policy.rank(other, age) != before}
    return read


def _path(policy: Policy, request: Request, ages: np.ndarray) -> Path:
    """The rank by age; a service that is never interrupted outranks all from its start."""
    if policy.preemptive:
        return path_of(lambda age: policy.rank(request, age), ages)
    first = float(policy.rank(request, 0.0))
    begun = 1e-13 * float(ages[-1])
    ranks = np.array([first, -math.inf])
    return Path(np.array([0.0, begun]), np.array([begun, ages[-1]]), ranks, ranks)


def _blind(
    policy: Policy, classes: Sequence[ServedClass], background: Background | None = None
) -> dict[str, float]:
    """A rank of class and age: one path a class, sizes integrated exactly."""
    ages = np.concatenate(([0.0], SizeGrid(*merged(classes)).panels.edges))
    paths = {each.name: _path(policy, _request(each, math.nan, math.nan), ages) for each in classes}
    return blind_means(paths, classes, background)


def _knowing(
    policy: Policy,
    classes: Sequence[ServedClass],
    predicts: bool,
    part: float,
    background: Background | None = None,
) -> dict[str, float]:
    """A rank that knows sizes or predictions: a sample of both, of the same sizes for all classes.

    `part` is the share of the cells to take.
    """
    kinds: list[Kind] = []
    owners: list[tuple[str, float, float]] = []
    groups = 0
    noisy = predicts and any(served.predicted_size.error != "exact" for served in classes)
    count, steps, (ratio, last) = (NOISY_CELLS, NOISY_STEPS, NOISY_TAIL) if noisy else (CELLS, STEPS, TAIL)
    rate, law = merged(classes)
    sample = sample_of(law, round(part * count), (ratio ** (1.0 / part), last), rate, round(part * steps))
    for served in classes:
        guess = guesser(served, predicts, part)
        most = 0
        for size, share, spread in zip(sample.sizes, sample.masses(served.size), sample.spread, strict=True):
            guesses = guess(size) if share > 1e-15 else []
            most = max(most, len(guesses))
            for chance, predicted, unsure in guesses:
                path = _path(policy, _request(served, size, predicted), np.array([0.0, size]))
                kinds.append(Kind(served.rate * share * chance, path, sampled=spread or unsure))
                owners.append((served.name, share * chance, size))
        groups += most
    kinds, births = _stepped(kinds)
    relevance = Relevance(kinds, accidental=groups, background=background)
    newcomers = Newcomers.of(kinds, relevance, np.nextafter(births, np.inf))
    means, weight = ({served.name: 0.0 for served in classes} for _ in range(2))
    for kind, (name, share, size) in zip(kinds, owners, strict=True):
        means[name] += share * mean_response(kind, size, relevance, newcomers)
        weight[name] += share
    return {name: means[name] / weight[name] for name in means}


def _stepped(kinds: list[Kind]) -> tuple[list[Kind], np.ndarray]:
    """The kinds with pieces that end where the load of newcomers jumps: at ranks at birth of sizes with a mass."""
    births = np.unique([kind.path.first[0] for kind in kinds if not kind.sampled])
    cuts = births if len(births) <= MOST_STEPS else births[:: math.ceil(len(births) / FEW_STEPS)]
    return [replace(kind, path=kind.path.cut(cuts)) for kind in kinds], births
