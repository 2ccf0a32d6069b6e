"""Servers that answer the questions before the run oddly, notes of answers, a single server's rarer ways."""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pytest
from aiohttp import web

from qmodel.errors import InputError
from qmodel.live.endpoint.serving import make_backend
from qmodel.live.endpoint.single import SingleServer
from qmodel.live.load.answering import load_answer
from qmodel.live.load.load_log import COLUMNS
from qmodel.live.load.plan import Wanted, draw_load
from qmodel.live.load.running import run_load
from qmodel.openai_client import server as looking
from qmodel.openai_client.server import Target
from qmodel.policy import make_policy
from qmodel.scenario import Scenario
from qmodel.service.model import ServiceModel
from qmodel.service.system import System
from qmodel.workload import Deterministic, Exponential, Poisson, RequestClass, Trace

from .conftest import Running, serving, well
from .test_endpoint import complete


def odd(**routes):
    """A server of these handlers by path, completions well-behaved."""

    def build():
        made = web.Application()
        made.add_routes([web.post("/v1/completions", well)])
        for path, handler in routes.items():
            made.add_routes([web.route("*", "/" + path.replace("_", "/"), handler)])
        return made, None, None

    return Running(build)


async def models(request):
    return web.json_response({"data": [{"id": "m"}, "nonsense", {"qmodel": 3}]})


def load(plan, running, path, **target):
    return asyncio.run(run_load(plan, Target(running.url, timeout_s=20.0, **target), path))


@pytest.fixture
def plan(scenario):
    return draw_load(scenario, Wanted(num_prompts=5))


def test_a_server_that_wants_a_key(plan, scenario, tmp_path):
    with serving(scenario, api_key="secret") as running:
        with pytest.raises(InputError, match="wants an API key"):
            load(plan, running, tmp_path / "log.csv")
        assert (load(plan, running, tmp_path / "log.csv", api_key="secret").log["status"] == "ok").all()


def test_odd_tokenizers_and_metrics_are_done_without(plan, tmp_path):
    async def boom(request):
        request.transport.abort()
        return web.Response()

    async def no_number(request):
        return web.json_response({"count": "many"})

    for tokenize in (boom, no_number):
        with odd(v1_models=models, tokenize=tokenize, metrics=boom) as running:
            run = load(plan, running, tmp_path / "log.csv")
        assert not run.server.words.known
        assert run.measured == {}
        assert run.server.card == {}


def test_a_server_that_does_not_answer_in_time(plan, tmp_path, monkeypatch):
    async def silent(request):
        await asyncio.sleep(5)
        return web.Response()

    monkeypatch.setattr(looking, "LOOK_S", 0.2)
    with odd(v1_models=silent) as running, pytest.raises(InputError, match=r"gave no answer within 0.2 s"):
        load(plan, running, tmp_path / "log.csv")


def test_an_endless_body_is_not_read_to_its_end(plan, tmp_path, monkeypatch):
    async def endless(request):
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"[" * 65536)

    monkeypatch.setattr(looking, "_MOST_BYTES", 1 << 18)
    with odd(v1_models=endless) as running, pytest.raises(InputError, match="lists no model"):
        load(plan, running, tmp_path / "log.csv")


def run_of(rows):
    found = SimpleNamespace(
        card={}, software="", path="/v1/completions", models={}, words=SimpleNamespace(known=False),
        target=SimpleNamespace(base="http://x"),
    )  # fmt: skip
    log = pd.DataFrame(rows, columns=list(COLUMNS))
    return SimpleNamespace(log=log, server=found, path=SimpleNamespace(name="log.csv"), measured={})


def row(i, status="ok", lag=0.0):
    done = i + 1.0 if status == "ok" else math.nan
    return [i, "chat", float(i), i + lag, i + 0.1, done, done, 5, 3, "", status, 5, 3, 0, float(i)]


def test_notes_of_an_answer(scenario):
    result = load_answer(run_of([row(i, lag=0.01) for i in range(40)]), scenario, horizon_s=40.0).results[0]
    assert any("lag (p99) is 11 % of the median time to first token" in note for note in result.notes)
    assert result.run["rejected"] is None
    late = load_answer(run_of([row(i, lag=0.09) for i in range(40)]), scenario, horizon_s=40.0).results[0]
    assert any(note.startswith("REJECTED") for note in late.notes)
    assert late.run["arrivals_poisson"] is False  # one a second, exactly


def test_an_answer_of_nothing(scenario):
    failed = [row(0), *(row(i, "failed: HTTP 500: boom") for i in range(1, 30))]
    with pytest.raises(InputError, match="no request that came through after the warm-up"):
        load_answer(run_of(failed), scenario, horizon_s=30.0)


def test_a_trace_that_ends_early(scenario):
    recorded = replace(scenario.classes[0], arrivals=Trace((0.1, 0.2, 0.5)))
    with pytest.raises(InputError, match="the arrivals end before 10"):
        draw_load(replace(scenario, classes=(recorded,)), Wanted(num_prompts=10))


def affine():
    lengths = {"input_tokens": Deterministic(20), "output_tokens": Deterministic(5)}
    model = ServiceModel.affine({"1": 1e-3, "output_tokens": 1e-3, "input_tokens": 0.0})
    return Scenario((RequestClass("chat", Poisson(5.0), factors=lengths),), system=System(model=model))


def test_any_fitted_model_over_lengths_serves():
    with serving(affine()) as running:
        assert complete(running, max_tokens=3)[0] == 200


def test_what_the_single_server_refuses():
    made = affine()
    with pytest.raises(InputError, match="makes no tokens"):
        SingleServer(made, "digits-diffusion")
    with pytest.raises(InputError, match="no model"):
        SingleServer(replace(made, system=System()), "emulated")
    steps = replace(made.classes[0], factors=made.classes[0].factors | {"steps": Deterministic(3)})
    with pytest.raises(InputError, match="steps"):
        SingleServer(replace(made, classes=(steps,)), "emulated")
    shared = replace(made, system=replace(made.system, batching="processor-sharing"))
    with pytest.raises(InputError, match="use the policy ps"):
        make_backend(shared)


def test_real_engines_take_no_seconds(monkeypatch):
    from .failing import Engine

    monkeypatch.setattr(Engine, "emulated", False)
    one = RequestClass("one", Poisson(5.0), service=Exponential(0.01))
    with pytest.raises(InputError, match="takes no seconds"):
        SingleServer(Scenario((one,)), "tests.live.http.failing:Engine")


@pytest.mark.torch
@pytest.mark.slow
def test_a_real_language_model_behind_the_endpoint():
    made = affine().with_policy(make_policy("srpt"))
    with serving(made, engine="language-model") as running:
        status, _, body = complete(running, max_tokens=4)
    assert (status, body["usage"]["completion_tokens"]) == (200, 4)
    assert body["system_fingerprint"] == "qmodel"
