"""What early exit gives and costs: quality beside time, for the byte model and for the digits diffusion model.

Byte model: text is continued byte by byte; at each confidence, how often is the byte the one that the full model
would have given after the same text (agreement), how well is held-out text predicted (nats a byte), at what layer
bytes leave, how long until a byte is out and until the model is free for the next.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd

PROMPT, CONTINUED = 48, 24


def held_out_text(model_config: dict[str, Any]) -> bytes:
    """The tenth of the corpus that the model was not trained on. Raises InputError for another Python's text."""
    import hashlib
    from pydoc_data.topics import topics

    from qmodel.errors import InputError

    text = "\n\n".join(topics[name] for name in sorted(topics)).encode("ascii", "replace")
    if hashlib.sha256(text).hexdigest() != model_config["corpus_sha256"]:
        made = model_config["corpus"]
        raise InputError("corpus", f"is not the one the model was trained on ({made})", "use that Python")
    return text[int(len(text) * 0.9) :]


def exits_by_confidence(
    confidences: Sequence[float], prompts: int = 20, seed: int = 0, threads: int = 1
) -> pd.DataFrame:
    """One row a confidence and delivery: both meanings of early exit over the same prompts of held-out text.

    Columns: confidence, delivery, mean_layer, agreement (with the full model's byte), nats_per_byte (of held-out
    text, at the layer where each byte leaves), byte_s (until it is out), occupied_s (until the next may begin).
    """
    from qmodel.measure.targets.byte_model import description, load

    model = load(threads)
    text = held_out_text(description())
    starts = np.random.default_rng(seed).integers(0, len(text) - PROMPT - CONTINUED, size=prompts)
    pieces = [list(text[start : start + PROMPT + CONTINUED]) for start in starts]
    rows = []
    for confidence in confidences:
        judged = _teacher_forced(model, pieces, confidence)
        for delivery in ("release", "stop"):
            timed = _timed(model, pieces, confidence, delivery == "release")
            rows.append({"confidence": confidence, "delivery": delivery, **judged, **timed})
    return pd.DataFrame(rows)


def _teacher_forced(model: Any, pieces: Sequence[list[int]], confidence: float) -> dict[str, float]:
    """Layer and loss of each next byte when the text before it is the real one, read by all layers."""
    import torch

    from qmodel.measure.targets.byte_model import exits_of

    layers, losses = [], []
    with torch.inference_mode():
        for piece in pieces:
            ids = torch.tensor([piece])
            law = torch.stack([each[0].log_softmax(-1) for each in exits_of(model, ids[:, :-1])])[:, PROMPT - 1 :]
            sure = law.max(dim=-1).values.exp() >= confidence
            sure[-1] = True
            leaves = sure.float().argmax(dim=0)
            truth = ids[0, PROMPT:]
            at = torch.arange(len(truth))
            losses += (-law[leaves, at, truth]).tolist()
            layers += (leaves + 1).tolist()
    return {"mean_layer": fmean(layers), "nats_per_byte": fmean(losses)}


def _timed(model: Any, pieces: Sequence[list[int]], confidence: float, keeps: bool) -> dict[str, float]:
    """Continue each prompt under early exit; agreement is with the full model after the very same text."""
    from qmodel.measure.targets.byte_model import Generation

    out, occupied, said = [], [], []
    for piece in pieces:
        generation, bytes_said = Generation(model, piece[:PROMPT], confidence, keeps), []
        for number in range(CONTINUED):
            begin = time.perf_counter()
            found = generation.next_byte()
            known = time.perf_counter()
            generation.finish()
            if number:  # the first reads the prompt
                out.append(known - begin)
                occupied.append(time.perf_counter() - begin)
            bytes_said.append(found.token)
        said.append(bytes_said)
    agreed = fmean(_agreement(model, piece[:PROMPT], each) for piece, each in zip(pieces, said, strict=True))
    return {"agreement": agreed, "byte_s": float(np.median(out)), "occupied_s": float(np.median(occupied))}


def _agreement(model: Any, prompt: list[int], said: list[int]) -> float:
    import torch

    with torch.inference_mode():
        logits = model(torch.tensor([prompt + said[:-1]])).logits[0, len(prompt) - 1 :]
    return float((logits.argmax(dim=-1) == torch.tensor(said)).float().mean())


def quality_by_tolerance(
    tolerances: Sequence[float], steps: int = 16, images: int = 500, seed: int = 0
) -> pd.DataFrame:
    """Digits that stop when the picture no longer changes: one row a tolerance, 0 being all steps.

    Columns: tolerance, mean_steps, seconds_per_image (one image at a time), and the fields of `Quality`. Every row
    starts from the same noise and asks for the same labels, as many of each.
    """
    from qmodel.measure.quality import assess
    from qmodel.measure.targets.digits import CLASSES, DigitsDiffusion

    rows = []
    for tolerance in tolerances:
        target, jobs, spent = DigitsDiffusion(tolerance=tolerance), [], []
        for number in range(images):
            begin = time.perf_counter()
            jobs.append(target.generate(1, steps, seed + number, [number % CLASSES]))
            spent.append(time.perf_counter() - begin)
        pictures = np.concatenate([job.images for job in jobs])
        quality = assess(pictures, np.concatenate([job.labels for job in jobs]))
        done = fmean(job.done for job in jobs)
        rows.append(
            {"tolerance": tolerance, "mean_steps": done, "seconds_per_image": fmean(spent), **asdict(quality)}
        )
    return pd.DataFrame(rows)
