"""Real engines that batch, behind the endpoint: slots, memory, clients that leave, the policy at work."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace

import pytest

from qmodel.errors import InputError
from qmodel.live.endpoint.app import Limits
from qmodel.live.endpoint.batched import Clips, Leaving
from qmodel.live.endpoint.serving import make_backend
from qmodel.live.scheduler import Entry
from qmodel.live.sequence import Sequence
from qmodel.policy import Request, make_policy
from qmodel.scenario import Scenario
from qmodel.service.engine import Engine
from qmodel.service.iteration_time import IterationTime
from qmodel.service.system import System
from qmodel.service.token_worth import TokenWorth
from qmodel.service.transform import ClipOutput, FewerSteps, QueueCondition
from qmodel.workload import Deterministic, Poisson, RequestClass

from .conftest import serving
from .test_endpoint import call, complete, opened, samples, until

WAITING, STUCK = (f"tests.live.http.batching_engines:{name}" for name in ("Waiting", "Stuck"))
SMALL = {"hidden_size": 32, "layers": 2, "heads": 2, "kv_heads": 2, "intermediate_size": 64, "vocab_size": 64,
         "device": "cpu"}  # fmt: skip


def question(policy="fcfs", transforms=(), slots=2, prompt=20, **system):
    """Two classes on a batch of so many, iterations of 5 ms."""
    factors = {"input_tokens": Deterministic(prompt), "output_tokens": Deterministic(8)}
    classes = [RequestClass(name, Poisson(5.0), factors=factors, priority=i) for i, name in enumerate("ab")]
    taken = IterationTime(base=5e-3, per_prefill_token=1e-5)
    given = System(batching="continuous", max_batch=slots, iteration_time=taken, engine=Engine(64), **system)
    return Scenario(classes, make_policy(policy), given, tuple(transforms), name="batched")


def at_once(running, *bodies):
    """Answers to requests that are sent one right after the other, with when each was there."""
    found = {}

    def ask(number, body):
        answer = complete(running, **body)
        found[number] = (*answer, time.monotonic())

    threads = [threading.Thread(target=ask, args=each) for each in enumerate(bodies)]
    for thread in threads:
        thread.start()
        time.sleep(0.02)
    for thread in threads:
        thread.join()
    return [found[number] for number in range(len(bodies))]


def test_two_clients_share_the_iterations():
    with serving(question(), WAITING) as running:
        one, two = at_once(running, {"max_tokens": 40}, {"max_tokens": 40})
        assert [each[2]["usage"]["completion_tokens"] for each in (one, two)] == [40, 40]
        assert abs(one[3] - two[3]) < 0.15  # 40 iterations of 5 ms: one after the other would be 0.2 s apart
        found = samples(running)
    assert found["vllm:request_success_total"] == 2
    assert found["vllm:request_queue_time_seconds_count"] == 2


def test_the_policy_decides_who_gets_the_slot():
    with serving(question("np-priority", slots=1), WAITING) as running:
        first, low, high = at_once(running, {"max_tokens": 40}, {"model": "b", "max_tokens": 4},
                                   {"model": "a", "max_tokens": 4})  # fmt: skip
    assert first[3] < high[3] < low[3]


def test_a_preemptive_policy_takes_the_slot_and_tells():
    with serving(question("pr-priority", slots=1), WAITING) as running:
        low, high = at_once(running, {"model": "b", "max_tokens": 60}, {"model": "a", "max_tokens": 4})
        assert high[3] < low[3]
        assert samples(running)["vllm:num_preemptions_total"] == 1


def test_a_client_that_leaves_frees_its_slot_and_its_memory():
    with serving(question(slots=1), WAITING) as running:
        gone, waits = opened(running, max_tokens=100), opened(running, max_tokens=90)
        assert until(lambda: samples(running)["vllm:num_requests_waiting"] == 1)
        assert until(lambda: samples(running)["vllm:kv_cache_usage_perc"] == 0.2)
        waits.close()
        assert until(lambda: samples(running)["vllm:num_requests_waiting"] == 0)
        gone.close()
        assert until(lambda: samples(running)["vllm:num_requests_running"] == 0)
        found = samples(running)
        assert (found["vllm:kv_cache_usage_perc"], found["qmodel:requests_left_total"]) == (0.0, 2)
        assert complete(running, max_tokens=2)[0] == 200


def test_overload_is_told_with_a_time_to_come_back():
    with serving(question(slots=1), WAITING, Limits(queue=1)) as running:
        held = [opened(running, max_tokens=100)]
        assert until(lambda: samples(running)["vllm:num_requests_running"] == 1)
        held.append(opened(running, max_tokens=5))
        assert until(lambda: samples(running)["vllm:num_requests_waiting"] == 1)
        status, headers, body = complete(running, max_tokens=5)
        assert (status, body["error"]["type"]) == (429, "rate_limit_error")
        assert int(headers["Retry-After"]) >= 1
        assert samples(running)["qmodel:requests_rejected_total"] == 1
        for each in held:
            each.close()


def test_what_never_fits():
    with serving(question("pr-priority"), WAITING) as running:
        status, _, body = complete(running, max_tokens=200)
        assert (status, "exceed the KV memory of 160" in body["error"]["message"]) == (400, True)
        assert complete(running, max_tokens=20)[0] == 200


def test_failures_are_those_requests_own():
    with serving(question(), WAITING) as running:
        status, _, body = complete(running, prompt=" ".join("x" * 13), max_tokens=3)
        assert (status, body["error"]["message"]) == (500, "MemoryError: no room")
        status, _, body = complete(running, prompt=" ".join("x" * 7), max_tokens=3)
        assert (status, body["error"]["message"]) == (500, "RuntimeError: broken in two")
        assert complete(running, max_tokens=3)[0] == 200


def test_an_engine_that_computes_nobody_gives_up_on_those_present():
    with serving(question(), STUCK) as running:
        status, _, body = complete(running, max_tokens=3)
        assert (status, "computes nobody" in body["error"]["message"]) == (500, True)
        assert call(running, "GET", "/health")[0] == 200


def test_answers_are_cut_short_always_and_while_the_queue_is_long():
    clips = (ClipOutput(max_tokens=20), ClipOutput(when=QueueCondition(above=1), max_tokens=3))
    with serving(question(transforms=clips), WAITING) as running:
        one, two = at_once(running, {"max_tokens": 40}, {"max_tokens": 40})
    assert [each[2]["usage"]["completion_tokens"] for each in (one, two)] == [20, 3]
    assert Clips(question()).of(9) == (9, None)
    assert Clips(question(transforms=clips[1:])).of(9) == (9, 3)


def test_who_leaves_the_queue_leaves_its_order():
    scheduler = Leaving(make_policy("fcfs"), 1, TokenWorth(1e-4, 1e-2))
    waiting = [Sequence(Entry(i, Request(float(i), 1.0, 1.0)), 10, 2) for i in range(4)]
    for each in waiting:
        scheduler.add(each)
    chosen = scheduler.choose(64)
    scheduler.took(chosen)
    scheduler.remove(waiting[2])
    scheduler.remove(waiting[0])
    assert (scheduler.present, scheduler.waiting, scheduler.running) == (2, 2, [])
    assert [scheduler._line.pop() for _ in range(2)] == [waiting[1], waiting[3]]


def test_what_is_refused():
    for changed, engine, said in (
        (question(), "digits-diffusion", "--engine"),
        (question(transforms=[FewerSteps(fraction=0.5)]), WAITING, "FewerSteps"),
        (question(kv_capacity_tokens=100), WAITING, "kv_capacity_tokens"),
        (replace(question(), policy=make_policy("ps")), WAITING, "ps"),
    ):
        with pytest.raises(InputError, match=said):
            make_backend(changed, engine)


@pytest.fixture(scope="module")
def transformers():
    pytest.importorskip("transformers")
    with serving(question(slots=4), "transformers", Limits(queue=8), **SMALL) as running:
        yield running


@pytest.mark.torch
class TestTransformers:
    @pytest.fixture
    def running(self, transformers):
        return transformers

    def test_chat_completions_models(self, running):
        assert complete(running, max_tokens=6)[2]["usage"]["completion_tokens"] == 6
        asked = {
            "model": "b",
            "messages": [{"role": "user", "content": "hello there"}],
            "max_tokens": 4,
            "stream": True,
        }
        events = call(running, "POST", "/v1/chat/completions", asked)[2].split("\n\n")
        assert sum('"content": " ' in event for event in events) == 4
        card = json.loads(call(running, "GET", "/v1/models")[2])["data"][0]["qmodel"]
        assert (card["engine"], card["emulated"], set(card["versions"])) == (
            "transformers", False, {"torch", "transformers"},
        )  # fmt: skip

    def test_many_at_once_are_all_served(self, running):
        before = samples(running)["vllm:request_success_total"]
        answers = at_once(running, *({"max_tokens": 3 + i} for i in range(7)))
        assert [each[2]["usage"]["completion_tokens"] for each in answers] == list(range(3, 10))
        assert samples(running)["vllm:request_success_total"] == before + 7

    def test_a_client_that_leaves_gives_its_blocks_back(self, running):
        sockets = [opened(running, max_tokens=4000) for _ in range(6)]
        assert until(lambda: samples(running)["vllm:num_requests_waiting"] == 2)
        assert until(lambda: samples(running)["vllm:kv_cache_usage_perc"] > 0)
        for each in sockets:
            each.close()
        assert until(lambda: samples(running)["vllm:kv_cache_usage_perc"] == 0)
        found = samples(running)
        assert (found["vllm:num_requests_waiting"], found["vllm:num_requests_running"]) == (0, 0)
        assert complete(running, max_tokens=2)[0] == 200

    def test_a_small_memory_serves_long_requests_under_a_preemptive_policy(self):
        engine = Engine(64, whole_prompt=False)
        asked = question("pr-priority", kv_capacity_tokens=128)
        asked = replace(asked, system=replace(asked.system, engine=engine))
        with serving(asked, "transformers", **SMALL) as running:
            bodies = [{"model": "ba"[i % 2], "max_tokens": 90 - 10 * i} for i in range(6)]
            answers = at_once(running, *bodies)
            assert [each[2]["usage"]["completion_tokens"] for each in answers] == [90, 80, 70, 60, 50, 40]
            assert samples(running)["vllm:num_preemptions_total"] > 0
            assert until(lambda: samples(running)["vllm:kv_cache_usage_perc"] < 1)

    def test_a_prefix_is_found_in_the_cache(self):
        asked = question(prompt=48)
        asked = replace(asked, classes=[replace(each, prefix_hit=0.7) for each in asked.classes])
        with serving(asked, "transformers", **SMALL) as running:
            for _ in range(2):
                assert complete(running, prompt=" ".join("x" * 48), max_tokens=4)[0] == 200

    def test_a_request_that_is_longer_than_the_memory(self, running):
        status, _, body = complete(running, max_tokens=100_000)
        assert (status, "exceed the KV memory" in body["error"]["message"]) == (400, True)
