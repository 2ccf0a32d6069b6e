"""What the torch targets share: device, precision, threads, timing and memory."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from qmodel.errors import InputError, MissingExtra, nearest
from qmodel.measure.targets.base import OutOfMemory
from qmodel.measure.targets.device import cpu_name
from qmodel.measure.targets.levels import whole
from qmodel.measure.targets.memory import out_of_memory

PRECISIONS = ("float32", "bfloat16", "float16")


class TorchEngine:
    """A torch device with a precision and a thread count; it times work and tells its peak memory.

    Attributes: `device` (torch.device), `dtype` (torch.dtype), `name` (the hardware).
    Raises MissingExtra without torch, InputError for a device or precision that is not to be had.
    """

    def __init__(self, device: str = "auto", precision: str = "float32", threads: int = 1) -> None:
        try:
            import torch
        except ImportError as error:
            raise MissingExtra("torch", "torch") from error
        if precision not in PRECISIONS:
            raise InputError("precision", f"'{precision}' is unknown", nearest(precision, list(PRECISIONS)))
        self.device = choose_device(device)
        self.dtype = getattr(torch, precision)
        self.on_cuda = self.device.type == "cuda"
        self.name = str(torch.cuda.get_device_name(self.device)) if self.on_cuda else cpu_name()
        self.threads = whole({"threads": threads}, "threads", 1)
        self.set_threads()

    def set_threads(self) -> None:
        """Give torch this engine's thread count: it belongs to the process, so another target may have set it."""
        import torch

        torch.set_num_threads(self.threads)

    def timed(self, work: Callable[[], object]) -> float:
        """Seconds that the work takes: by CUDA events on a GPU, by the process's clock on a CPU.

        The GPU is idle when the first event is recorded, so the time includes launching the kernels.
        """
        with self.guarded():
            return self._timed_on_cuda(work) if self.on_cuda else timed_on_cpu(work)

    def _timed_on_cuda(self, work: Callable[[], object]) -> float:
        import torch

        with torch.cuda.device(self.device):
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            begin.record()
            work()
            end.record()
            end.synchronize()
            return float(begin.elapsed_time(end)) / 1e3

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Raise OutOfMemory when memory runs out, after giving back what torch still holds of it."""
        try:
            with out_of_memory():
                yield
        except OutOfMemory:
            self.release()
            raise

    def synchronise(self) -> None:
        """Wait until the device has done all it was given."""
        import torch

        if self.on_cuda:
            torch.cuda.synchronize(self.device)

    def peak_memory_bytes(self) -> int | None:
        """Most device memory that was allocated during the last timed work; None on a CPU."""
        import torch

        return int(torch.cuda.max_memory_allocated(self.device)) if self.on_cuda else None

    def memory_bytes(self) -> int:
        """Memory of the device in all."""
        import torch

        if self.on_cuda:
            return int(torch.cuda.mem_get_info(self.device)[1])
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")

    def release(self) -> None:
        """Give unused device memory back."""
        import torch

        gc.collect()
        if self.on_cuda:
            torch.cuda.empty_cache()

    def versions(self) -> dict[str, str]:
        """torch, and CUDA where it is used."""
        import torch

        return {"torch": torch.__version__} | ({"cuda": str(torch.version.cuda)} if self.on_cuda else {})


def choose_device(name: str) -> Any:
    """The torch device of a name: "auto" is the GPU if there is one, else the CPU."""
    import torch

    if name == "auto":
        return (
            torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")
        )
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda") or (index and not index.isdecimal()):
        raise InputError("device", f"'{name}' is unknown", "use auto, cpu, cuda or cuda:1")
    if kind == "cpu":
        return torch.device("cpu")
    if int(index or 0) >= torch.cuda.device_count():
        raise InputError("device", f"there is no '{name}' here", "use auto or cpu")
    return torch.device("cuda", int(index or 0))


def timed_on_cpu(work: Callable[[], object]) -> float:
    """Seconds that the work takes."""
    begin = time.perf_counter_ns()
    work()
    return (time.perf_counter_ns() - begin) * 1e-9
