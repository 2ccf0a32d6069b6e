"""How long a fit takes and how much memory: 100,000 rows of a designed grid, and 100,000 rows without one.

    OMP_NUM_THREADS=1 python benchmarks/fit.py

Limits to keep on one core: 10 s and 1 GB for 100,000 rows, reading included.
"""

from __future__ import annotations

import multiprocessing
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

ROWS = 100_000


def grid(rows: int) -> pd.DataFrame:
    """A designed grid: batch sizes x contexts x precisions, in blocks, with noise of 3 %."""
    rng = np.random.default_rng(0)
    batch = 2.0 ** rng.integers(0, 9, rows)
    context = 2.0 ** rng.integers(4, 14, rows)
    bits = rng.choice([8, 16], rows)
    y = (
        (0.017 + 4e-5 * batch + 1.4e-7 * batch * context)
        * np.where(bits == 8, 0.6, 1.0)
        * rng.lognormal(0, 0.03, rows)
    )
    columns = {"batch_size": batch, "context_tokens": context, "precision": np.char.add("w", bits.astype(str))}
    return pd.DataFrame(columns | {"block": rng.integers(0, 4, rows), "run_order": np.arange(rows), "latency_s": y})


def scattered(rows: int) -> pd.DataFrame:
    """No grid: nearly every row has lengths of its own, as in a request log."""
    rng = np.random.default_rng(1)
    prompt, output = (np.ceil(rng.lognormal(mean, 1.0, rows)) for mean in (6.0, 5.0))
    y = (0.01 + 4e-5 * prompt + 0.018 * output + 1e-7 * prompt * output) * rng.gamma(25.0, 1 / 25.0, rows)
    return pd.DataFrame({"input_tokens": prompt, "output_tokens": output, "latency_s": y})


CASES = {"grid": grid, "scattered": scattered}


def fit_file(path: str) -> None:
    """Read, fit with the analysis of variance, summarise; print what it took."""
    from qmodel.fit import fit_measurements, read_profile

    start = time.perf_counter()
    measurements = read_profile(path)
    read = time.perf_counter() - start
    result = fit_measurements(measurements)
    result.summary()
    total = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{Path(path).stem:<10} {len(measurements.frame):>7} rows {len(result.cells):>6} cells: ", end="")
    print(f"read {read:4.1f} s, all {total:5.1f} s, peak {peak:4.0f} MB; {result.formula()[0]}")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name, make in CASES.items():
            path = str(Path(folder) / f"{name}.csv")
            make(ROWS).to_csv(path, index=False)
            one = multiprocessing.get_context("spawn").Process(target=fit_file, args=(path,))
            one.start()
            one.join()


if __name__ == "__main__":
    main()
