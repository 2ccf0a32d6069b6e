"""Each way of running an engine on a few requests, beside times worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from qmodel.errors import InputError
from qmodel.policy import EDF, FCFS, PS, SRPT, NonPreemptivePriority, PreemptivePriority, Rank, make_policy
from qmodel.policy.routing import Routing
from qmodel.service.engine import Engine
from qmodel.service.iteration_time import IterationTime
from qmodel.service.transform import EarlyExit
from qmodel.simulation.iterations import rules
from qmodel.simulation.iterations.outcome import TokenOutcome
from qmodel.simulation.iterations.pools import collected
from qmodel.simulation.iterations.replaying import replay_run
from qmodel.simulation.iterations.rules import Rules
from qmodel.simulation.iterations.token_requests import Later, TokenRequests, given
from qmodel.workload import Deterministic, Pause, Poisson, RequestClass

SECOND = IterationTime(base=1.0)
BOTH = [RequestClass(n, Poisson(1.0), Deterministic(1.0), priority=p) for n, p in (("first", 0), ("second", 1))]


def done(arrival: list[float], prompt: list[int], output: list[int], **options: object) -> TokenOutcome:
    time = options.pop("time", SECOND)
    return replay_run(time, arrival, prompt, output, tell=None, **options).outcome  # type: ignore[arg-type]


def test_a_prompt_longer_than_the_budget_takes_several_iterations() -> None:
    time = IterationTime(base=1.0, per_prefill_token=0.01)
    found = done([0.0], [250], [2], time=time, engine=Engine(max_batched_tokens=100))
    assert found.first_s[0] == pytest.approx(3 + 2.5) and found.done_s[0] == pytest.approx(4 + 2.5)


def test_decoding_goes_on_beside_a_prompt_but_not_where_prompts_go_first() -> None:
    arrival, lengths = [0.0, 1.5], ([10, 250], [5, 1])
    mixed = done(arrival, *lengths, engine=Engine(max_batched_tokens=101))
    first = done(arrival, *lengths, engine=Engine(max_batched_tokens=101, prefill="first"))
    assert mixed.done_s.tolist() == [5.0, 5.0]
    assert first.done_s.tolist() == [8.0, 5.0]


def test_two_pools_hand_the_cache_over() -> None:
    time = IterationTime(base=1.0, per_prefill_token=0.01)
    engine = Engine(prefill="separate", transfer_tokens_per_s=100.0, transfer_s=0.25)
    found = done([0.0], [50], [4], time=time, engine=engine)
    assert found.first_s[0] == pytest.approx(1.5)
    assert found.done_s[0] == pytest.approx(1.5 + 0.25 + 0.5 + 3.0)
    single = done([0.0, 0.0], [50, 50], [1, 1], time=time, engine=replace(engine, prefill_servers=2))
    assert single.done_s.tolist() == [1.5, 1.5]


def test_drafts_that_are_all_accepted_come_out_together() -> None:
    engine = Engine(speculative_tokens=3, acceptance=1.0, draft_s=0.01)
    found = done([0.0], [10], [9], time=IterationTime(1.0, per_sequence=0.1), engine=engine)
    assert found.first_s[0] == pytest.approx(1.0 + 0.1 + 0.03)
    assert found.done_s[0] == pytest.approx(found.first_s[0] + 2 * (1.0 + 0.4 + 0.03))


def test_drafts_are_accepted_as_often_as_they_should() -> None:
    engine = Engine(speculative_tokens=3, acceptance=0.7)
    found = replay_run(SECOND, np.zeros(1), [10], [40_001], engine=engine, tell=None)
    assert found.totals.iterations == pytest.approx(40_000 / engine.tokens_per_iteration, rel=0.02)


def test_early_exit_shortens_the_iteration_or_the_wait_for_its_token() -> None:
    time = IterationTime(1.0, per_sequence=1.0)
    rules = Rules(time, early_exit=EarlyExit(None, (0.25,), (1.0,), "stop"))
    requests = given(BOTH, [0.0], [10], [3])
    stopped, _ = collected(requests, FCFS(), rules)
    assert (stopped.first_s[0], stopped.done_s[0]) == (2.0, 2.0 + 2 * 1.25)
    released, _ = collected(
        requests, FCFS(), replace(rules, early_exit=EarlyExit(None, (0.25,), (1.0,), "release"))
    )
    assert (released.first_s[0], released.done_s[0]) == (0.5, 4.5)


def test_eviction_recomputes_or_swaps() -> None:
    lengths, memory = ([8, 8], [8, 8]), {"kv_capacity_tokens": 20}
    time = IterationTime(1.0, per_prefill_token=0.01)
    engine = Engine(kv_block_tokens=1, whole_prompt=False, prefix_caching=False)
    anew = done([0.0, 0.0], *lengths, time=time, engine=engine, **memory)
    # both fit until 20 tokens are cached, 10 each: after 3 iterations the later one goes, 10 tokens lost
    assert anew.preemptions.tolist() == [0, 1] and anew.recomputed.tolist() == [0, 10]
    assert anew.done_s[0] == pytest.approx(8.16) and anew.done_s[1] == pytest.approx(8.16 + 0.11 + 5)
    moved = done(
        [0.0, 0.0], *lengths, time=time, engine=replace(engine, eviction="swap", swap_tokens_per_s=100.0), **memory
    )
    assert moved.recomputed.tolist() == [0, 0]
    assert moved.done_s[0] == pytest.approx(8.16 + 0.1) and moved.done_s[1] == pytest.approx(8.26 + 0.1 + 5)


def test_what_others_have_not_taken_of_an_evicted_cache_is_found_again() -> None:
    time = IterationTime(1.0, per_prefill_token=0.01)
    engine = Engine(kv_block_tokens=1, whole_prompt=False)
    found = done([0.0, 0.0], [8, 8], [8, 8], time=time, engine=engine, kv_capacity_tokens=20)
    # the first takes 5 of the 10 blocks that the later one gave back; it finds the other 5, and computes 6
    assert found.preemptions.tolist() == [0, 1] and found.recomputed.tolist() == [0, 5]
    assert found.done_s.tolist() == pytest.approx([8.16, 8.16 + 0.06 + 4 + 1])
    blocks = replace(engine, kv_block_tokens=4)
    found = done([0.0, 0.0], [8, 8], [8, 8], time=time, engine=blocks, kv_capacity_tokens=20)
    # 2 blocks each and one more for the first; the later one gives its two back, and the first takes one of them
    assert found.recomputed.tolist() == [0, 4]


@pytest.mark.parametrize("lookahead", ["reserve", "future"])
def test_looking_ahead_admits_later_and_never_evicts(lookahead: str) -> None:
    engine = Engine(kv_block_tokens=1, lookahead=lookahead)  # type: ignore[arg-type]
    found = done([0.0, 0.0], [8, 2], [8, 8], engine=engine, kv_capacity_tokens=20)
    assert not found.preemptions.any()
    assert found.start_s[1] == 8.0 if lookahead == "reserve" else 5.0 <= found.start_s[1] <= 6.0


def test_a_prefix_need_not_be_computed() -> None:
    time = IterationTime(1.0, per_prefill_token=0.01)
    found = done([0.0], [100], [1], time=time, prefix_tokens=[60])
    assert found.done_s[0] == pytest.approx(1.4)


def test_priority_decides_who_is_admitted_and_preempts_only_if_it_may() -> None:
    requests = {"arrival": [0.0, 0.5, 0.6], "prompt": [5, 5, 5], "output": [4, 4, 4]}
    options = {"classes": BOTH, "class_index": [1, 1, 0], "max_batch": 1}
    plain = done(*requests.values(), policy=NonPreemptivePriority(), **options)
    taken = done(*requests.values(), policy=PreemptivePriority(), **options)
    assert plain.done_s.tolist() == [4.0, 12.0, 8.0]
    assert taken.done_s.tolist() == [8.0, 12.0, 5.0]  # its cache is kept: memory does not bind


class LongestPromptFirst(Rank):
    def rank(self, request, attained):  # type: ignore[no-untyped-def]
        return -request.size


@pytest.mark.parametrize(
    ("policy", "order"), [(SRPT(), [0, 2, 1]), (LongestPromptFirst(), [0, 1, 2]), (EDF(), [2, 0, 1])]
)
def test_any_rank_orders_the_queue(policy: Rank, order: list[int]) -> None:
    classes = [replace(BOTH[0], slo={"response_s": 9.0}), replace(BOTH[1], slo={"response_s": 5.0})]
    found = done(
        [0.0, 0.1, 0.2], [5, 5, 5], [3, 30, 20], policy=policy, classes=classes, class_index=[0, 0, 1], max_batch=1
    )
    assert np.argsort(found.done_s).tolist() == order


def test_policies_that_admit_nobody_in_particular_are_refused() -> None:
    with pytest.raises(ValueError, match="who is admitted first"):
        done([0.0], [1], [1], policy=PS())


def test_policies_whose_ranks_change_with_the_time_are_refused() -> None:
    with pytest.raises(InputError, match="changes while a request waits"):
        done([0.0], [1], [1], policy=make_policy("accumulating", None, rates=(1.0, 2.0)))


class NotANumber(Rank):
    def rank(self, request, attained):  # type: ignore[no-untyped-def]
        return float("nan")


def test_a_rank_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="not a number"):
        done([0.0], [1], [1], policy=NotANumber())


def thrown_away(policy: Rank | str, **more: object) -> TokenOutcome:
    """Two long prompts, memory for one of them."""
    made = make_policy(policy) if isinstance(policy, str) else policy
    engine = Engine(max_batched_tokens=64, prefix_caching=False)
    return done([0.0, 0.5], [640, 640], [4, 4], policy=made, engine=engine, kv_capacity_tokens=704, **more)


def test_an_age_does_not_go_back_with_the_cache() -> None:
    found = thrown_away("las")
    # by turns: one catches up with the other, gets one chunk of 64 ahead, and is evicted; so two chunks a turn
    assert found.served.all()
    assert found.preemptions.tolist() == [6, 5]
    assert thrown_away("mlfq").preemptions.sum() < 4


class Whim(Rank):
    """Who is asked later goes later."""

    preemptive = True
    asked = 0.0

    def rank(self, request, attained):  # type: ignore[no-untyped-def]
        Whim.asked += 1.0
        return Whim.asked


def test_an_order_that_never_lets_anybody_finish_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "MOST_ANEW", 200_000)
    with pytest.raises(InputError, match="evicted and computed again; give eviction = 'swap'") as caught:
        thrown_away(Whim())
    assert "policy" in caught.value.place and len(str(caught.value)) < 200
    requests = given(BOTH, [0.0, 0.5], [640, 640], [4, 4])
    two = Rules(SECOND, Engine(max_batched_tokens=64), None, 704, servers=2, routing=Routing("jsq"))
    with pytest.raises(InputError, match="evicted"):
        collected(replace(given(BOTH, [0.0] * 4, [640] * 4, [4] * 4), patience_s=np.full(4, np.inf)), Whim(), two)
    assert collected(requests, Whim(), two)[0].served.all()  # one each


def pausing(kv: str, caching: bool = False, memory: int | None = 4096) -> TokenOutcome:
    classes = [RequestClass("a", Poisson(1.0), Deterministic(1.0), pause=Pause(0.5, Deterministic(10.0), kv))]  # type: ignore[arg-type]
    one = given(classes, [0.0], [100], [3])
    again = Later(np.array([0]), np.array([1]), np.array([10.0]), np.array([20]), np.array([2]))
    requests: TokenRequests = replace(one, later=again)
    time = IterationTime(1.0, per_prefill_token=0.01)
    engine = Engine(eviction="swap", swap_tokens_per_s=1000.0, prefix_caching=caching)
    rules = Rules(time, engine, kv_capacity_tokens=memory)
    return collected(requests, FCFS(), rules)[0]


@pytest.mark.parametrize(("kv", "again_s"), [("keep", 0.21), ("discard", 1.23), ("swap", 0.21 + 0.102)])
def test_a_pause_keeps_discards_or_swaps_the_cache(kv: str, again_s: float) -> None:
    found = pausing(kv)
    # 1 + 100 prompt tokens, two tokens more, 10 s away, then 20 new tokens and the last one are computed
    assert found.first_s[0] == pytest.approx(2.0)
    assert found.away_s[0] == 10.0 and found.output[0] == 5
    swapped_out = 0.102 if kv == "swap" else 0.0
    assert found.response_s[0] == pytest.approx(4.0 + 1.0 + again_s + 1.0, abs=swapped_out + 1e-9)
    assert found.recomputed[0] == (102 if kv == "discard" else 0)


@pytest.mark.parametrize("memory", [None, 4096])
def test_a_cache_that_was_discarded_for_a_pause_is_found_again(memory: int | None) -> None:
    found = pausing("discard", caching=True, memory=memory)
    assert found.recomputed[0] == 102 - 6 * 16  # the last block was not full
    assert found.response_s[0] == pytest.approx(4.0 + 1.0 + 0.27 + 1.0)


def test_patience_and_a_full_system_are_counted() -> None:
    requests = replace(given(BOTH, [0.0, 0.5, 0.6], [5, 5, 5], [9, 9, 9]), patience_s=np.array([1.0, 2.0, 99.0]))
    rules = Rules(SECOND, max_batch=1)
    found, _ = collected(requests, FCFS(), rules)
    assert found.ended.tolist() == [0, 2, 0] and found.done_s.tolist() == [9.0, 2.5, 18.0]
    full, _ = collected(requests, FCFS(), replace(rules, buffer=2))
    assert full.ended.tolist() == [0, 2, 1] and full.done_s[2] == 0.6


def test_what_can_never_fit_is_rejected_and_counted() -> None:
    found = done([0.0, 0.0], [1000, 10], [10, 10], kv_capacity_tokens=512)
    assert found.ended.tolist() == [1, 0] and np.isnan(found.first_s[0])
    assert found.to_frame().ended.tolist() == ["rejected", "served"]


def test_resuming_costs_what_it_costs() -> None:
    requests = given(BOTH, [0.0, 0.5], [5, 5], [4, 4], class_index=[1, 0])
    found, _ = collected(requests, PreemptivePriority(), Rules(SECOND, max_batch=1, resume_s=0.5))
    assert found.done_s.tolist() == [8.5, 5.0]


@pytest.mark.parametrize(
    ("columns", "fault"),
    [
        (([], [], []), "holds no request"),
        (([1.0, 0.0], [1, 1], [1, 1]), "row 2: comes before"),
        (([0.0], [0], [1]), "input_tokens, row 1: is no number of tokens"),
        (([0.0], [1], [0]), "output_tokens, row 1"),
        (([0.0], [1.5], [1]), "whole number"),
        (([0.0], [1, 2], [1]), "shape"),
        (([float("nan")], [1], [1]), "finite"),
        ((["x"], [1], [1]), "text"),
    ],
)
def test_bad_columns_are_named(columns: tuple[list, list, list], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        done(*columns)


def test_a_prefix_of_the_whole_prompt_and_an_unknown_class_are_refused() -> None:
    with pytest.raises(ValueError, match="whole prompt"):
        done([0.0], [10], [1], prefix_tokens=[10])
    with pytest.raises(ValueError, match="is no class"):
        done([0.0], [10], [1], class_index=[3])


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"max_batch": 4096}, "does not let 4096"),
        ({"kv_capacity_tokens": 8}, "less than one block"),
    ],
)
def test_engines_that_cannot_run_are_refused(options: dict, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        done([0.0], [10], [1], **options)
