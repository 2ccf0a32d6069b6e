"""A small byte-level language model with trained weights and an exit at every layer.

A Llama-shaped decoder (`CONFIG`) whose every layer predicts the next byte through the same final norm and output
matrix; `scripts/train_small_lm.py` makes `byte_model.safetensors`, and `byte_model.json` says how. Its confidence,
the largest probability that a layer gives to a byte, therefore means something, as that of random weights does not.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from qmodel.errors import InputError, MissingExtra

FILE = Path(__file__).with_name("byte_model.safetensors")
CONFIG = {"hidden": 128, "layers": 8, "heads": 4, "intermediate": 320, "vocab": 256, "positions": 4096}


def build() -> Any:
    """The model, its weights drawn anew. Raises MissingExtra without torch and transformers."""
    try:
        from transformers import LlamaConfig, LlamaForCausalLM
    except ImportError as error:
        raise MissingExtra("transformers", "torch") from error
    config = LlamaConfig(
        hidden_size=CONFIG["hidden"],
        intermediate_size=CONFIG["intermediate"],
        num_hidden_layers=CONFIG["layers"],
        num_attention_heads=CONFIG["heads"],
        num_key_value_heads=CONFIG["heads"],
        vocab_size=CONFIG["vocab"],
        max_position_embeddings=CONFIG["positions"],
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=None,
    )
    return LlamaForCausalLM(config)


def exits_of(model: Any, ids: Any) -> list[Any]:
    """Logits (batch, length, bytes) of every layer for whole sequences, the last layer's last."""
    backbone = model.model
    hidden = backbone.embed_tokens(ids)
    positions = backbone.rotary_emb(hidden, _positions(0, ids.shape[1], hidden.device))
    found = []
    for layer in backbone.layers:
        hidden = layer(hidden, attention_mask=None, position_embeddings=positions)
        found.append(model.lm_head(backbone.norm(hidden)))
    return found


def _positions(start: int, count: int, device: Any) -> Any:
    import torch

    return torch.arange(start, start + count, device=device)[None]


@lru_cache(maxsize=1)
def description() -> dict[str, Any]:
    """How the weights were made."""
    found: dict[str, Any] = json.loads(FILE.with_suffix(".json").read_text(encoding="utf-8"))
    return found


def load(threads: int = 1) -> Any:
    """The trained model, in single precision on the CPU."""
    import torch

    model = build()
    from safetensors.torch import load_file

    weights = {name: tensor.float() for name, tensor in load_file(str(FILE)).items()}
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"]
    model.load_state_dict(weights)
    torch.set_num_threads(threads)
    return model.eval()


@dataclass(frozen=True)
class Exit:
    """A byte as it leaves: its value, the layer (from 1), and the confidence there."""

    token: int
    layer: int
    confidence: float


class Generation:
    """One sequence under way: a prompt, then a byte at a time, each leaving at the first confident layer.

    `confidence` from which a layer's byte is taken; above 1 never, so that all leave at the last. `next_byte`
    computes until the byte is known, `finish` what is left to do before the next one. With `keeps_computing` that
    is all layers above (the byte was released early, the model works on); otherwise they are skipped (it truly
    stopped), and for later bytes to attend to, their keys and values are made of the exit's hidden state (Elbayad
    et al. 2020, Schuster et al. 2022). A prompt is read by all layers.
    """

    def __init__(self, model: Any, prompt: list[int], confidence: float, keeps_computing: bool) -> None:
        from transformers import DynamicCache

        if not prompt:
            raise InputError("prompt", "is empty", "give a byte or more")
        self._model, self._confidence, self._keeps = model, confidence, keeps_computing
        self._cache, self._ids, self._seen, self._next = DynamicCache(), list(prompt), 0, 0
        self._hidden: Any = None
        self._positions: Any = None

    def next_byte(self) -> Exit:
        """Compute the layers until one is confident, or all."""
        import torch

        with torch.inference_mode():
            backbone = self._model.model
            ids = torch.tensor([self._ids])
            self._hidden = backbone.embed_tokens(ids)
            where = torch.arange(self._seen, self._seen + ids.shape[1])[None]
            self._positions = backbone.rotary_emb(self._hidden, where)
            reads = self._seen == 0 or self._confidence > 1
            for number, layer in enumerate(backbone.layers, start=1):
                self._compute(layer)
                last = number == len(backbone.layers)
                if last or not reads:
                    found = self._judged(number)
                    if last or found.confidence >= self._confidence:
                        break
            self._seen, self._ids, self._next = self._seen + len(self._ids), [found.token], number
            return found

    def finish(self) -> None:
        """Compute or fill in the layers above the exit."""
        import torch

        with torch.inference_mode():
            for index in range(self._next, CONFIG["layers"]):
                layer = self._model.model.layers[index]
                if self._keeps:
                    self._compute(layer)
                else:
                    self._fill(layer, index)

    def _compute(self, layer: Any) -> None:
        self._hidden = layer(
            self._hidden, attention_mask=None, past_key_values=self._cache, use_cache=True,
            position_embeddings=self._positions,
        )  # fmt: skip

    def _judged(self, number: int) -> Exit:
        import torch

        logits = self._model.lm_head(self._model.model.norm(self._hidden[:, -1]))
        probability, token = torch.softmax(logits[0], dim=-1).max(dim=-1)
        return Exit(int(token), number, float(probability))

    def _fill(self, layer: Any, index: int) -> None:
        """Keys and values of a layer that is skipped."""
        from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

        attention, normed = layer.self_attn, layer.input_layernorm(self._hidden)
        shape = (*normed.shape[:-1], -1, attention.head_dim)
        keys = attention.k_proj(normed).view(shape).transpose(1, 2)
        values = attention.v_proj(normed).view(shape).transpose(1, 2)
        keys, _ = apply_rotary_pos_emb(keys, keys, *self._positions)
        self._cache.update(keys, values, index)
