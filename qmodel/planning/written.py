"""A plan as JSON, and in words how close the runner-up was."""

from __future__ import annotations

import json
import math
from typing import Any

import qmodel
from qmodel.planning.confirming import Check, Confirmed
from qmodel.planning.fleets import Fleet
from qmodel.planning.judging import Judged
from qmodel.planning.plan import Plan
from qmodel.planning.search import Found

SCHEMA = "qmodel.plan/1"


def to_dict(plan: Plan) -> dict[str, Any]:
    """As in the JSON; what is not known is null."""
    rates = plan.largest_rates
    return {
        "schema": SCHEMA,
        "qmodel": qmodel.__version__,
        "objective": plan.objective,
        "slos": [str(bound) for bound in plan.bounds],
        "met": plan.met,
        "candidates": plan.candidates,
        "answered": plan.answered,
        "winner": None if plan.winner is None else confirmed(plan.winner) | {"largest_rate": rates[0]},
        "runner_up": None if plan.runner_up is None else confirmed(plan.runner_up) | {"largest_rate": rates[1]},
        "closeness": closeness(plan),
        "fleet": None if plan.fleet is None else fleet(plan.fleet),
        "nearest_miss": None if plan.nearest is None else entry(plan.nearest),
        "failed_confirmation": [confirmed(each) for each in plan.failed],
        "settings": [found_entry(each) for each in plan.found],
    }


def to_json(plan: Plan) -> str:
    """Valid JSON: no NaN, no infinity."""
    return json.dumps(to_dict(plan), indent=1, allow_nan=False)


def found_entry(found: Found) -> dict[str, Any]:
    """The best of a setting."""
    return entry(found.judged) | {"meets": found.meets, "below_rate": found.below_rate}


def entry(one: Judged) -> dict[str, Any]:
    """A judgement."""
    cost = one.cost
    return {
        "policy": one.setting.policy,
        "settings": dict(one.setting.changed),
        "servers": one.servers,
        "price": one.price,
        "rate": finite(one.rate),
        "used": finite(one.worst),
        "bounds": [
            {
                "class": bound.class_name,
                "metric": bound.metric,
                "limit": bound.limit,
                "value": finite(one.values[bound]),
                "used": finite(ratio),
            }
            for bound, ratio in one.ratios.items()
        ],
        "methods": list(one.methods),
        "quality": None if cost is None else cost.quality,
        "relative_energy": None if cost is None else cost.relative_energy,
        "energy_j_per_request": None if cost is None else finite(cost.energy_j),
        "fault": one.fault or None,
    }


def confirmed(one: Confirmed) -> dict[str, Any]:
    """A judgement beside its long simulation."""
    checks = [checked(check) for check in one.checks]
    return entry(one.judged) | {
        "confirmed": {
            "verdict": one.verdict,
            "requests": one.requests,
            "bounds": checks,
            "energy_j_per_request": finite(one.energy_j),
            "notes": list(one.notes),
            "fault": one.fault or None,
        }
    }


def fleet(one: Fleet) -> dict[str, Any]:
    """A fleet of two kinds: what the arrivals are dealt to."""
    parts = [confirmed(part) for part in one.parts]
    return {
        "dealing": one.dealing,
        "price": one.price,
        "servers": one.servers,
        "first_share": one.share,
        "classes": [[each.name for each in part.judged.setting.scenario.classes] for part in one.parts],
        "parts": parts,
        "together": None if one.whole is None else confirmed(one.whole)["confirmed"],
    }


def checked(check: Check) -> dict[str, Any]:
    """One simulated bound."""
    ends = [finite(check.low), finite(check.high)]
    return {
        "class": check.bound.class_name,
        "metric": check.bound.metric,
        "limit": check.bound.limit,
        "value": finite(check.value),
        "ci95": None if check.low is None else ends,
        "verdict": check.verdict,
    }


def finite(value: float | None) -> float | None:
    """The value, None for what is no number."""
    return None if value is None or not math.isfinite(value) else float(value)


def closeness(plan: Plan) -> str:
    """How close the runner-up came, in the words of the objective; "" without one.

    The objective is compared first; where it is the same, what the two leave of the bound that binds them.
    """
    if plan.winner is None or plan.runner_up is None:
        return ""
    best, second = plan.winner.judged, plan.runner_up.judged
    parts = [_by_objective(plan, best, second)]
    used = f"uses {second.worst:.0%} of its tightest bound against {best.worst:.0%}"
    return "; ".join([*parts, used])


def _by_objective(plan: Plan, best: Judged, second: Judged) -> str:
    if plan.objective == "servers":
        more = second.servers - best.servers
        return "needs as many servers" if more == 0 else f"needs {more} server{'s' * (more > 1)} more"
    if plan.objective == "price":
        return f"costs {second.price / best.price - 1.0:.1%} more"
    if plan.objective == "rate":
        return f"carries {1.0 - second.rate / best.rate:.1%} less"
    assert best.cost is not None and second.cost is not None
    if plan.objective == "quality":
        return f"quality lower by {best.cost.quality - second.cost.quality:.4g}"
    mine, other = (
        one.relative_energy if one.energy_j is None else one.energy_j for one in (best.cost, second.cost)
    )
    return f"takes {other / mine - 1.0:.1%} more energy" if mine else "takes no less energy"
