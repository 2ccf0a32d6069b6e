"""An imported log as an answer: metrics by hand, failures in percentiles, comparable with a prediction."""

from __future__ import annotations

import numpy as np
import pytest

from qmodel.answer import Answer
from qmodel.compare import compare
from qmodel.errors import InputError
from qmodel.interop import Options, answer_of_log, read_file
from qmodel.predict import predict
from qmodel.scenario import Scenario
from qmodel.workload import Exponential, Poisson, RequestClass
from tests.interop import samples


@pytest.fixture
def read(tmp_path):
    def reader(text: str, **options):
        path = tmp_path / "log"
        path.write_text(text)
        return read_file(path, options=Options(**options))

    return reader


def queue_log(n: int = 40_000, rate: float = 0.7, seed: int = 1) -> str:
    """A request log of an M/M/1 queue, by Lindley's recursion."""
    rng = np.random.default_rng(seed)
    arrival, service = np.cumsum(rng.exponential(1.0 / rate, n)), rng.exponential(1.0, n)
    done, free = np.empty(n), 0.0
    for k in range(n):
        free = max(free, arrival[k]) + service[k]
        done[k] = free
    rows = [[k, f"{a:.9f}", f"{d:.9f}", "ok"] for k, (a, d) in enumerate(zip(arrival, done, strict=True))]
    return samples.table("request_id,scheduled_s,done_s,status", rows)


def test_a_log_of_a_queue_is_what_theory_says(read) -> None:
    scenario = Scenario(classes=[RequestClass("chat", arrivals=Poisson(0.7), service=Exponential(1.0))])
    measured = answer_of_log(read(queue_log()), scenario)
    assert measured.scenario == scenario.fingerprint
    assert measured.results[0].method == "measured" and measured.results[0].rate == scenario.rate
    rows = compare(predict(scenario), measured).frame.set_index(["class", "metric"])
    mean = rows.loc[("all", "mean_response_s")]
    assert mean["predicted"] == pytest.approx(1.0 / 0.3) and bool(mean["inside"])
    assert abs(rows.loc[("all", "p95_response_s")]["relative_error"]) < 0.1


def test_metrics_are_counted_from_when_requests_were_due(read) -> None:
    text = samples.table(
        "request_id,class,scheduled_s,sent_s,first_token_s,last_token_s,done_s,input_tokens,output_tokens,status",
        [[k, "ab"[k % 2], k, k + 0.5, k + 1.0, k + 3.0, k + 3.0, 10, 5, "ok"] for k in range(40)],
    )
    answer = answer_of_log(read(text), warmup_share=0.0)
    assert answer["all"].mean_response_s == pytest.approx(3.0)
    assert answer["all"].mean_ttft_s == pytest.approx(1.0)
    assert answer["all"].mean_tpot_s == pytest.approx(0.5)
    assert answer["all"].mean_service_s is None and answer["all"].mean_wait_s is None
    assert [one.name for one in answer.results[0].classes] == ["all", "a", "b"]
    assert answer.results[0].run["lag_p99_s"] == pytest.approx(0.5)
    assert answer.results[0].rate == pytest.approx(1.0)
    assert Answer.from_dict(answer.to_dict()).to_dict() == answer.to_dict()


def test_waits_are_known_where_the_tool_says_when_service_began(read) -> None:
    answer = answer_of_log(read(samples.vllm_requests()), warmup_share=0.0)
    assert answer["all"].mean_wait_s == pytest.approx(0.010, abs=1e-6)


def test_failed_requests_stay_in_percentiles(read) -> None:
    rows = [[k, k, k + 1.0, "ok"] if k % 10 else [k, k, "", "failed: x"] for k in range(200)]
    answer = answer_of_log(read(samples.table("request_id,scheduled_s,done_s,status", rows)), warmup_share=0.0)
    assert answer["all"].p50_response_s == 1.0 and answer["all"].p95_response_s is None
    assert "20 of 200 requests failed; means are of the others" in answer.results[0].notes


def test_an_overload_is_noted(read) -> None:
    rows = [[k, 0.1 * k, 0.2 * k + 1.0, "ok"] for k in range(300)]
    notes = answer_of_log(read(samples.table("request_id,scheduled_s,done_s,status", rows))).results[0].notes
    assert any("the queue grew through the run" in note for note in notes)


def test_another_rate_is_noted(read) -> None:
    scenario = Scenario(classes=[RequestClass("chat", arrivals=Poisson(0.3), service=Exponential(1.0))])
    notes = answer_of_log(read(queue_log(2000)), scenario).results[0].notes
    assert any("the scenario's is 0.3/s" in note for note in notes)


def test_latencies_without_arrivals_have_no_rate(read) -> None:
    answer = answer_of_log(read(samples.llmperf()))
    assert answer["all"].mean_ttft_s == pytest.approx(0.495)
    assert answer.to_dict()["results"][0]["rate"] is None
    assert "arrivals" not in answer.results[0].run


def test_what_holds_no_latencies_is_refused(read) -> None:
    with pytest.raises(InputError, match="is a table of profile"):
        answer_of_log(read(samples.own_profile()))
    with pytest.raises(InputError, match="holds no request with a response time"):
        answer_of_log(read(samples.azure()))
    with pytest.raises(InputError, match="warmup_share"):
        answer_of_log(read(samples.own_log()), warmup_share=1.0)
