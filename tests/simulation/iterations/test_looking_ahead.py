"""Looking ahead (`lookahead = "future"`) against the same question asked iteration by iteration."""

from __future__ import annotations

from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from qmodel.simulation.iterations.columns import DECODING, FREE, NEVER, PREFILLING, WAITING
from tests.simulation.uncompiled import uncompiled

TICK = 40


@pytest.fixture(scope="module")
def memory() -> ModuleType:
    return uncompiled("iterations.memory")[0]


def any_engine(rng: np.random.Generator) -> tuple[SimpleNamespace, SimpleNamespace, int]:
    """A batch of a few that decode or prefill, the limits, and the tokens that the newcomer in row 0 computes."""
    n = int(rng.integers(0, 5))
    live, ends = [], []
    for place in range(-1, n):
        prompt, output = int(rng.integers(1, 60)), int(rng.integers(1, 20))
        decoding = place >= 0 and bool(rng.integers(2))
        generated = int(rng.integers(0, output))
        request = SimpleNamespace(
            prompt=prompt, output=output, generated=generated, computed=int(rng.integers(0, prompt)),
            state=DECODING if decoding else PREFILLING,
        )  # fmt: skip
        live.append(request)
        ends.append(TICK + int(rng.integers(1, output + 1)) if decoding else NEVER)
    now = SimpleNamespace(running=n, tick=TICK)
    engine = SimpleNamespace(now=[now], live=live, running=list(range(1, n + 1)), ends=ends[1:])
    limits = SimpleNamespace(
        max_tokens=int(rng.choice([8, 16, 64])), max_batch=int(rng.integers(1, 12)), drafts=int(rng.choice([0, 2])),
        block_tokens=int(rng.choice([1, 4, 16])), blocks=0,
    )  # fmt: skip
    return engine, limits, live[0].prompt + live[0].generated - live[0].computed


def iterations_left(engine: SimpleNamespace, limits: SimpleNamespace, place: int, left: int) -> int:
    """One iteration for each of the slowest chunks of the prompt, then one for each token."""
    request = engine.live[place + 1]
    if place >= 0 and request.state == DECODING:
        return int(engine.ends[place] - TICK)
    left = left if place == -1 else request.prompt + request.generated - request.computed
    beside, count = (1 + limits.drafts) * limits.max_batch, 0
    while left > 0:
        left -= max(1, limits.max_tokens - beside)
        count += 1
    for _ in range(request.generated, request.output):
        count += 1
    return count


def held_after(engine: SimpleNamespace, limits: SimpleNamespace, iterations: int, ends: list[int]) -> int:
    """Blocks of all that have not ended before, so many iterations on."""
    held = 0
    for place, end in enumerate(ends, start=-1):
        request = engine.live[place + 1]
        made = request.generated + 1
        if place >= 0 and request.state == DECODING:
            made = request.output - (engine.ends[place] - TICK)
        if end >= iterations:
            tokens = request.prompt + min(made + iterations, request.output) - 1 + limits.drafts
            held += -(-tokens // limits.block_tokens)
    return held


@pytest.mark.parametrize("seed", range(5))
def test_memory_suffices_if_it_does_in_every_iteration_to_come(memory: ModuleType, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(200):
        engine, limits, left = any_engine(rng)
        places = range(-1, engine.now[0].running)
        ends = [iterations_left(engine, limits, place, left) for place in places]
        assert [memory.remaining(engine, limits, place, 0, left) for place in places] == ends
        most = max(held_after(engine, limits, t, ends) for t in range(min(ends), max(ends) + 1))
        for blocks, fits in ((most, True), (most - 1, False)):
            limits.blocks = blocks
            assert memory.fits_for_good(engine, limits, 0, left) == fits


def kept(number: int, blocks: int, state: int = WAITING) -> SimpleNamespace:
    return SimpleNamespace(request=number, blocks=blocks, state=state)


def test_the_last_who_keeps_a_cache(memory: ModuleType) -> None:
    """Not the one who asks, nobody without blocks, and no row that nobody has."""
    rows = np.array([kept(0, 3), kept(7, 2), kept(9, 0), kept(8, 5, FREE), kept(5, 1)])
    engine = SimpleNamespace(live=rows)
    assert memory.last_with_cache(engine, 4) == 1
    assert memory.last_with_cache(engine, 1) == 4
    assert memory.last_with_cache(SimpleNamespace(live=rows[:1]), 4) == 0
    assert memory.last_with_cache(SimpleNamespace(live=rows[2:4]), 4) == -1


@pytest.mark.parametrize(("row", "dropped"), [(0, 1), (1, 0)])
def test_a_cache_is_dropped_for_the_only_one_that_runs(
    memory: ModuleType, monkeypatch: pytest.MonkeyPatch, row: int, dropped: int
) -> None:
    gone: list[int] = []
    monkeypatch.setattr(memory, "drop_cache", lambda engine, limits, row: gone.append(row))
    engine = SimpleNamespace(live=np.array([kept(3, 2), kept(4, 2)]))
    assert memory.drop_cache_for(engine, None, row)
    assert gone == [dropped]
    alone = SimpleNamespace(live=np.array([kept(3, 2)]))
    assert not memory.drop_cache_for(alone, None, 0)
    assert gone == [dropped]
