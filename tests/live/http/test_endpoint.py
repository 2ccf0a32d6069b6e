"""The endpoint as a client meets it: routes, limits, keys, clients that leave or stall, the policy at work."""

from __future__ import annotations

import http.client
import importlib
import json
import socket
import time
from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from qmodel.errors import InputError
from qmodel.live.endpoint.app import Limits
from qmodel.live.endpoint.serving import make_backend
from qmodel.policy import make_policy
from qmodel.scenario import Scenario
from qmodel.service.iteration_time import IterationTime
from qmodel.service.model import ServiceModel
from qmodel.service.system import System
from qmodel.service.token_service import TokenService
from qmodel.service.transform import EarlyExit
from qmodel.workload import Deterministic, Exponential, Poisson, RequestClass

from .conftest import serving


def call(running, method, path, body=None, headers=None, timeout=10.0):
    """Status, headers, text."""
    host = running.url.removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=timeout)
    raw = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    connection.request(method, path, raw, headers or {})
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response.status, dict(response.getheaders()), text


def complete(running, **body):
    status, headers, text = call(running, "POST", "/v1/completions", {"prompt": "one two", **body})
    return status, headers, json.loads(text)


def opened(running, **body):
    """A raw connection on which a streaming request was sent."""
    host, port = running.url.removeprefix("http://").split(":")
    raw = json.dumps({"prompt": "a", "stream": True, **body}).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(raw)}\r\n\r\n"
    made = socket.create_connection((host, int(port)), timeout=10)
    made.sendall(head.encode() + raw)
    return made


def until(condition, seconds=5.0):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.005)
    return condition()


def samples(running):
    text = call(running, "GET", "/metrics")[2]
    return {s.name: s.value for family in text_string_to_metric_families(text) for s in family.samples
            if "le" not in s.labels}  # fmt: skip


