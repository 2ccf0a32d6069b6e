"""`qmodel predict` and `qmodel simulate`: the answers' contract, and every option."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from qmodel.answer import Answer
from qmodel.policy import PRESETS

INLINE = ("predict", "--arrivals", "poisson:0.8", "--service", "exponential:1")
HEAVY = ("predict", "--arrivals", "poisson:0.8", "--service", "lognormal:1,4")
QUICK = ("--requests", "4000")


def read(text: str) -> dict[str, Any]:
    """Strict JSON."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


class TestContract:
    """Section 4.3: the shape of an answer."""

    def test_the_textbook_queue(self, qmodel) -> None:
        """M/M/1 at load 0.8: T is exponential of mean 5 under FCFS; the mean is 5 under PS too."""
        done = qmodel(*INLINE, "--policy", "fcfs,ps", "--json", *QUICK)
        assert done.code == 0
        fcfs, ps = read(done.out)["results"]
        assert (fcfs["policy"], fcfs["method"], ps["policy"], ps["method"]) == ("fcfs", "exact", "ps", "exact")
        first = fcfs["classes"][0]
        assert first["mean_response_s"] == pytest.approx(5.0, abs=1e-6)
        assert ps["classes"][0]["mean_response_s"] == pytest.approx(5.0, abs=1e-6)
        assert first["p95_response_s"] == pytest.approx(14.97866137, abs=1e-6)
        assert first["p99_response_s"] == pytest.approx(23.02585093, abs=1e-6)
        assert "methods" not in first

    def test_the_shape(self, qmodel, files: Path) -> None:
        answer = read(qmodel("predict", "two.toml", "--json").out)
        assert list(answer) == ["schema", "scenario", "qmodel", "results"]
        assert answer["schema"] == "qmodel.answer/1" and len(answer["scenario"]) == 64
        (result,) = answer["results"]
        promised = ["policy", "rate", "method", "result", "source", "assumptions", "stable", "utilisation"]
        assert list(result)[: len(promised)] == promised and list(result)[-1] == "classes"
        assert (result["policy"], result["rate"], result["stable"]) == ("np-priority", 0.8, True)
        assert result["utilisation"] == pytest.approx(0.8) and "Poisson arrivals" in result["assumptions"]
        assert [one["class"] for one in result["classes"]] == ["all", "first", "second"]
        metrics = ["mean_service_s", "mean_wait_s", "mean_response_s", "p50_response_s", "p95_response_s"]
        for one in result["classes"]:
            assert list(one)[:2] == ["class", "arrival_rate"]
            assert {*metrics, "p99_response_s", "mean_slowdown", "attainment"} <= set(one)
            assert one["attainment"] is None  # no class has an SLO
        assert result["classes"][1]["mean_response_s"] == pytest.approx(2.142857142857, rel=1e-9)
        assert result["classes"][2]["mean_response_s"] == pytest.approx(6.714285714286, rel=1e-9)

    def test_what_is_infinite_is_null_never_a_number(self, qmodel) -> None:
        """E[1/S] of an exponential service diverges, and with it the mean slowdown."""
        assert read(qmodel(*INLINE, "--json").out)["results"][0]["classes"][0]["mean_slowdown"] is None

    def test_a_simulated_number_says_so_and_has_an_interval(self, qmodel) -> None:
        answer = read(qmodel(*HEAVY, "--policy", "random", "--json", "--requests", "100000").out)
        every = answer["results"][0]["classes"][0]
        assert every["methods"]["p99_response_s"] == "simulation"
        low, high = every["ci95"]["p99_response_s"]
        assert low < every["p99_response_s"] < high
        assert answer["results"][0]["run"]["seed"] == 1

    def test_simulate(self, qmodel) -> None:
        done = qmodel("simulate", *INLINE[1:], "--json", "--requests", "200000", "--seed", "3")
        result = read(done.out)["results"][0]
        every = result["classes"][0]
        assert done.code == 0 and result["method"] == "simulation" and result["run"]["seed"] == 3
        low, high = every["ci95"]["mean_response_s"]
        assert high - low < 1.5 and low - (high - low) < 5.0 < high + (high - low)

    def test_the_same_seed_gives_the_same_answer(self, qmodel) -> None:
        words = ("simulate", *INLINE[1:], "--json", *QUICK)
        first, second, third = (qmodel(*words, "--seed", seed).out for seed in (1, 1, 2))
        assert first == second != third

    def test_attainment(self, qmodel, files: Path) -> None:
        """P(T <= 8) of M/M/1 at 0.5: 1 - exp(-8/2)."""
        one = read(qmodel("predict", "one.toml", "--json").out)["results"][0]["classes"][0]
        assert one["attainment"] == pytest.approx(1 - math.exp(-4.0), abs=1e-6)

    def test_answers_read_back(self, qmodel) -> None:
        text = qmodel(*INLINE, "--policy", "fcfs,ps", "--json", *QUICK).out
        assert Answer.from_dict(json.loads(text)).to_json() + "\n" == text

    def test_stdout_has_the_result_alone(self, qmodel) -> None:
        assert qmodel(*INLINE, "--json").err == ""
        assert qmodel(*INLINE).err == ""


