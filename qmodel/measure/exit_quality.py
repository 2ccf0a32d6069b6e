"""What early exit gives and costs: quality beside time, for decoders with exits and the digits diffusion model.

Decoders (byte model, SmolLM2): text is continued token by token; at each confidence, how often is the token the
one that the full model would have given after the same text (agreement), how well is the text predicted (nats a
token, and e to that, the perplexity), at what layer tokens leave, how long until a token is out and until the model
is free for the next.
"""

from __future__ import annotations

import math
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
    confidences: Sequence[float], prompts: int = 20, seed: int = 0, threads: int = 1, model: str = "byte-model"
) -> pd.DataFrame:
    """One row a confidence and delivery: both meanings of early exit over the same prompts of text.

    Columns: confidence, delivery, mean_layer, agreement (with the full model's token), nats_per_token and
    perplexity (of the text, at the layer where each token leaves), token_s (until it is out), occupied_s (until
    the next may begin). `model` is a target with exits: "byte-model" (text that it was not trained on), "smollm2".
    """
    from qmodel.measure.targets.base import make_target

    target: Any = make_target(model, threads=threads)
    text = _text(target)
    starts = np.random.default_rng(seed).integers(0, len(text) - PROMPT - CONTINUED, size=prompts)
    pieces = [list(text[start : start + PROMPT + CONTINUED]) for start in starts]
    rows = []
    for confidence in confidences:
        judged = _teacher_forced(target, pieces, confidence)
        for delivery in ("release", "stop"):
            timed = _timed(target, pieces, confidence, delivery == "release")
            rows.append({"confidence": confidence, "delivery": delivery, **judged, **timed})
    return pd.DataFrame(rows)


def _text(target: Any) -> Sequence[int]:
    """The text to be predicted; of the byte model what it was not trained on."""
    from qmodel.measure.targets.byte_model import ByteModel, description

    return held_out_text(description()) if isinstance(target, ByteModel) else target.text()


def _teacher_forced(target: Any, pieces: Sequence[list[int]], confidence: float) -> dict[str, float]:
    """Layer and loss of each next token when the text before it is the real one, read by all layers."""
    import torch

    from qmodel.measure.targets.generation import exits_of

    layers, losses = [], []
    with torch.inference_mode():
        for piece in pieces:
            ids = torch.tensor([piece])
            found = exits_of(target.model, ids[:, :-1])
            law = torch.stack([each[0, PROMPT - 1 :].log_softmax(-1) for each in found])
            sure = law.max(dim=-1).values.exp() >= confidence
            sure[[layer not in target.exits for layer in range(1, len(found) + 1)]] = False
            sure[-1] = True
            leaves = sure.float().argmax(dim=0)
            truth = ids[0, PROMPT:]
            at = torch.arange(len(truth))
            losses += (-law[leaves, at, truth]).tolist()
            layers += (leaves + 1).tolist()
    loss = fmean(losses)
    return {"mean_layer": fmean(layers), "nats_per_token": loss, "perplexity": math.exp(loss)}


def _timed(target: Any, pieces: Sequence[list[int]], confidence: float, keeps: bool) -> dict[str, float]:
    """Continue each prompt under early exit; agreement is with the full model after the very same text."""
    from qmodel.measure.targets.generation import Generation

    out, occupied, said = [], [], []
    for piece in pieces:
        generation = Generation(target.model, piece[:PROMPT], confidence, keeps, target.exits)
        for number in range(CONTINUED):
            begin = time.perf_counter()
            generation.next_token()
            known = time.perf_counter()
            generation.finish()
            if number:  # the first reads the prompt
                out.append(known - begin)
                occupied.append(time.perf_counter() - begin)
        said.append(generation)
    agreed = target.quality(said)["agreement"]
    return {"agreement": agreed, "token_s": float(np.median(out)), "occupied_s": float(np.median(occupied))}


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
