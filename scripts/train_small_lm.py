"""Train the byte-level language model with an exit at every layer, in under three minutes on one thread.

    python scripts/train_small_lm.py [--steps N] [--seed N] [-o FILE.safetensors]

Needs the `torch` extra. A Llama-shaped decoder reads bytes of English text (Python's own language reference, which
comes with every Python as `pydoc_data.topics`, PSF licence); every layer is taught to predict the next byte through
the same norm and output matrix (deep supervision), later layers more, so that the confidence of an early layer
means something. The steps are fixed by the seed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import time
from pathlib import Path

import torch
from torch.nn import functional

from qmodel.measure.targets.byte_model import CONFIG, FILE, build
from qmodel.measure.targets.generation import exits_of

HELD_OUT = 0.1


def corpus() -> bytes:
    """The text, in a fixed order."""
    from pydoc_data.topics import topics

    return "\n\n".join(topics[name] for name in sorted(topics)).encode("ascii", "replace")


def batch(text: torch.Tensor, rows: int, length: int, generator: torch.Generator) -> torch.Tensor:
    starts = torch.randint(len(text) - length - 1, (rows,), generator=generator)
    return torch.stack([text[start : start + length + 1] for start in starts])


def losses(model: torch.nn.Module, ids: torch.Tensor) -> torch.Tensor:
    """Cross-entropy (nats a byte) of each layer's prediction."""
    logits = exits_of(model, ids[:, :-1])
    return torch.stack([functional.cross_entropy(each.flatten(0, 1), ids[:, 1:].flatten()) for each in logits])


def train(steps: int, seed: int, rows: int = 12, length: int = 96, peak: float = 4e-3) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    text = torch.tensor(list(corpus()))
    text = text[: int(len(text) * (1 - HELD_OUT))]
    model = build().train()
    weights = torch.arange(1.0, CONFIG["layers"] + 1)
    weights = weights / weights.sum()
    optimiser = torch.optim.AdamW(model.parameters(), lr=peak, betas=(0.9, 0.98), weight_decay=0.05)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimiser, peak, total_steps=steps, pct_start=0.15)
    begun = time.monotonic()
    for step in range(steps):
        found = losses(model, batch(text, rows, length, generator))
        optimiser.zero_grad()
        (weights * found).sum().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        rate.step()
        if step % 50 == 0 or step == steps - 1:
            print(
                f"step {step}: {[round(x, 3) for x in found.tolist()]}, {time.monotonic() - begun:.0f} s",
                flush=True,
            )
    return model.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, default=FILE)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    from safetensors.torch import save_file

    model = train(asked.steps, asked.seed)
    half = {name: tensor.half().contiguous() for name, tensor in model.state_dict().items()}
    half.pop("lm_head.weight", None)  # tied to the embedding
    save_file(half, str(asked.output))
    held = torch.tensor(list(corpus()))[int(len(corpus()) * (1 - HELD_OUT)) :]
    with torch.inference_mode():
        found = losses(model, batch(held, 64, 128, torch.Generator().manual_seed(1)))
    about = {
        "config": CONFIG,
        "steps": asked.steps,
        "seed": asked.seed,
        "corpus": f"pydoc_data.topics of Python {platform.python_version()}, PSF licence",
        "corpus_sha256": hashlib.sha256(corpus()).hexdigest(),
        "held_out_nats_per_byte_by_layer": [round(x, 4) for x in found.tolist()],
        "weights_sha256": hashlib.sha256(asked.output.read_bytes()).hexdigest(),
        "torch": torch.__version__,
    }
    asked.output.with_suffix(".json").write_text(json.dumps(about, indent=1) + "\n")
    print(about["held_out_nats_per_byte_by_layer"])


if __name__ == "__main__":
    main()