def test_a_completion_in_one_piece_and_in_a_stream(scenario):
    with serving(scenario) as running:
        status, _, body = complete(running, max_tokens=3, model="chat")
        assert status == 200
        assert body["usage"] == {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5}
        assert body["choices"][0]["text"].split() == ["the", "queue", "is"]
        assert (body["object"], body["system_fingerprint"]) == ("text_completion", "qmodel, emulated")
        asked = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 2, "stream": True,
                 "stream_options": {"include_usage": True}}  # fmt: skip
        status, headers, text = call(running, "POST", "/v1/chat/completions", asked)
        assert (status, headers["Content-Type"]) == (200, "text/event-stream")
        *events, last = [line.removeprefix("data: ") for line in text.split("\n\n") if line]
        assert last == "[DONE]"
        events = [json.loads(event) for event in events]
        assert events[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
        assert [e["choices"][0]["delta"]["content"] for e in events[1:3]] == [" the", " queue"]
        assert events[3]["choices"][0]["finish_reason"] == "length"
        assert events[4]["usage"]["completion_tokens"] == 2
        whole = call(running, "POST", "/v1/chat/completions", asked | {"stream": False})[2]
        assert json.loads(whole)["choices"][0]["message"]["content"] == " the queue"
        found = samples(running)
        assert found["vllm:generation_tokens_total"] == 7
        assert found["vllm:request_success_total"] == 3
        assert found["vllm:e2e_request_latency_seconds_count"] == 3
        assert found["vllm:request_queue_time_seconds_sum"] <= found["vllm:time_to_first_token_seconds_sum"]
        assert found["qmodel:emulated"] == 1


def test_lengths_left_open_are_drawn_from_the_class(scenario):
    with serving(scenario) as running:
        assert complete(running, model="batch")[2]["usage"]["completion_tokens"] == 10


def test_models_health_and_tokens(scenario):
    with serving(scenario) as running:
        listed = json.loads(call(running, "GET", "/v1/models")[2])["data"]
        assert [each["id"] for each in listed] == [scenario.name, "chat", "batch"]
        assert listed[0]["qmodel"]["emulated"] is True
        assert listed[0]["qmodel"]["policy"] == "np-priority"
        assert call(running, "GET", "/health")[0] == 200
        counted = json.loads(call(running, "POST", "/tokenize", {"prompt": "one two three"})[2])
        assert counted["count"] == 3
        assert call(running, "POST", "/tokenize", [1])[0] == 400
        running.inside.draining = True
        assert call(running, "GET", "/health")[0] == 503
        assert complete(running, max_tokens=1)[0] == 503


def test_what_is_not_taken(scenario):
    with serving(scenario, limits=Limits(body_bytes=2000, tokens=100)) as running:
        for status, path, body in (
            (400, "/v1/completions", b"nonsense"), (400, "/v1/completions", b"[" * 1500),
            (400, "/v1/completions", b"\xff"), (404, "/v1/completions", {"model": "other", "prompt": "a"}),
            (413, "/v1/completions", {"prompt": "a" * 5000}), (404, "/v1/embeddings", {}),
            (400, "/v1/completions", {"prompt": "a", "max_tokens": 100}),
        ):  # fmt: skip
            found, _, text = call(running, "POST", path, body)
            assert found == status, path
            assert json.loads(text)["error"]["code"] == status
        assert call(running, "GET", "/v1/completions")[0] == 405
        assert complete(running, max_tokens=1)[0] == 200  # it still serves


def test_a_request_that_the_memory_never_holds(scenario):
    with serving(scenario) as running:
        status, _, body = complete(running, max_tokens=30_000)
        assert status == 400
        assert "KV memory" in body["error"]["message"]


def test_the_key_is_asked_for(scenario):
    with serving(scenario, api_key="secret") as running:
        status, headers, _ = call(running, "GET", "/v1/models")
        assert (status, headers["WWW-Authenticate"]) == (401, "Bearer")
        for wrong in ("Bearer secre", "secret", "Bearer s\xe9cret"):
            assert call(running, "GET", "/v1/models", headers={"Authorization": wrong})[0] == 401
        assert call(running, "GET", "/v1/models", headers={"Authorization": "Bearer secret"})[0] == 200
        assert call(running, "GET", "/health")[0] == 200


def slow(scenario, base=0.05, max_batch=1):
    system = replace(scenario.system, iteration_time=IterationTime(base), max_batch=max_batch)
    return replace(scenario, system=system)


def test_a_full_queue_answers_429_with_a_time(scenario):
    with serving(slow(scenario), limits=Limits(queue=1)) as running:
        first = opened(running, max_tokens=100)
        assert until(lambda: running.inside.backend.running == 1)
        second = opened(running, max_tokens=100)
        assert until(lambda: running.inside.backend.waiting == 1)
        status, headers, body = complete(running, max_tokens=1)
        assert status == 429
        assert int(headers["Retry-After"]) >= 1
        assert body["error"]["type"] == "rate_limit_error"
        assert samples(running)["qmodel:requests_rejected_total"] == 1
        first.close()
        second.close()


def test_a_buffer_counts_those_in_service_too(scenario):
    small = slow(scenario)
    small = replace(small, system=replace(small.system, buffer=1))
    with serving(small) as running:
        first = opened(running, max_tokens=100)
        assert until(lambda: running.inside.backend.running == 1)
        assert complete(running, max_tokens=1)[0] == 429
        first.close()


def test_a_client_that_goes_away_frees_its_slot(scenario):
    with serving(slow(scenario)) as running:
        backend = running.inside.backend
        first = opened(running, max_tokens=1000)
        assert until(lambda: backend.running == 1)
        waiting = opened(running, max_tokens=1000)
        assert until(lambda: backend.waiting == 1)
        waiting.close()
        assert until(lambda: backend.waiting == 0)
        first.close()
        assert until(lambda: backend.running == 0)
        assert backend.memory_used == 0.0
        assert complete(running, max_tokens=1)[0] == 200
        assert samples(running)["qmodel:requests_left_total"] == 2


def test_a_stream_over_its_time_ends_with_an_error(scenario):
    with serving(slow(scenario), limits=Limits(request_s=0.3)) as running:
        status, _, text = call(
            running, "POST", "/v1/completions", {"prompt": "a", "max_tokens": 999, "stream": True}
        )
        assert status == 200
        assert '"code": 504' in text
        assert "[DONE]" not in text
        assert complete(running, max_tokens=999)[0] == 504
        assert until(lambda: running.inside.backend.running == 0)
        assert samples(running)["qmodel:requests_timed_out_total"] == 2


def test_a_client_that_reads_nothing_is_cut_off(scenario):
    fast = replace(scenario, system=replace(scenario.system, iteration_time=IterationTime(1e-5)))
    with serving(fast, limits=Limits(request_s=1.5)) as running:
        stalled = socket.socket()
        stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        host, port = running.url.removeprefix("http://").split(":")
        stalled.connect((host, int(port)))
        body = json.dumps({"prompt": "a", "stream": True, "max_tokens": 19_000}).encode()
        head = f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        stalled.sendall(head.encode() + body)
        assert until(lambda: running.inside.present == 1)
        assert until(lambda: running.inside.present == 0, 10.0)
        assert complete(running, max_tokens=1)[0] == 200
        stalled.close()


def test_a_client_that_stalls_in_mid_request_is_let_go_and_holds_nobody_up(scenario, monkeypatch):
    monkeypatch.setattr(importlib.import_module("qmodel.live.endpoint.app"), "SLOWEST_BODY_S", 0.5)
    with serving(scenario) as running:
        host, port = running.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=10.0) as stalled:
            stalled.sendall(b'POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{"prompt": ')
            assert complete(running, max_tokens=1)[0] == 200
            answer = stalled.recv(1 << 16)
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert until(lambda: running.inside.present == 0)


