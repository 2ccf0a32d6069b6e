"""Bodies, events, prompts, limits and metrics: text in, facts out."""

from __future__ import annotations

import json

import numpy as np
import pytest

from qmodel.errors import InputError
from qmodel.live.endpoint.asking import prompt_tokens, read_asked
from qmodel.live.endpoint.stream import Refused
from qmodel.live.load.answering import goodput_limits
from qmodel.live.load.scrape import between, sums_of
from qmodel.openai_client.events import LONGEST_LINE, Events, Nonsense, Told, brings_text, message_of
from qmodel.openai_client.prompts import WordCount, calibrated, text


def asked(chat=False, **body):
    return read_asked(body, chat=chat, anybody="demo", most_tokens=1000)


def test_what_a_body_asks_for():
    plain = asked(prompt=[1, 2, 3], max_tokens=7, priority=-2, stream=True, temperature=0.7)
    assert (plain.order.prompt_tokens, plain.order.max_tokens, plain.order.priority) == (3, 7, -2)
    assert (plain.order.class_name, plain.stream, plain.include_usage) == (None, True, False)
    parts = [{"type": "text", "text": "one two"}, {"type": "text", "text": "three"}]
    messages = [{"role": "system", "content": "be brief"}, {"role": "user", "content": parts}]
    chat = asked(True, model="c", messages=messages, max_completion_tokens=4, max_tokens=9,
                 stream_options={"include_usage": True})  # fmt: skip
    assert (chat.order.prompt_tokens, chat.order.max_tokens, chat.order.class_name) == (5, 4, "c")
    assert chat.include_usage
    assert asked(prompt=["one text"]).order.max_tokens is None


@pytest.mark.parametrize(
    ("chat", "body"),
    [
        (False, {}), (False, {"prompt": 3}), (False, {"prompt": []}), (False, {"prompt": ["a", "b"]}),
        (False, {"prompt": [True]}), (False, {"prompt": "a", "max_tokens": 0}),
        (False, {"prompt": "a", "max_tokens": 2.5}), (False, {"prompt": "a", "max_tokens": True}),
        (False, {"prompt": "a", "max_tokens": 1000}), (False, {"prompt": "a", "n": 2}),
        (False, {"prompt": "a", "model": 3}), (False, {"prompt": "a", "priority": "high"}),
        (True, {"messages": []}), (True, {"messages": ["hello"]}), (True, {"messages": [{"role": "user"}]}),
        (True, {"messages": [{"content": [{"type": "image_url"}]}]}),
    ],
)  # fmt: skip
def test_bodies_that_are_not_taken(chat, body):
    with pytest.raises(Refused) as refusal:
        asked(chat, **body)
    assert refusal.value.status == 400


def test_a_body_that_is_no_object():
    with pytest.raises(Refused, match="no JSON object"):
        read_asked([1], chat=False, anybody="demo", most_tokens=10)


def test_an_empty_prompt_is_one_token():
    assert prompt_tokens("", "prompt") == 1


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_events_come_whole_however_the_network_cuts_them(size):
    stream = b': hello\n\nevent: x\r\ndata: {"a": 1}\r\n\r\ndata:{"b": 2}\n\nid: 3\nretry: 4\ndata: [DONE]\n\n'
    events = Events()
    found = [one for at in range(0, len(stream), size) for one in events.fed(stream[at : at + size])]
    assert found == [b'{"a": 1}', b'{"b": 2}', b"[DONE]"]


def test_what_is_no_event():
    with pytest.raises(Nonsense, match="no event: <html>"):
        list(Events().fed(b"<html>\n"))
    with pytest.raises(Nonsense, match="a line of more than"):
        list(Events().fed(b"x" * (LONGEST_LINE + 1)))


