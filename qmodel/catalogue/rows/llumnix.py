"""R34: Llumnix: requests move between instances while they wait."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from qmodel.catalogue.case import Case, value
from qmodel.catalogue.checks import at_most, rising, true
from qmodel.catalogue.row import Check, Row, Setting
from qmodel.policy.freeness import freeness

JSQ: dict[str, Any] = {"system": {"servers": 8, "routing": "jsq"}}
TURNS: dict[str, Any] = {"system": {"servers": 8, "routing": "round-robin"}}
SHARED: dict[str, Any] = {"system": {"servers": 8}}


def accept(case: Case) -> Iterator[Check]:
    """The coded freeness; migration, JSQ, turns at the tail; nothing at N = 1; one queue is the bound."""
    yield true("freeness (free - wanted) / requests = 2.5", freeness(30, 5, running=8, waiting=2) == 2.5)
    settings: tuple[dict[str, Any], ...] = (SHARED, {"system.migration_s": 0.0}, {}, JSQ, TURNS)
    tails = [value(case.simulate(changes, requests=200_000), "p99_response_s") for changes in settings]
    yield at_most("P99 with migration", tails[2], "join the shortest queue", tails[3])
    yield at_most("P99 join the shortest queue", tails[3], "turns", tails[4])
    yield rising("P99: free moves, moves of 50 ms, none", tails[1:4], slack=0.03)
    means = [value(case.simulate(changes, requests=200_000), "mean_response_s") for changes in settings[:2]]
    yield at_most("mean in one shared queue", means[0], "with free moves", means[1], slack=0.02)
    one = {"system": {"servers": 1, "routing": "jsq"}, "class.requests.arrivals.rate": 0.9}
    alone = [
        value(case.simulate({**one, **more}, requests=50_000), "p99_response_s")
        for more in ({}, {"system.migration_s": 0.05})
    ]
    yield true(f"one instance: {alone[0]:.6g} = {alone[1]:.6g}", alone[0] == alone[1])


ROW = Row(
    number=34,
    name="llumnix",
    title="live migration between instances",
    method="simulation",
    idea="""Requests are sent to the instance that is freest, and when loads drift apart some move on, their
    KV cache copied while they run. Nobody waits behind a long answer while another instance idles:
    that is where the tail comes from.""",
    formula="freeness = (free memory - memory wanted by those that wait) / requests there",
    reference="Sun, Huang, Zhao, Xiao, Zhang, Li & Lin, OSDI 2024, arXiv 2406.03243",
    unchecked="""Llumnix-like: requests that wait move, running ones do not; the shortest queue stands for the
    greatest freeness, and memory does not bind""",
    settings=(
        Setting("migration, 50 ms", {}, "simulation", 200_000),
        Setting("free migration", {"system.migration_s": 0.0}, "simulation", 200_000),
        Setting("shortest queue, no moves", JSQ, "simulation", 200_000),
        Setting("in turns", TURNS, "simulation", 200_000),
    ),
    shown=("mean_response_s", "p95_response_s", "p99_response_s", "attainment"),
    accept=accept,
)
