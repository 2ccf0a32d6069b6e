"""What a model hands back, and how it becomes an answer: classes in order, `all` first, percentiles, attainment."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from qmodel.answer import ClassAnswer, Method, PolicyAnswer, percentile_name
from qmodel.scenario import Scenario, ServedClass
from qmodel.theory.numerics.inversion import BlendedLaw, Law


@dataclass(frozen=True)
class ClassResult:
    """One class: means in seconds (`math.inf` where infinite, None where unknown) and the response's law.

    `mean_service` is the server's time until the request is delivered; the wait is the response less it.
    `second_moment` is that of the response (s^2, `math.inf` where infinite), or what works it out when asked.
    `laws`: those of other quantities (ttft, tpot).
    """

    served: ServedClass
    mean_service: float
    mean_response: float | None
    mean_slowdown: float | None = None
    law: Law | None = None
    extra: dict[str, float | None] = field(default_factory=dict)
    second_moment: float | Callable[[], float] | None = None
    laws: Mapping[str, Law] = field(default_factory=dict)


NEAREST_SATURATION = 1e-5
"""M/M/1 percentiles by inversion are right to 5e-8 at a load of 1 - 1e-4 and 40 % off at 1 - 1e-6."""


FARTHEST = 2e9
"""Mean services, times 1 - load, past which probabilities of a heavy tail by inversion are off by 1e-4."""

FEW_NAMES = 8
"""Classes named in a note, at most."""


@dataclass(frozen=True)
class Result:
    """A model's result: its classes, what it is called, where it comes from and what it supposes."""

    classes: tuple[ClassResult, ...]
    name: str
    source: str
    assumptions: tuple[str, ...]
    method: Method = "exact"
    utilisation: float | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Unstable:
    """A model's word that the queue grows without bound, and the load that shows it."""

    utilisation: float


def answer_of(scenario: Scenario, result: Result, percentiles: Sequence[float]) -> PolicyAnswer:
    """The result in the shape of every instrument's answer."""
    result = _invertible(result, scenario)
    seconds = [second_moment(part) if percentiles else None for part in result.classes]
    parts = zip(result.classes, seconds, strict=True)
    classes = [class_answer(part, percentiles, second) for part, second in parts]
    answer = PolicyAnswer(
        policy=scenario.policy.name,
        rate=math.fsum(part.served.rate for part in result.classes)
        if "closed" in scenario.features
        else scenario.rate,
        method=result.method,
        result=result.name,
        utilisation=_load(result, scenario) if result.utilisation is None else result.utilisation,
        classes=[_overall(result, classes, percentiles), *classes],
        source=result.source,
        assumptions=list(result.assumptions),
    )
    far = _without_far_times(answer) if percentiles else []
    answer.notes = [*result.notes, *_moment_notes(result, seconds), *_inversion_notes(result, percentiles), *far]
    return answer


def _without_far_times(answer: PolicyAnswer) -> list[str]:
    """Leave out the percentiles of tails so heavy that transforms have lost their digits there; say so."""
    longest = max(part.metrics["mean_service_s"] or 0.0 for part in answer.classes)
    farthest = FARTHEST * max(1.0 - (answer.utilisation or 0.0), 0.01) * longest
    left_out = False
    for part in answer.classes:
        for name, value in part.metrics.items():
            if _is_percentile(name) and value is not None and value > farthest:
                part.metrics[name], left_out = None, True
    return [f"percentiles beyond {farthest:.3g} s are beyond double precision"] * left_out


def _is_percentile(name: str) -> bool:
    return name[0] == "p" and name[1].isdigit() and name.endswith("_s")


def _invertible(result: Result, scenario: Scenario) -> Result:
    """The result without its laws when the load is so near 1 that their transforms cancel to noise."""
    if 1.0 - _load(result, scenario) > NEAREST_SATURATION or result.utilisation is not None:
        return result
    note = f"no percentiles by inversion: the load is within {NEAREST_SATURATION:g} of saturation"
    classes = tuple(replace(part, law=None) for part in result.classes)
    return replace(result, classes=classes, notes=(*result.notes, note))