def test_what_a_stream_says():
    told = Told()
    assert told.hear(b'{"choices": [{"delta": {"content": "a"}}]}')
    assert not told.hear(b'{"choices": [{"delta": {}, "finish_reason": "stop"}]}')
    assert not told.hear(b'{"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2}}')
    assert not told.hear(b"[DONE]")
    assert (told.done, told.reason, told.input_tokens, told.output_tokens) == (True, "stop", 5, 2)
    assert not told.hear(b'{"usage": {"prompt_tokens": "many"}}')
    assert told.input_tokens == 5


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"{", "no JSON"), (b"3", "no event"), (b'{"choices": [1]}', "no choice"), (b"[" * 100_000, "no JSON"),
        (b'{"error": {"message": "out of memory"}}', "the server says: out of memory"),
    ],
)  # fmt: skip
def test_nonsense_in_a_stream(data, said):
    with pytest.raises(Nonsense, match=said):
        Told().hear(data)


@pytest.mark.parametrize(
    ("choice", "brings"),
    [
        ({"text": ""}, True), ({"text": "", "finish_reason": "stop"}, False),
        ({"text": "a", "finish_reason": "stop"}, True), ({"delta": {"role": "assistant", "content": ""}}, False),
        ({"delta": {"content": ""}}, True), ({"delta": {"content": None}}, False), ({"delta": 3}, False),
        ({}, False),
        ({"delta": {"reasoning_content": "hm"}}, True),
        ({"delta": {"content": ""}, "finish_reason": "stop"}, False),
    ],
)  # fmt: skip
def test_what_brings_a_token(choice, brings):
    assert brings_text(choice) is brings


def test_messages_of_errors_are_short():
    assert message_of({"error": {"message": "a\nb"}}) == "a b"
    assert message_of({"detail": [{"msg": "no"}]}) == "[{'msg': 'no'}]"
    assert len(message_of("x" * 500)) == 120
    assert message_of({"code": 3}) == "{'code': 3}"


def test_words_of_a_prompt():
    assert WordCount().words_for(0) == 1
    assert calibrated((10, 10)) == WordCount()
    count = calibrated((12, 172))  # 1.25 tokens a word and 2 more
    assert (count.overhead, count.ratio, count.words_for(127)) == (2.0, 1.25, 100)
    assert text(30, np.random.default_rng(1)) != text(30, np.random.default_rng(2))


@pytest.mark.parametrize("bad", ["ttft", "ttft:x", "ttft:0", "speed:3", "ttft:inf"])
def test_limits_that_are_none(bad):
    with pytest.raises(InputError, match="is no limit"):
        goodput_limits([bad])


def test_limits_as_in_vllm_bench():
    assert goodput_limits(["ttft:100,tpot:50 e2el:1000"]) == {"ttft": 0.1, "tpot": 0.05, "response": 1.0}
    assert goodput_limits([]) == {}


def metrics(count, total, preempted=0.0, engine="0"):
    label = json.dumps(engine)
    return (
        f"vllm:request_queue_time_seconds_count{{engine={label}}} {count}\n"
        f"vllm:request_queue_time_seconds_sum{{engine={label}}} {total}\n"
        f'vllm:request_queue_time_seconds_bucket{{engine={label},le="1.0"}} {count}\n'
        f"vllm:num_preemptions_total{{engine={label}}} {preempted}\n"
    )


def test_metrics_between_two_scrapes():
    found = between(metrics(2, 1.0), metrics(6, 3.0, 4.0))
    assert found == {"mean_queue_s": 0.5, "requests": 4, "preemptions": 4}
    both = metrics(1, 1.0) + metrics(3, 1.0, engine="1")
    assert sums_of(both)["request_queue_time_seconds_count"] == 4


def test_metrics_that_tell_nothing():
    assert between("", metrics(1, 1.0)) == {}
    assert between(metrics(5, 2.0), metrics(1, 0.1)) == {}  # the server began anew
    assert between(metrics(1, 1.0), "<html>not metrics {{{</html>") == {}
    assert between(metrics(1, 1.0), metrics(1, 1.0)) == {}