class TestOptions:
    def test_policies_repeat_and_list(self, qmodel) -> None:
        words = ("--policy", "fcfs,ps", "--policy", "pr-priority, fcfs", "--method", "theory", "--json")
        answer = read(qmodel(*INLINE, *words).out)
        assert [result["policy"] for result in answer["results"]] == ["fcfs", "ps", "pr-priority"]

    def test_rates(self, qmodel, files: Path) -> None:
        answer = read(qmodel("predict", "two.toml", "--rate", "0.4,0.2", "--json").out)
        assert [result["rate"] for result in answer["results"]] == [0.4, 0.2]
        shares = [one["arrival_rate"] for one in answer["results"][0]["classes"]]
        assert shares == pytest.approx([0.4, 0.15, 0.25])

    def test_set(self, qmodel, files: Path) -> None:
        words = ("--set", "class.first.arrivals.rate=0.1", "--set", "policy.preset=fcfs", "--json")
        result = read(qmodel("predict", "two.toml", *words).out)["results"][0]
        assert result["policy"] == "fcfs" and result["rate"] == pytest.approx(0.6)

    def test_percentiles(self, qmodel) -> None:
        every = read(qmodel(*INLINE, "--percentiles", "90,99.9,90", "--json").out)["results"][0]["classes"][0]
        found = [name for name in every if name.startswith("p")]
        assert found == ["p90_response_s", "p99.9_response_s"]
        assert every["p99.9_response_s"] == pytest.approx(5 * math.log(1000), abs=1e-5)

    def test_method_theory_gives_no_simulated_number(self, qmodel) -> None:
        every = read(qmodel(*HEAVY, "--policy", "random", "--method", "theory", "--json").out)["results"][0][
            "classes"
        ][0]
        assert every["p99_response_s"] is None and "methods" not in every

    def test_csv(self, qmodel, files: Path) -> None:
        done = qmodel("predict", "two.toml", "--csv", "new/folder/answer.csv")
        frame = pd.read_csv("new/folder/answer.csv")
        assert done.code == 0 and "np-priority" in done.out
        assert list(frame.columns) == ["policy", "rate", "class", "metric", "value", "low", "high", "method"]
        row = frame[(frame["class"] == "second") & (frame.metric == "mean_response_s")].iloc[0]
        assert row["value"] == pytest.approx(6.714285714286) and row["method"] == "exact"

    def test_a_trace_and_data_inline(self, qmodel, files: Path) -> None:
        (files / "log.csv").write_text("arrival_s\n" + "\n".join(str(2.0 * i) for i in range(2000)))
        (files / "sizes.csv").write_text("seconds\n1\n1\n")
        words = ("--arrivals", "trace:log.csv", "--service", "empirical:sizes.csv:seconds", "--json", *QUICK)
        every = read(qmodel("simulate", *words).out)["results"][0]["classes"][0]
        assert every["mean_wait_s"] == pytest.approx(0.0, abs=1e-9) and every["mean_response_s"] == pytest.approx(
            1.0
        )

    @pytest.mark.parametrize("name", PRESETS)
    def test_every_preset_answers(self, qmodel, name: str) -> None:
        done = qmodel(*INLINE, "--policy", name, "--json", "--requests", "2000")
        result = read(done.out)["results"][0]
        assert done.code == 0 and result["policy"] == name and result["stable"]
        assert result["classes"][0]["mean_response_s"] > 1.0