def order_of_service(scenario, policy, sizes):
    """In which order requests of these output lengths end; the first is in service when the others come."""
    with serving(slow(scenario, 0.01).with_policy(make_policy(policy))) as running:
        backend, open_ones = running.inside.backend, {}
        for number, tokens in enumerate(sizes):
            open_ones[number] = opened(running, max_tokens=tokens)
            assert until(lambda count=number: backend.running + backend.waiting == count + 1)
        ended = []
        for each in open_ones.values():
            each.setblocking(False)
        read = dict.fromkeys(open_ones, b"")
        while len(ended) < len(sizes):
            for number, each in open_ones.items():
                try:
                    read[number] += each.recv(1 << 16)
                except BlockingIOError:
                    continue
                if b"[DONE]" in read[number] and number not in ended:
                    ended.append(number)
        for each in open_ones.values():
            each.close()
    return ended


@pytest.mark.parametrize(
    ("policy", "order"),
    [("fcfs", [0, 1, 2, 3]), ("sjf", [0, 3, 2, 1]), ("srpt", [3, 2, 1, 0]), ("lcfs", [0, 3, 2, 1])],
)
def test_the_policy_object_decides(scenario, policy, order):
    assert order_of_service(scenario, policy, [60, 40, 25, 10]) == order


def test_the_single_server_on_an_emulated_engine():
    model = TokenService(
        ServiceModel.affine({"1": 2e-3, "input_tokens": 1e-5}),
        ServiceModel.affine({"1": 2e-3, "context_tokens": 1e-9}),
    )
    lengths = {"input_tokens": Deterministic(20), "output_tokens": Deterministic(5)}
    chat = RequestClass("chat", Poisson(5.0), factors=lengths)
    for policy in ("fcfs", "srpt", "ps", "round-robin"):
        made = Scenario((chat,), make_policy(policy), System(model=model))
        with serving(made) as running:
            gone = opened(running, max_tokens=500)
            assert until(lambda r=running: r.inside.backend.running == 1)
            gone.close()
            status, _, body = complete(running, max_tokens=4)
            assert status == 200
            assert body["usage"]["completion_tokens"] == 4
            assert until(lambda r=running: r.inside.backend.waiting == 0)
            assert call(running, "GET", "/metrics")[0] == 200


def test_sizes_in_seconds_are_drawn():
    one = RequestClass("one", Poisson(5.0), service=Exponential(0.01))
    with serving(Scenario((one,))) as running:
        assert complete(running)[2]["usage"]["completion_tokens"] == 16
        assert complete(running, model="two")[0] == 404


def test_an_engine_that_fails_fails_its_request_only():
    one = RequestClass("one", Poisson(5.0), service=Exponential(0.01))
    with serving(Scenario((one,)), engine="tests.live.http.failing:Engine") as running:
        assert complete(running, max_tokens=2)[0] == 500
        streamed = call(running, "POST", "/v1/completions", {"prompt": "a", "max_tokens": 3, "stream": True})
        assert "out of memory" in streamed[2]
        assert complete(running, max_tokens=1)[0] == 200


def test_scenarios_that_are_not_served(scenario):
    def refused(made, engine="emulated"):
        with pytest.raises(InputError) as error:
            make_backend(made, engine)
        return str(error.value)

    assert "no continuous batching" in refused(scenario, "digits-diffusion")
    assert "transform" in refused(
        scenario.with_transforms(EarlyExit(fractions=(0.5, 1.0), probabilities=(0.5, 0.5)))
    )
    impatient = replace(scenario.classes[0], patience=Exponential(1.0))
    assert "patience" in refused(replace(scenario, classes=(impatient,)))
    two = replace(scenario, system=replace(scenario.system, servers=2))
    assert "servers" in refused(two)
    blind = tuple(
        replace(each, predicted_size=replace(each.predicted_size, error="none")) for each in scenario.classes
    )
    assert "predicted size" in refused(replace(scenario, classes=blind, policy=make_policy("spjf")))
    none = replace(scenario.system, iteration_time=None)
    assert "iteration_time" in refused(replace(scenario, system=none))
    assert "dynamic" in refused(
        replace(scenario, system=System(batching="dynamic", iteration_time=IterationTime(1.0)))
    )
    assert "input_tokens" in refused(
        replace(scenario, classes=(RequestClass("one", Poisson(1.0), service=Exponential(1.0)),))
    )
