"""Asking: which instrument answers, how each number is labelled, and what cannot be asked."""

from __future__ import annotations

import importlib
import math
from types import ModuleType

import pytest

import qmodel as qm
import qmodel.simulation
import qmodel.theory
from qmodel.answer import Answer, ClassAnswer, NotAnalysable, PolicyAnswer
from qmodel.errors import InputError
from qmodel.policy import FCFS, PS, SRPT, NonPreemptivePriority
from qmodel.predict import Asking, predict, simulate
from qmodel.scenario import Scenario
from qmodel.workload import Deterministic, Exponential, Hyperexponential, Poisson, RequestClass

ONE = Scenario(classes=[RequestClass("chat", Poisson(0.8), Exponential(1.0))])
TWO = Scenario(
    classes=[
        RequestClass("first", Poisson(0.3), Exponential(1.0), priority=0),
        RequestClass("second", Poisson(0.5), Exponential(1.0), priority=1),
    ],
    policy=NonPreemptivePriority(),
)
MEANS = Asking("theory", percentiles=())


class TestKnownValues:
    def test_m_m_1_fcfs(self) -> None:
        """Response times of M/M/1 are exponential of mean 1/(mu - lambda) = 5."""
        answer = predict(ONE)
        assert answer.results[0].method == "exact" and answer.results[0].utilisation == pytest.approx(0.8)
        every = answer["all"]
        assert every.mean_response_s == pytest.approx(5.0, rel=1e-12)
        for percent in (50, 95, 99):
            exact = -5.0 * math.log(1 - percent / 100)
            assert every.metrics[f"p{percent}_response_s"] == pytest.approx(exact, abs=1e-6)
            assert answer.results[0].method_of("all", f"p{percent}_response_s") == "exact"

    def test_pollaczek_khinchine(self) -> None:
        """E[W] = lambda E[S^2] / (2 (1 - rho)) for deterministic and hyperexponential service."""
        for service in (Deterministic(1.0), Hyperexponential(1.0, 4.0)):
            scenario = Scenario(classes=[RequestClass("chat", Poisson(0.8), service)])
            wait = 0.8 * service.moment(2) / (2 * 0.2)
            assert predict(scenario, asking=MEANS)["all"].mean_wait_s == pytest.approx(wait, rel=1e-12)

    def test_priorities(self) -> None:
        """Two classes, arrival rates 0.3 and 0.5: the published M/M/1 means of Cobham's formula."""
        answer = predict(TWO, asking=MEANS)
        assert answer["first"].mean_response_s == pytest.approx(2.142857142857, rel=1e-11)
        assert answer["second"].mean_response_s == pytest.approx(6.714285714286, rel=1e-11)
        assert answer["all"].mean_response_s == pytest.approx(5.0, rel=1e-11)

    def test_the_first_class_is_all(self) -> None:
        assert [one.name for one in predict(TWO, asking=MEANS).results[0].classes] == ["all", "first", "second"]


class TestQuestions:
    def test_its_own_policy_and_rate_by_default(self) -> None:
        result = predict(TWO, asking=MEANS).results[0]
        assert (result.policy, result.rate) == ("np-priority", 0.8)

    def test_every_policy_at_every_rate(self) -> None:
        answer = predict(ONE, policies=[FCFS(), PS()], rates=[0.25, 0.5], asking=MEANS)
        asked = [(result.policy, result.rate) for result in answer.results]
        assert asked == [("fcfs", 0.25), ("ps", 0.25), ("fcfs", 0.5), ("ps", 0.5)]
        assert [r["all"].mean_response_s for r in answer.results] == pytest.approx([4 / 3, 4 / 3, 2.0, 2.0])

    def test_progress_is_told(self) -> None:
        seen: list[tuple[int, int]] = []
        predict(ONE, rates=[0.1, 0.2, 0.3], asking=MEANS, progress=lambda done, of: seen.append((done, of)))
        assert seen == [(1, 3), (2, 3), (3, 3)]

    def test_the_answer_carries_the_fingerprint_of_the_scenario(self) -> None:
        assert predict(ONE, rates=[0.1], asking=MEANS).scenario == ONE.fingerprint

    def test_an_unstable_queue_is_an_answer(self) -> None:
        result = predict(ONE.at_rate(1.25)).results[0]
        assert not result.stable and result.utilisation == pytest.approx(1.25)
        assert result["all"].mean_response_s is None


