"""A real decoder under the real loop, one request at a time."""

from __future__ import annotations

import numpy as np
import pytest

from qmodel.errors import InputError
from qmodel.live import LiveServer, draw_schedule, measured_answer
from qmodel.live.engine import Work, make_engine
from qmodel.policy import PS

pytestmark = pytest.mark.torch
pytest.importorskip("torch")
pytest.importorskip("transformers")

SMALL = {"hidden_size": 32, "layers": 2, "heads": 2, "vocab_size": 64, "device": "cpu"}


@pytest.fixture(scope="module")
def engine():
    made = make_engine("language-model", **SMALL)
    yield made
    made.close()


def generated(job):
    tokens = []
    while job.remaining:
        job.step()
        tokens.append(int(job._next))
    return tokens


def test_tokens_are_those_of_greedy_generation(engine):
    """An independent computation: the whole sequence through the model again for every token, without a cache."""
    import torch

    work = Work({"input_tokens": 7, "output_tokens": 5}, 0.0)
    found = generated(engine.start(work))
    target = engine._model
    sequence = target.random_tokens(1, 7)
    expected = []
    with torch.inference_mode():
        for _ in range(5):
            token = target.model(sequence).logits[:, -1].argmax(dim=-1, keepdim=True)
            expected.append(int(token))
            sequence = torch.cat([sequence, token], dim=1)
    assert found == expected


def test_requests_in_turns_do_not_mix(engine):
    alone = generated(engine.start(Work({"input_tokens": 5, "output_tokens": 4}, 0.0)))
    first = engine.start(Work({"input_tokens": 5, "output_tokens": 4}, 0.0))
    second = engine.start(Work({"input_tokens": 9, "output_tokens": 4, "exit_layer": 1}, 0.0))
    turns = []
    for _ in range(4):
        first.step()
        second.step()
        turns.append(int(first._next))
    assert turns == alone
    assert (first.remaining, first.tokens) == (0, 4)
    assert first._cache is None


def test_defaults_and_limits(engine):
    assert engine.start(Work({}, 0.0)).remaining == 1
    assert "torch" in engine.versions()
    assert engine.factors == ("input_tokens", "output_tokens", "exit_layer")
    with pytest.raises(InputError, match="exit_layer"):
        engine.start(Work({"exit_layer": 3}, 0.0))
    with pytest.raises(InputError, match="the model holds"):
        engine.start(Work({"input_tokens": 10**6}, 0.0))


@pytest.mark.slow
def test_a_live_run(in_tokens, tmp_path):
    scenario = in_tokens(PS(), rate=10.0)
    schedule = draw_schedule(scenario, 1.5, seed=1)
    with LiveServer({"kind": "language-model", **SMALL}) as server:
        run = server.run(scenario, schedule, log_path=tmp_path / "run.csv")
    log = run.log
    assert (log["status"] == "ok").all()
    assert (log["output_tokens"] == 5).all()
    assert (
        np.diff(log[["scheduled_s", "started_s", "first_token_s", "last_token_s"]].to_numpy(), axis=1) > 0
    ).all()
    answer = measured_answer(run, scenario, warmup_share=0.0)["all"]
    assert 0 < answer.mean_tpot_s < answer.mean_ttft_s
    assert answer.mean_ttft_s + 4 * answer.mean_tpot_s == pytest.approx(answer.mean_response_s)
