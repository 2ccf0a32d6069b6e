"""Plans against queues whose answers are known, and every way in which there may be none."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from qmodel.errors import InputError
from qmodel.planning import Bound, Kind, plan, read_kind
from qmodel.planning.candidates import settings_of
from qmodel.planning.confirming import Check, confirm
from qmodel.planning.judging import Judge
from qmodel.planning.search import largest_rate, merit
from qmodel.planning.slo import bounds_of, parse_bound
from qmodel.planning.written import closeness, to_dict, to_json
from qmodel.policy import make_policy
from qmodel.scenario import Scenario
from qmodel.service.transform import ModelSwap, Quantise, QueueCondition
from qmodel.workload import Deterministic, Exponential, Lognormal, Poisson, RequestClass
from tests.planning.conftest import recorded


def erlang_c_response(servers: int, load: float) -> float:
    """Mean response of M/M/k with unit services."""
    terms = [load**n / math.factorial(n) for n in range(servers)]
    tail = load**servers / math.factorial(servers) * servers / (servers - load)
    return 1.0 + tail / (sum(terms) + tail) / (servers - load)


@pytest.mark.parametrize("limit", [1.05, 1.5, 3.0])
def test_the_fewest_servers_are_those_of_erlangs_formula(limit: float) -> None:
    jobs = Scenario([RequestClass("jobs", Poisson(3.0), Exponential(1.0))])
    found = plan(jobs, slos=[f"response_s={limit}"], servers=range(1, 17), requests=20_000)
    expected = next(k for k in range(4, 17) if erlang_c_response(k, 3.0) <= limit)
    assert found.winner is not None
    assert found.winner.judged.servers == expected
    assert found.objective == "servers"
    assert found.answered <= 5 + 12  # by halving, and the search for the largest rate


def test_the_largest_rate_is_that_of_the_formula(m_m_1: Scenario) -> None:
    found = plan(m_m_1, slos=["response_s=4"], requests=50_000)  # 1 / (1 - rate) = 4
    assert found.objective == "rate"
    assert found.winner is not None
    assert found.winner.judged.rate == pytest.approx(0.75, rel=0.011)
    assert found.winner.judged.methods == ("exact",)
    assert found.winner.verdict in ("holds", "within noise")
    assert found.largest_rates[0] == found.winner.judged.rate


def test_the_percentile_bound_too(m_m_1: Scenario) -> None:
    found = plan(m_m_1, slos=["response_p99_s=10"], requests=50_000)
    assert found.winner is not None
    assert found.winner.judged.rate == pytest.approx(1 - math.log(100) / 10, rel=0.011)


def test_the_best_policy_wins_and_the_next_best_is_told() -> None:
    jobs = Scenario([RequestClass("jobs", Poisson(0.7), Lognormal(1.0, 4.0))])
    found = plan(jobs, slos=["response_s=3"], policies=["fcfs", "las", "srpt"], requests=50_000)
    assert found.winner is not None and found.runner_up is not None
    assert [one.judged.setting.policy for one in (found.winner, found.runner_up)] == ["srpt", "las"]
    first, second = (one.judged.rate for one in (found.winner, found.runner_up))
    assert closeness(found).startswith(f"carries {1 - second / first:.1%} less")
    fcfs = next(each for each in found.found if each.judged.setting.policy == "fcfs")
    exact = 4.0 / (5.0 + 4.0)  # 1 + 5 r / (2 (1 - r)) = 3
    assert fcfs.below_rate is None or fcfs.below_rate > exact
    assert found.candidates == 3


def test_the_settings_left_behind_are_really_lower() -> None:
    jobs = Scenario([RequestClass("jobs", Poisson(0.7), Lognormal(1.0, 4.0))])
    names = ["srpt", "las", "fcfs", "lcfs", "psjf", "sjf"]
    found = plan(jobs, slos=["response_s=3"], policies=names, requests=20_000)
    judge = Judge(found.bounds)
    for each in found.found:
        if each.below_rate is not None:
            whole = largest_rate(each.judged.setting, 1, judge)
            assert whole is None or whole.rate <= each.below_rate


def test_the_exit_threshold_with_the_best_quality() -> None:
    image = RequestClass("image", Poisson(1.1), Deterministic(1.0))
    swap = ModelSwap(QueueCondition(4), service_factor=0.4, quality=0.9)
    scenario = Scenario([image], transforms=[swap])
    thresholds = [0, 2, 4, 8, 16]
    found = plan(
        scenario, slos=["response_s=2.99"], vary={"transform.0.above_queue": thresholds}, servers=[1],
        objective="quality", requests=100_000,
    )  # fmt: skip
    assert found.winner is not None and found.winner.judged.cost is not None
    assert found.winner.judged.setting.changed == {"transform.0.above_queue": 4}
    assert found.winner.judged.values[Bound("mean_response_s", 2.99, "image")] == pytest.approx(2.9837, abs=2e-4)
    assert found.winner.judged.cost.quality == pytest.approx(1 - 0.239 * 0.1, abs=2e-4)
    qualities = [e.judged.cost.quality for e in found.found if e.judged.cost]
    assert qualities[:3] == sorted(qualities[:3], reverse=True)


def test_a_quality_that_is_demanded_rules_settings_out(m_m_1: Scenario) -> None:
    scenario = replace(m_m_1, transforms=(Quantise(service_factor=0.5, quality=0.9),))
    varied = {"transform.0.quality": [0.9, 0.97], "transform.0.service_factor": [0.5, 0.8]}
    found = plan(scenario, slos=["response_s=2", "quality=0.95"], vary=varied, requests=20_000)
    assert found.winner is not None and found.winner.judged.cost is not None
    assert found.winner.judged.setting.changed == {"transform.0.quality": 0.97, "transform.0.service_factor": 0.5}
    assert found.winner.judged.cost.relative_energy == 0.5


def test_energy_decides_where_it_is_asked_for(engine: Scenario) -> None:
    kept = {"slos": ["tpot_p95_s=0.05"], "requests": 5_000, "seed": 3}
    found = plan(engine, max_batch=[4, 16], servers=[1, 2, 3], objective="energy", **kept)
    assert found.winner is not None and found.runner_up is not None
    joules = [one.judged.cost.energy_j for one in (found.winner, found.runner_up) if one.judged.cost]
    assert None not in joules and joules[0] <= joules[1]
    assert "more energy" in closeness(found)
    assert found.winner.energy_j == pytest.approx(joules[0], rel=0.05)


def test_engines_share_the_arrivals(engine: Scenario) -> None:
    setting = settings_of(engine, {}, ())[0]
    assert setting.on(4).rate == pytest.approx(2.5)
    assert setting.on(4).system.servers == 1


def test_nothing_meets_an_impossible_bound(m_m_1: Scenario) -> None:
    found = plan(m_m_1, slos=["response_s=0.9"], servers=[1, 2, 3], requests=20_000)
    assert not found.met and found.winner is None
    assert found.nearest is not None and found.nearest.servers == 3
    assert found.nearest.worst == pytest.approx(erlang_c_response(3, 0.8) / 0.9)
    assert to_dict(found)["nearest_miss"]["used"] == pytest.approx(found.nearest.worst)
    assert closeness(found) == ""


def test_unstable_candidates_are_no_nearest_miss(m_m_1: Scenario) -> None:
    found = plan(m_m_1, slos=["response_s=0.5"], rate=5.0, servers=[1, 2], requests=20_000)
    assert not found.met and found.nearest is None
    assert {each.judged.fault for each in found.found} == {"unstable"}


def test_the_classes_own_slos_hold_where_none_is_given() -> None:
    one = RequestClass("jobs", Poisson(0.5), Exponential(1.0), slo={"response_s": 4.0})
    found = plan(Scenario([one]), requests=20_000)
    assert found.bounds == (Bound("mean_response_s", 4.0, "jobs"),)


def test_a_trace_takes_the_place_of_the_arrivals(engine: Scenario) -> None:
    trace = recorded(5, rate=60.0)
    found = plan(engine, slos=["ttft_p95_s=0.5"], servers=range(1, 9), trace=trace)
    assert found.winner is not None
    fewer = Judge(found.bounds, recorded=trace)
    setting = found.winner.judged.setting
    assert found.winner.judged.servers > 1
    assert not fewer(setting, found.winner.judged.servers - 1).meets
    assert found.winner.requests == 400
    slow = plan(engine, slos=["ttft_p95_s=0.5"], servers=range(1, 9), trace=trace, rate=8.0)
    assert slow.winner is not None and slow.winner.judged.servers == 1


def test_a_trace_of_times_alone_serves_a_queue(m_m_1: Scenario) -> None:
    trace = recorded(5, count=2_000, rate=0.7)
    times = replace(trace, input_tokens=None, output_tokens=None)
    found = plan(m_m_1, slos=["response_s=2"], servers=[1, 2, 3], trace=times, requests=5_000)
    assert found.winner is not None
    assert found.winner.judged.servers == 2
    assert found.winner.judged.methods == ("simulation",)


def test_json_is_valid_and_whole(m_m_1: Scenario) -> None:
    found = plan(m_m_1, slos=["response_s=3"], policies=["fcfs", "lcfs-pr"], servers=[1, 2], requests=20_000)
    text = to_json(found)
    data = to_dict(found)
    assert "NaN" not in text and data["schema"] == "qmodel.plan/1"
    assert data["winner"]["confirmed"]["bounds"][0]["ci95"] is not None
    assert len(data["settings"]) == 2


def test_what_a_long_run_does_not_confirm_is_set_aside(m_m_1: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from qmodel.planning import plan as module_of_plan  # the function hides the module of its name

    module = sys.modules["qmodel.planning.plan"]
    assert module.plan is module_of_plan
    real = module.confirm

    def doubtful(one, judge, requests):  # type: ignore[no-untyped-def]
        made = real(one, judge, requests)
        if one.setting.policy == "fcfs":
            return replace(made, checks=tuple(replace(c, value=1e9, low=None, high=None) for c in made.checks))
        return made

    monkeypatch.setattr(module, "confirm", doubtful)
    found = plan(m_m_1, slos=["response_s=6"], policies=["fcfs", "srpt"], servers=[1, 2], requests=20_000)
    assert found.winner is not None and found.winner.judged.setting.policy == "srpt"
    alone = plan(m_m_1, slos=["response_s=6"], policies=["fcfs"], objective="rate", requests=20_000)
    assert not alone.met and alone.nearest is not None
    assert [one.judged.setting.policy for one in alone.failed] == ["fcfs"]
    assert alone.nearest.rate == pytest.approx(0.97**3 * 5 / 6, rel=0.011)


def test_checks_say_what_their_interval_allows() -> None:
    most, least = Bound("mean_response_s", 2.0, "all"), Bound("attainment", 0.9, "all")
    assert Check(most, 1.5, 1.4, 1.6).verdict == "holds"
    assert Check(most, 1.9, 1.7, 2.1).verdict == "within noise"
    assert Check(most, 2.1, 1.9, 2.3).verdict == "within noise"
    assert Check(most, 2.4, 2.2, 2.6).verdict == "missed"
    assert Check(most, 2.1).verdict == "missed"
    assert Check(most, None).verdict == "not simulated"
    assert Check(least, 0.92, 0.88, 0.96).verdict == "within noise"
    assert Check(least, 0.95, 0.91, 0.99).verdict == "holds"


def test_what_cannot_be_simulated_is_not_confirmed(m_m_1: Scenario) -> None:
    bounds = bounds_of(m_m_1, ["response_s=6"])
    judge = Judge(bounds)
    one = judge(settings_of(m_m_1, {}, ())[0], 1)
    broken = replace(one, setting=replace(one.setting, scenario=m_m_1.with_policy(make_policy("gittins"))))
    unstable = confirm(replace(broken, rate=5.0), judge, 5_000)
    assert unstable.fault == "unstable" and unstable.verdict == "missed"
    refused = confirm(one, replace(judge, seed=-2), 5_000)
    assert refused.verdict == "not simulated" and "seed" in refused.fault


def test_ranking_puts_what_misses_last(m_m_1: Scenario) -> None:
    judge = Judge(bounds_of(m_m_1, ["response_s=4"]))
    setting = settings_of(m_m_1, {}, ())[0]
    met, missed = judge(setting, 2), judge(setting, 1)
    assert merit(met, "servers") < merit(missed, "servers")
    assert judge.asked == 2
    assert judge(setting, 2) is met and judge.asked == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("response_s", "METRIC=VALUE"),
        ("response_p95=2", "response_p95_s"),
        ("jobz.response_s=2", "jobs"),
        ("response_s=fast", "no number"),
        ("response_s=-1", "above 0"),
        ("response_s=nan", "above 0"),
    ],
)
def test_bounds_that_make_no_sense(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        parse_bound(text, ["jobs"])


def test_bounds_of_classes_with_points_in_their_names() -> None:
    assert parse_bound("v1.5.response_p99.9_s=2", ["v1.5"]) == Bound("p99.9_response_s", 2.0, "v1.5")
    assert parse_bound("response_p99.9_s=2", ["v1.5"]) == Bound("p99.9_response_s", 2.0)
    assert str(Bound("quality", 0.9)) == "quality >= 0.9"
    assert Bound("quality", 0.9).ratio(0.0) == math.inf
    assert Bound("p95_ttft_s", 0.9).ratio(None) == math.inf


def test_bad_input_is_refused(m_m_1: Scenario, engine: Scenario) -> None:
    with pytest.raises(InputError, match="is missing, and no class"):
        plan(m_m_1)
    with pytest.raises(InputError, match="did you mean 'servers'"):
        plan(m_m_1, slos=["response_s=4"], objective="server")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="below 1"):
        plan(m_m_1, slos=["response_s=4"], servers=[0, 1])
    with pytest.raises(InputError, match="no candidate can be answered"):
        plan(m_m_1, slos=["ttft_p99_s=4"])
    with pytest.raises(InputError, match="random share"):
        plan(replace(engine, system=replace(engine.system, servers=2)), slos=["response_s=4"])
    with pytest.raises(InputError, match="has 2 classes"):
        two = replace(engine, classes=(*engine.classes, replace(engine.classes[0], name="b")))
        plan(two, slos=["response_s=4"], trace=recorded(1))
    with pytest.raises(InputError, match="holds no lengths"):
        plan(engine, slos=["response_s=4"], trace=replace(recorded(1), input_tokens=None))
    with pytest.raises(InputError, match="at most"):
        plan(m_m_1, slos=["response_s=4"], vary={"system.buffer": range(1, 200_000)})


def test_percentiles_with_a_queue_threshold_are_those_of_theory(m_m_1: Scenario) -> None:
    from qmodel.planning.judging import means_first
    from qmodel.predict import Asking
    from qmodel.theory import analyse

    scenario = replace(m_m_1, transforms=(ModelSwap(QueueCondition(3), service_factor=0.5, quality=0.9),))
    quick = means_first(scenario, Asking("auto", (95.0,), 100_000))["all"]
    exact = analyse(scenario, percentiles=(95.0,))["all"]  # type: ignore[index]
    assert quick.mean_response_s == exact.mean_response_s
    assert quick.methods["p95_response_s"] == "simulation"
    low, high = quick.ci95["p95_response_s"]
    assert high - low < 0.05 * high
    assert 2 * low - high <= exact.p95_response_s <= 2 * high - low  # type: ignore[operator]
    unstable = means_first(scenario.at_rate(3.0), Asking("auto", (95.0,), 5_000))
    assert not unstable.stable
    simulated = means_first(scenario.with_policy(make_policy("srpt")), Asking("auto", (95.0,), 5_000))
    assert simulated.method == "simulation" and simulated["all"].p95_response_s is not None


def test_kinds_of_servers_by_their_price(m_m_1: Scenario, tmp_path: Path) -> None:
    """M/M/k of rate 0.8: one slow server has E[T] = 5, two have 1.19, one twice as fast has 1 / 1.2."""
    (tmp_path / "slow.toml").write_text("price = 1.0\nservers = 1\n")
    fast = Kind("fast", {"class.jobs.service.mean": "0.5"}, price=3.0)
    slow = read_kind(f"slow={tmp_path / 'slow.toml'}")
    assert slow == Kind("slow", {"system.servers": "1"}, 1.0)
    kept = {"slos": ["response_s=1.2"], "servers": [1, 2, 3], "requests": 20_000}
    by_price = plan(m_m_1, kinds=[fast, slow], **kept)  # type: ignore[arg-type]
    assert by_price.objective == "price" and by_price.winner is not None and by_price.runner_up is not None
    assert by_price.winner.judged.setting.changed == {"kind": "slow"} and by_price.winner.judged.servers == 2
    assert by_price.winner.judged.price == 2.0 and by_price.runner_up.judged.price == 3.0
    assert closeness(by_price).startswith("costs 50.0% more")
    assert to_dict(by_price)["winner"]["price"] == 2.0
    by_number = plan(m_m_1, kinds=[fast, slow], objective="servers", **kept)  # type: ignore[arg-type]
    assert by_number.winner is not None and by_number.winner.judged.setting.changed == {"kind": "fast"}


def test_kinds_that_make_no_sense(m_m_1: Scenario, tmp_path: Path) -> None:
    file = tmp_path / "kind.toml"
    for text, words in (
        ("price = 0\nmax_batch = 4\n", "is no price"),
        ("price = true\nmax_batch = 4\n", "is no price"),
        ("price = 2.0\n", "changes nothing"),
    ):
        file.write_text(text)
        with pytest.raises(InputError, match=words):
            read_kind(f"a={file}")
    with pytest.raises(InputError, match="NAME=FILE"):
        read_kind("a100")
    file.write_text("service = 'model.json'\n[engine]\nprefill = 'first'\n")
    assert read_kind(f"a={file}").settings == {
        "system.service": f'"{tmp_path / "model.json"}"', "system.engine.prefill": '"first"',
    }  # fmt: skip
    with pytest.raises(InputError, match="there twice"):
        plan(m_m_1, slos=["response_s=4"], kinds=[Kind("a"), Kind("a")])
