"""Measurements with known effects, form and noise."""

from __future__ import annotations

import numpy as np
import pandas as pd

from qmodel.fit.table import Measurements

COEFFICIENTS = {"1": 0.002, "steps": 0.0003, "batch_size:steps": 0.0002}
RATIO = 0.97


def frame(
    *, steps=(5, 10, 20, 50), batch_size=(1, 4, 8, 16), pacing=("back-to-back", "idle-gaps"), replicates=3, blocks=1
):
    rows = [
        (float(s), float(b), p, str(k))
        for k in range(blocks)
        for s in steps
        for b in batch_size
        for p in pacing
        for _ in range(replicates)
    ]
    return pd.DataFrame(rows, columns=["steps", "batch_size", "pacing", "block"])


def truth(data, coefficients=None):
    """The planted function."""
    c = coefficients or COEFFICIENTS
    s, b = data["steps"].to_numpy(), data["batch_size"].to_numpy()
    value = c.get("1", 0.0) + c.get("steps", 0.0) * s + c.get("batch_size:steps", 0.0) * s * b
    value = value + c.get("batch_size", 0.0) * b
    return value * np.where(data["pacing"] == "idle-gaps", 1.0, RATIO)


def planted(seed, *, noise=0.02, block_sd=0.0, visit_sd=0.0, coefficients=None, shuffle=False, **design):
    """Gamma noise with mean 1 and coefficient of variation `noise`; run order drawn at random."""
    rng = np.random.default_rng(seed)
    data = frame(**design)
    y = truth(data, coefficients)
    if noise:
        y = y * rng.gamma(noise**-2, noise**2, len(data))
    y = y * np.exp(rng.normal(0.0, block_sd, 50))[data["block"].astype(int)]
    if visit_sd:
        visit = data.groupby(["steps", "batch_size", "pacing", "block"]).ngroup()
        y = y * np.exp(rng.normal(0.0, visit_sd, visit.max() + 1))[visit]
    data["latency_s"] = rng.permutation(y) if shuffle else y
    data["run_order"] = rng.permutation(len(data)).astype(float)
    factors = tuple(name for name in ("steps", "batch_size", "pacing") if data[name].nunique() > 1)
    categorical = tuple(name for name in factors if name == "pacing")
    return Measurements(
        data, "latency_s", factors, categorical, {}, "denoise", "digits", "cpu", {}, sha256="0" * 64
    )