def second_moment(part: ClassResult) -> float | None:
    """E[T^2] of a class, infinite where the mean is; None where unknown."""
    if part.mean_response == math.inf:
        return math.inf
    found = part.second_moment
    return found() if callable(found) else found


def _deviation(second: float | None, mean: float | None) -> float | None:
    """Standard deviation from E[T^2] and E[T]."""
    if second is None or mean is None or not math.isfinite(second):
        return None
    return math.sqrt(max(second - mean**2, 0.0))


def class_answer(part: ClassResult, percentiles: Sequence[float], second: float | None) -> ClassAnswer:
    """Metrics of one class; `second` is E[T^2], used along with percentiles."""
    metrics = _means(part.mean_service, part.mean_response)
    if percentiles:
        metrics["std_response_s"] = _deviation(second, metrics["mean_response_s"])
    metrics |= _percentiles(part.law, percentiles)
    for quantity, law in part.laws.items():
        metrics |= _percentiles(law, percentiles, quantity)
    metrics["mean_slowdown"] = _known(part.mean_slowdown)
    met = _met(part)
    metrics["attainment"] = None if met is None else met * completed_share(part.extra)
    return ClassAnswer(part.served.name, part.served.rate, plain(metrics | part.extra))


def _met(part: ClassResult) -> float | None:
    """Share of the requests served that meet the class's SLO; None without one, or if it limits two quantities."""
    limited = {metric.removesuffix("_s").split("_")[0] for metric in part.served.slo}
    laws = {"response": part.law, **part.laws}
    law = laws.get(next(iter(limited))) if len(limited) == 1 else None
    return None if law is None else law.cdf(min(part.served.slo.values()))


SUMMED = ("throughput_tokens_per_s",)
"""Metrics of all requests that are the sum of the classes'."""
OF_ALL = ("attainment", "abandoned_share", "rejected_share")
"""Metrics of all requests; the others are of those that were served."""


def completed_share(metrics: Mapping[str, float | None]) -> float:
    """Share of a class's requests that are neither rejected nor leave unserved."""
    return 1.0 - math.fsum(metrics.get(name) or 0.0 for name in ("abandoned_share", "rejected_share"))


def plain(metrics: dict[str, float | None]) -> dict[str, float | None]:
    """Python floats, whatever kind of number the model computed."""
    return {name: None if value is None else float(value) for name, value in metrics.items()}


def _load(result: Result, scenario: Scenario) -> float:
    """Offered load of one server."""
    return math.fsum(part.served.load for part in result.classes) / scenario.system.servers


def _means(service: float, response: float | None) -> dict[str, float | None]:
    known = _known(response)
    return {
        "mean_service_s": service,
        "mean_wait_s": None if known is None else known - service,
        "mean_response_s": known,
    }


