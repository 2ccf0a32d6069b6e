"""Load on well-behaved servers: schedules, prompts, rows, answers, the client's own lag."""

from __future__ import annotations

import asyncio
import json
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from aiohttp import web

from qmodel.errors import InputError
from qmodel.live.load.answering import itl_facts, lag_facts, load_answer, met, promised, timed
from qmodel.live.load.load_meta import load_meta
from qmodel.live.load.plan import Wanted, at_rate, draw_load
from qmodel.live.load.running import run_load
from qmodel.live.log import read_log, tokens_path
from qmodel.openai_client.server import Target
from qmodel.policy import make_policy
from qmodel.simulation.iterations.replaying import replay_scenario
from qmodel.workload import Closed, Exponential, Pause, Poisson, RequestClass
from qmodel.workload.arrival_tests import test_arrivals as tested

from .conftest import misbehaving, serving, well


def load(plan, url, path, **options):
    target = Target(url, **{k: options.pop(k) for k in list(options) if k in Target.__dataclass_fields__})
    return asyncio.run(run_load(plan, target, path, **options))


def test_a_schedule_is_drawn_before_the_run(scenario):
    plan = draw_load(scenario, Wanted(seconds=20.0, seed=3))
    pd.testing.assert_frame_equal(plan, draw_load(scenario, Wanted(seconds=20.0, seed=3)))
    assert plan["scheduled_s"].is_monotonic_increasing
    assert plan["scheduled_s"].iloc[-1] < 20.0
    assert (plan["wanted_input_tokens"][plan["class"] == "batch"] == 40).all()
    assert abs(plan["wanted_output_tokens"][plan["class"] == "chat"].mean() - 5.0) < 4 * math.sqrt(20 / 600)
    assert set(plan["priority"][plan["class"] == "batch"]) == {1}
    assert tested(plan["scheduled_s"].to_numpy(), 40.0, horizon_s=20.0).poisson
    assert plan.attrs == {"seed": 3, "rate": 40.0, "horizon_s": 20.0}


def test_another_rate_and_a_number_of_prompts(scenario):
    plan = draw_load(scenario, Wanted(request_rate=400.0, num_prompts=500))
    assert len(plan) == 500
    assert abs(plan["scheduled_s"].iloc[-1] - 1.25) < 4 * 1.25 / math.sqrt(500)
    assert abs((plan["class"] == "chat").mean() - 0.75) < 4 * math.sqrt(0.75 * 0.25 / 500)
    assert at_rate(scenario, plan.attrs["rate"]).rate == pytest.approx(400.0)


def test_all_at_once(scenario):
    plan = draw_load(scenario, Wanted(request_rate=math.inf, num_prompts=300))
    assert (plan["scheduled_s"] == 0).all()
    assert set(plan["class"]) == {"chat", "batch"}
    assert at_rate(scenario, plan.attrs["rate"]).rate == scenario.rate


@pytest.mark.parametrize("shape", [0.25, 1.0, 4.0])
def test_burstiness_is_the_shape_of_gamma_gaps(scenario, shape):
    plan = draw_load(scenario, Wanted(num_prompts=4000, burstiness=shape))
    gaps = np.diff(plan["scheduled_s"].to_numpy())
    assert gaps.mean() == pytest.approx(1 / 40, rel=4 / math.sqrt(4000 * shape))
    assert (gaps.std() / gaps.mean()) ** 2 == pytest.approx(1 / shape, rel=0.25)


def test_schedules_that_are_not_drawn(scenario):
    def refused(made, **wanted):
        with pytest.raises(InputError) as error:
            draw_load(made, Wanted(**wanted))
        return str(error.value)

    chat = scenario.classes[0]
    assert "--request-rate" in refused(scenario, request_rate=0.0)
    assert "--request-rate" in refused(scenario, request_rate=math.nan)
    assert "--burstiness" in refused(scenario, burstiness=0.0)
    assert "--num-prompts" in refused(scenario, request_rate=math.inf)
    assert "no request arrives" in refused(scenario, seconds=1e-9)
    assert "closed population" in refused(replace(scenario, classes=(replace(chat, arrivals=Closed(3, 1.0)),)))
    assert "patience" in refused(replace(scenario, classes=(replace(chat, patience=Exponential(1.0)),)))
    paused = replace(chat, pause=Pause(0.5, Exponential(1.0)))
    assert "pause" in refused(replace(scenario, classes=(paused,)))
    plain = replace(scenario, classes=(RequestClass("one", Poisson(3.0), service=Exponential(1.0)),))
    assert "--input-len" in refused(plain)
    made = draw_load(plain, Wanted(num_prompts=5, input_tokens=7, output_tokens=2))
    assert (made["wanted_input_tokens"] == 7).all()


