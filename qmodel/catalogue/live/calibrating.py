"""How fast this machine's engine is: measured for a few seconds before anything is predicted, and fitted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qmodel.study.watch import Watcher

STEPS = (2, 12, 60, 320)
"""Denoising steps that are timed; a request asks for so many at most."""
ENGINE: dict[str, Any] = {
    "hidden_size": 256, "layers": 4, "heads": 8, "kv_heads": 4, "intermediate_size": 704, "vocab_size": 2048,
    "device": "cpu",
}  # fmt: skip
"""A small decoder with random weights: what it says means nothing, how long it takes is real."""
MAX_BATCH, TOKENS_AT_ONCE = 8, 256
SWAPPED, SWAPS = 200, 60
"""Tokens of the KV cache that is moved out and in, and how often."""
SECONDS = {"digits-diffusion": 12.0, "transformers": 45.0}
"""About how long each takes to be timed."""


def spec_of(engine: str) -> dict[str, Any]:
    """What is timed of an engine, as a profile spells it."""
    pace = {"threads": 1, "warmup_s": 0.1, "min_replicates": 8, "max_replicates": 100, "relative_precision": 0.02}
    if engine == "digits-diffusion":
        design = {"kind": "full", "blocks": 2, "seed": 1, "pacing": ["idle-gaps"], "idle_gap_s": 0.005}
        measured = {**pace, "cell_budget_s": 2.0, "budget_s": 10.0}
        return {"name": "live", "target": {"kind": engine}, "factors": {"steps": list(STEPS)}, "design": design,
                "measurement": measured}  # fmt: skip
    target = {"kind": engine, **ENGINE, "max_batch": MAX_BATCH + 1, "max_batched_tokens": TOKENS_AT_ONCE}
    mixed = {"batch_size": [1, 6], "context_tokens": [96], "prefill_tokens": [16, 128]}
    phases = [
        {"name": "decode", "factors": {"batch_size": [1, 3, 8], "context_tokens": [32, 160]}},
        {"name": "mixed", "factors": mixed},
    ]
    measured = {**pace, "cell_budget_s": 1.5, "budget_s": 20.0}
    return {"name": "live", "target": target, "phase": phases, "measurement": measured,
            "design": {"kind": "full", "blocks": 2, "seed": 1}}  # fmt: skip


def measured(engine: str, folder: Path, watcher: Watcher) -> Path:
    """Profile an engine into `folder/profile.csv`. Raises InputError, MissingExtra."""
    from qmodel.measure import ProfileSpec, run_profile

    path = folder / "profile.csv"
    path.unlink(missing_ok=True)
    watcher.stage("timing the engine", SECONDS[engine])
    run_profile(ProfileSpec.of(spec_of(engine)), path, progress=watcher.update)
    return path


def service_model(engine: str, folder: Path, watcher: Watcher) -> Path:
    """The fitted service time of a request by its steps, as a file."""
    from qmodel.fit import fit_measurements, read_profile

    path = folder / "model.json"
    fitted = fit_measurements(read_profile([measured(engine, folder, watcher)]), analysis=False)
    fitted.model.save(path)
    watcher.say(fitted.model.describe())
    return path


def iteration_time(engine: str, folder: Path, watcher: Watcher) -> dict[str, float]:
    """The fitted time of an iteration of a batching engine, as system.iteration_time."""
    from qmodel.files import write_atomically
    from qmodel.fit.iteration_times import fit_iteration_time, read_iterations

    profile = measured(engine, folder, watcher)
    fitted = fit_iteration_time(read_iterations(profile, ["decode", "mixed"], None))
    write_atomically(folder / "iteration-time.json", json.dumps(fitted.coefficients, indent=1))
    watcher.say(fitted.describe())
    return dict(fitted.coefficients)


def swap_tokens_per_s(block_tokens: int, watcher: Watcher) -> float:
    """Tokens of KV cache a second that are copied from the engine's memory to the host's, or back.

    Of one request with `SWAPPED` tokens and more, moved out and in again.
    """
    from qmodel.measure.targets.transformers_batching import AllOfThem, TransformersBatching

    target, chooser = TransformersBatching(threads=1, **ENGINE), AllOfThem()
    paged = target.batching(chooser, 2, TOKENS_AT_ONCE, 2 * SWAPPED // block_tokens, block_tokens)
    paged.add("0", target.prompt(SWAPPED, 0), 2 * SWAPS)
    chooser.present = ["0"]
    paged.iterate()
    moved = 0
    for swap in range(SWAPS):
        moved += 2 * (SWAPPED + 2 * swap)
        paged.pause("0", "swap")
        paged.extend("0", target.prompt(1, swap))
        paged.iterate()
    found = moved / paged.swap_s
    paged.close()
    target.close()
    watcher.say(f"KV caches cross at {found:,.0f} tokens/s")
    return found
