"""A decoder-only language model (Llama architecture, random weights) in plain torch, as serving engines run it.

Query, key and value are one product, gate and up another; keys and values go into a cache that was allocated
before; attention works on grouped heads without copying them; a decode step can be captured in a CUDA graph. With
the weights of a transformers `LlamaForCausalLM` it gives the same logits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from campaign.shapes import DecoderShape

EPSILON = 1e-5
ROTARY_BASE = 500_000.0
LONGEST = 32_768 + 1


@dataclass
class Layer:
    """Weights of one layer, each (outputs, inputs)."""

    norm_in: Tensor
    qkv: Tensor
    out: Tensor
    norm_mid: Tensor
    gate_up: Tensor
    down: Tensor


Cache = list[tuple[Tensor, Tensor]]
"""Keys and values of each layer, (batch, kv_heads, tokens, head_size)."""


class Decoder:
    """A decoder of a shape on a device; its weights are drawn there, in its precision, from the seed."""

    def __init__(
        self, shape: DecoderShape, device: Any, dtype: torch.dtype, seed: int = 0, longest: int = LONGEST
    ) -> None:
        self.shape, self.device, self.dtype = shape, device, dtype
        self._generator = torch.Generator(device).manual_seed(seed)
        h, kv, wide = shape.hidden, shape.kv_width, shape.intermediate
        self.embedding = self._drawn(shape.vocabulary, h)
        self.layers = [
            Layer(
                self._ones(h), self._drawn(h + 2 * kv, h), self._drawn(h, h),
                self._ones(h), self._drawn(2 * wide, h), self._drawn(h, wide),
            )
            for _ in range(shape.layers)
        ]  # fmt: skip
        self.norm = self._ones(h)
        self.head = self.embedding if shape.tied else self._drawn(shape.vocabulary, h)
        self._cosines, self._sines = rotary_tables(shape.head_size, longest, device, dtype)
        # Fused attention kernels take grouped heads in half precision only.
        self._groups = not (self.device.type == "cuda" and dtype is torch.float32)

    def _drawn(self, *size: int) -> Tensor:
        weights = torch.empty(size, device=self.device, dtype=self.dtype)
        return weights.normal_(0, 0.02, generator=self._generator)

    def _ones(self, width: int) -> Tensor:
        return torch.ones(width, device=self.device, dtype=self.dtype)

    def tokens(self, *size: int) -> Tensor:
        """Random token ids."""
        return torch.randint(self.shape.vocabulary, size, device=self.device, generator=self._generator)

    def cache(self, batch_size: int, tokens: int, layers: int | None = None, *, filled: bool = False) -> Cache:
        """Room for the keys and values of so many tokens; `filled` with random ones."""
        size = (batch_size, self.shape.kv_heads, tokens, self.shape.head_size)

        def room() -> Tensor:
            empty = torch.empty(size, device=self.device, dtype=self.dtype)
            return empty.normal_(generator=self._generator) if filled else empty

        return [(room(), room()) for _ in range(layers or self.shape.layers)]

    @torch.inference_mode()
    def prefill(self, tokens: Tensor, cache: Cache, layers: int | None = None) -> Tensor:
        """First tokens (batch,) after the prompts (batch, n); the cache holds their keys and values then."""
        return self.logits(tokens, cache, 0, layers).argmax(dim=-1)

    @torch.inference_mode()
    def decode(self, tokens: Tensor, cache: Cache, position: int, layers: int | None = None) -> Tensor:
        """Next tokens (batch,) of sequences whose first `position` tokens are in the cache; takes (batch, 1)."""
        return self.logits(tokens, cache, position, layers).argmax(dim=-1)

    def logits(self, tokens: Tensor, cache: Cache, position: int, layers: int | None = None) -> Tensor:
        """Logits (batch, vocabulary) after the last token; only the first `layers` layers are run (early exit).

        Several tokens at once start at position 0: a prompt is read in one piece.
        """
        assert position == 0 or tokens.shape[1] == 1, "a prompt is read in one piece"
        x = functional.embedding(tokens, self.embedding)
        end = position + tokens.shape[1]
        rotation = self._cosines[position:end], self._sines[position:end]
        for layer, (keys, values) in zip(self.layers[:layers], cache, strict=False):
            x = x + self._attend(self._normed(x, layer.norm_in), layer, keys, values, position, rotation)
            x = x + feed_forward(self._normed(x, layer.norm_mid), layer)
        return functional.linear(self._normed(x[:, -1], self.norm), self.head)

    def _normed(self, x: Tensor, weight: Tensor) -> Tensor:
        return functional.rms_norm(x, weight.shape, weight, EPSILON)

    def _attend(
        self, x: Tensor, layer: Layer, keys: Tensor, values: Tensor, position: int, rotation: tuple[Tensor, Tensor]
    ) -> Tensor:
        """Attention of the new tokens to all up to themselves; their keys and values go into the cache."""
        shape, (n, count, _) = self.shape, x.shape
        packed = functional.linear(x, layer.qkv).view(n, count, -1, shape.head_size).transpose(1, 2)
        query, key, value = packed.split([shape.heads, shape.kv_heads, shape.kv_heads], dim=1)
        end = position + count
        keys[:, :, position:end] = rotated(key, *rotation)
        values[:, :, position:end] = value
        seen_keys, seen_values = keys[:, :, :end], values[:, :, :end]
        if not self._groups:
            copies = shape.heads // shape.kv_heads
            seen_keys, seen_values = (part.repeat_interleave(copies, dim=1) for part in (seen_keys, seen_values))
        mixed = functional.scaled_dot_product_attention(
            rotated(query, *rotation), seen_keys, seen_values, is_causal=count > 1, enable_gqa=self._groups
        )
        return functional.linear(mixed.transpose(1, 2).reshape(n, count, shape.hidden), layer.out)


def feed_forward(x: Tensor, layer: Layer) -> Tensor:
    """down(silu(gate(x)) * up(x))."""
    gate, up = functional.linear(x, layer.gate_up).chunk(2, dim=-1)
    return functional.linear(functional.silu(gate, inplace=True).mul_(up), layer.down)


def rotary_tables(size: int, longest: int, device: Any, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Cosines and sines (longest, size / 2) of position times ROTARY_BASE^(-2i/size)."""
    frequencies = ROTARY_BASE ** (-torch.arange(0, size, 2, device=device, dtype=torch.float32) / size)
    angles = torch.arange(longest, device=device, dtype=torch.float32)[:, None] * frequencies
    return angles.cos().to(dtype), angles.sin().to(dtype)


def rotated(x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Each head's pairs (x_i, x_{i + size/2}) turned by their position's angles."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cosines - second * sines, second * cosines + first * sines], dim=-1)
