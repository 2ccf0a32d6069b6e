"""Early exit of the trained byte model in both meanings, against the full model computed another way."""

from __future__ import annotations

import hashlib

import pytest

from qmodel.errors import InputError
from qmodel.live import LiveServer, draw_schedule
from qmodel.live.engine import Work, make_engine
from qmodel.measure.targets.byte_model import CONFIG, FILE, description, load
from qmodel.measure.targets.generation import Generation, exits_of
from qmodel.policy import FCFS
from qmodel.scenario import Scenario, System
from qmodel.service.model import ServiceModel
from qmodel.service.token_service import TokenService
from qmodel.workload import Deterministic, Poisson, RequestClass

pytestmark = pytest.mark.torch
pytest.importorskip("torch")
pytest.importorskip("transformers")

PROMPT = list(b"The class statement is an executable statement that")
COUNT = 12


@pytest.fixture(scope="module")
def model():
    return load()


def said(model, confidence, keeps, count=COUNT):
    generation, exits = Generation(model, PROMPT, confidence, keeps), []
    for _ in range(count):
        exits.append(generation.next_token())
        generation.finish()
    return exits


def full(model, count=COUNT):
    """The whole sequence again for every byte, without a cache."""
    import torch

    ids = list(PROMPT)
    with torch.inference_mode():
        for _ in range(count):
            ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
    return ids[len(PROMPT) :]


def test_weights_are_those_described():
    assert hashlib.sha256(FILE.read_bytes()).hexdigest() == description()["weights_sha256"]
    losses = description()["held_out_nats_per_byte_by_layer"]
    assert len(losses) == CONFIG["layers"]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 1.8


def test_layers_above_know_more_on_text_that_was_not_trained_on(model):
    import torch

    ids = torch.tensor([PROMPT])
    with torch.inference_mode():
        law = torch.stack([each[0, :-1].log_softmax(-1) for each in exits_of(model, ids)])
    losses = -law[:, torch.arange(ids.shape[1] - 1), ids[0, 1:]].mean(dim=1)
    assert losses[-1] < losses[0] - 0.1


@pytest.mark.parametrize("keeps", [True, False])
def test_without_exits_it_says_what_the_full_model_says(model, keeps):
    exits = said(model, 2.0, keeps)
    assert [each.token for each in exits] == full(model)
    assert {each.layer for each in exits} == {CONFIG["layers"]}


def test_released_bytes_leave_early_and_the_cache_is_that_of_the_full_model(model):
    """By hand: each byte is the first confident layer's, all layers having read the text before it."""
    import torch

    exits = said(model, 0.6, keeps=True)
    ids = PROMPT + [each.token for each in exits]
    with torch.inference_mode():
        law = torch.stack([each[0].softmax(-1) for each in exits_of(model, torch.tensor([ids]))])
    for number, each in enumerate(exits[1:], start=1):
        at = law[:, len(PROMPT) + number - 1]
        sure = (at.max(dim=-1).values >= 0.6).tolist()
        layer = sure.index(True) + 1 if any(sure) else CONFIG["layers"]
        assert (each.layer, each.token) == (layer, int(at[layer - 1].argmax()))
    assert min(each.layer for each in exits) < CONFIG["layers"]


def test_stopping_skips_layers_and_goes_on(model):
    import torch

    generation, calls = Generation(model, PROMPT, 1e-9, keeps_computing=False), []
    hooks = [
        layer.register_forward_hook(lambda *_, n=n: calls.append(n)) for n, layer in enumerate(model.model.layers)
    ]
    try:
        first = generation.next_token()
        generation.finish()
        assert first.layer == CONFIG["layers"] == len(calls)  # the prompt is read by all
        calls.clear()
        second = generation.next_token()
        generation.finish()
        assert (second.layer, calls) == (1, [0])
    finally:
        for hook in hooks:
            hook.remove()
    lengths = {layer.keys.shape[-2] for layer in generation._cache.layers}
    assert lengths == {len(PROMPT) + 1}  # every layer can attend to it later
    assert torch.isfinite(generation._cache.layers[-1].keys).all()


def test_nothing_to_continue(model):
    with pytest.raises(InputError, match="prompt"):
        Generation(model, [], 0.5, True)


def test_a_job_takes_two_steps_a_byte():
    engine = make_engine("byte-model", confidence=0.5, delivery="release")
    job = engine.start(Work({"input_tokens": 8, "output_tokens": 3}, 0.0, 1))
    seen = []
    while job.remaining:
        job.step()
        seen.append(job.tokens)
    assert seen == [1, 1, 2, 2, 3, 3]
    assert engine.totals["tokens"] == 3
    assert 3 <= engine.totals["layers"] <= 3 * CONFIG["layers"]
    assert set(engine.versions()) >= {"byte_model_sha256"}
    engine.close()


def test_what_it_refuses():
    with pytest.raises(InputError, match="delivery"):
        make_engine("byte-model", delivery="relase")
    with pytest.raises(InputError, match="confidence"):
        make_engine("byte-model", confidence=0.0)
    with pytest.raises(InputError, match="the model holds"):
        make_engine("byte-model").start(Work({"input_tokens": 10**5}, 0.0))


@pytest.mark.slow
@pytest.mark.parametrize("delivery", ["release", "stop"])
def test_a_live_run(delivery, tmp_path):
    affine = ServiceModel.affine
    service = TokenService(affine({"1": 0.01, "input_tokens": 1e-5}), affine({"1": 0.005, "context_tokens": 1e-9}))
    factors = {"input_tokens": Deterministic(16), "output_tokens": Deterministic(6)}
    scenario = Scenario((RequestClass("a", Poisson(6.0), factors=factors),), FCFS(), System(model=service))
    schedule = draw_schedule(scenario, 1.5, seed=1)
    with LiveServer({"kind": "byte-model", "confidence": 0.3, "delivery": delivery}) as server:
        run = server.run(scenario, schedule, log_path=tmp_path / "run.csv")
    log = run.log
    assert (log.status == "ok").all()
    assert (log.done_s == log.last_token_s).all()
    assert (log.left_s > log.done_s).all()
    totals = run.meta["loop"]["totals"]
    assert totals["tokens"] == 6 * len(log)
    assert totals["layers"] < totals["tokens"] * CONFIG["layers"]
