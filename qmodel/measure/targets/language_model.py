"""A decoder-only language model (Llama architecture, random weights) on torch and transformers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from qmodel.errors import InputError
from qmodel.measure.targets.base import Levels, OutOfMemory, Trial
from qmodel.measure.targets.levels import check_factors, whole
from qmodel.measure.targets.llama import llama_config
from qmodel.measure.targets.torch_engine import TorchEngine

POSITIONS = 131_072
"""Longest context; rotary embeddings cost the same whatever it is."""


class LanguageModel:
    """Target "language-model": prefill and decode, timed apart.

    A "prefill" trial reads `input_tokens` for each of `batch_size` sequences into an empty KV cache and picks the
    first token. A "decode" trial is one step: one token for each sequence, which attends to the `context_tokens`
    already in its KV cache and to itself; the cache is filled beforehand and rewound after each trial, untimed.
    `exit_layer` runs the first so many layers only, then the final norm and the output layer (early exit).

    The weights are random (drawn from `seed`) and there is no end-of-sequence token: latency does not depend on
    the values, what is said does. The model size comes from the options. Trials return their own time (CUDA
    events on a GPU). Raises MissingExtra without torch and transformers.
    """

    name = "language-model"
    phases = ("prefill", "decode")
    factors: Mapping[str, tuple[str, ...]] = {
        "prefill": ("batch_size", "input_tokens", "exit_layer"),
        "decode": ("batch_size", "context_tokens", "exit_layer"),
    }

    def __init__(
        self,
        threads: int = 1,
        device: str = "auto",
        precision: str = "float32",
        *,
        hidden_size: int = 256,
        layers: int = 8,
        heads: int = 8,
        kv_heads: int | None = None,
        intermediate_size: int | None = None,
        vocab_size: int = 4096,
        seed: int = 0,
    ) -> None:
        shape = {"hidden_size": hidden_size, "layers": layers, "heads": heads, "vocab_size": vocab_size}
        shape["kv_heads"] = heads if kv_heads is None else kv_heads
        shape["intermediate_size"] = round(hidden_size * 8 / 3) if intermediate_size is None else intermediate_size
        check_shape(shape)
        self.layers, self.vocab_size, self.seed = layers, vocab_size, seed
        self.engine = TorchEngine(device, precision, threads)
        self.device = self.engine.name
        try:
            self.model = random_llama(self.engine, shape, seed)
        except OutOfMemory as error:
            raise InputError("language-model", "its weights do not fit in memory", "make it smaller") from error

    def prepare(self, phase: str, levels: Levels) -> Trial:
        """The call that does one prefill, or one decode step, and returns its seconds."""
        check_factors(phase, levels, self.factors)
        batch_size = whole(levels, "batch_size", 1)
        exit_layer = whole(levels, "exit_layer", self.layers, 1, self.layers)
        self.engine.set_threads()
        if phase == "prefill":
            return self._prefill(batch_size, whole(levels, "input_tokens", 128, 1, POSITIONS), exit_layer)
        return self._decode(batch_size, whole(levels, "context_tokens", 128, 1, POSITIONS - 1), exit_layer)

    def _prefill(self, batch_size: int, input_tokens: int, exit_layer: int) -> Trial:
        from transformers import DynamicCache

        with self.engine.guarded():
            prompt = self.random_tokens(batch_size, input_tokens)
        return lambda: self.engine.timed(lambda: self.logits(prompt, DynamicCache(), exit_layer).argmax(dim=-1))

    def _decode(self, batch_size: int, context_tokens: int, exit_layer: int) -> Trial:
        with self.engine.guarded():
            token = self.random_tokens(batch_size, 1)
            cache = self.filled_cache(self.random_tokens(1, context_tokens), batch_size, exit_layer)

        def trial() -> float:
            rewind(cache, context_tokens)
            return self.engine.timed(lambda: self.logits(token, cache, exit_layer).argmax(dim=-1))

        return trial

    def random_tokens(self, batch_size: int, count: int) -> Any:
        """Token ids (batch_size, count) on the device, drawn from the seed."""
        import torch

        generator = torch.Generator().manual_seed(self.seed)
        tokens = torch.randint(self.vocab_size, (batch_size, count), generator=generator)
        return tokens.to(self.engine.device)

    def logits(self, tokens: Any, cache: Any, exit_layer: int | None = None) -> Any:
        """Logits (batch, vocabulary) after the last of the tokens, which are appended to the cache."""
        import torch

        with torch.inference_mode(), exit_after(self.model, exit_layer or self.layers):
            return self.model(tokens, past_key_values=cache, use_cache=True, logits_to_keep=1).logits[:, -1]

    def filled_cache(self, context: Any, batch_size: int, exit_layer: int | None = None) -> Any:
        """A KV cache holding the context (1, tokens) for each of `batch_size` sequences, with room for one more.

        The keys and values are computed once and copied: sequences differ in nothing that takes time. Memory is
        allocated beforehand, as serving engines do: a cache that grows would be copied at each step.
        """
        import torch
        from transformers import DynamicCache, StaticCache

        computed = DynamicCache()
        self.logits(context, computed, exit_layer)
        with torch.inference_mode(), exit_after(self.model, exit_layer or self.layers):
            cache = StaticCache(config=self.model.config, max_cache_len=context.shape[1] + 1)
            for index, layer in enumerate(computed.layers):
                keys, values = (part.expand(batch_size, -1, -1, -1) for part in (layer.keys, layer.values))
                cache.update(keys, values, index)
        return cache

    def peak_memory_bytes(self) -> int | None:
        """Peak device memory of the last trial; None on a CPU."""
        return self.engine.peak_memory_bytes()

    def versions(self) -> dict[str, str]:
        """torch, CUDA where it is used, transformers."""
        import transformers

        return self.engine.versions() | {"transformers": transformers.__version__}

    def close(self) -> None:
        """Give the model's memory back."""
        del self.model
        self.engine.release()


