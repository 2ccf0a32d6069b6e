"""R36: Niyama: deadline and remaining work in one rank, and requests that cannot be in time give way."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from qmodel.catalogue.case import Case, value
from qmodel.catalogue.checks import inside, near, true
from qmodel.catalogue.row import Check, Row, Setting

ALL_STAY: dict[str, Any] = {
    f"class.{name}.patience": {"distribution": "deterministic", "value": 1e9} for name in ("interactive", "batch")
}
EDF: dict[str, Any] = {"policy": {"preset": "edf"}}
HORIZON = 4_000.0


def alpha(weight: float) -> dict[str, float]:
    """How much a second of remaining work counts against a second of deadline."""
    return {"policy.options.alpha": weight}


def missed(case: Case, changes: dict[str, Any], metric: str = "attainment") -> float:
    """Share of requests that are late or given up, from empty at overload."""
    return 1 - value(case.simulate(changes, horizon_s=HORIZON, replications=5), metric)


def accept(case: Case) -> Iterator[Check]:
    """Both ends of alpha; the best between or at them; giving way cuts the violations of those kept fivefold."""
    ends = [{**ALL_STAY, "policy": {"preset": preset}} for preset in ("edf", "sprpt")]
    calm = {"class.interactive.arrivals.rate": 0.4, "class.batch.arrivals.rate": 0.2}
    for weight, end in zip((0.0, 1e7), ends, strict=True):
        found = value(case.simulate({**ALL_STAY, **calm, **alpha(weight)}, requests=60_000), "mean_response_s")
        wanted = value(case.simulate({**end, **calm}, requests=60_000), "mean_response_s")
        yield near(f"alpha = {weight:g}: E[T]", found, wanted, within=1e-3)
    weights = (0.0, 1.0, 4.0, 16.0, 1e4)
    sweep = [missed(case, alpha(weight)) for weight in weights]
    listed = ", ".join(f"{w:g}: {m:.3f}" for w, m in zip(weights, sweep, strict=True))
    yield true(f"missed over alpha falls, then rises, within 1 %: {listed}", _falls_then_rises(sweep))
    stay, leave = missed(case, {**ALL_STAY, **alpha(0.0)}), missed(case, alpha(0.0))
    given_up = value(case.simulate(alpha(0.0), horizon_s=HORIZON, replications=5), "abandoned_share")
    kept_late = (leave - given_up) / (1 - given_up)
    yield inside("EDF: late among those kept, over late if all stay,", kept_late / stay, 0.0, 0.2)


def _falls_then_rises(values: list[float]) -> bool:
    least = values.index(min(values))
    down, up = pairwise(values[: least + 1]), pairwise(values[least:])
    return all(b <= a + 0.01 for a, b in down) and all(b >= a - 0.01 for a, b in up)


ROW = Row(
    number=36,
    name="niyama",
    title="deadline plus work left, and giving way",
    method="simulation",
    idea="""One rank joins urgency and shortness: deadline + alpha x remaining work. alpha = 0 is EDF, which
    collapses at overload, as everyone is late in turn; a large alpha is shortest remaining first.
    Requests that cannot be in time any more give way, so that the others are.""",
    formula="rank = deadline + alpha x predicted remaining work; ends EDF and SPRPT",
    reference="Goel, Mohan, Kwatra, Anupindi & Ramjee 2025, arXiv 2503.22562",
    unchecked="""Niyama-like: a request that is relegated leaves here (patience = its slack), and counts as
    missed; the form of the rank is as catalogued""",
    missing="the chunk of a prompt that keeps the tightest decode within its slack",
    settings=(
        Setting("alpha 4, giving way", horizon_s=HORIZON, replications=5),
        Setting("EDF, giving way", alpha(0.0), horizon_s=HORIZON, replications=5),
        Setting("alpha 4, all stay", ALL_STAY, horizon_s=HORIZON, replications=5),
        Setting("EDF, all stay", {**ALL_STAY, **EDF}, horizon_s=HORIZON, replications=5),
    ),
    shown=("attainment", "interactive:attainment", "batch:attainment", "mean_response_s"),
    no_live="requests that leave when it is too late are not run live",
    accept=accept,
)
