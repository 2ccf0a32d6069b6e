"""The language model: early exit is a shallower model, a decode step is what a full forward pass says."""

import sys

import pytest

from qmodel.errors import InputError, MissingExtra
from qmodel.measure.targets import OutOfMemory, language_model, make_target

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.torch
DEVICES = ["cpu"] + ["cuda"] * torch.cuda.is_available()
SMALL = {"hidden_size": 32, "layers": 3, "heads": 4, "kv_heads": 2, "vocab_size": 50}


@pytest.fixture(scope="module", params=DEVICES)
def target(request):
    return make_target("language-model", device=request.param, **SMALL)


@torch.no_grad()
def full_forward(model, tokens):
    return model(tokens, use_cache=False).logits[:, -1]


def test_contract(target):
    assert (target.name, target.phases) == ("language-model", ("prefill", "decode"))
    assert target.factors["prefill"] == ("batch_size", "input_tokens", "exit_layer")
    assert target.factors["decode"] == ("batch_size", "context_tokens", "exit_layer")
    assert target.device
    assert set(target.versions()) >= {"torch", "transformers"}
    assert (target.peak_memory_bytes() is None) == (not target.engine.on_cuda)


def test_the_model_has_the_asked_size_and_no_end_of_sequence(target):
    config = target.model.config
    assert config.eos_token_id is None
    assert (config.hidden_size, config.num_hidden_layers, config.vocab_size) == (32, 3, 50)
    assert config.num_key_value_heads == 2
    attention, network, norms = 2 * 32**2 + 2 * 32 * 16, 3 * 32 * 85, 2 * 32
    embedding_and_output, last_norm = 2 * 50 * 32, 32
    expected = embedding_and_output + 3 * (attention + network + norms) + last_norm
    assert sum(p.numel() for p in target.model.parameters()) == expected


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_exit_layer_equals_a_model_with_only_so_many_layers(target, layers):
    shallow = make_target("language-model", device=target.engine.device.type, **SMALL | {"layers": layers})
    shallow.model.load_state_dict(
        {name: target.model.state_dict()[name] for name in shallow.model.state_dict()}, strict=True
    )
    tokens = target.random_tokens(2, 7)
    early = target.logits(tokens, transformers.DynamicCache(), layers)
    assert torch.equal(early, shallow.logits(tokens, transformers.DynamicCache()))
    assert target.model.config.num_hidden_layers == 3
    if layers < 3:
        assert (early - target.logits(tokens, transformers.DynamicCache())).abs().max() > 1e-4


def test_exit_layer_runs_no_further_layer(target):
    ran = []
    hooks = [
        layer.register_forward_hook(lambda *_, index=index: ran.append(index))
        for index, layer in enumerate(target.model.model.layers)
    ]
    try:
        target.prepare("prefill", {"batch_size": 1, "input_tokens": 4, "exit_layer": 2})()
        target.prepare("prefill", {"batch_size": 1, "input_tokens": 4})()
    finally:
        for hook in hooks:
            hook.remove()
    assert ran == [0, 1, 0, 1, 2]


def test_depth_is_restored_after_a_failure(target):
    with pytest.raises(ValueError, match="stop"), language_model.exit_after(target.model, 1):
        assert target.model.config.num_hidden_layers == 1
        raise ValueError("stop")
    assert target.model.config.num_hidden_layers == 3


def test_a_decode_step_equals_a_full_forward_pass_before_and_after_rewinding(target):
    context, tokens = target.random_tokens(1, 9), torch.tensor([[3], [41]], device=target.engine.device)
    cache = target.filled_cache(context, batch_size=2)
    expected = full_forward(target.model, torch.cat([context.expand(2, -1), tokens], dim=1))
    for _ in range(3):
        torch.testing.assert_close(target.logits(tokens, cache), expected, atol=1e-5, rtol=1e-4)
        assert cache.get_seq_length() == 10
        language_model.rewind(cache, 9)
        assert cache.get_seq_length() == 9