def check_shape(shape: Mapping[str, int]) -> None:
    """Raise InputError for sizes that no such model can have."""
    for name, value in shape.items():
        if not isinstance(value, int) or value < 1:
            raise InputError(name, f"{value!r} is out of range", "use a whole number from 1 up")
    if shape["hidden_size"] % (2 * shape["heads"]):
        raise InputError("hidden_size", "is not an even multiple of heads", "use heads x an even head size")
    if shape["heads"] % shape["kv_heads"]:
        raise InputError("kv_heads", "does not divide heads", "use a divisor of heads")


def random_llama(engine: TorchEngine, shape: Mapping[str, int], seed: int) -> Any:
    """A Llama of that shape on the engine's device, its weights drawn from the seed."""
    import torch

    config = llama_config(
        hidden=shape["hidden_size"],
        intermediate=shape["intermediate_size"],
        layers=shape["layers"],
        heads=shape["heads"],
        kv_heads=shape["kv_heads"],
        vocab=shape["vocab_size"],
        positions=POSITIONS,
    )
    from transformers import AutoModelForCausalLM

    devices = [engine.device] if engine.on_cuda else []
    with torch.random.fork_rng(devices=devices), engine.guarded(), engine.device:
        torch.manual_seed(seed)
        return AutoModelForCausalLM.from_config(config, dtype=engine.dtype, attn_implementation="sdpa").eval()


@contextmanager
def exit_after(model: Any, layers: int) -> Iterator[None]:
    """Let the model run its first layers only: its forward pass takes their number from the configuration."""
    config, depth = model.config, model.config.num_hidden_layers
    config.num_hidden_layers = layers
    try:
        yield
    finally:
        config.num_hidden_layers = depth


def rewind(cache: Any, tokens: int) -> None:
    """Forget what came after the first tokens; their keys and values stay where they are."""
    import torch

    with torch.inference_mode():
        for layer in cache.layers:
            layer.cumulative_length.fill_(tokens)
