"""The compiled loop against vLLM's scheduler written a second time in plain Python."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from qmodel.service.engine import Engine
from qmodel.service.iteration_time import IterationTime
from qmodel.simulation.iterations.replaying import replay_run
from tests.simulation.iterations.reference import Replica

TIME = IterationTime(base=0.01, per_sequence=0.0002, per_context_token=2e-7, per_prefill_token=2e-5)


PACKED = replace(TIME, per_query_key=3e-7)


@pytest.mark.parametrize("time", [TIME, PACKED], ids=["linear", "pairs"])
@pytest.mark.parametrize("jumps", [True, False], ids=["strides", "one-by-one"])
@pytest.mark.parametrize("caching", [True, False], ids=["caching", "anew"])
@pytest.mark.parametrize("seed", range(24))
def test_first_and_last_tokens_and_preemptions_are_those_of_the_replica(
    seed: int, caching: bool, jumps: bool, time: IterationTime
) -> None:
    rng = np.random.default_rng(seed)
    n, block, budget = int(rng.integers(5, 100)), int(rng.choice([1, 4, 16])), int(rng.choice([64, 256, 2048]))
    arrival = np.cumsum(rng.exponential(rng.choice([0.001, 0.02, 0.3]), n))
    prompt, output = rng.geometric(1 / 300, n), rng.geometric(1 / rng.choice([3, 60]), n)
    cap, whole = int(rng.integers(1, min(budget, 40))), bool(rng.integers(2))
    memory = None if seed % 4 == 0 else int((prompt + output).max() + rng.integers(block, 900))
    replica = Replica(time, cap, budget, 10**5 if memory is None else memory // block, block, whole, caching)
    expected = replica.run(arrival, prompt, output)
    engine = Engine(max_batched_tokens=budget, kv_block_tokens=block, whole_prompt=whole, prefix_caching=caching)
    found = replay_run(
        time, arrival, prompt, output, engine=engine, max_batch=cap, kv_capacity_tokens=memory, jumps=jumps,
        tell=None,
    )  # fmt: skip
    np.testing.assert_allclose(found.outcome.first_s, [each.token_s[0] for each in expected], rtol=1e-11)
    np.testing.assert_allclose(found.outcome.done_s, [each.token_s[-1] for each in expected], rtol=1e-11)
    np.testing.assert_array_equal(found.outcome.preemptions, [each.preemptions for each in expected])
    assert found.totals.iterations == replica.iterations


def test_the_cases_are_not_idle_ones() -> None:
    rng = np.random.default_rng(7)
    arrival = np.cumsum(rng.exponential(0.02, 80))
    prompt, output = rng.geometric(0.01, 80), rng.geometric(0.003, 80)
    found = replay_run(TIME, arrival, prompt, output, max_batch=40, kv_capacity_tokens=3000, tell=None)
    assert found.totals.preemptions > 20 and found.totals.recomputed > 1000