def test_a_run_from_end_to_end(scenario, tmp_path):
    plan = draw_load(scenario, Wanted(seconds=3.0))
    path = tmp_path / "a" / "log.csv"
    told = []
    with serving(scenario) as running:
        run = load(plan, running.url, path, progress=lambda *p: told.append(p),
                   meta=lambda run: load_meta(run, scenario, plan))  # fmt: skip
    log = run.log
    assert (log["status"] == "ok").all()
    assert log["request_id"].tolist() == plan["request_id"].tolist()
    assert (log["output_tokens"] == plan["wanted_output_tokens"]).all()
    assert (log["input_tokens"] == plan["wanted_input_tokens"]).all()
    assert (log["sent_s"] >= log["scheduled_s"]).all()
    assert (log["first_token_s"] > log["sent_s"]).all()
    assert (log["last_token_s"] >= log["first_token_s"]).all()
    assert all(done <= total == len(log) for done, total, _ in told)
    assert sorted(each.name for each in path.parent.iterdir()) == ["log.csv", "log.meta.toml", "log.tokens.csv"]
    pd.testing.assert_frame_equal(read_log(path), log, check_dtype=False, atol=1e-9, rtol=0, check_exact=False)
    tokens = pd.read_csv(tokens_path(path))
    assert tokens.groupby("request_id").size().tolist() == log["output_tokens"].tolist()
    assert run.measured["requests"] == len(log)
    answer = load_answer(run, scenario, horizon_s=3.0, warmup_share=0.0)
    result = answer.results[0]
    assert (result.method, result.policy, result.run["emulated"]) == ("simulation", "np-priority", True)
    assert "emulated" in result.result
    every = answer["all"]
    assert every.mean_response_s == pytest.approx((log["done_s"] - log["scheduled_s"]).mean())
    assert every.mean_wait_s == run.measured["mean_queue_s"]
    assert every.failed_share == 0.0
    assert answer["chat"].attainment == 1.0
    assert answer["batch"].attainment is None
    facts = itl_facts(tokens, log["request_id"].tolist())
    gaps = tokens.sort_values(["request_id", "index"]).groupby("request_id")["t_s"].diff().dropna()
    assert facts["mean_s"] == pytest.approx(gaps.mean())
    assert itl_facts(tokens, []) == {}


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["fcfs", "np-priority", "srpt"])
def test_the_server_is_what_the_simulation_says(scenario, tmp_path, policy):
    """The same requests through the endpoint and through the compiled simulation; 20 ms iterations."""
    system = replace(scenario.system, iteration_time=replace(scenario.system.iteration_time, base=0.02))
    made = replace(scenario, system=system).with_policy(make_policy(policy)).at_rate(14.0)
    plan = draw_load(made, Wanted(seconds=15.0))
    with serving(made) as running:
        log = load(plan, running.url, tmp_path / "log.csv").log
    names = [each.name for each in made.classes]
    which = [names.index(name) for name in log["class"]]
    simulated = replay_scenario(
        made, log["scheduled_s"], log["input_tokens"], log["output_tokens"], class_index=which, tell=None
    ).outcome
    response, first = log["done_s"] - log["scheduled_s"], log["first_token_s"] - log["scheduled_s"]
    assert response.mean() == pytest.approx((simulated.done_s - simulated.arrival_s).mean(), rel=0.1)
    assert first.median() == pytest.approx(np.median(simulated.first_s - simulated.arrival_s), rel=0.2)


def test_a_cap_on_concurrency_shows_in_the_latency_and_not_in_the_lag(scenario, tmp_path):
    plan = draw_load(scenario, Wanted(request_rate=math.inf, num_prompts=6))
    with serving(scenario) as running:
        run = load(plan, running.url, tmp_path / "log.csv", max_concurrency=1)
    log = run.log.sort_values("sent_s")
    assert (log["sent_s"].to_numpy()[1:] >= log["done_s"].to_numpy()[:-1]).all()
    facts = lag_facts(log)
    assert facts["held_back_p99_s"] > 0.005
    assert facts["lag_p99_s"] < facts["held_back_p99_s"]
    answer = load_answer(run, scenario, horizon_s=1.0, warmup_share=0.0)
    assert any("cap on concurrency" in note for note in answer.results[0].notes)
    assert "arrivals" not in answer.results[0].run


