"""The way in: what is answered, what is refused, and how the answer is filled."""

import subprocess
import sys

import pytest

from qmodel.answer import NotAnalysable, PolicyAnswer
from qmodel.errors import InputError
from qmodel.policy import EDF, FCFS, PS, Rank, RoundRobin
from qmodel.scenario import Scenario, System
from qmodel.service.iteration_time import IterationTime
from qmodel.theory import analyse
from qmodel.workload import Exponential, Gamma, Pause, Poisson, Renewal, RequestClass
from tests.theory.scenarios import one, request_class, several


def test_answer_is_complete():
    answer = analyse(one(0.5, Exponential(2.0), FCFS()).at_load(0.5))
    assert isinstance(answer, PolicyAnswer)
    assert (answer.policy, answer.method, answer.stable) == ("fcfs", "exact", True)
    assert answer.rate == pytest.approx(0.25) and answer.utilisation == pytest.approx(0.5)
    assert "Pollaczek" in answer.result and answer.source and "Poisson arrivals" in answer.assumptions
    assert [part.name for part in answer.classes] == ["all", "a"]
    assert set(answer["a"].metrics) == {
        "mean_service_s",
        "mean_wait_s",
        "mean_response_s",
        "std_response_s",
        "p50_response_s",
        "p95_response_s",
        "p99_response_s",
        "mean_slowdown",
        "attainment",
    }
    assert answer["a"].attainment is None
    assert all(type(value) in (float, type(None)) for part in answer.classes for value in part.metrics.values())
    assert any("estimated error" in note for note in answer.notes)
    assert PolicyAnswer.from_dict(answer.to_dict()).to_dict() == answer.to_dict()


def test_percentiles_are_those_asked_for():
    answer = analyse(one(0.5, Exponential(1.0), FCFS()), percentiles=(90.0, 99.9))
    assert {"p90_response_s", "p99.9_response_s"} <= set(answer["a"].metrics)
    assert "p95_response_s" not in answer["a"].metrics
    bare = analyse(one(0.5, Exponential(1.0), FCFS()), percentiles=())
    assert not [name for name in bare["all"].metrics if name.startswith("p")]
    assert not any("estimated error" in note for note in bare.notes)


def test_attainment_of_all_counts_the_classes_that_ask():
    scenario = Scenario(
        [
            request_class("strict", 0.2, Exponential(1.0), slo={"response_s": 1.0}),
            request_class("loose", 0.1, Exponential(1.0), slo={"response_p95_s": 9.0}),
            request_class("none", 0.2, Exponential(1.0)),
        ]
    )
    answer = analyse(scenario, percentiles=())
    each = [answer[name].attainment for name in ("strict", "loose")]
    assert answer["none"].attainment is None
    assert answer["all"].attainment == pytest.approx((0.2 * each[0] + 0.1 * each[1]) / 0.3, rel=1e-12)


@pytest.mark.parametrize("load", [1.0, 1.2, 50.0])
def test_instability(load):
    answer = analyse(several([(load / 2, Exponential(1.0)), (load / 2, Exponential(1.0))], FCFS()))
    assert not answer.stable and answer.utilisation == pytest.approx(load)
    assert all(value is None for part in answer.classes for value in part.metrics.values())
    assert [part.name for part in answer.classes] == ["all", "c0", "c1"]


def test_just_stable_is_answered():
    answer = analyse(one(0.99999, Exponential(1.0), FCFS()), percentiles=())
    assert answer["a"].mean_response_s == pytest.approx(1e5, rel=1e-6)


def test_arrivals_that_are_not_poisson():
    bursty = RequestClass("b", arrivals=Renewal(rate=0.5, scv=4.0), service=Exponential(1.0))
    refusal = analyse(Scenario([bursty], policy=PS()))
    assert isinstance(refusal, NotAnalysable) and "'b'" in str(refusal) and "Poisson" in str(refusal)
    poisson = RequestClass("b", arrivals=Renewal(rate=0.5, scv=1.0), service=Exponential(1.0))
    assert analyse(Scenario([poisson]), percentiles=())["b"].mean_response_s == pytest.approx(2.0)


def test_batching_without_a_time_of_batches():
    classes = [request_class("a", 0.5, Exponential(1.0))]
    refusal = analyse(Scenario(classes, system=System(batching="continuous", max_batch=4)))
    assert isinstance(refusal, NotAnalysable) and "output_tokens" in refusal.reason
    with pytest.raises(InputError, match="iteration_time"):
        analyse(Scenario(classes, system=System(batching="dynamic", max_batch=4)))


def test_batches_with_pauses():
    law = Exponential(0.1)
    dwells = RequestClass("a", Poisson(0.5), service=law, pause=Pause(0.5, law))
    system = System(batching="dynamic", max_batch=4, iteration_time=IterationTime(0.1, 0.01))
    refusal = analyse(Scenario([dwells], system=system))
    assert isinstance(refusal, NotAnalysable) and refusal.reason == "batching is 'dynamic'"


class Favoured(PS):
    name = "favoured"


def test_sharing_of_ones_own_is_not_taken_for_another():
    refusal = analyse(one(0.5, Exponential(1.0), Favoured()))
    assert isinstance(refusal, NotAnalysable) and "'favoured'" in refusal.reason and refusal.nearest == "ps or dps"


class OwnOrder(Rank):
    name = "own"
    preemptive = True

    def rank(self, request, attained):
        return request.arrival_s + request.deadline_s


@pytest.mark.parametrize("policy", [EDF(), RoundRobin(), OwnOrder()], ids=lambda p: p.name)
def test_policies_without_a_result_say_so(policy):
    refusal = analyse(one(0.5, Exponential(1.0), policy))
    assert isinstance(refusal, NotAnalysable) and policy.name in refusal.reason and refusal.nearest


def test_a_thousand_classes():
    classes = [(0.8 / 1000, Exponential(1.0))] * 1000
    answer = analyse(several(classes, PS()), percentiles=())
    assert answer["all"].mean_response_s == pytest.approx(5.0, rel=1e-9)


def test_extreme_scales():
    for scale in (1e-9, 1e9):
        answer = analyse(one(0.8 / scale, Gamma(scale, 0.5), FCFS()))
        assert answer["a"].mean_response_s == pytest.approx(scale * (1 + 0.8 * 1.5 / 0.4), rel=1e-12)
        unit = analyse(one(0.8, Gamma(1.0, 0.5), FCFS()))
        assert answer["a"].p99_response_s == pytest.approx(scale * unit["a"].p99_response_s, rel=1e-9)


LIGHT = """
import sys
import qmodel.theory
assert not [m for m in sys.modules if m.split(".")[0] in ("scipy", "sympy", "pandas", "numba")]
from qmodel.scenario import Scenario
from qmodel.workload import Exponential, Poisson, RequestClass
chat = RequestClass("chat", arrivals=Poisson(rate=0.8), service=Exponential(mean=1.0))
answer = qmodel.theory.analyse(Scenario([chat]))
assert abs(answer["chat"].p99_response_s - 23.02585093) < 1e-6
assert not [m for m in sys.modules if m.split(".")[0] in ("scipy", "sympy", "pandas", "numba")]
"""


def test_the_textbook_queue_needs_no_heavy_import():
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