def simulated(**metrics: float) -> PolicyAnswer:
    classes = [
        ClassAnswer(name, 0.8, dict(metrics), {}, {"p99_response_s": (1.0, 2.0)}) for name in ("all", "chat")
    ]
    return PolicyAnswer("any", 0.8, "simulation", "a run", 0.8, classes, run={"seed": 1})


def analysed(**metrics: float | None) -> PolicyAnswer:
    classes = [ClassAnswer(name, 0.8, dict(metrics)) for name in ("all", "chat")]
    return PolicyAnswer("any", 0.8, "exact", "a formula", 0.8, classes)


class TestLabels:
    """Which instrument's numbers come out, with both instruments replaced by known answers."""

    @pytest.fixture
    def instruments(self, monkeypatch: pytest.MonkeyPatch):
        calls: list[dict] = []

        def install(theory: PolicyAnswer | NotAnalysable, run: PolicyAnswer | None = None) -> list[dict]:
            monkeypatch.setattr(qmodel.theory, "analyse", lambda scenario, **_: theory)

            def simulate_it(scenario: Scenario, **options: object) -> PolicyAnswer:
                calls.append(options)
                assert run is not None, "nothing was to be simulated"
                return run

            monkeypatch.setattr(qmodel.simulation, "simulate", simulate_it)
            return calls

        return install

    def test_theory_alone_where_it_says_everything(self, instruments) -> None:
        calls = instruments(analysed(mean_response_s=5.0, p99_response_s=23.0))
        answer = predict(ONE, asking=Asking(percentiles=(99,)))
        assert answer.results[0].method == "exact" and not calls

    def test_percentiles_that_theory_lacks_are_simulated_and_say_so(self, instruments) -> None:
        calls = instruments(
            analysed(mean_response_s=5.0, p50_response_s=3.0, p99_response_s=None, attainment=None),
            simulated(mean_response_s=4.9, p50_response_s=3.1, p99_response_s=23.5, attainment=0.75),
        )
        answer = predict(ONE, asking=Asking(percentiles=(50, 99), requests=5000, seed=7))
        result = answer.results[0]
        assert calls == [{"requests": 5000, "seed": 7, "percentiles": (50, 99)}]
        assert result.method == "exact" and result.run == {"seed": 1}
        for name in ("all", "chat"):
            one = result[name]
            assert (one.mean_response_s, one.p50_response_s, one.p99_response_s) == (5.0, 3.0, 23.5)
            assert one.methods == {"p99_response_s": "simulation", "attainment": "simulation"}
            assert one.attainment == 0.75 and one.ci95 == {"p99_response_s": (1.0, 2.0)}

    def test_what_the_run_does_not_know_either_stays_unknown(self, instruments) -> None:
        instruments(analysed(p99_response_s=None), simulated(mean_response_s=4.9))
        one = predict(ONE, asking=Asking(percentiles=(99,)))["all"]
        assert one.p99_response_s is None and not one.methods

    def test_method_theory_simulates_nothing(self, instruments) -> None:
        calls = instruments(analysed(mean_response_s=5.0, p99_response_s=None))
        answer = predict(ONE, asking=Asking("theory", percentiles=(99,)))
        assert answer["all"].p99_response_s is None and not calls

    def test_no_result_is_simulated_with_the_reason_beside_it(self, instruments) -> None:
        instruments(NotAnalysable("no result", "M/G/1"), simulated(mean_response_s=4.9))
        result = predict(ONE).results[0]
        assert result.method == "simulation" and result.notes == ["not analysable: no result; nearest: M/G/1"]

    def test_method_theory_says_why_not(self, instruments) -> None:
        instruments(NotAnalysable("no result", "M/G/1"))
        with pytest.raises(InputError) as caught:
            predict(ONE.with_policy(SRPT()), asking=Asking("theory"))
        line = "policy 'srpt': not analysable: no result; nearest: M/G/1; use --method auto to simulate it"
        assert str(caught.value) == line

    def test_method_simulation_asks_no_theory(self, instruments) -> None:
        calls = instruments(NotAnalysable("never asked"), simulated(mean_response_s=4.9))
        assert predict(ONE, asking=Asking("simulation", seed=3)).results[0].notes == []
        assert calls[0]["seed"] == 3

    def test_simulate_is_predict_by_simulation(self, instruments) -> None:
        calls = instruments(NotAnalysable("never asked"), simulated(mean_response_s=4.9))
        assert isinstance(simulate(ONE, requests=2000, seed=5), Answer)
        assert calls == [{"requests": 2000, "seed": 5, "percentiles": (50.0, 95.0, 99.0)}]

    def test_an_unstable_queue_is_not_simulated(self, instruments) -> None:
        unstable = analysed(mean_response_s=None, p99_response_s=None)
        unstable.stable = False
        calls = instruments(unstable)
        assert not predict(ONE, asking=Asking(percentiles=(99,))).results[0].stable and not calls


