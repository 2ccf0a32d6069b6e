"""Scenarios with continuous batching, answered: against theory where it reaches, and what the answer says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from qmodel.errors import InputError
from qmodel.policy import FCFS, LAS, SRPT, NonPreemptivePriority, Policy
from qmodel.policy.preemption import Preemption
from qmodel.scenario import Scenario, System
from qmodel.scenario_file import read_scenario
from qmodel.scenario_tables import to_tables
from qmodel.service.engine import Engine
from qmodel.service.iteration_time import IterationTime
from qmodel.service.transform import ClipOutput, EarlyExit, FewerSteps, QueueCondition
from qmodel.simulation import simulate
from qmodel.simulation.iterations.answering import capacity
from qmodel.simulation.iterations.metrics import gap_quantile
from qmodel.simulation.iterations.replaying import replay_scenario
from qmodel.simulation.iterations.scenario_rules import rules_of
from qmodel.simulation.iterations.token_requests import Later
from qmodel.workload import Deterministic, Exponential, Geometric, Pause, Poisson, RequestClass, Trace

TIME = IterationTime(base=0.01, per_sequence=0.0002, per_context_token=2e-7, per_prefill_token=2e-5)


def scenario(
    rate: float = 5.0, policy: Policy | None = None, time: IterationTime = TIME, **system: object
) -> Scenario:
    lengths = {"input_tokens": Geometric(mean=500.0), "output_tokens": Geometric(mean=200.0)}
    chat = RequestClass("chat", Poisson(rate), factors=lengths, slo={"ttft_p95_s": 1.0, "tpot_s": 0.05})
    options = {"max_batch": 64} | system
    made = System(batching="continuous", iteration_time=time, **options)  # type: ignore[arg-type]
    return Scenario(classes=[chat], policy=policy or FCFS(), system=made)


def test_one_at_a_time_is_the_m_g_1_queue() -> None:
    # a batch of one whose iterations take 10 ms: S = 10 ms times the output tokens, but for waiting at boundaries
    one = scenario(0.3, time=IterationTime(base=0.01), max_batch=1)
    answer = simulate(one, requests=250_000, seed=3, tell=None)
    mean, second = 2.0, 0.01**2 * (2 * 200.0**2 - 200.0)
    expected = 0.3 * second / (2 * (1 - 0.3 * mean))
    low, high = answer["all"].ci95["mean_wait_s"]
    assert low < expected < high and high - low < 0.3
    assert answer.utilisation == pytest.approx(0.6, rel=0.03)
    assert answer["chat"].mean_service_s == pytest.approx(mean, rel=0.03)


def test_without_interference_a_request_takes_what_it_takes_alone() -> None:
    quiet = simulate(scenario(0.001), requests=4000, seed=1, tell=None)["all"]
    alone = 200 * 0.0102 + 500 * 2e-5 + 2e-7 * (199 * 500 + (2 * 200.0**2 - 200.0 - 200) / 2)
    assert quiet.mean_response_s == pytest.approx(alone, rel=0.04)
    assert quiet.mean_ttft_s == pytest.approx(0.0102 + 0.01, rel=0.04)


def test_the_answer_holds_the_metrics_of_tokens() -> None:
    answer = simulate(scenario(), requests=8000, seed=2, tell=None)
    every = answer["all"]
    assert every.mean_tpot_s == pytest.approx(every.mean_itl_s, rel=0.01)
    assert every.p50_itl_s < every.p99_itl_s and 0.9 < every.attainment <= 1.0
    assert every.goodput == pytest.approx(5.0 * every.attainment)
    assert every.throughput_tokens_per_s == pytest.approx(1000.0, rel=0.05)
    assert 0.99 < every.mean_qoe <= 1.0 and every.p95_ttft_s > every.p50_ttft_s
    assert answer.run["iterations"] > 10_000 and answer.method == "simulation" and answer.stable
    assert answer["chat"].ci95["mean_ttft_s"][0] < every.mean_ttft_s < answer["chat"].ci95["mean_ttft_s"][1]


def test_energy_is_power_times_time() -> None:
    engine = Engine(power_w=300.0, idle_power_w=100.0)
    every = simulate(scenario(engine=engine), requests=4000, tell=None)["all"]
    assert 100 / 5.0 < every.energy_j_per_request < 300 / 5.0 * 1.1
    assert every.energy_j_per_token == pytest.approx(every.energy_j_per_request / 200, rel=0.05)


def test_an_overload_has_no_steady_state_but_a_finite_horizon() -> None:
    crowded = scenario(20.0)
    answer = simulate(crowded, requests=4000, tell=None)
    assert not answer.stable and answer["all"].mean_response_s is None and answer.utilisation > 1.5
    short, long = (
        simulate(crowded, horizon_s=span, replications=4, tell=None, percentiles=(50.0,)) for span in (20.0, 60.0)
    )
    assert not short.stable and long["all"].mean_response_s > 1.5 * short["all"].mean_response_s
    assert any("unstable" in note for note in short.notes) and short.run["replications"] == 4
    with pytest.raises(InputError, match="no request arrives"):
        simulate(crowded, horizon_s=1e-9, replications=2, tell=None)


def test_capacity_is_that_of_a_full_batch() -> None:
    full = scenario()
    mean_context = 500 + (2 * 200.0**2 - 200.0) / 200 / 2  # of a sequence that runs, tokens weighted
    iteration = TIME.seconds(64, 64 * mean_context, 64 / 200 * 500)
    assert capacity(full, rules_of(full)) == pytest.approx(64 / 200 / iteration, rel=0.04)


def test_memory_bounds_capacity_and_preempts() -> None:
    tight = simulate(scenario(2.0, kv_capacity_tokens=8000), requests=4000, tell=None)
    assert tight.utilisation > simulate(scenario(2.0), requests=4000, tell=None).utilisation
    assert any("preemptions" in note for note in tight.notes)
    with pytest.raises(InputError, match="holds hardly any"):
        simulate(scenario(2.0, kv_capacity_tokens=16), requests=4000, tell=None)


def test_precision_is_reached_or_said_not_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[tuple[int, int]] = []
    answer = simulate(
        scenario(1.0), requests=4000, precision=0.05, progress=lambda *told: said.append(told), tell=None
    )
    low, high = answer["all"].ci95["mean_response_s"]
    assert (high - low) / 2 <= 0.05 * answer["all"].mean_response_s and said[-1][0] == said[-1][1]
    monkeypatch.setattr("qmodel.simulation.iterations.answering.LONGEST_RUN", 4000)
    hasty = simulate(scenario(1.0), requests=3000, precision=1e-6, tell=None)
    assert any("was not reached" in note for note in hasty.notes)


def test_equal_seeds_give_equal_answers_and_policies_meet_equal_requests() -> None:
    first, again = (simulate(scenario(), requests=3000, seed=9, tell=None).to_dict() for _ in range(2))
    assert first == again
    short = simulate(scenario(7.0, SRPT(), max_batch=16), requests=3000, seed=9, horizon_s=200.0, tell=None)
    plain = simulate(scenario(7.0, max_batch=16), requests=3000, seed=9, horizon_s=200.0, tell=None)
    assert short.run["requests"] == plain.run["requests"]
    assert short["all"].mean_response_s < plain["all"].mean_response_s


def two(**options: object) -> Scenario:
    base = scenario(6.0, NonPreemptivePriority(), max_batch=32)
    chat = replace(base.classes[0], **options)
    return replace(base, classes=(replace(chat, arrivals=Poisson(2.0)), replace(chat, name="bulk", priority=1)))


def test_classes_have_their_own_metrics_losses_and_pauses() -> None:
    answer = simulate(two(patience=Exponential(0.05)), requests=6000, tell=None)
    assert answer.utilisation is None and 0 < answer["bulk"].abandoned_share < 0.5
    paused = simulate(
        two(pause=Pause(0.2, Exponential(1.0)), prefix_hit=0.5), requests=3000, tell=None, horizon_s=50.0
    )
    assert paused["chat"].mean_response_s < paused["bulk"].mean_response_s * 1.5


def test_one_that_runs_alone_takes_the_memory_of_those_away() -> None:
    """Else it would be preempted for want of memory, and again each time it comes back, while they keep theirs."""
    lengths = {"input_tokens": Deterministic(300), "output_tokens": Deterministic(20)}
    away = RequestClass("away", Poisson(1.0), factors=lengths, pause=Pause(0.5, Deterministic(1e4), "keep"))
    engine = Engine(max_batched_tokens=64, whole_prompt=False, prefix_caching=False, kv_block_tokens=16)
    asked = Scenario((away,), system=System(
        batching="continuous", max_batch=4, kv_capacity_tokens=1040, engine=engine,
        iteration_time=IterationTime(base=0.01),
    ))  # fmt: skip
    later = Later(np.array([0, 1, 2, 3]), np.array([1, 1, 1, 0]), np.full(3, 1e4), np.full(3, 10), np.full(3, 5))
    done = replay_scenario(asked, [0.0, 10.0, 20.0, 30.0], [300] * 4, [20] * 4, later=later, tell=None)
    outcome = done.outcome
    assert outcome.recomputed.tolist() == [0, 0, 319, 0]  # the third, the last to go away, gives its cache up
    # 60 of 65 blocks are kept, a first chunk of 64 tokens fits: 300 in five chunks, then 19 more iterations
    assert outcome.done_s[3] == pytest.approx(30.0 + (5 + 19) * 0.01)
    assert outcome.preemptions.tolist() == [0, 0, 0, 0]


def test_transforms_clip_outputs_and_exit_early() -> None:
    plain = simulate(scenario(2.0), requests=3000, tell=None)["all"]
    clipped = simulate(scenario(2.0).with_transforms(ClipOutput(max_tokens=100)), requests=3000, tell=None)["all"]
    early = EarlyExit(None, (0.5, 1.0), (0.5, 0.5), "stop")
    exits = simulate(scenario(2.0).with_transforms(early), requests=3000, tell=None)["all"]
    assert clipped.mean_response_s < 0.5 * plain.mean_response_s
    assert exits.mean_response_s < plain.mean_response_s


def test_a_trace_is_passed_once() -> None:
    base = scenario()
    trace = Trace(tuple(np.arange(1, 200) * 0.3))
    answer = simulate(replace(base, classes=(replace(base.classes[0], arrivals=trace),)), requests=150, tell=None)
    assert any("recorded arrivals" in note for note in answer.notes) and answer.run["warmup"] == 0


def test_given_requests_under_a_scenario() -> None:
    base = scenario()
    half = replace(base, classes=(replace(base.classes[0], prefix_hit=0.5),))
    found = [replay_scenario(each, [0.0], [1000], [1], tell=None).outcome.first_s[0] for each in (base, half)]
    assert found[0] - found[1] == pytest.approx(500 * 2e-5)


def with_factors(of: Scenario, factors: dict) -> Scenario:
    return replace(of, classes=(replace(of.classes[0], factors=factors),))


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda s: replace(s, system=replace(s.system, servers=2)), "each engine has a queue of its own"),
        (lambda s: replace(s, system=replace(s.system, iteration_time=None)), "iteration_time: is missing"),
        (lambda s: replace(s, preemption=Preemption(grain_s=0.1), policy=SRPT()), "grain"),
        (lambda s: s.with_transforms(FewerSteps(fraction=0.5)), "FewerSteps"),
        (lambda s: s.with_transforms(EarlyExit(QueueCondition(3), (0.5,), (1.0,))), "above_queue"),
        (lambda s: with_factors(s, {"steps": Deterministic(3.0)}), "input_tokens"),
        (lambda s: with_factors(s, {**s.classes[0].factors, "steps": Deterministic(3.0)}), "is no length"),
    ],
)  # fmt: skip
def test_what_is_not_simulated_is_refused(change, fault: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=fault):
        simulate(change(scenario()), requests=100, tell=None)


def test_no_gap_has_no_quantile() -> None:
    assert gap_quantile(np.zeros(8, dtype=np.int64), 0.5) is None
    assert gap_quantile(np.array([3, 0]), 0.5) == 0.0


FILE = """
[system]
batching = "continuous"
max_batch = 8
kv_capacity_tokens = 4096
[system.iteration_time]
base = 0.01
[system.engine]
prefill = "separate"
transfer_s = 0.1
lookahead = true
[[class]]
name = "chat"
arrivals = { process = "poisson", rate = 1.0 }
input_tokens = { distribution = "deterministic", value = 100 }
output_tokens = { distribution = "deterministic", value = 10 }
"""


def test_the_engine_in_a_scenario_file(tmp_path: Path) -> None:
    (tmp_path / "q.toml").write_text(FILE)
    read = read_scenario(tmp_path / "q.toml")
    assert read.system.engine == Engine(prefill="separate", transfer_s=0.1, lookahead="reserve")
    assert to_tables(read)["system"]["engine"]["transfer_s"] == 0.1
    assert simulate(read, requests=2000, tell=None)["all"].mean_response_s > 0.1 + 10 * 0.01
    (tmp_path / "q.toml").write_text(FILE.replace("transfer_s", "transfers"))
    with pytest.raises(InputError, match="transfer_s"):
        read_scenario(tmp_path / "q.toml")


def test_an_order_that_throws_its_work_away_says_so() -> None:
    lengths = {"input_tokens": Deterministic(640.0), "output_tokens": Deterministic(40.0)}
    chat = RequestClass("chat", Poisson(0.2), factors=lengths)
    engine = Engine(max_batched_tokens=64, prefix_caching=False)
    system = System(batching="continuous", iteration_time=TIME, kv_capacity_tokens=704, engine=engine)
    calm = simulate(Scenario([chat], FCFS(), system), requests=1000, seed=1, tell=None)
    thrashing = simulate(Scenario([chat], LAS(), system), requests=1000, seed=1, tell=None)
    assert not any("thrashing" in note for note in calm.notes)
    found = next(note for note in thrashing.notes if "thrashing" in note)
    assert 50 <= float(found.split()[1].rstrip("%")) <= 100
