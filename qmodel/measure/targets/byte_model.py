"""A small byte-level language model with trained weights and an exit at every layer.

A Llama-shaped decoder (`CONFIG`) whose every layer predicts the next byte through the same final norm and output
matrix; `scripts/train_small_lm.py` makes `byte_model.safetensors`, and `byte_model.json` says how. Its confidence,
the largest probability that a layer gives to a byte, therefore means something, as that of random weights does not.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from qmodel.measure.targets.exiting import ExitingModel, documentation
from qmodel.measure.targets.llama import llama_config

FILE = Path(__file__).with_name("byte_model.safetensors")
CONFIG = {"hidden": 128, "layers": 8, "heads": 4, "intermediate": 320, "vocab": 256, "positions": 4096}


def build() -> Any:
    """The model, its weights drawn anew. Raises MissingExtra without torch and transformers."""
    config = llama_config(**CONFIG, kv_heads=CONFIG["heads"], tie_word_embeddings=True)
    from transformers import LlamaForCausalLM

    return LlamaForCausalLM(config)


@lru_cache(maxsize=1)
def description() -> dict[str, Any]:
    """How the weights were made."""
    found: dict[str, Any] = json.loads(FILE.with_suffix(".json").read_text(encoding="utf-8"))
    return found


def load(threads: int = 1) -> Any:
    """The trained model, in single precision on the CPU."""
    model = build()
    import torch
    from safetensors.torch import load_file

    weights = {name: tensor.float() for name, tensor in load_file(str(FILE)).items()}
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"]
    model.load_state_dict(weights)
    torch.set_num_threads(threads)
    return model.eval()


class ByteModel(ExitingModel):
    """Target "byte-model": every layer is judged. Raises MissingExtra without torch and transformers."""

    name = "byte-model"
    positions = CONFIG["positions"]

    def load(self, threads: int) -> Any:
        """The trained model."""
        return load(threads)

    def text(self) -> list[int]:
        """Bytes of Python's documentation."""
        return list(documentation().encode("ascii", "replace"))

    def versions(self) -> dict[str, str]:
        """Libraries and weights."""
        return {**super().versions(), "byte_model_sha256": description()["weights_sha256"]}
