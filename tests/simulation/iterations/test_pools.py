"""Encode, prefill and decode on pools of their own, beside times worked out by hand and known queues."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from qmodel.errors import InputError
from qmodel.policy import EDF, FCFS, make_policy
from qmodel.policy.routing import Routing
from qmodel.scenario import Scenario, System
from qmodel.scenario_file import from_tables
from qmodel.scenario_tables import to_tables
from qmodel.service.engine import Engine
from qmodel.service.iteration_time import IterationTime
from qmodel.service.pool import Pool
from qmodel.simulation import simulate
from qmodel.simulation.iterations import invariants
from qmodel.simulation.iterations.drawing import draw
from qmodel.simulation.iterations.outcome import TokenOutcome
from qmodel.simulation.iterations.pools import collected
from qmodel.simulation.iterations.rules import Rules
from qmodel.simulation.iterations.serving import Totals, serve
from qmodel.simulation.iterations.timelines import timelines
from qmodel.simulation.iterations.token_requests import TokenRequests, given
from qmodel.workload import Deterministic, Exponential, Geometric, Poisson, RequestClass

ANY = RequestClass("any", Poisson(1.0), Deterministic(1.0))
TIME = IterationTime(base=1.0, per_prefill_token=1 / 128)
THREE = Engine(
    encode="separate", encode_transfer_s=0.25, prefill="separate", transfer_s=0.5, transfer_tokens_per_s=64
)


def asked(arrival: object, prompt: object, output: object, encode: object) -> TokenRequests:
    return replace(given([ANY], arrival, prompt, output), encode_s=np.asarray(encode, dtype=float))  # type: ignore[arg-type]


def done(requests: TokenRequests, engine: Engine, **more: object) -> tuple[TokenOutcome, Totals]:
    rules = Rules(more.pop("time", TIME), engine, **more)  # type: ignore[arg-type]
    outcome, totals = collected(requests, FCFS(), rules)
    assert not invariants.conservation_of_requests(requests, outcome)
    assert not invariants.conservation_of_tokens(requests, outcome, totals)
    assert not invariants.conservation_of_work(requests, outcome, totals)
    assert not invariants.causality(outcome)
    assert totals.left == len(requests)
    return outcome, totals


def some(n: int = 300, seed: int = 1) -> TokenRequests:
    rng = np.random.default_rng(seed)
    arrival = np.cumsum(rng.exponential(2.0, n))
    return asked(arrival, rng.geometric(0.02, n), rng.geometric(0.2, n), rng.exponential(1.0, n))


def same(ours: TokenOutcome, theirs: TokenOutcome) -> None:
    for name, column in vars(ours).items():
        np.testing.assert_array_equal(column, getattr(theirs, name), err_msg=name)


def test_one_request_alone_passes_all_its_stages() -> None:
    found, totals = done(asked([1.0], [32], [4], [2.5]), THREE)
    first = 1.0 + 2.5 + 0.25 + 1.25  # encode, move, prefill
    assert found.start_s[0] == 1.0
    assert found.first_s[0] == first
    assert found.done_s[0] == first + (0.5 + 32 / 64) + 3.0  # move the cache, three iterations
    assert totals.busy_s == 2.5 + 1.25 + 3.0


def test_an_encoding_of_no_time_and_no_transfer_leave_the_two_pools_as_they_are() -> None:
    requests = some()
    two = Engine(prefill="separate")
    instant = replace(requests, encode_s=np.full(len(requests), 1e-300))  # far below the clock's last digit
    ours, theirs = done(instant, replace(two, encode="separate"))[0], done(replace(requests, encode_s=None), two)[0]
    assert (ours.start_s <= theirs.start_s).all()  # the encoder takes everybody up at once
    same(replace(ours, start_s=theirs.start_s), theirs)


def test_two_pools_without_transfer_and_one_request_at_a_time_are_one() -> None:
    n = 200
    requests = asked(40.0 * np.arange(n), np.full(n, 32), np.full(n, 4), np.full(n, 2.0))
    same(done(requests, Engine(encode="separate", prefill="separate"))[0], done(requests, Engine())[0])


def test_pools_in_full_are_those_in_short() -> None:
    requests = some()
    pools = (
        Pool(("encode",), transfer_s=0.25), Pool(("prefill",), transfer_s=0.5, transfer_tokens_per_s=64),
        Pool(("decode",)),
    )  # fmt: skip
    same(done(requests, Engine(pools=pools))[0], done(requests, THREE)[0])
    whole = Engine(pools=(Pool(("encode", "prefill", "decode"), max_batch=2),))
    same(done(requests, whole)[0], done(requests, Engine(), max_batch=2)[0])


def test_who_has_nothing_to_encode_goes_straight_to_the_prompts() -> None:
    found, _ = done(asked([0.0, 0.5], [32, 32], [1, 1], [10.0, 0.0]), THREE)
    assert found.first_s.tolist() == [10.0 + 0.25 + 1.25, 0.5 + 1.25]


def test_an_encoder_of_the_engine_holds_up_those_that_run() -> None:
    found, _ = done(asked([0.0, 1.5], [128, 128], [4, 1], [0.0, 8.0]), Engine())
    # 2 s of prompt, then the second is admitted beside the first's decoding: 8 s of encoding, 1 + 1 s
    assert found.first_s.tolist() == [2.0, 12.0]
    assert found.done_s.tolist() == [14.0, 12.0]
    apart, _ = done(asked([0.0, 1.5], [128, 128], [4, 1], [0.0, 8.0]), Engine(encode="separate"))
    assert apart.done_s.tolist() == [5.0, 11.5]


def lindley(ready_s: np.ndarray, service_s: np.ndarray, servers: int = 1) -> np.ndarray:
    """Departures from single-server queues that are served in turn."""
    ends, free = np.empty(ready_s.size), np.zeros(servers)
    for at in range(ready_s.size):
        free[at % servers] = max(ready_s[at], free[at % servers]) + service_s[at]
        ends[at] = free[at % servers]
    return ends


@pytest.mark.parametrize("encoders", [1, 3])
def test_one_at_a_time_the_pools_are_a_tandem_of_queues(encoders: int) -> None:
    requests = replace(some(2000, seed=5), output=np.ones(2000, dtype=np.int64))
    pools = (
        Pool(("encode",), encoders, transfer_s=0.25),
        Pool(("prefill",), max_batch=1, transfer_s=9.0),
        Pool(("decode",)),
    )
    found, _ = done(requests, Engine(pools=pools))
    encoded = lindley(requests.arrival_s, requests.encode_s, encoders) + 0.25
    order = np.argsort(encoded, kind="stable")
    expected = np.empty(2000)
    expected[order] = lindley(encoded[order], 1.0 + requests.prompt[order] / 128)
    np.testing.assert_allclose(found.done_s, expected, rtol=1e-12)


def test_a_tandem_of_exponential_services_is_jacksons() -> None:
    rng = np.random.default_rng(3)
    n, rate, encoding, prompt = 150_000, 0.5, 1.2, 1000.0
    time = IterationTime(base=1e-9, per_prefill_token=1e-3)
    arrival, output = np.cumsum(rng.exponential(1 / rate, n)), np.ones(n, dtype=np.int64)
    requests = asked(arrival, rng.geometric(1 / prompt, n), output, rng.exponential(encoding, n))
    pools = (Pool(("encode",)), Pool(("prefill",), max_batch=1, max_batched_tokens=2**20), Pool(("decode",)))
    found, _ = done(requests, Engine(pools=pools), time=time)
    exact = 1 / (1 / encoding - rate) + 1 / (1 / (1e-3 * prompt) - rate)
    means = found.response_s.reshape(30, -1).mean(axis=1)
    error = means.std(ddof=1) / np.sqrt(30)
    assert error < 0.02 * exact
    assert abs(means.mean() - exact) < 3 * error


def test_each_pool_keeps_its_own_bounds() -> None:
    burst = asked(np.zeros(4), [32] * 4, [3] * 4, np.zeros(4))
    pools = (Pool(("prefill",), servers=2, max_batch=1), Pool(("decode",), max_batch=1))
    found, totals = done(burst, Engine(pools=pools))
    assert sorted(found.first_s) == [1.25, 1.25, 2.5, 2.5]
    assert sorted(found.done_s) == [3.25, 5.25, 7.25, 9.25]
    assert totals.peak_running == 1
    small = (Pool(("prefill",)), Pool(("decode",), kv_capacity_tokens=48))
    refused, _ = collected(asked([0.0], [47], [20], [0.0]), FCFS(), Rules(TIME, Engine(pools=small)))
    assert refused.ended.tolist() == [1] and np.isnan(refused.first_s[0])  # before its prompt is computed
    several = (Pool(("prefill",)), Pool(("decode",), servers=2, routing="jsq"))
    found, _ = done(burst, Engine(pools=several, max_batched_tokens=4096), max_batch=1)
    assert found.served.all()


def test_patience_and_deadlines_count_from_the_first_arrival() -> None:
    waiting = replace(asked([0.0, 0.0], [32, 32], [3, 3], [4.0, 4.0]), patience_s=np.array([9.0, 3.0]))
    found, _ = collected(waiting, FCFS(), Rules(TIME, THREE))
    assert found.ended.tolist() == [0, 2] and found.done_s[1] == 3.0 and found.output.tolist() == [3, 0]
    behind = replace(asked([0.0, 0.0], [32, 32], [3, 3], [4.0, 4.0]), patience_s=np.array([9.0, 4.5]))
    assert collected(behind, FCFS(), Rules(TIME, THREE))[0].served.all()  # encoded in time, it stays
    limited = replace(ANY, slo={"response_s": 5.0})
    moved = replace(given([limited], [7.0], [32], [3]), born_s=np.array([1.0]))
    assert moved.deadline_s[0] == 6.0
    assert collected(some(50), EDF(), Rules(TIME, THREE))[0].served.all()


def multimodal(engine: Engine, rate: float = 0.2, **more: object) -> Scenario:
    images = RequestClass(
        "images", Poisson(rate), factors={"input_tokens": Geometric(60.0), "output_tokens": Geometric(5.0)},
        encode_s=Exponential(1.0),
    )  # fmt: skip
    text = replace(images, name="text", encode_s=None)
    system = System(batching="continuous", iteration_time=TIME, max_batch=16, engine=engine, **more)  # type: ignore[arg-type]
    return Scenario([images, text], make_policy("fcfs"), system)


@pytest.mark.parametrize("engine", [Engine(), Engine(encode="separate"), THREE], ids=["mixed", "two", "three"])
def test_a_scenario_with_encoders_is_simulated(engine: Engine) -> None:
    answer = simulate(multimodal(engine), requests=2000, seed=1)
    assert answer["images"].mean_ttft_s > answer["text"].mean_ttft_s + 0.9
    assert 0 < answer["all"].mean_ttft_s < 20
    drawn = draw(multimodal(engine), 4000, np.random.SeedSequence(1), (0.01, 1.0))
    encoding = drawn.encode_s
    assert encoding is not None
    assert not encoding[drawn.class_index == 1].any()
    assert encoding[drawn.class_index == 0].mean() == pytest.approx(1.0, rel=0.1)
    np.testing.assert_allclose(drawn.size_s, 0.01 * drawn.prompt + drawn.output + encoding, rtol=1e-12)


def test_the_file_spells_pools_and_encoders_and_reads_them_back() -> None:
    pools = (Pool(("encode",), 2, "jsq:2", transfer_s=0.1), Pool(("prefill", "decode"), max_batch=4))
    for engine in (Engine(pools=pools), THREE, Engine(prefix_caching=False)):
        tables = to_tables(multimodal(engine))
        again = from_tables(tables, "a file", Path())
        assert again.system.engine == engine
        assert again.classes == multimodal(engine).classes
        assert "encode" in again.features
    assert to_tables(multimodal(Engine(pools=pools)))["system"]["engine"]["pools"][1] == {
        "stages": ["prefill", "decode"], "servers": 1, "routing": "round-robin", "max_batch": 4, "transfer_s": 0.0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("made", "fault"),
    [
        (lambda: Pool(("embed",)), "'embed' is unknown"),
        (lambda: Pool(("prefill",), servers=0), "servers: 0 is below 1"),
        (lambda: Pool(("prefill",), transfer_s=-1.0), "transfer_s: -1.0 is no time"),
        (lambda: Pool(("prefill",), transfer_tokens_per_s=0.0), "is no speed"),
        (lambda: Pool(("prefill",), servers=2, routing="shared"), "a queue of its own"),
        (lambda: Pool(("encode",), max_batch=2), "one request at a time"),
        (lambda: Engine(pools=(Pool(("decode",)), Pool(("prefill",)))), "do decode, prefill"),
        (lambda: Engine(pools=(Pool(()), Pool(("prefill", "decode")))), "in this order"),
        (lambda: Engine(pools=(Pool(("prefill",)), Pool(("decode",), transfer_s=1.0))), "nothing moves on"),
        (lambda: Engine(prefill="separate", pools=(Pool(("prefill", "decode")),)), "beside 'separate'"),
        (lambda: Engine(encode_servers=2), "set encode = 'separate'"),
        (lambda: Engine(encode="apart"), "'apart' is unknown"),  # type: ignore[arg-type]
        (lambda: Engine(encode="separate", encode_servers=0), "encode_servers: 0"),
        (lambda: Rules(TIME, THREE, buffer=3), "buffer: is not simulated"),
        (lambda: Rules(TIME, THREE, servers=2, routing=Routing("jsq")), "servers"),
        (lambda: collected(some(5), FCFS(), Rules(TIME, THREE), sample_s=1.0), "sample_s"),
        (lambda: serve(some(5), FCFS(), Rules(TIME, THREE), lambda _: None), "token by token"),
        (lambda: timelines(multimodal(THREE), 10), "token by token"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_or_is_not_simulated_is_refused(made, fault: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=fault):
        made()
