"""A small Llama-shaped model with random weights, and a tokenizer in which a word is a token, for `vllm serve`.

    python experiments/vllm/make_model.py FOLDER

Needs the torch extra. What it says is nonsense, which takes as long to say as sense does. It has 30 million
parameters, so that an iteration on one core takes ten times as long as a server's handling of what comes and goes.
"""

from __future__ import annotations

import sys
from pathlib import Path

from qmodel.openai_client.prompts import WORDS

SEED = 0
OTHERS = 2048
"""Words in all: the model may answer with any, and each is text."""


def main(folder: Path) -> None:
    """Write the model and its tokenizer."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = [*WORDS, *(f"w{i}" for i in range(OTHERS - len(WORDS) - 2)), "<unk>", "<end>"]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    named = {"unk_token": "<unk>", "eos_token": "<end>", "model_max_length": 1024}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **named).save_pretrained(folder)
    torch.manual_seed(SEED)
    shape = {"hidden_size": 512, "num_hidden_layers": 10, "num_attention_heads": 8, "num_key_value_heads": 4}
    shape |= {"intermediate_size": 1408, "vocab_size": len(words), "max_position_embeddings": 1024}
    ends = {"bos_token_id": None, "eos_token_id": words.index("<end>")}
    LlamaForCausalLM(LlamaConfig(**shape, **ends, tie_word_embeddings=True)).save_pretrained(folder)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} FOLDER")
    main(Path(sys.argv[1]))
