"""transformers' batching under policies of ours: the tokens are the model's, the order is the policy's."""

from __future__ import annotations

import numpy as np
import pytest

from qmodel.errors import InputError
from qmodel.ladder_batches import ladder_of_batches
from qmodel.live import LiveRun, LiveServer, draw_schedule, measured_answer
from qmodel.live.batch_scheduler import BatchScheduler
from qmodel.live.batches import Batches
from qmodel.live.engine import Work, make_engine
from qmodel.live.pausing import NONE, LaterService, Pauses, read
from qmodel.live.scheduler import Entry
from qmodel.live.sequence import Sequence
from qmodel.policy import FCFS, SRPT, Request
from qmodel.service.engine import Engine
from qmodel.service.token_worth import TokenWorth
from qmodel.service.transform import QueueCondition
from qmodel.workload import Deterministic, Pause

pytestmark = pytest.mark.torch
pytest.importorskip("torch")
pytest.importorskip("transformers")

SMALL = {"hidden_size": 32, "layers": 2, "heads": 2, "kv_heads": 2, "intermediate_size": 64, "vocab_size": 64}
WORTH = TokenWorth(1e-4, 0.01)


@pytest.fixture(scope="module")
def engine():
    made = make_engine("transformers", **SMALL, device="cpu")
    yield made
    made.close()


class Server:
    """One run driven by hand."""

    def __init__(self, engine, policy=None, max_batch=4, condition=None, **batches):
        self.scheduler = BatchScheduler(policy or FCFS(), max_batch, WORTH, condition, batches.get("drops", False))
        self.prefixes = batches.get("prefixes", ())
        given = Batches(True, max_batch, max_batched_tokens=64, worth=WORTH, longest=40, **batches)
        self.session = engine.open(given, self.scheduler)
        self.said, self.order = {}, []

    def add(self, index, prompt, output, output_long=None, arrival=None, pauses=NONE):
        size = WORTH.size(prompt, output)
        request = Request(float(index) if arrival is None else arrival, size, size)
        prefix = self.prefixes[index] if self.prefixes else 0
        sequence = Sequence(Entry(index, request), prompt, output, output_long, prefix=prefix, pauses=pauses)
        self.session.add(sequence, Work({}, 0.0, index))
        self.scheduler.add(sequence)
        return sequence

    def step(self):
        computed = self.session.iterate(0.0)
        for sequence, tokens in computed:
            if not (sequence.advance(tokens) and sequence.generated == sequence.output):
                continue
            if sequence.comes_back:
                self.scheduler.pause(sequence)
                self.session.pause(sequence)
            else:
                self.scheduler.finish(sequence)
                self.order.append(sequence.entry.index)
        for sequence in self.scheduler.running:
            self.said[sequence.entry.index] = self.session._paged.tokens(str(sequence.entry.index))
        return {sequence.entry.index: tokens for sequence, tokens in computed}

    def come_back(self, sequence):
        self.scheduler.come_back(sequence)
        self.session.come_back(sequence)

    def run(self):
        steps = []
        while self.scheduler.present:
            steps.append(self.step())
        self.swap_s = self.session.swap_s
        self.session.close()
        return steps


def expected_tokens(engine, index, prompt, output):
    """What follows a prompt drawn from the seed of this request."""
    return continued(engine, engine._target.prompt(prompt, index), output)


def continued(engine, prompt, output):
    """The whole sequence through the model again for every token, without a cache."""
    import torch

    model = engine._target.model
    sequence = torch.tensor([prompt])
    with torch.inference_mode():
        for _ in range(output):
            token = model(sequence).logits[:, -1].argmax(dim=-1, keepdim=True)
            sequence = torch.cat([sequence, token], dim=1)
    return sequence[0, len(prompt) :].tolist()


def said_after_all(server, index):
    """All tokens of a request that started anew: those before are part of its prompt to the library."""
    state = server.session._paged._scheduler.states[str(index)]
    return state.initial_tokens[state._true_initial_tokens :] + state.generated_tokens


