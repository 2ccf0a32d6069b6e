"""One sequence under way through a decoder, a token at a time, each leaving at the first layer that is sure of it.

Every layer's hidden state goes through the final norm and the output matrix (the logit lens), so that every layer
says a token with a confidence: the largest probability that it gives to one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from qmodel.errors import InputError


@dataclass(frozen=True)
class Exit:
    """A token as it leaves: its number, the layer (from 1), and the confidence there."""

    token: int
    layer: int
    confidence: float


class Generation:
    """A prompt, then a token at a time, each leaving at the first confident layer of those that are `judged`.

    `confidence` from which a layer's token is taken; above 1 never, so that all leave at the last. `next_token`
    computes until the token is known, `finish` what is left to do before the next one. With `keeps_computing` that
    is all layers above (the token was released early, the model works on); otherwise they are skipped (it truly
    stopped), and for later tokens to attend to, their keys and values are made of the exit's hidden state (Elbayad
    et al. 2020, Schuster et al. 2022). A prompt is read by all layers. `judged` are layers from 1 (None: all);
    `exits` is what has been said so far.
    """

    def __init__(
        self, model: Any, prompt: list[int], confidence: float, keeps_computing: bool,
        judged: Sequence[int] | None = None,
    ) -> None:  # fmt: skip
        from transformers import DynamicCache

        if not prompt:
            raise InputError("prompt", "is empty", "give a token or more")
        self._model, self._confidence, self._keeps = model, confidence, keeps_computing
        self.layers = len(model.model.layers)
        self._judged_at = frozenset(range(1, self.layers + 1) if judged is None else judged)
        self.prompt, self.exits = list(prompt), list[Exit]()
        self._cache, self._ids, self._seen, self._next = DynamicCache(), list(prompt), 0, 0
        self._hidden: Any = None
        self._positions: Any = None

    def next_token(self) -> Exit:
        """Compute the layers until one is confident, or all."""
        import torch

        with torch.inference_mode():
            backbone = self._model.model
            ids = torch.tensor([self._ids])
            self._hidden = backbone.embed_tokens(ids)
            self._positions = backbone.rotary_emb(self._hidden, positions(self._seen, ids.shape[1], ids.device))
            found = self._first_sure(backbone.layers, reads=self._seen == 0)
        self._seen, self._ids, self._next = self._seen + len(self._ids), [found.token], found.layer
        self.exits.append(found)
        return found

    def _first_sure(self, layers: Any, *, reads: bool) -> Exit:
        for number, layer in enumerate(layers, start=1):
            self._compute(layer)
            if number == self.layers:
                break
            if not reads and self._confidence <= 1 and number in self._judged_at:
                found = self._judged(number)
                if found.confidence >= self._confidence:
                    return found
        return self._judged(self.layers)

    def finish(self) -> None:
        """Compute or fill in the layers above the exit."""
        import torch

        with torch.inference_mode():
            for index in range(self._next, self.layers):
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


def exits_of(model: Any, ids: Any) -> list[Any]:
    """Logits (batch, length, tokens) of every layer for whole sequences, the last layer's last."""
    backbone = model.model
    hidden = backbone.embed_tokens(ids)
    where = backbone.rotary_emb(hidden, positions(0, ids.shape[1], hidden.device))
    found = []
    for layer in backbone.layers:
        hidden = layer(hidden, attention_mask=None, position_embeddings=where)
        found.append(model.lm_head(backbone.norm(hidden)))
    return found


def positions(start: int, count: int, device: Any) -> Any:
    """Places of so many tokens (1, count)."""
    import torch

    return torch.arange(start, start + count, device=device)[None]
