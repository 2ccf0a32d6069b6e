"""Llama-shaped decoders by a few numbers."""

from __future__ import annotations

from typing import Any

from qmodel.errors import MissingExtra


def llama_config(
    *,
    hidden: int,
    intermediate: int,
    layers: int,
    heads: int,
    kv_heads: int,
    vocab: int,
    positions: int,
    **more: Any,
) -> Any:
    """`transformers.LlamaConfig` of this shape, without tokens of begin and end: no text ends before it is told to.

    `more` goes there by its own names. Raises MissingExtra without transformers.
    """
    try:
        from transformers import LlamaConfig
    except ImportError as error:
        raise MissingExtra("transformers", "torch") from error
    return LlamaConfig(
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        vocab_size=vocab,
        max_position_embeddings=positions,
        bos_token_id=None,
        eos_token_id=None,
        **more,
    )