def _known(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _percentiles(
    law: Law | None, percentiles: Sequence[float], quantity: str = "response"
) -> dict[str, float | None]:
    return {percentile_name(p, quantity): None if law is None else law.percentile(p) for p in percentiles}


def _overall(result: Result, classes: list[ClassAnswer], percentiles: Sequence[float]) -> ClassAnswer:
    rate = math.fsum(answer.arrival_rate for answer in classes)
    completed = [answer.arrival_rate * completed_share(answer.metrics) for answer in classes]
    shares = [each / math.fsum(completed) for each in completed]
    service = math.fsum(share * part.mean_service for share, part in zip(shares, result.classes, strict=True))
    metrics = _means(service, weighted(classes, "mean_response_s"))
    if percentiles:
        metrics["std_response_s"] = _overall_deviation(classes, shares)
    metrics |= _percentiles(_blend(result, shares) if percentiles else None, percentiles)
    for quantity in result.classes[0].laws if percentiles else ():
        laws = [part.laws[quantity] for part in result.classes]
        metrics |= _percentiles(_blend_of(laws, shares, service), percentiles, quantity)
    metrics["mean_slowdown"] = weighted(classes, "mean_slowdown")
    asked = [answer for part, answer in zip(result.classes, classes, strict=True) if part.served.slo]
    metrics["attainment"] = weighted(asked, "attainment")
    for name in result.classes[0].extra:
        metrics[name] = summed(classes, name) if name in SUMMED else weighted(classes, name)
    return ClassAnswer("all", rate, plain(metrics))


def _overall_deviation(classes: Sequence[ClassAnswer], shares: Sequence[float]) -> float | None:
    found = [(answer.metrics["mean_response_s"], answer.metrics["std_response_s"]) for answer in classes]
    pairs = [(mean, spread) for mean, spread in found if mean is not None and spread is not None]
    if len(pairs) < len(classes):
        return None
    mean = math.fsum(share * m for share, (m, _) in zip(shares, pairs, strict=True))
    return math.sqrt(
        math.fsum(share * (spread**2 + (m - mean) ** 2) for share, (m, spread) in zip(shares, pairs, strict=True))
    )


def weighted(classes: Sequence[ClassAnswer], metric: str) -> float | None:
    """Mean of a metric over the requests of these classes (over the served ones, where requests are lost).

    None if one of them is unknown or there is none.
    """
    values = [answer.metrics[metric] for answer in classes]
    known = [value for value in values if value is not None]
    if not values or len(known) < len(values):
        return None
    of_all = metric in OF_ALL
    rates = [a.arrival_rate * (1.0 if of_all else completed_share(a.metrics)) for a in classes]
    return math.fsum(rate * value for rate, value in zip(rates, known, strict=True)) / math.fsum(rates)


def summed(classes: Sequence[ClassAnswer], metric: str) -> float | None:
    """Sum of a metric over the classes; None if one of them is unknown."""
    known = [value for answer in classes if (value := answer.metrics[metric]) is not None]
    return math.fsum(known) if len(known) == len(classes) else None


def _blend(result: Result, shares: Sequence[float]) -> Law | None:
    laws = [part.law for part in result.classes if part.law is not None]
    if len(laws) < len(result.classes):
        return None
    scale = math.fsum(share * part.mean_service for share, part in zip(shares, result.classes, strict=True))
    return _blend_of(laws, shares, scale)


def _blend_of(laws: Sequence[Law], shares: Sequence[float], scale: float) -> Law:
    """The law of a request of any class; `scale` (s) is where a search for its percentiles starts."""
    if len(laws) == 1:
        return laws[0]
    together = getattr(laws[0], "together", None)
    found: Law | None = together(shares, laws) if together else None
    return BlendedLaw(shares, laws, scale) if found is None else found


def _moment_notes(result: Result, seconds: Sequence[float | None]) -> list[str]:
    infinite = [part.served.name for part in result.classes if part.mean_response == math.inf]
    stretched = [part.served.name for part in result.classes if part.mean_slowdown == math.inf]
    spread = [
        part.served.name
        for part, second in zip(result.classes, seconds, strict=True)
        if second == math.inf and part.mean_response != math.inf
    ]
    notes = []
    if spread:
        notes.append(
            f"standard deviation of the response is infinite (so is a moment of the service): {_named(spread)}"
        )
    if infinite:
        notes.append(f"mean response is infinite (service has no finite second moment): {_named(infinite)}")
    if stretched:
        notes.append(f"mean slowdown is infinite (E[1/S] diverges): {_named(stretched)}")
    return notes


def _named(classes: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = len(classes) - FEW_NAMES
    return ", ".join(classes[:FEW_NAMES]) + (f" and {more} more" if more > 0 else "")


def _inversion_notes(result: Result, percentiles: Sequence[float]) -> list[str]:
    laws = [part.law for part in result.classes if part.law is not None]
    if not laws or not percentiles:
        return []
    return [f"percentiles with an estimated error in probability of {max(law.error for law in laws):.0e}"]