OWN = """
from qmodel.policy import Rank


class ShortestRemainingPrompt(Rank):
    preemptive = True

    def rank(self, request, attained):
        return request.predicted_size - attained


class Broken(Rank):
    def rank(self, request, attained):
        return request.colour


class Backwards(Rank):
    def rank(self, request, attained):
        return "high"
"""


class TestOwnPolicy:
    @pytest.fixture
    def own(self, files: Path, monkeypatch: pytest.MonkeyPatch):
        (files / "prompt_orders.py").write_text(OWN)
        monkeypatch.setattr(sys, "path", list(sys.path))
        yield
        sys.modules.pop("prompt_orders", None)

    def test_it_answers_from_the_working_folder(self, qmodel, own: None) -> None:
        done = qmodel(
            *INLINE, "--policy", "prompt_orders:ShortestRemainingPrompt,srpt", "--json", "--requests", "50000"
        )
        mine, srpt = read(done.out)["results"]
        assert done.code == 0 and mine["policy"] == "prompt_orders:ShortestRemainingPrompt"
        # with exact predictions it is SRPT, whose mean response time here is 2.3527732703 (Schrage & Miller 1966)
        assert mine["classes"][0]["mean_response_s"] == pytest.approx(2.3527732703, rel=0.1)
        assert srpt["classes"][0]["mean_response_s"] == pytest.approx(2.3527732703, rel=0.1)

    def test_simulate(self, qmodel, own: None) -> None:
        words = ("simulate", *INLINE[1:], "--policy", "prompt_orders:ShortestRemainingPrompt", "--json", *QUICK)
        assert read(qmodel(*words).out)["results"][0]["method"] == "simulation"

    @pytest.mark.parametrize("name", ["Broken", "Backwards"])
    def test_a_rank_that_fails_is_bad_input(self, qmodel, own: None, name: str) -> None:
        done = qmodel("simulate", *INLINE[1:], "--policy", f"prompt_orders:{name}", *QUICK)
        assert done.code == 2 and done.out == ""
        assert f"policy 'prompt_orders:{name}', rank: raised" in done.err and "Traceback" not in done.err


class TestUnstable:
    def test_the_only_policy(self, qmodel) -> None:
        done = qmodel("predict", "--arrivals", "poisson:1.2", "--service", "exponential:1", "--json")
        result = read(done.out)["results"][0]
        assert done.code == 2
        assert result["stable"] is False and result["utilisation"] == pytest.approx(1.2)
        assert result["classes"][0]["mean_response_s"] is None
        line = "the queue is unstable under fcfs at 1.2 requests/s (utilisation 1.2); lower the rate"
        assert line in done.line and done.line.startswith("--arrivals poisson:1.2 --service exponential:1: ")

    def test_in_a_file(self, qmodel, files: Path) -> None:
        done = qmodel("predict", "two.toml", "--rate", "1.5")
        assert done.code == 2 and done.line.startswith("two.toml: the queue is unstable under np-priority at 1.5")

    def test_exactly_full_is_unstable(self, qmodel) -> None:
        assert qmodel("predict", "--arrivals", "poisson:1", "--service", "exponential:1").code == 2

    def test_one_of_several_policies(self, qmodel) -> None:
        done = qmodel("predict", "--arrivals", "poisson:1.2", "--service", "exponential:1", "--policy", "fcfs,ps")
        assert (done.code, done.err) == (0, "") and done.out.count("unstable") >= 2

    def test_by_simulation_too(self, qmodel) -> None:
        done = qmodel("simulate", "--arrivals", "poisson:1.2", "--service", "exponential:1", *QUICK, "--json")
        assert done.code == 2 and read(done.out)["results"][0]["stable"] is False


def test_fields_of_a_scenario_file_on_top_of_the_textbook_queue(qmodel) -> None:
    """M/M/1/5 at load 0.8: P(reject) = 0.8^5 0.2 / (1 - 0.8^6)."""
    done = qmodel(*INLINE, "--set", "system.buffer=5", "--json")
    rejected = read(done.out)["results"][0]["classes"][0]["rejected_share"]
    assert rejected == pytest.approx(0.8**5 * 0.2 / (1 - 0.8**6), rel=1e-9)
