"""Timed iterations of transformers' continuous batching, with a very small model."""

from __future__ import annotations

import pytest

from qmodel.errors import InputError
from qmodel.measure.targets.base import OutOfMemory, make_target
from qmodel.measure.targets.transformers_batching import GROWTH, AllOfThem

pytestmark = pytest.mark.torch
pytest.importorskip("torch")
pytest.importorskip("transformers")

SMALL = {"hidden_size": 32, "layers": 2, "heads": 2, "kv_heads": 2, "intermediate_size": 64, "vocab_size": 64}


@pytest.fixture(scope="module")
def target():
    made = make_target("transformers", device="cpu", max_batch=8, max_batched_tokens=64, **SMALL)
    yield made
    made.close()


def seen(target, trial):
    """Who is computed in a trial, with tokens each."""
    computed, iterate = [], target._paged.iterate

    def watched():
        found = iterate()
        computed.append(sorted(tokens for _, tokens in found))
        return found

    target._paged.iterate = watched
    assert trial() > 0
    return computed


def test_a_decode_trial_is_one_iteration_of_all(target):
    trial = target.prepare("decode", {"batch_size": 3, "context_tokens": 32})
    assert seen(target, trial) == [[1, 1, 1]]


def test_contexts_stay_about_the_level(target):
    trial = target.prepare("decode", {"batch_size": 2, "context_tokens": 32})
    lengths = []
    for _ in range(2 * GROWTH):
        states = target._paged._scheduler.active_requests.values()
        trial()
        lengths.append(max(state.position_offset for state in states))
    assert min(lengths) >= 32 - GROWTH // 2
    assert max(lengths) <= 32 + GROWTH // 2 + 1
    assert sum(lengths) / len(lengths) == pytest.approx(32, abs=1.5)


def test_a_mixed_trial_reads_one_prompt_beside_those_that_decode(target):
    trial = target.prepare("mixed", {"batch_size": 2, "context_tokens": 32, "prefill_tokens": 20})
    for _ in range(GROWTH + 2):
        trial()
    assert seen(target, trial) == [[1, 1, 20]]
    assert len(target._paged._scheduler.active_requests) == 2


def test_levels_that_do_not_fit(target):
    for levels, word in (
        ({"batch_size": 8}, "batch_size"),
        ({"context_tokens": GROWTH - 1}, "context_tokens"),
        ({"prefill_tokens": 64}, "prefill_tokens"),
    ):
        with pytest.raises(InputError, match=word):
            target.prepare("mixed", levels)


def test_too_small_a_cache_is_out_of_memory():
    with pytest.raises(OutOfMemory):
        AllOfThem().evicted("1")


def test_what_it_says_of_itself(target):
    assert set(target.versions()) >= {"torch", "transformers"}
    assert target.peak_memory_bytes() is None
    assert len(target.prompt(5, 1)) == 5
    assert target.prompt(5, 1) != target.prompt(5, 2)
