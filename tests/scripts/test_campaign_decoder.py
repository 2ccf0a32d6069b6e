"""The decoder against transformers' Llama, and a decode step against a longer prefill."""

import pytest
from campaign.shapes import TINY, DecoderShape

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from campaign.decoder import EPSILON, ROTARY_BASE, Decoder  # noqa: E402

UNTIED = DecoderShape("untied", 48, 3, 6, 2, 80, 100, tied=False)


def decoder(shape=TINY, dtype=torch.float32):
    return Decoder(shape, torch.device("cpu"), dtype, longest=64)


@pytest.mark.parametrize("shape", [TINY, UNTIED])
@pytest.mark.parametrize("layers", [None, 2])
def test_logits_are_those_of_transformers(shape, layers):
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=layers or shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        vocab_size=shape.vocabulary,
        rms_norm_eps=EPSILON,
        rope_parameters={"rope_theta": ROTARY_BASE, "rope_type": "default"},
        tie_word_embeddings=shape.tied,
        max_position_embeddings=64,
    )
    model, theirs = decoder(shape), transformers.LlamaForCausalLM(config).eval()
    theirs.load_state_dict(weights_of(model, layers or shape.layers))
    tokens = model.tokens(2, 9)
    with torch.inference_mode():
        expected = theirs(tokens).logits[:, -1]
        ours = model.logits(tokens, model.cache(2, 9, layers), 0, layers)
    assert (ours - expected).norm() / expected.norm() < 1e-5


def weights_of(model, layers):
    """Our weights under the names that transformers gives them."""
    shape = model.shape
    state = {"model.embed_tokens.weight": model.embedding, "model.norm.weight": model.norm}
    state["lm_head.weight"] = model.head
    for i, layer in enumerate(model.layers[:layers]):
        query, key, value = layer.qkv.split([shape.hidden, shape.kv_width, shape.kv_width])
        gate, up = layer.gate_up.chunk(2)
        attention, network = f"model.layers.{i}.self_attn", f"model.layers.{i}.mlp"
        state |= {f"{attention}.q_proj.weight": query, f"{attention}.k_proj.weight": key}
        state |= {f"{attention}.v_proj.weight": value, f"{attention}.o_proj.weight": layer.out}
        state |= {f"{network}.gate_proj.weight": gate, f"{network}.up_proj.weight": up}
        state |= {f"{network}.down_proj.weight": layer.down}
        state[f"model.layers.{i}.input_layernorm.weight"] = layer.norm_in
        state[f"model.layers.{i}.post_attention_layernorm.weight"] = layer.norm_mid
    return state


@pytest.mark.parametrize("layers", [None, 1])
def test_a_decode_step_says_what_a_longer_prefill_says(layers):
    model = decoder()
    tokens = model.tokens(3, 12)
    cache = model.cache(3, 12, layers)
    with torch.inference_mode():
        model.logits(tokens[:, :11], cache, 0, layers)
        step = model.logits(tokens[:, 11:], cache, 11, layers)
        again = model.logits(tokens[:, 11:], cache, 11, layers)
        whole = model.logits(tokens, model.cache(3, 12, layers), 0, layers)
    torch.testing.assert_close(step, whole, rtol=1e-4, atol=1e-5)
    assert torch.equal(step, again)
    assert model.decode(tokens[:, 11:], cache, 11, layers).tolist() == whole.argmax(dim=-1).tolist()


def test_heads_can_be_copied_where_kernels_take_no_groups():
    model, tokens = decoder(), decoder().tokens(2, 7)
    with torch.inference_mode():
        grouped = model.logits(tokens, model.cache(2, 7), 0)
        model._groups = False
        copied = model.logits(tokens, model.cache(2, 7), 0)
    torch.testing.assert_close(grouped, copied, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precisions_come_near_the_full_one(dtype):
    half = decoder(dtype=dtype)
    assert half.embedding.dtype == dtype
    full = decoder()
    full.embedding = full.head = half.embedding.float()
    for wide, narrow in zip(full.layers, half.layers, strict=True):
        vars(wide).update({name: weight.float() for name, weight in vars(narrow).items()})
    tokens = full.tokens(2, 8)
    with torch.inference_mode():
        expected = full.logits(tokens, full.cache(2, 8), 0)
        found = half.logits(tokens, half.cache(2, 8), 0).float()
    assert (found - expected).norm() / expected.norm() < 0.03


def test_weights_and_tokens_come_from_the_seed():
    one, same = decoder(), decoder()
    other = Decoder(TINY, torch.device("cpu"), torch.float32, seed=1, longest=64)
    assert torch.equal(one.layers[0].qkv, same.layers[0].qkv)
    assert not torch.equal(one.layers[0].qkv, other.layers[0].qkv)
    assert torch.equal(one.tokens(2, 3), same.tokens(2, 3))


def test_a_prompt_is_read_in_one_piece():
    model = decoder()
    with pytest.raises(AssertionError, match="one piece"):
        model.logits(model.tokens(1, 3), model.cache(1, 8), 2)