def test_tokens_are_those_of_greedy_generation_whoever_is_in_the_batch(engine):
    server = Server(engine)
    lengths = {0: (7, 6), 1: (30, 9), 2: (3, 4), 3: (17, 8), 4: (40, 5)}
    for index, (prompt, output) in lengths.items():
        server.add(index, prompt, output)
    steps = server.run()
    for index, (prompt, output) in lengths.items():
        assert server.said[index][: output - 1] == expected_tokens(engine, index, prompt, output)[: output - 1]
    assert steps[0] == {0: 7, 1: 30, 2: 3, 3: 17}  # four at most
    assert all(len(step) <= 4 and sum(step.values()) <= 64 for step in steps)


def test_a_long_prompt_is_read_in_chunks_beside_those_that_decode(engine):
    server = Server(engine, max_batch=2)
    server.add(0, 10, 6)
    server.step()
    server.add(1, 90, 2)
    assert server.step() == {0: 1, 1: 63}
    assert server.step() == {0: 1, 1: 27}
    server.run()
    assert server.order == [1, 0]


def test_who_is_displaced_keeps_its_cache_and_goes_on_where_it_was(engine):
    server = Server(engine, SRPT(), max_batch=1)
    long = server.add(0, 12, 20)
    for _ in range(3):
        server.step()
    server.add(1, 5, 2)
    assert server.step() == {1: 5}
    assert server.step() == {1: 1}
    assert (long.generated, server.step()) == (3, {0: 1})
    server.run()
    assert server.order == [1, 0]
    assert server.said[0][:19] == expected_tokens(engine, 0, 12, 19)


@pytest.mark.parametrize(("shares", "anew"), [(False, 15), (True, 3)])
def test_who_is_displaced_gives_its_cache_up_where_memory_is_bounded(engine, shares, anew):
    bounds = {"kv_capacity_tokens": 400, "kv_block_tokens": 4}
    server = Server(engine, SRPT(), max_batch=1, drops=True, shares=shares, **bounds)
    long = server.add(0, 12, 20)
    for _ in range(3):
        server.step()
    server.add(1, 5, 2)
    assert (server.step(), server.step()) == ({1: 5}, {1: 1})
    assert (long.pending, long.reached, server.scheduler.preemptions) == (15, 12, 1)
    assert server.step() == {0: anew}  # prompt and three tokens, less what three whole blocks of four still hold
    for _ in range(14):
        server.step()
    assert said_after_all(server, 0) == expected_tokens(engine, 0, 12, 18)
    server.run()
    assert server.order == [1, 0]


def test_a_prefix_that_all_share_is_computed_once(engine):
    server = Server(engine, kv_block_tokens=4, shares=True, prefixes=(8, 9, 0, 10))
    for index in range(4):
        server.add(index, 12, 5)
    said = {0: 4, 1: 4, 2: 12, 3: 4}  # whole blocks are found
    assert server.step() == said
    server.step()
    for index, prefix in enumerate(server.prefixes):
        prompt = engine._target.prompt(12, index, prefix)
        assert prompt[:8] == engine._target.prompt(12, 99, 8)[:8] or not prefix
        assert server.said[index] == continued(engine, prompt, 2)
    assert len(server.run()) == 3


def test_of_those_that_wait_with_a_cache_the_last_gives_it_up_when_memory_runs_out(engine):
    server = Server(engine, SRPT(), max_batch=1, kv_block_tokens=4, kv_capacity_tokens=40)
    server.add(0, 20, 8)
    server.step()
    short = server.add(1, 32, 4)
    server.step()
    server.run()
    assert server.session.evictions == 1 and server.order == [1, 0]
    assert short.farthest == 0


def test_room_for_all_where_caches_are_kept(engine):
    from qmodel.live.engines.transformers import AMPLE_TOKENS, SHARE, room

    def asked(policy=None, **batches):
        given = Batches(True, 4, worth=WORTH, longest=40, **batches)
        return room(engine._target, given, BatchScheduler(policy or FCFS(), 4, WORTH))

    assert engine._target.kv_bytes_per_token == 2 * 2 * 2 * 16 * 4
    assert asked(all_tokens=50_000) == AMPLE_TOKENS
    assert asked(SRPT(), all_tokens=50_000) == asked(shares=True, all_tokens=50_000) == 50_000
    assert asked(SRPT(), all_tokens=50_000, kv_capacity_tokens=77) == 77
    most = SHARE * engine._target.engine.memory_bytes() / engine._target.kv_bytes_per_token
    assert asked(SRPT(), all_tokens=1 << 60) == int(most)


