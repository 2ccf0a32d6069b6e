"""Fleets of two kinds: by hand for exponential services, split evenly by what bounds leave, told on a terminal."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from qmodel.cli.plan_table import plan_lines
from qmodel.errors import InputError
from qmodel.planning import Kind, plan
from qmodel.planning.candidates import Setting
from qmodel.planning.expected_work import Run, drawn, fleet_by_work, services
from qmodel.planning.fleets import Carried
from qmodel.planning.judging import Judge
from qmodel.planning.slo import bounds_of
from qmodel.planning.split_classes import splits
from qmodel.planning.written import to_dict, to_json
from qmodel.policy import make_policy
from qmodel.policy.routing import Routing
from qmodel.scenario import Scenario, System
from qmodel.service.iteration_time import IterationTime
from qmodel.simulation import replay
from qmodel.simulation.dealing import dealt
from qmodel.workload import Closed, Deterministic, Exponential, Poisson, RequestClass

FAST = Kind("fast", {"class.jobs.service.mean": "0.25"}, price=3.5)
SLOW = Kind("slow", {"class.jobs.service.mean": "1.0"}, price=1.0)
ASKED = {"slos": ["response_s=2"], "servers": range(1, 8), "mix": True, "requests": 100_000}


@pytest.fixture
def jobs() -> Scenario:
    return Scenario((RequestClass("jobs", Poisson(3.9), Exponential(mean=1.0)),))


def test_one_of_each_by_hand(jobs: Scenario) -> None:
    """E[T] <= 2: 1 fast carries 3.5, 1 slow 0.5. Alone 2 fast (7) or 5 slow (5); together 4.5.

    At the best split 1 / (4 - a) = 1 / (1 - b), a + b = 3.9: a = 3.45.
    """
    found = plan(jobs, kinds=[FAST, SLOW], **ASKED)  # type: ignore[arg-type]
    fleet, winner = found.fleet, found.winner
    assert fleet is not None and winner is not None and found.met
    assert (winner.judged.price, winner.judged.servers) == (5.0, 5)
    assert (fleet.price, fleet.servers) == (4.5, 2)
    assert fleet.share == pytest.approx(3.45 / 3.9, abs=1e-3)
    for part in fleet.parts:
        assert next(iter(part.judged.values.values())) == pytest.approx(1 / 0.55, rel=5e-3)
        assert part.verdict in ("holds", "within noise")
    written = to_dict(found)["fleet"]
    assert written["price"] == 4.5 and len(written["parts"]) == 2 and '"fleet"' in to_json(found)
    text = "\n".join(plan_lines(found, 80))
    assert "two kinds: 2 servers, price 4.500; 88.5% of the arrivals to the first" in text
    assert "against the winner: price -10.0 %, 3 servers less" in text
    assert max(map(len, text.splitlines())) <= 80


def test_fewest_servers(jobs: Scenario) -> None:
    found = plan(jobs.at_rate(7.3), kinds=[FAST, SLOW], objective="servers", **ASKED)  # type: ignore[arg-type]
    assert found.winner is not None and found.winner.judged.servers == 2  # both fast: 2 * 4 > 7.3 + 1/2
    assert found.fleet is not None and found.fleet.servers > 2


def test_where_one_kind_alone_does_not_reach(jobs: Scenario) -> None:
    """One server of each kind at most: neither carries 3.9, both together do; 4.1 is beyond both."""
    few = {**ASKED, "servers": [1]}
    found = plan(jobs, kinds=[FAST, SLOW], objective="price", **few)  # type: ignore[arg-type]
    assert found.winner is None and found.met
    lost = plan(jobs.at_rate(4.1), kinds=[FAST, SLOW], objective="price", **few)  # type: ignore[arg-type]
    assert lost.fleet is None and not lost.met
    assert "no fleet of two kinds meets them" in "\n".join(plan_lines(lost, 80))
    assert to_dict(lost)["fleet"] is None
    plain = plan(jobs, kinds=[FAST, SLOW], **{**ASKED, "mix": False})  # type: ignore[arg-type]
    assert plain.fleet is None and "two kinds" not in "\n".join(plan_lines(plain, 80))


def test_engines_carry_in_proportion_and_what_is_hopeless_nothing() -> None:
    lengths = {"input_tokens": Deterministic(50), "output_tokens": Deterministic(20)}
    chat = RequestClass("chat", Poisson(2.0), factors=lengths)
    system = System(batching="continuous", max_batch=4, iteration_time=IterationTime(base=0.02))
    setting = Setting(Scenario((chat,), system=system), {"kind": "one"})
    carried = Carried(Judge(bounds_of(setting.scenario, ["response_s=1.0"]), requests=2_000))
    assert carried(setting, 3) == 3 * carried(setting, 1) > 2.0
    never = Carried(Judge(bounds_of(setting.scenario, ["response_s=0.3"]), requests=2_000))
    assert never(setting, 2) == 0.0


def test_what_cannot_be_mixed(jobs: Scenario) -> None:
    for given, words in (
        ({"kinds": [FAST]}, "two kinds"),
        ({"kinds": [FAST, SLOW], "objective": "rate"}, "servers or price"),
    ):
        with pytest.raises(InputError, match=words):
            plan(jobs, **{**ASKED, "requests": 20_000}, **given)  # type: ignore[arg-type]


def test_a_trace_is_not_dealt_out(jobs: Scenario) -> None:
    import numpy as np

    from qmodel.planning import Recorded

    trace = Recorded(np.arange(0.0, 500.0, 0.5))
    with pytest.raises(InputError, match="not a trace"):
        plan(jobs, kinds=[FAST, SLOW], trace=trace, **ASKED)  # type: ignore[arg-type]


TWO = Scenario(
    (
        RequestClass("short", Poisson(3.0), Exponential(mean=0.25)),
        RequestClass("long", Poisson(0.5), Exponential(mean=2.0)),
    )
)
QUICK = Kind("quick", {"class.short.service.mean": "0.1", "class.long.service.mean": "0.8"}, price=3.0)
PLAIN = Kind("plain", {"class.short.service.mean": "0.25", "class.long.service.mean": "2.0"}, price=1.0)


def test_whole_classes_to_a_kind_by_hand() -> None:
    """E[T]: short on one quick 1 / (10 - 3) = 0.143; long on two plain 2 / (1 - 0.5^2) = 2.667."""
    slos = ["short.response_s=0.2", "long.response_s=2.7"]
    found = plan(TWO, slos=slos, kinds=[QUICK, PLAIN], servers=range(1, 5), mix=True, dealing="class",
                 requests=100_000)  # fmt: skip
    assert found.fleet is not None and found.fleet.dealing == "class"
    assert [part.judged.servers for part in found.fleet.parts] == [1, 2] and found.fleet.price == 5.0
    values = [next(iter(part.judged.values.values())) for part in found.fleet.parts]
    assert values == pytest.approx([1 / 7, 2 / 0.75], rel=1e-9)
    assert all(part.judged.methods == ("exact",) for part in found.fleet.parts)
    assert found.fleet.share == pytest.approx(6 / 7)
    written = to_dict(found)["fleet"]
    assert (written["dealing"], written["classes"]) == ("class", [["short"], ["long"]])
    text = "\n".join(plan_lines(found, 80))
    assert "by class" in text and "- quick for short: " in text and "- plain for long: " in text


def test_of_many_classes_the_short_ones_go_to_one_kind() -> None:
    classes = tuple(RequestClass(f"c{i}", Poisson(0.1), Exponential(mean=1.0 + i)) for i in range(5))
    found = list(splits(Setting(Scenario(classes))))
    assert len(found) == 8 and {"c0", "c1"} in found and {"c3", "c4"} in found


def test_dealt_by_expected_work_equal_servers_have_the_shortest_queue() -> None:
    """Two M/M/1 queues under JSQ; and a server with nobody there is taken before one with somebody."""
    jobs = Scenario((RequestClass("jobs", Poisson(1.6), Exponential(mean=1.0)),))
    pair = Setting(jobs, {"kind": "a"}), Setting(jobs, {"kind": "b"})
    run, (arrival, index) = Run.of(pair, (1, 1), 60_000, seed=3), drawn(pair[0], 60_000 / 1.6, 3)
    service = services([Exponential(mean=1.0)], index, 3)
    routed = replace(jobs, system=System(servers=2, routing=Routing("jsq")))
    other = replay(routed, arrival_s=arrival, service_s=service, tell=None).done_s - arrival
    at_random = replay(replace(jobs, system=System(servers=2, routing=Routing("random"))), arrival_s=arrival,
                       service_s=service, tell=None).done_s - arrival  # fmt: skip
    assert run.response_s.mean() == pytest.approx(other.mean(), rel=0.01)  # ties apart
    assert np.quantile(run.response_s, 0.99) == pytest.approx(np.quantile(other, 0.99), rel=0.04)
    assert at_random.mean() > 1.4 * other.mean()


def test_dealt_by_hand() -> None:
    """Kind a: 2 servers of 2 s each request; kind b: one of 3 s. Waits: all of a busy, half of the work present."""
    index, ones = np.zeros(5, dtype=np.int64), np.ones(5)
    arrival = np.array([0.0, 0.1, 0.2, 0.3, 0.4])
    kind, response = dealt(arrival, index, [2 * ones, 3 * ones], [[2.0], [3.0]], (2, 1))
    # two of a at once; the third would wait 4 * 1 / (2 * 2) = 1 there and be done in 3, as in b: a, the first
    # the fourth: 6 * 2 / (3 * 2) + 2 = 4 against 3: b; the fifth: 4 in a against 3 + 3 in b
    assert kind.tolist() == [0, 0, 0, 1, 0]
    assert response.tolist() == pytest.approx([2.0, 2.0, 3.8, 3.0, 3.7])


def test_expected_work_serves_with_fewer_than_chance(jobs: Scenario) -> None:
    """E[T] <= 1.2 at 3.9/s: one fast and one slow carry less at random than where they are dealt by work."""
    asked = {**ASKED, "slos": ["response_s=1.2"], "requests": 50_000}
    chance, work, best = (
        plan(jobs, kinds=[FAST, SLOW], dealing=dealing, **asked).fleet  # type: ignore[arg-type]
        for dealing in ("random", "work", "best")
    )
    assert chance is not None and work is not None and best is not None
    assert work.price < chance.price and (best.price, best.dealing) == (work.price, "work")
    assert work.whole is not None and work.whole.verdict in ("holds", "within noise")
    assert work.whole.judged.methods == ("simulation",)
    assert sum(part.judged.rate for part in work.parts) == pytest.approx(3.9, rel=0.02)
    found = plan(jobs, kinds=[FAST, SLOW], dealing="work", **asked)  # type: ignore[arg-type]
    text = "\n".join(plan_lines(found, 80))
    assert "where it is expected to be done first" in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 80
    assert to_dict(found)["fleet"]["together"]["verdict"] == work.whole.verdict


def test_where_no_fleet_is_enough_whatever_the_dealing() -> None:
    given = {
        "slos": ["response_s=0.05"],
        "kinds": [QUICK, PLAIN],
        "servers": [1, 2],
        "mix": True,
        "requests": 2_000,
    }
    for dealing in ("class", "work", "best"):
        assert plan(TWO, dealing=dealing, **given).fleet is None  # type: ignore[arg-type]


def test_what_is_not_dealt_so(jobs: Scenario) -> None:
    lengths = {"input_tokens": Deterministic(50), "output_tokens": Deterministic(20)}
    engine = System(batching="continuous", max_batch=4, iteration_time=IterationTime(base=0.02))
    chat = Scenario((RequestClass("chat", Poisson(2.0), factors=lengths),), system=engine)
    more = [Kind(name, {"system.max_batch": str(4 * i)}) for i, name in enumerate("ab", start=1)]
    for asked, kinds, given, words in (
        (jobs, [FAST, SLOW], {"dealing": "jsq"}, "unknown"),
        (jobs, [FAST, SLOW], {"dealing": "class"}, "one class"),
        (chat, more, {"dealing": "work", "slos": ["response_s=1.0"]}, "plain servers"),
        (jobs, [FAST, SLOW], {"dealing": "work", "slos": ["attainment=0.5"]}, "two kinds together"),
        (
            replace(jobs, policy=make_policy("sjf")),
            [FAST, SLOW],
            {"dealing": "work"},
            "first come",
        ),
    ):
        with pytest.raises(InputError, match=words):
            plan(asked, kinds=kinds, **{**ASKED, "requests": 2_000, "servers": [1, 2], **given})  # type: ignore[arg-type]
    closed = replace(jobs.classes[0], arrivals=Closed(population=5, think_s=1.0))
    with pytest.raises(InputError, match="plain servers"):
        fleet_by_work([Setting(replace(jobs, classes=(closed,)), {"kind": "a"})], [1], Judge(()), "price", 1_000)
