"""Shapes of decoder-only language models, and what a pass through one costs: operations, bytes moved, memory held.

The counts give each cell's predicted memory (cells that cannot fit are never tried) and its predicted time (visits
that do not fit in the time left are not begun).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
LAUNCHES_PER_LAYER = 24
"""Kernels that one layer launches, roughly: normalisations, products, rotations, attention, additions."""
WORKSPACE_BYTES = 1 << 30
"""What the libraries hold for themselves: context, workspaces, captured graphs."""


class Cost(NamedTuple):
    """What one repetition takes: floating-point operations, bytes through memory, bytes held, kernels launched."""

    operations: float
    moved_bytes: float
    held_bytes: float
    launches: int


@dataclass(frozen=True)
class DecoderShape:
    """A decoder of the Llama architecture: grouped-query attention, gated feed-forward network, RMS norms."""

    name: str
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    intermediate: int
    vocabulary: int
    tied: bool

    @property
    def head_size(self) -> int:
        """Width of one attention head."""
        return self.hidden // self.heads

    @property
    def kv_width(self) -> int:
        """Width of a token's keys (and of its values) in one layer."""
        return self.kv_heads * self.head_size

    @property
    def layer_parameters(self) -> int:
        """Weights of one layer: attention h(h + 2 kv) + h h, network 3 h i, two norms."""
        attention = self.hidden * (2 * self.hidden + 2 * self.kv_width)
        return attention + 3 * self.hidden * self.intermediate + 2 * self.hidden

    @property
    def parameters(self) -> int:
        """All weights; a tied output layer is the embedding itself.

        >>> LLAMA_8B.parameters, LLAMA_1B.parameters
        (8030261248, 1235814400)
        """
        embeddings = self.vocabulary * self.hidden * (1 if self.tied else 2)
        return embeddings + self.layers * self.layer_parameters + self.hidden

    def kv_bytes_per_token(self, precision: str = "bfloat16", layers: int | None = None) -> int:
        """Keys and values of one token in all layers.

        >>> LLAMA_8B.kv_bytes_per_token(), LLAMA_1B.kv_bytes_per_token()
        (131072, 32768)
        """
        return (layers or self.layers) * 2 * self.kv_width * BYTES[precision]

    def prefill_cost(
        self, batch_size: int, input_tokens: int, layers: int | None = None, precision: str = "bfloat16"
    ) -> Cost:
        """One prefill: 2 operations a weight and token, and causal attention at 2 h S^2 a layer and sequence."""
        layers, size = layers or self.layers, BYTES[precision]
        tokens = batch_size * input_tokens
        weights = layers * self.layer_parameters
        attention = 2 * batch_size * input_tokens**2 * self.hidden * layers
        head = 2 * batch_size * self.vocabulary * self.hidden
        activations = tokens * (2 * self.intermediate + 5 * self.hidden) * size
        kv = tokens * self.kv_bytes_per_token(precision, layers)
        moved = (weights + self.vocabulary * self.hidden) * size + kv + 2 * layers * activations
        held = self.parameters * size + kv + activations + WORKSPACE_BYTES
        return Cost(2 * tokens * weights + attention + head, moved, held, LAUNCHES_PER_LAYER * layers)

    def decode_cost(
        self, batch_size: int, context_tokens: int, layers: int | None = None, precision: str = "bfloat16"
    ) -> Cost:
        """One decode step: every weight is read once, and the keys and values of every context token."""
        layers, size = layers or self.layers, BYTES[precision]
        weights = layers * self.layer_parameters + self.vocabulary * self.hidden
        kv = batch_size * (context_tokens + 1) * self.kv_bytes_per_token(precision, layers)
        attention = 4 * batch_size * context_tokens * self.hidden * layers
        logits = batch_size * self.vocabulary * 4
        held = self.parameters * size + kv + logits + WORKSPACE_BYTES
        return Cost(2 * batch_size * weights + attention, weights * size + kv, held, LAUNCHES_PER_LAYER * layers)


LLAMA_1B = DecoderShape("decoder-1b", 2048, 16, 32, 8, 8192, 128_256, tied=True)
"""The shape of Llama 3.2 1B."""
LLAMA_8B = DecoderShape("decoder-8b", 4096, 32, 32, 8, 14_336, 128_256, tied=False)
"""The shape of Llama 3.1 8B."""
TINY = DecoderShape("decoder-tiny", 64, 4, 4, 2, 128, 256, tied=True)
"""For smoke tests."""
