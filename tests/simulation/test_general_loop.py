"""The general event loop: invariants on every rare scenario, known means, and small cases by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from qmodel.errors import InputError
from qmodel.policy import FCFS, PS, SRPT, Policy, PreemptivePriority, Rank, RoundRobin
from qmodel.policy.accumulating import AccumulatingPriority
from qmodel.policy.preemption import Preemption
from qmodel.policy.routing import Routing
from qmodel.scenario import Scenario, System
from qmodel.service.environment import Environment
from qmodel.service.station import Station
from qmodel.service.transform import FewerSteps, QueueCondition
from qmodel.simulation import invariants, replay, simulate
from qmodel.simulation.network.serving import serve
from qmodel.simulation.serving import Rules
from qmodel.simulation.serving import serve as serve_quickly
from qmodel.workload import (
    Closed,
    Deterministic,
    Distribution,
    Exponential,
    Hyperexponential,
    Pause,
    Poisson,
    RequestClass,
)
from tests.simulation.cases import QUICK, drawn, preset, standard_error, two_classes
from tests.simulation.rare import NETWORK

SEED = np.random.SeedSequence(7)
ONE = Exponential(1.0)


def scenario_of(
    rate: float = 0.8,
    law: Distribution = ONE,
    policy: Policy | None = None,
    preemption: Preemption | None = None,
    patience: Distribution | None = None,
    pause: Pause | None = None,
    **system: object,
) -> Scenario:
    one = RequestClass("a", Poisson(rate), law, patience=patience, pause=pause)
    return Scenario(
        (one,),
        policy=policy or FCFS(),
        system=System(**system),
        preemption=preemption or Preemption(),  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("name", NETWORK)
def test_invariants_hold_on_every_rare_scenario(name: str) -> None:
    scenario = NETWORK[name]
    requests = drawn(scenario, 2_000)
    control = Rules.of(scenario).control
    fates, trail, _ = serve(scenario, requests, SEED, control, trail=50_000)
    run = invariants.Records.of_fates(fates)
    invariants.conservation(run)
    around = scenario.system.environment
    invariants.causality(run, 1.0 if around is None else max(around.speeds))
    invariants.littles_law(run, fates.area_s)
    invariants.no_lost_work(run, fates.busy_s)
    system = scenario.system
    if system.buffer is not None:
        invariants.caps(run, system.buffer)
        assert run.rejected.any() or system.buffer > 4
    if not scenario.policy.preemptive and not scenario.features & {"stations", "pause"}:
        invariants.caps(run, system.servers * (system.max_batch or 1), "in service")
    again, same_trail, _ = serve(scenario, requests, SEED, control, trail=50_000)
    invariants.determinism(vars(again) | vars(same_trail), vars(fates) | vars(trail))


@pytest.mark.parametrize("servers", [1, 3])
@pytest.mark.parametrize("name", [name for name in QUICK if name != "las"])
def test_the_general_loop_serves_as_the_quick_ones_do(name: str, servers: int) -> None:
    """With nothing rare about a scenario, both give the same times."""
    if name == "dps" and servers > 1:
        return
    condition = QueueCondition(above=3, below=2)
    for transforms in ((), (FewerSteps(condition, fraction=0.5),)):
        scenario = two_classes(preset(name), 0.9 * servers, system=System(servers=servers))
        scenario = scenario.with_transforms(*transforms)
        requests = drawn(scenario, 1_000)
        fates, _, _ = serve(scenario, requests, SEED, Rules.of(scenario).control)
        log, _ = serve_quickly(scenario.policy, requests, Rules.of(scenario))
        np.testing.assert_allclose(fates.done_s, log.done_s, rtol=1e-9)
        np.testing.assert_allclose(fates.start_s, log.start_s, rtol=1e-9)
        np.testing.assert_array_equal(fates.reduced, log.reduced)
        if scenario.policy.sharing is None:
            np.testing.assert_array_equal(fates.preemptions, log.preemptions)


@pytest.mark.parametrize("policy", [preset("srpt"), preset("lcfs-pr"), PS(), AccumulatingPriority()])
def test_work_conservation(policy: Policy) -> None:
    scenario = two_classes(policy, 0.9)
    requests = drawn(scenario, 2_000)
    fates, _, _ = serve(scenario, requests, SEED, Rules.of(scenario).control)
    invariants.work_conservation(invariants.Records.of_fates(fates))


def test_a_server_that_sets_up_does_not_conserve_work() -> None:
    scenario = scenario_of(setup_s=ONE)
    requests = drawn(scenario, 500)
    fates, _, _ = serve(scenario, requests, SEED, Rules.of(scenario).control)
    with pytest.raises(invariants.Broken, match="work conservation"):
        invariants.work_conservation(invariants.Records.of_fates(fates))


# -- known means -----------------------------------------------------------------------------------


def machine_repair(population: int, think_s: float) -> float:
    """Mean response of one exponential server with mean 1: the birth-death chain of a closed population."""
    weights = np.cumprod([1.0, *((population - n) / think_s for n in range(population))])
    chances = weights / weights.sum()
    return float(np.arange(population + 1) @ chances / (1.0 - chances[0]))


def m_m_1_k(rate: float, room: int) -> tuple[float, float]:
    """Mean response of those served and share rejected, service of mean 1."""
    chances = rate ** np.arange(room + 1) / (rate ** np.arange(room + 1)).sum()
    return float(np.arange(room + 1) @ chances / (rate * (1 - chances[-1]))), float(chances[-1])


def erlang_root(rate: float) -> float:
    """The chance to find an E_2/M/1 queue busy, service of mean 1: z = (2 rate / (2 rate + 1 - z))^2."""
    z = 0.5
    for _ in range(200):
        z = (2 * rate / (2 * rate + 1 - z)) ** 2
    return z


def residual(law: Distribution) -> float:
    return law.moment(2) / (2 * law.mean)


H2 = Hyperexponential(1.0, 4.0)
KNOWN = {
    "room for 5": (scenario_of(0.9, buffer=5), "mean_response_s", m_m_1_k(0.9, 5)[0]),
    "share rejected": (scenario_of(0.9, buffer=5), "rejected_share", m_m_1_k(0.9, 5)[1]),
    "Erlang-A": (scenario_of(9.0, patience=Exponential(2.0), servers=10), "abandoned_share", 0.067012),
    "setup": (scenario_of(0.8, setup_s=Exponential(2.0)), "mean_response_s", 7.0),
    "setup, general": (  # Welch 1964: P-K + (2 E[D] + rate E[D^2]) / (2 (1 + rate E[D]))
        scenario_of(0.5, H2, setup_s=Deterministic(3.0)),
        "mean_response_s",
        1 + 0.5 * 5.0 / (2 * 0.5) + (6.0 + 0.5 * 9.0) / (2 * 2.5),
    ),
    "vacations": (
        scenario_of(0.7, H2, vacation_s=Exponential(2.0)),
        "mean_response_s",
        1 + 0.7 * 5.0 / (2 * 0.3) + residual(Exponential(2.0)),
    ),
    "breakdowns": (  # Mitrani & Avi-Itzhak 1968, M/M/1 with an unreliable server: 1 / rate x mean number
        scenario_of(0.5, environment=Environment((1.0, 0.0), ((-0.1, 0.1), (0.5, -0.5)))),
        "mean_response_s",
        (1 + 0.1 / 0.5 + 0.1 / 0.5**2) / (1 - 0.5 * (1 + 0.1 / 0.5)) - (0.1 / 0.5**2) * (1 - 1 / 1.2),
    ),
    "a pause, in product form": (
        scenario_of(0.4, pause=Pause(0.5, Exponential(3.0))), "mean_response_s", 2 / (1 - 0.8) + 3.0,
    ),
    "random splitting": (
        scenario_of(1.2, H2, servers=2, routing=Routing("random")), "mean_response_s", 1 + 0.6 * 5.0 / (2 * 0.4),
    ),
    "in turn": (  # E_2/M/1 at each server
        scenario_of(1.2, servers=2, routing=Routing("round-robin")), "mean_response_s", 1 / (1 - erlang_root(0.6)),
    ),
    "free migration makes one queue of two": (
        scenario_of(1.2, servers=2, routing=Routing("random"), migration_s=0.0), "mean_response_s", 1 / (1 - 0.36),
    ),
    "shortest of two": (scenario_of(1.6, servers=2, routing=Routing("jsq")), "mean_response_s", 2.9557),
    "closed": (
        Scenario((RequestClass("a", Closed(5, 2.0), ONE),)), "mean_response_s", machine_repair(5, 2.0),
    ),
    "closed, shared": (
        Scenario((RequestClass("a", Closed(5, 2.0), H2),), PS()), "mean_response_s", machine_repair(5, 2.0),
    ),
    "tandem": (
        Scenario(
            (RequestClass("a", Poisson(0.7), services={"x": ONE, "y": Exponential(0.5)}),),
            stations=(Station("x", transfer_s=0.3), Station("y")),
        ),
        "mean_response_s",
        1 / 0.3 + 0.5 / (1 - 0.35) + 0.3,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", KNOWN)
def test_known_means(name: str) -> None:
    scenario, metric, expected = KNOWN[name]
    answer = simulate(scenario, requests=150_000, seed=11, tell=None)["all"]
    error = standard_error(answer.ci95[metric])
    assert error < 0.03 * expected
    assert abs(answer.metrics[metric] - expected) < 4 * error


def test_accumulating_priority_obeys_the_conservation_law() -> None:
    """Kleinrock 1964, rates 3 and 1: 3.3333 and 6 s with half-load classes of 0.3 and 0.5."""
    classes = (
        RequestClass("a", Poisson(0.3), ONE, priority=0),
        RequestClass("b", Poisson(0.5), ONE, priority=1),
    )
    answer = simulate(Scenario(classes, AccumulatingPriority([3.0, 1.0])), requests=200_000, seed=2, tell=None)
    for name, expected in (("a", 10 / 3), ("b", 6.0)):
        error = standard_error(answer[name].ci95["mean_response_s"])
        assert error < 0.05 * expected
        assert abs(answer[name].mean_response_s - expected) < 4 * error


def test_two_choices_are_nearly_the_shortest() -> None:
    """Mitzenmacher 2001: sum over i >= 1 of rho^(2^i - 2), at 0.8 and many servers."""
    expected = sum(0.8 ** (2**i - 2) for i in range(1, 12))
    answer = simulate(scenario_of(40.0, servers=50, routing=Routing("jsq", 2)), requests=200_000, tell=None)["all"]
    assert answer.mean_response_s == pytest.approx(expected, rel=0.02)


# -- small cases by hand ---------------------------------------------------------------------------


def done(scenario: Scenario, arrival: list[float], service: list[float], **columns: object) -> list[float]:
    outcome = replay(scenario, arrival_s=arrival, service_s=service, tell=None, **columns)  # type: ignore[arg-type]
    return [round(time, 9) for time in outcome.done_s.tolist()]


def test_preemption_costs_the_one_that_resumes() -> None:
    scenario = scenario_of(policy=SRPT(), preemption=Preemption(cost_s=0.5))
    # 0 runs on [0, 1], 1 on [1, 2], then 0 pays 0.5 and needs 3 more
    assert done(scenario, [0.0, 1.0], [4.0, 1.0]) == [5.5, 2.0]


def test_interrupted_while_it_pays_it_pays_again() -> None:
    scenario = scenario_of(policy=SRPT(), preemption=Preemption(cost_s=1.0))
    # 0 pays from 2 on, is interrupted at 2.5, pays again on [3, 4] and needs 3 more
    assert done(scenario, [0.0, 1.0, 2.5], [4.0, 1.0, 0.5]) == [7.0, 2.0, 3.0]


def test_preemption_waits_for_the_end_of_a_grain() -> None:
    scenario = scenario_of(policy=SRPT(), preemption=Preemption(grain_s=0.8))
    # 1 comes at 1.0 and is taken up at 1.6, when 0 has had two grains
    assert done(scenario, [0.0, 1.0], [4.0, 1.0]) == [5.0, 2.6]


def test_processor_sharing_in_grains_takes_turns() -> None:
    shared = scenario_of(policy=PS(), preemption=Preemption(grain_s=0.5))
    turns = scenario_of(policy=RoundRobin(quantum=0.5))
    columns = [0.0, 0.2, 0.9], [1.6, 1.2, 0.3]
    assert done(shared, *columns) == done(turns, *columns)


def test_an_idle_server_fetches_from_the_longest_queue() -> None:
    scenario = scenario_of(servers=2, routing=Routing("round-robin"), migration_s=0.25)
    # queues: 0, 2, 4 and 1, 3; server 1 is done with 1 at 0.5 and 3 at 1, then fetches 2, which takes 0.25
    assert done(scenario, [0.0] * 5, [3.0, 0.5, 1.0, 0.5, 1.0]) == [3.0, 0.5, 2.25, 1.0, 3.5]


def test_who_finds_no_room_is_rejected_and_counted() -> None:
    scenario = scenario_of(buffer=2)
    outcome = replay(scenario, arrival_s=[0.0, 0.1, 0.2, 2.5], service_s=[2.0, 1.0, 1.0, 1.0], tell=None)
    assert outcome.rejected.tolist() == [False, False, True, False]
    assert outcome.done_s[[0, 1, 3]].tolist() == [2.0, 3.0, 4.0]
    assert math.isnan(outcome.start_s[2])


def test_patience_ends_the_wait_not_the_service() -> None:
    scenario = scenario_of(patience=Deterministic(1.0))
    outcome = replay(scenario, arrival_s=[0.0, 0.5, 1.5], service_s=[2.0, 1.0, 1.0], tell=None)
    # 1 leaves at 1.5; 2 starts at 2
    assert outcome.abandoned.tolist() == [False, True, False]
    assert outcome.done_s.tolist() == [2.0, 1.5, 3.0]


def test_a_server_switches_off_when_nobody_waits_for_its_setup() -> None:
    scenario = scenario_of(servers=2, setup_s=Deterministic(1.0))
    # both set up from 0 and 0.5; 0 and 1 start at 1 and 1.5; 2 waits for a setup but finds 0 done at 2
    assert done(scenario, [0.0, 0.5, 1.8], [1.0, 3.0, 1.0]) == [2.0, 4.5, 3.0]


def test_a_vacation_ends_when_somebody_waits() -> None:
    scenario = scenario_of(vacation_s=Deterministic(1.0))
    assert done(scenario, [0.5, 3.2], [1.0, 1.0]) == [2.0, 5.0]


def test_an_own_rank_is_compiled_and_asked_at_every_grain() -> None:
    class Youngest(Rank):
        preemptive = True

        def rank(self, request, attained):  # type: ignore[no-untyped-def]
            return attained

    scenario = scenario_of(policy=Youngest(), preemption=Preemption(grain_s=1.0))
    # 0 on [0, 1], 1 on [1, 2], 0 and 1 in turn: ties go to the earlier
    assert done(scenario, [0.0, 0.5], [2.0, 2.0]) == [3.0, 4.0]


def test_rare_answers_report_what_was_lost() -> None:
    scenario = scenario_of(3.0, buffer=4, patience=Exponential(1.0))
    answer = simulate(scenario, requests=20_000, tell=None)
    each = answer["all"]
    assert answer.stable
    assert 0 < each.rejected_share < 1 and 0 < each.abandoned_share < 1
    assert each.std_response_s > 0
    lost = each.rejected_share + each.abandoned_share
    assert lost == pytest.approx(1 - 1 / 3, abs=0.03)  # the server is nearly always busy: 1 of 3 is served


def test_lost_requests_miss_their_limit() -> None:
    one = RequestClass("a", Poisson(2.0), ONE, slo={"response_s": 1e9})
    answer = simulate(Scenario((one,), system=System(buffer=2)), requests=20_000, tell=None)["all"]
    assert answer.attainment == pytest.approx(1 - answer.rejected_share)


@pytest.mark.parametrize(
    ("scenario", "line"),
    [
        (scenario_of(policy=PS(), preemption=Preemption(cost_s=0.1)), "take turns without end"),
        (scenario_of(policy=preset("las"), preemption=Preemption(cost_s=0.1)), "take turns without end"),
        (
            scenario_of(policy=preset("dps"), preemption=Preemption(grain_s=0.1)),
            "is not simulated where dps shares",
        ),
        (scenario_of(policy=PS(), servers=2, setup_s=ONE), "of several servers that are shared together"),
        (scenario_of(setup_s=ONE, vacation_s=ONE), "comes beside setup_s"),
        (scenario_of(policy=PS(), servers=2, routing=Routing("jsq"), migration_s=1.0), "nobody waits under ps"),
        (scenario_of(servers=3000, routing=Routing("jsq", 5)), "compares 5 of 3000 servers"),
        (replace(two_classes(preset("dps")), system=System(servers=2, buffer=5)), "are not shared by weight"),
        (
            replace(scenario_of(pause=Pause(0.5, ONE))).with_transforms(
                FewerSteps(QueueCondition(2), fraction=0.5)
            ),
            "with a queue condition or early delivery",
        ),
        (
            scenario_of(policy=PS(), buffer=5).with_transforms(
                FewerSteps(QueueCondition(2, swap_time_s=1.0), fraction=0.5)
            ),
            "means nothing where requests in both modes",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(scenario: Scenario, line: str) -> None:
    with pytest.raises(InputError, match=line):
        simulate(scenario, requests=200, tell=None)


def test_closed_populations_in_a_horizon() -> None:
    """Two populations, and one beside open arrivals, send for as long as the horizon says."""
    closed = RequestClass("c", Closed(3, 1.0), Exponential(0.2))
    scenario = Scenario(
        (closed, RequestClass("o", Poisson(0.5), Exponential(0.2), priority=1)), policy=PreemptivePriority()
    )
    answer = simulate(scenario, horizon_s=200.0, replications=5, tell=None)
    assert answer["c"].mean_response_s == pytest.approx(
        0.2 * machine_repair(3, 5.0), rel=0.05
    )  # open ones give way
    assert answer.run["requests"] == pytest.approx(5 * 200 * (0.5 + 3 / (1 + answer["c"].mean_response_s)), rel=0.1)
    with pytest.raises(InputError, match="give horizon_s"):
        simulate(Scenario((closed, replace(closed, name="d"))), tell=None)
    quick = replace(closed, arrivals=Closed(3, 0.0), service=Exponential(0.01))
    assert simulate(Scenario((quick,)), horizon_s=10.0, replications=2, tell=None).run["requests"] > 1_500
    with pytest.raises(InputError, match="closed populations bring their own"):
        replay(Scenario((quick,)), arrival_s=[0.0], service_s=[1.0], tell=None)


def test_a_closed_population_goes_round_its_stations_again_and_again() -> None:
    """Mean value analysis by hand: T_k(n) = S_k (1 + Q_k(n-1)), X(n) = n / (Z + sum T_k(n)), Q_k = X T_k."""
    services, queues, think_s = (0.1, 0.4), [0.0, 0.0], 5.0
    for n in range(1, 13):
        times = [service * (1 + queue) for service, queue in zip(services, queues, strict=True)]
        queues = [n / (think_s + sum(times)) * time for time in times]
    users = RequestClass(
        "u", Closed(12, think_s), services={"gateway": Exponential(0.1), "engine": Exponential(0.4)}
    )
    scenario = Scenario((users,), stations=(Station("gateway"), Station("engine", policy=PS())))
    low, high = simulate(scenario, requests=200_000, tell=None)["u"].ci95["mean_response_s"]
    assert low - 0.01 < sum(times) < high + 0.01
