"""Power and energy of one NVIDIA GPU: through NVML where pynvml is there, else by letting nvidia-smi sample."""

from __future__ import annotations

import subprocess
import threading
import time
from bisect import bisect_left, bisect_right
from collections import deque
from contextlib import suppress
from itertools import pairwise
from typing import Any, Protocol

SAMPLE_MS = 50
KEPT_SAMPLES = 4000


class EnergyMeter(Protocol):
    """Measures joules over a span of time. `source` says how, for the metadata."""

    source: str

    def mark(self) -> float:
        """The beginning of a span."""

    def since(self, mark: float) -> float | None:
        """Joules since the mark, or None where they cannot be had."""

    def close(self) -> None:
        """Stop measuring."""


class NoMeter:
    """There is nothing to measure with."""

    source = "none"

    def mark(self) -> float:
        """Nothing."""
        return 0.0

    def since(self, mark: float) -> float | None:
        """Unknown."""
        return None

    def close(self) -> None:
        """Nothing to stop."""


class NvmlMeter:
    """The GPU's own energy counter (millijoules since the driver was loaded)."""

    source = "NVML energy counter"

    def __init__(self, index: int = 0) -> None:
        import pynvml

        pynvml.nvmlInit()
        self._read = pynvml.nvmlDeviceGetTotalEnergyConsumption
        self._device = pynvml.nvmlDeviceGetHandleByIndex(index)
        self._read(self._device)  # raises where the board has no such counter

    def mark(self) -> float:
        """The counter now, in joules."""
        return float(self._read(self._device)) / 1e3

    def since(self, mark: float) -> float | None:
        """The counter's advance."""
        joules = self.mark() - mark
        return joules if joules > 0 else None

    def close(self) -> None:
        """Leave NVML open: others of the process may use it."""


class SampledMeter:
    """Power as nvidia-smi samples it, integrated by the trapezoidal rule."""

    source = f"nvidia-smi power.draw sampled every {SAMPLE_MS} ms"

    def __init__(self, index: int = 0, first_sample_s: float = 10.0) -> None:
        self._samples: deque[tuple[float, float]] = deque(maxlen=KEPT_SAMPLES)
        self._first = threading.Event()
        query = ["--query-gpu=power.draw", "--format=csv,noheader,nounits", f"--loop-ms={SAMPLE_MS}"]
        self._process = subprocess.Popen(
            ["nvidia-smi", f"--id={index}", *query], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        threading.Thread(target=self._listen, name="power", daemon=True).start()
        if not self._first.wait(first_sample_s):
            self.close()
            raise OSError("nvidia-smi gives no power")

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with suppress(ValueError):  # a line that is no number
                self._samples.append((time.perf_counter(), float(line)))
                self._first.set()

    def mark(self) -> float:
        """The time."""
        return time.perf_counter()

    def since(self, mark: float) -> float | None:
        """The integral from the mark to now."""
        return integral(list(self._samples), mark, time.perf_counter())

    def close(self) -> None:
        """End nvidia-smi."""
        self._process.kill()
        self._process.wait()


def integral(samples: list[tuple[float, float]], begin: float, end: float) -> float | None:
    """Joules from (time, watts) samples over [begin, end]; None with fewer than three samples inside.

    The first and the last sample inside also stand for the pieces before and after them.

    >>> integral([(0.0, 100.0), (1.0, 200.0), (2.0, 200.0), (3.0, 400.0)], 0.5, 3.0)
    600.0
    """
    times = [t for t, _ in samples]
    inside = samples[bisect_left(times, begin) : bisect_right(times, end)]
    if len(inside) < 3:
        return None
    points = [(begin, inside[0][1]), *inside, (end, inside[-1][1])]
    return sum((t1 - t0) * (w0 + w1) / 2 for (t0, w0), (t1, w1) in pairwise(points))


def energy_meter(on_cuda: bool, index: int = 0) -> EnergyMeter:
    """The best meter that works here."""
    if on_cuda:
        for kind in (NvmlMeter, SampledMeter):
            with suppress(Exception):  # pynvml or nvidia-smi missing, or a board that does not tell
                return kind(index)
    return NoMeter()


def gpu_state() -> list[dict[str, Any]]:
    """Clocks, temperature and power of each GPU now; empty without nvidia-smi."""
    from qmodel.measure.machine import gpus

    return gpus()
