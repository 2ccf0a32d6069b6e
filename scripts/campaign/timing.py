"""Timing one repetition on a device, and the device's own ceilings: how fast it multiplies, how fast it copies."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any, NamedTuple

from qmodel.measure.targets.torch_engine import TorchEngine

Work = Callable[[], object]


class Timing(NamedTuple):
    """Seconds on the device (between CUDA events) and on the host's clock, and the peak of allocated memory.

    Both times start with the device idle and end when it is done. Without CUDA the two times are one.
    """

    latency_s: float
    wall_s: float
    peak_memory_bytes: int | None


def timed(engine: TorchEngine, work: Work) -> Timing:
    """Time one call."""
    return _timed_on_cuda(engine, work) if engine.on_cuda else _timed_on_host(work)


def _timed_on_cuda(engine: TorchEngine, work: Work) -> Timing:
    import torch

    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.reset_peak_memory_stats(engine.device)
    torch.cuda.synchronize(engine.device)
    start = time.perf_counter_ns()
    begin.record()
    work()
    end.record()
    end.synchronize()
    wall_s = (time.perf_counter_ns() - start) * 1e-9
    return Timing(begin.elapsed_time(end) * 1e-3, wall_s, engine.peak_memory_bytes())


def _timed_on_host(work: Work) -> Timing:
    start = time.perf_counter_ns()
    work()
    seconds = (time.perf_counter_ns() - start) * 1e-9
    return Timing(seconds, seconds, None)


class Ceilings(NamedTuple):
    """What the device was seen to do: bf16 operations/s in a large product, bytes/s (read + written) in a copy."""

    operations_per_s: float
    bytes_per_s: float


H200 = Ceilings(7.8e14, 4.3e12)
"""For estimates on paper: an NVIDIA H200's matrix product on random data, and its device-to-device copy."""


def measured_ceilings(engine: TorchEngine, *, width: int, copied_bytes: int, repetitions: int = 7) -> Ceilings:
    """Time a width^3 bf16 matrix product and a copy; medians after two calls to warm up."""
    import torch

    left, right = (_random(engine, width, width) for _ in range(2))
    source = _random(engine, copied_bytes // 2)
    copy = torch.empty_like(source)
    product_s = _median_s(engine, lambda: left @ right, repetitions)
    copy_s = _median_s(engine, lambda: copy.copy_(source), repetitions)
    return Ceilings(2 * width**3 / product_s, 2 * copied_bytes / copy_s)


def _random(engine: TorchEngine, *size: int) -> Any:
    import torch

    return torch.empty(size, device=engine.device, dtype=torch.bfloat16).normal_()


def _median_s(engine: TorchEngine, work: Work, repetitions: int) -> float:
    work()
    work()
    return median(timed(engine, work).latency_s for _ in range(repetitions))


def free_memory_bytes(engine: TorchEngine) -> int:
    """Memory of the device that is free now; on a CPU, the machine's memory that is not in use."""
    import torch

    if engine.on_cuda:
        return int(torch.cuda.mem_get_info(engine.device)[0])
    return _available_host_bytes()


def _available_host_bytes(meminfo: str = "/proc/meminfo") -> int:
    from pathlib import Path

    try:
        lines = Path(meminfo).read_text().splitlines()
    except OSError:
        return 1 << 33
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")), 1 << 33)