class TestAsking:
    def test_percentiles_once_each(self) -> None:
        assert Asking(percentiles=(50, 99, 50)).percentiles == (50, 99)

    @pytest.mark.parametrize(
        ("options", "line"),
        [
            ({"percentiles": (50, 0)}, "percentiles: 0 is not between 0 and 100; e.g. 50,95,99"),
            ({"percentiles": (100,)}, "percentiles: 100 is not between 0 and 100"),
            ({"percentiles": (101,)}, "percentiles: 101 is not between 0 and 100"),
            ({"percentiles": (-1,)}, "percentiles: -1 is not between 0 and 100"),
            ({"percentiles": (math.nan,)}, "percentiles: nan is not between 0 and 100"),
            ({"requests": 10}, "requests: 10 is out of range; give 1000 to 1000000000"),
            ({"requests": 10**12}, "requests: 1000000000000 is out of range"),
            ({"seed": -1}, "seed: -1 is negative; give 0 or more"),
        ],
    )
    def test_refused(self, options: dict, line: str) -> None:
        with pytest.raises(InputError) as caught:
            Asking(**options)
        assert str(caught.value).startswith(line)


class TestFrontDoor:
    def test_the_readme_example(self) -> None:
        chat = qm.RequestClass("chat", arrivals=qm.Poisson(rate=0.8), service=qm.Exponential(mean=1.0))
        answer = qm.predict(
            qm.Scenario(classes=[chat], policy=qm.policies.FCFS()), asking=qm.Asking(percentiles=())
        )
        assert answer["all"].mean_response_s == pytest.approx(5.0)
        assert {"policy", "class", "metric", "value", "low", "high", "method"} <= set(answer.to_frame().columns)

    def test_functions_are_not_hidden_by_the_modules_that_hold_them(self) -> None:
        importlib.import_module("qmodel.predict")
        importlib.import_module("qmodel.compare")
        for _ in range(2):
            assert qm.predict is predict and callable(qm.compare) and not isinstance(qm.predict, ModuleType)
        assert "predict" in dir(qm)

    def test_every_public_name_is_there(self) -> None:
        for name in qm.__all__:
            assert getattr(qm, name) is not None

    def test_an_unknown_name_is_an_attribute_error(self) -> None:
        with pytest.raises(AttributeError, match="module 'qmodel' has no attribute 'predictt'"):
            qm.predictt  # noqa: B018


@pytest.mark.slow
def test_simulation_and_theory_agree() -> None:
    answer = simulate(ONE, requests=400_000, seed=2)
    compared = qm.compare(predict(ONE), answer)
    row = compared.frame.set_index(["class", "metric"]).loc[("all", "mean_response_s")]
    assert row.high - row.low < 0.5 and abs(row.measured - 5.0) < 2 * (row.high - row.low)