def test_a_decode_trial_is_one_token_at_the_asked_context_every_time(target, monkeypatch):
    seen = []

    def logits(tokens, cache, exit_layer):
        seen.append((tuple(tokens.shape), int(cache.get_seq_length()), cache.layers[0].keys.shape[0], exit_layer))
        return plain(tokens, cache, exit_layer)

    trial = target.prepare("decode", {"batch_size": 4, "context_tokens": 6, "exit_layer": 2})
    plain = target.logits
    monkeypatch.setattr(target, "logits", logits)
    times = [trial() for _ in range(3)]
    assert seen == [((4, 1), 6, 4, 2)] * 3
    assert all(0 < seconds < 60 for seconds in times)


def test_a_prefill_trial_reads_the_whole_prompt_into_an_empty_cache(target, monkeypatch):
    seen = []

    def logits(tokens, cache, exit_layer):
        seen.append((tuple(tokens.shape), cache.get_seq_length(), exit_layer))
        result = plain(tokens, cache, exit_layer)
        assert cache.get_seq_length() == 5
        return result

    trial = target.prepare("prefill", {"batch_size": 2, "input_tokens": 5})
    plain = target.logits
    monkeypatch.setattr(target, "logits", logits)
    assert 0 < trial() < 60
    assert 0 < trial() < 60
    assert seen == [((2, 5), 0, 3)] * 2


def test_prefill_logits_equal_a_full_forward_pass(target):
    tokens = target.random_tokens(3, 8)
    found = target.logits(tokens, transformers.DynamicCache())
    torch.testing.assert_close(found, full_forward(target.model, tokens), atol=1e-5, rtol=1e-4)


def test_weights_come_from_the_seed_and_leave_torchs_own_generator_alone():
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    first, again, other = (make_target("language-model", device="cpu", seed=s, **SMALL) for s in (1, 1, 2))
    assert torch.rand(1) == expected
    assert torch.equal(first.model.lm_head.weight, again.model.lm_head.weight)
    assert not torch.equal(first.model.lm_head.weight, other.model.lm_head.weight)


def test_half_precision():
    target = make_target("language-model", device="cpu", precision="bfloat16", **SMALL)
    assert target.logits(target.random_tokens(1, 3), transformers.DynamicCache()).dtype is torch.bfloat16
    assert target.prepare("decode", {"batch_size": 2, "context_tokens": 3})() > 0


@pytest.mark.parametrize(
    ("phase", "levels", "word"),
    [
        ("encode", {}, "decode"),
        ("prefill", {"context_tokens": 4}, "unknown"),
        ("decode", {"input_tokens": 4}, "unknown"),
        ("decode", {"exit_layer": 4}, "1 to 3"),
        ("decode", {"exit_layer": 0}, "1 to 3"),
        ("prefill", {"input_tokens": 0}, "1 to"),
        ("prefill", {"batch_size": 1.5}, "whole number"),
    ],
)
def test_senseless_levels_are_refused(target, phase, levels, word):
    with pytest.raises(InputError, match=word):
        target.prepare(phase, levels)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"hidden_size": 30}, "even multiple of heads"),
        ({"kv_heads": 3}, "divide heads"),
        ({"layers": 0}, "layers"),
        ({"vocab_size": "many"}, "vocab_size"),
        ({"device": "gpu"}, "device"),
        ({"precision": "int8"}, "precision"),
        ({"hidden": 64}, "hidden"),
    ],
)
def test_impossible_models_are_refused(options, word):
    with pytest.raises(InputError, match=word):
        make_target("language-model", **SMALL | options)


def test_out_of_memory_is_raised_as_such(target, monkeypatch):
    def exhaust(*arguments):
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    trial = target.prepare("decode", {})
    monkeypatch.setattr(target, "logits", exhaust)
    with pytest.raises(OutOfMemory):
        trial()
    with pytest.raises(OutOfMemory):
        target.prepare("decode", {})


def test_weights_that_do_not_fit_are_refused(monkeypatch):
    def exhaust(*arguments, **options):
        raise MemoryError

    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_config", exhaust)
    with pytest.raises(InputError, match="do not fit"):
        make_target("language-model", device="cpu", **SMALL)


def test_missing_transformers_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtra, match=r"transformers.*qmodel\[torch\]"):
        make_target("language-model", device="cpu", **SMALL)


def test_close_gives_the_model_back():
    target = make_target("language-model", device="cpu", **SMALL)
    target.close()
    assert not hasattr(target, "model")