def in_services(engine, index, prompt, output, pauses):
    """What is said in each service: the last token of one is read before what the pause brings."""
    context, said = engine._target.prompt(prompt, index), []
    for number in range(len(pauses.services) + 1):
        if number:
            service = pauses.services[number - 1]
            context = context + engine._target.prompt(service.input_tokens, index + (number << 24))
            output = service.output_tokens
        said.append(continued(engine, context, output))
        context = context + said[-1]
    return said


@pytest.mark.parametrize("shares", [False, True])
@pytest.mark.parametrize(("kv", "anew"), [("keep", 1 + 7), ("discard", 15 + 7), ("swap", 1 + 7)])
def test_who_pauses_says_what_follows_its_whole_context(engine, kv, anew, shares):
    bounds = {"kv_capacity_tokens": 400, "kv_block_tokens": 4}
    server = Server(engine, max_batch=2, shares=shares, pauses=(NONE,), **bounds)
    pauses = Pauses(kv, (LaterService(1.0, 7, 4), LaterService(1.0, 3, 6)))
    gone = server.add(0, 10, 5, pauses=pauses)
    while not server.scheduler._away:
        server.step()
    assert (gone.generated, gone.visits, server.scheduler.present) == (5, 0, 0)
    if not shares:  # else what nobody uses counts until it is needed
        assert server.session.memory_used == pytest.approx(16 / 400 if kv == "keep" else 0.0)
    server.add(1, 9, 12)  # its blocks are those given back, if any were
    for _ in range(3):
        server.step()
    server.come_back(gone)
    if not (shares and kv == "discard"):  # what was given up is found again, as far as nobody took it
        assert server.step() == {1: 1, 0: anew}
    while not server.scheduler._away:
        server.step()
    server.come_back(gone)
    server.step()
    state = server.session._paged._scheduler.states["0"]
    said = in_services(engine, 0, 10, 5, pauses)
    everything = state.initial_tokens + state.generated_tokens
    assert everything[10:15] == said[0] and everything[22:26] == said[1] and everything[29:] == said[2][:1]
    server.run()
    assert sorted(server.order) == [0, 1] and gone.generated == 15
    assert server.said[1][:11] == expected_tokens(engine, 1, 9, 11)
    assert (server.swap_s > 0) == (kv == "swap")


def test_of_those_away_the_last_gives_its_cache_up_when_nobody_else_can_run(engine):
    server = Server(engine, max_batch=2, pauses=(NONE,), kv_capacity_tokens=64, kv_block_tokens=4)
    pauses = Pauses("keep", (LaterService(1.0, 4, 3),))
    first, second = server.add(0, 20, 2, pauses=pauses), server.add(1, 16, 2, pauses=pauses)
    while len(server.scheduler._away) < 2:
        server.step()
    server.add(2, 30, 3)
    while 2 not in server.order:
        server.step()
    assert (first.computed, second.computed, second.farthest, server.session.evictions) == (21, 0, 17, 1)
    for each in (second, first):
        server.come_back(each)
    server.run()
    assert sorted(server.order) == [0, 1, 2]


def test_fewer_tokens_while_the_queue_is_long(engine):
    server = Server(engine, max_batch=4, condition=QueueCondition(above=1))
    first, second = server.add(0, 5, 6, output_long=2), server.add(1, 5, 6, output_long=2)
    server.run()
    assert (first.output, second.output, server.session._sequences["0"].generated) == (2, 2, 2)


def test_out_of_kv_memory_somebody_starts_anew_and_says_the_same(engine):
    server = Server(engine, max_batch=4, kv_capacity_tokens=96, kv_block_tokens=16)
    evicted = []
    real = server.session.evicted
    server.session.evicted = lambda name: (evicted.append(name), real(name))
    for index in range(4):
        server.add(index, 15, 24)
    server.run()
    assert evicted
    assert sorted(server.order) == [0, 1, 2, 3]
    for index in range(4):
        if str(index) not in evicted:
            assert server.said[index][:23] == expected_tokens(engine, index, 15, 23)


def test_dropped_requests_are_forgotten(engine):
    server = Server(engine)
    first, _ = server.add(0, 5, 4), server.add(1, 5, 4)
    server.step()
    server.scheduler.finish(first)
    server.session.drop(first)
    assert server.step() == {1: 1}
    assert "0" not in server.session._paged._scheduler.states
    server.session.close()