def test_a_key_and_standard_fields_only(scenario, tmp_path):
    seen = []

    async def answer(request):
        seen.append(json.loads(await request.read()))
        return await well(request, tokens=3)

    plan = draw_load(scenario, Wanted(num_prompts=3))
    with misbehaving(answer) as running:
        run = load(plan, running.url + "/v1/", tmp_path / "log.csv")
        load(plan, running.url, tmp_path / "v.csv", vllm=True, model="mine")
    standard = {"model", "prompt", "max_tokens", "stream", "stream_options"}
    assert all(set(body) == standard and body["model"] == "m" for body in seen[:5])
    assert all(body["ignore_eos"] is True and body["model"] == "mine" for body in seen[5:])
    assert {body.get("priority", 0) for body in seen[5:]} == set(plan["priority"])
    prompts = [body["prompt"] for body in seen]
    assert len(set(prompts)) == len(prompts)
    assert run.server.words.known is False
    assert (run.log["output_tokens"] == 3).all()
    result = load_answer(run, scenario, horizon_s=plan.attrs["horizon_s"], warmup_share=0.0).results[0]
    assert result.method == "measured"
    assert any("% of the output tokens" in note for note in result.notes)


def test_chat_where_there_are_no_completions_and_no_usage(scenario, tmp_path):
    """A strict server: 404 for completions, 422 for fields that it does not know."""

    def build():
        async def chat(request):
            body = json.loads(await request.read())
            if "stream_options" in body:
                return web.json_response({"detail": "unknown field"}, status=422)
            response = web.StreamResponse()
            await response.prepare(request)
            await response.write(b'data: {"choices": [{"delta": {"role": "assistant", "content": ""}}]}\n\n')
            for _ in range(body["max_tokens"]):
                await response.write(b'data: {"choices": [{"delta": {"content": "a"}}]}\n\n')
            await response.write(b'data: {"choices": [{"delta": {}, "finish_reason": "length"}]}\n\n')
            return response

        async def tokenize(request):
            body = json.loads(await request.read())
            if "messages" not in body:
                return web.json_response({}, status=400)
            return web.json_response({"tokens": [0] * (2 * len(body["messages"][0]["content"].split()) + 3)})

        made = web.Application()
        made.add_routes([web.post("/v1/chat/completions", chat), web.post("/tokenize", tokenize)])
        return made, None, None

    from .conftest import Running

    plan = draw_load(scenario, Wanted(num_prompts=4))
    with Running(build) as running:
        with pytest.raises(InputError, match="lists no model"):
            load(plan, running.url, tmp_path / "log.csv")
        run = load(plan, running.url, tmp_path / "log.csv", model="m")
    assert run.server.path == "/v1/chat/completions"
    assert (run.server.words.overhead, run.server.words.ratio) == (3.0, 2.0)
    assert (run.log["output_tokens"] == run.log["wanted_output_tokens"]).all()
    assert (run.log["exit"] == "length").all()


def frame(rows):
    names = ["class", "scheduled_s", "sent_s", "due_s", "first_token_s", "done_s", "output_tokens", "status"]
    return pd.DataFrame(rows, columns=names)


def test_failed_requests_stay_in_the_denominator():
    nan = math.nan
    kept = timed(frame([
        ["a", 0.0, 0.0, 0.0, 0.1, 0.5, 5, "ok"], ["a", 1.0, 1.0, 1.0, 1.3, 1.5, 1, "ok"],
        ["a", 2.0, 2.0, 2.0, 2.1, nan, 2, "failed: x"], ["b", 3.0, 3.0, 3.0, nan, nan, nan, "failed: y"],
    ]))  # fmt: skip
    assert kept["response_s"].tolist() == [0.5, 0.5, math.inf, math.inf]
    assert kept["ttft_s"].tolist() == pytest.approx([0.1, 0.3, 0.1, math.inf])
    assert kept["tpot_s"].tolist() == pytest.approx([0.1, nan, nan, nan], nan_ok=True)
    assert met(kept, {"a": {"ttft": 0.2}, "b": {}}).tolist() == pytest.approx([1, 0, 0, nan], nan_ok=True)
    assert met(kept, {"a": {"tpot": 0.05, "response": 9.0}, "b": {"ttft": 1.0}}).tolist() == [0, 1, 0, 0]
    assert promised({}) == {}


def test_a_slow_client_is_rejected():
    rows = [["a", i, i + 0.3, i, i + 0.4, i + 1.3, 5, "ok"] for i in range(100)]
    facts = lag_facts(frame(rows))
    assert facts["lag_p99_s"] == pytest.approx(0.3)
    assert "exceeds 5 % of the median time at the server" in facts["rejected"]
    punctual = [["a", i, i + 0.01, i, i + 0.05, i + 1.3, 5, "ok"] for i in range(100)]
    assert lag_facts(frame(punctual))["rejected"] is None
