"""A plan as text that reads well at 80 columns."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Iterator

from qmodel.cli.tables import Column, blocks, significant
from qmodel.planning.confirming import Check, Confirmed
from qmodel.planning.fleets import Fleet
from qmodel.planning.judging import Judged
from qmodel.planning.plan import Plan
from qmodel.planning.search import Found
from qmodel.planning.slo import Bound
from qmodel.planning.written import closeness

GOALS = {
    "servers": "fewest servers",
    "price": "least price",
    "rate": "largest rate",
    "quality": "best quality",
    "energy": "least energy",
}
SHOWN = 10
"""Settings listed; the rest are in --json."""


def print_plan(plan: Plan) -> None:
    """Print it as wide as the terminal; into a pipe or a file, at most 100 columns."""
    asked = sys.stdout.isatty() or "COLUMNS" in os.environ
    width = shutil.get_terminal_size().columns if asked else 100
    for line in plan_lines(plan, max(width, 40)):
        print(line.rstrip())


def plan_lines(plan: Plan, width: int) -> Iterator[str]:
    """What was asked, the best settings, the winner with its simulation, and the runner-up."""
    asked = ", ".join(str(bound) for bound in plan.bounds)
    yield from wrapped(f"{GOALS[plan.objective]} with {asked}", width)
    candidates = f"{plan.candidates:,} candidate{'s' * (plan.candidates != 1)}"
    answered = f"{candidates}, {plan.answered:,} question{'s' * (plan.answered != 1)} answered to find the best"
    yield from wrapped(answered, width)
    yield ""
    shown = plan.found[:SHOWN]
    columns = figures(shown, plan.objective == "rate")
    for lines in blocks(names(shown), columns, Column("tightest", [tightest(e) for e in shown], True), width):
        yield from (lines[0], "-" * len(lines[0]), *lines[1:], "")
    if len(plan.found) > SHOWN:
        yield f"{len(plan.found) - SHOWN} more settings in --json"
    yield from conclusion(plan, width)


def wrapped(text: str, width: int, indent: str = "  ") -> list[str]:
    """The text in lines of that width."""
    return textwrap.wrap(text, min(width, 100), subsequent_indent=indent, break_on_hyphens=False)


def names(found: tuple[Found, ...]) -> list[Column]:
    """Policy, and the values of what was varied, its column headed by the last words of the fields."""
    paths = list(dict.fromkeys(path for each in found for path in each.judged.setting.changed))
    columns = [Column("policy", [each.judged.setting.policy for each in found], is_name=True)]
    for path in paths:
        cells = [str(each.judged.setting.changed.get(path, "")) for each in found]
        columns.append(Column(path.rpartition(".")[2], cells))
    return columns


def figures(found: tuple[Found, ...], with_rates: bool) -> list[Column]:
    """Servers, rate where it differs, the share of the tightest bound that is used up, quality, energy."""
    one = [each.judged for each in found]
    columns = [
        Column("servers", [str(each.servers) for each in one]),
        *([Column("price", [significant(each.price) for each in one])] if _priced(one) else []),
        *([Column("rate/s", [rate(each) for each in found])] if with_rates else []),
        Column("used", [used(each) for each in one]),
        Column("quality", ["-" if e.cost is None else significant(e.cost.quality) for e in one]),
    ]
    joules = [None if e.cost is None else e.cost.energy_j for e in one]
    if any(value is not None for value in joules):
        return [*columns, Column("J/request", [significant(value) for value in joules])]
    relative = [None if e.cost is None else e.cost.relative_energy for e in one]
    return [*columns, Column("energy", [significant(value) for value in relative])]


def _priced(judged: list[Judged]) -> bool:
    return any(each.setting.price != 1.0 for each in judged)


def rate(found: Found) -> str:
    """The rate; below which one, where a setting was only shown to be worse."""
    if found.below_rate is not None:
        return f"<{significant(found.below_rate)}"
    return significant(found.judged.rate)


def used(one: Judged) -> str:
    """Share of the tightest bound that is used up."""
    if not one.ratios:
        return "-"
    return f"{one.worst:.0%}" if one.worst < 100 else ">9999%"


def tightest(found: Found) -> str:
    """The bound that binds (missed where more than all of it is used); or why there is no answer."""
    one = found.judged
    if one.binding is None:
        return "unstable" if one.fault == "unstable" else "no answer"
    return label(one.binding, one)


def label(bound: Bound, one: Judged) -> str:
    """Metric, and class where it is one of several."""
    alone = bound.class_name == "all" or len(one.setting.scenario.classes) == 1
    return bound.metric if alone else f"{bound.metric} {bound.class_name}"


def conclusion(plan: Plan, width: int) -> Iterator[str]:
    """What was set aside, winner and runner-up, and the fleet of two kinds."""
    for one in plan.failed:
        text = f"set aside: {described(one.judged)}, which a longer simulation did not confirm"
        yield from wrapped(text, width)
    yield from of_one_kind(plan, width)
    if plan.mixed:
        yield ""
        yield from fleet_lines(plan, width)


DEALT = {
    "random": "at random",
    "class": "by class",
    "work": "each where it is expected to be done first",
}


def fleet_lines(plan: Plan, width: int) -> Iterator[str]:
    """The fleet of two kinds, each with its simulation, and what it saves."""
    fleet = plan.fleet
    if fleet is None:
        yield "no fleet of two kinds meets them"
        return
    share = f"{fleet.share:.1%} of the arrivals to the first, {DEALT[fleet.dealing]}"
    yield from wrapped(f"two kinds: {fleet.servers} servers, price {significant(fleet.price)}; {share}", width)
    for part in fleet.parts:
        setting = part.judged.setting
        names = ", ".join(each.name for each in setting.scenario.classes) if fleet.dealing == "class" else ""
        head = f"- {setting.changed['kind']}" + (f" for {names}" if names else "")
        if fleet.whole is None:
            yield from confirmed_lines(head, part, None, width)
        else:
            yield from wrapped(f"{head}: {described(part.judged)}", width)
    if fleet.whole is not None:
        yield from check_lines(fleet.whole)
    if plan.winner is not None:
        yield from wrapped(f"against the winner: {saved(plan.winner.judged, fleet)}", width)


def saved(one: Judged, fleet: Fleet) -> str:
    """What a fleet of two kinds costs more or less than servers of one kind."""
    more = fleet.servers - one.servers
    price = 100 * (fleet.price / one.price - 1)
    return f"price {price:+.1f} %, {abs(more)} server{'s' * (abs(more) != 1)} {'more' if more >= 0 else 'less'}"


def of_one_kind(plan: Plan, width: int) -> Iterator[str]:
    """Winner and runner-up, or the nearest miss."""
    if plan.winner is None:
        yield from nothing_meets(plan, width)
        return
    yield from confirmed_lines("winner", plan.winner, plan.largest_rates[0], width)
    if plan.runner_up is None:
        yield "no runner-up: no other setting meets them"
        return
    yield ""
    yield from confirmed_lines("runner-up", plan.runner_up, plan.largest_rates[1], width)
    yield from wrapped(f"the runner-up {closeness(plan)}", width)


def nothing_meets(plan: Plan, width: int) -> Iterator[str]:
    """The nearest miss, bound by bound."""
    yield "nothing meets them"
    one = plan.nearest
    if one is None:
        yield "no candidate is stable"
        return
    yield from wrapped(f"nearest miss: {described(one)}", width)
    for bound, ratio in one.ratios.items():
        value = significant(one.values[bound])
        yield from wrapped(f"  {label(bound, one)}  {value} of {bound.limit:g}, {ratio:.0%}", width)


def described(one: Judged) -> str:
    """A candidate in words."""
    fields = [f"{path.rpartition('.')[2]} {value}" for path, value in one.setting.changed.items()]
    servers = f"{one.servers} server{'s' * (one.servers > 1)}"
    return ", ".join([one.setting.policy, *fields, servers, f"{significant(one.rate)} requests/s"])


def confirmed_lines(head: str, one: Confirmed, largest: float | None, width: int) -> Iterator[str]:
    """A candidate, the figures of its simulation, and how far its rate may grow."""
    yield from wrapped(f"{head}: {described(one.judged)}", width)
    if one.fault:
        yield from wrapped(f"  not confirmed: {one.fault}", width)
        return
    yield from check_lines(one)
    if largest is not None and largest != one.judged.rate:
        yield f"  meets them up to {significant(largest)} requests/s"


def check_lines(one: Confirmed) -> Iterator[str]:
    """The figures of a simulation, bound by bound."""
    yield f"  simulated, {one.requests:,} requests, 95 % intervals"
    cells = [check_cells(check, one.judged) for check in one.checks]
    wide = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    for row in cells:
        yield "  " + "  ".join(
            [row[0].ljust(wide[0]), *(c.rjust(w) for c, w in zip(row[1:], wide[1:], strict=True))]
        )


def check_cells(check: Check, one: Judged) -> list[str]:
    """Metric, value, interval, limit, verdict."""
    interval = "" if check.low is None else f"[{significant(check.low)}, {significant(check.high)}]"
    sign = ">=" if check.bound.at_least else "<="
    return [
        label(check.bound, one),
        significant(check.value),
        interval,
        f"{sign} {check.bound.limit:g}",
        check.verdict,
    ]