def test_an_iteration_that_fails_is_told_and_leaves_the_engine_usable(engine):
    server = Server(engine, max_batch=1)
    failed, _ = server.add(0, 5, 4), server.add(1, 5, 2)
    step = server.session._paged._processor._generation_step

    def broken(model):
        server.session._paged._processor._generation_step = step
        raise RuntimeError("kernel died")

    server.session._paged._processor._generation_step = broken
    with pytest.raises(RuntimeError, match="kernel died"):
        server.step()
    server.scheduler.finish(failed)
    server.session.drop(failed)
    server.run()
    assert server.order == [1]


def test_what_it_is_and_what_it_refuses(engine):
    assert (engine.batching, engine.emulated) == (("continuous",), False)
    assert set(engine.versions()) >= {"torch", "transformers"}
    with pytest.raises(InputError, match="continuous"):
        engine.start(Work({}, 0.0))
    with pytest.raises(InputError, match="the model holds"):
        engine.open(Batches(True, 4, worth=WORTH, longest=1 << 20), BatchScheduler(FCFS(), 4, WORTH))


def test_versions_that_are_not_known():
    from qmodel.measure.targets.paged_batching import check_version

    for version in ("4.57.0", "5.15.2", "6.0.0"):
        with pytest.raises(InputError, match=version):
            check_version(version)


@pytest.mark.slow
def test_a_live_run(in_lengths, tmp_path):
    scenario = in_lengths(SRPT(), rate=20.0)
    schedule = draw_schedule(scenario, 1.5, seed=1)
    with LiveServer({"kind": "transformers", "device": "cpu", **SMALL}) as server:
        run = server.run(scenario, schedule, log_path=tmp_path / "run.csv")
    log = run.log
    assert (log["status"] == "ok").all()
    assert (log["output_tokens"] == 6).all()
    stamps = log[["scheduled_s", "started_s", "first_token_s", "last_token_s"]].to_numpy()
    assert (np.diff(stamps, axis=1) > 0).all()
    answer = measured_answer(run, scenario, warmup_share=0.0)
    assert answer["all"].mean_ttft_s + 5 * answer["all"].mean_tpot_s == pytest.approx(answer["all"].mean_response_s)
    assert 0 < answer.utilisation <= 1
    assert run.meta["loop"]["totals"]["prefill_tokens"] == 20 * len(schedule)


@pytest.mark.slow
@pytest.mark.parametrize("kv", ["keep", "discard", "swap"])
def test_a_live_run_with_pauses(in_lengths, tmp_path, kv):
    pause = Pause(0.5, Deterministic(0.2), kv)
    memory = {"kv_capacity_tokens": 512}
    options = Engine(max_batched_tokens=64, whole_prompt=False, kv_block_tokens=4, prefix_caching=False,
                     swap_tokens_per_s=1e5)  # fmt: skip
    scenario = in_lengths(rate=12.0, system=memory, engine=options, pause=pause)
    schedule = draw_schedule(scenario, 2.0, seed=1)
    with LiveServer({"kind": "transformers", "device": "cpu", **SMALL}) as server:
        run = server.run(scenario, schedule, log_path=tmp_path / "run.csv")
    log, services = LiveRun.read(tmp_path / "run.csv").log, [1 + len(read(text)) for text in schedule.later]
    assert (log["status"] == "ok").all() and max(services) > 2
    assert log["output_tokens"].tolist() == [6 * each for each in services]
    assert (log["done_s"] - log["scheduled_s"] > log["away_s"]).all()
    totals = run.meta["loop"]["totals"]
    assert totals["pauses"] == sum(services) - len(services)
    assert (totals["swap_s"] > 0) == (kv == "swap")
    anew = sum(k * 26 - 1 for each in services for k in range(1, each))
    again = anew if kv == "discard" else 0
    assert totals["prefill_tokens"] == sum(20 * each + each - 1 for each in services) + again
    answer = measured_answer(run, scenario, warmup_share=0.0)
    response = (log["done_s"] - log["scheduled_s"] - log["away_s"]).mean()
    assert answer["all"].mean_response_s == pytest.approx(response)
    rungs = ladder_of_batches(scenario, run.log, run.meta["loop"], answer, 0.0, 2.0)
    assert {rung.rung for rung in rungs} >= {"live", "measured services", "fitted services"}
