"""The machine that was measured on: what must be known to read its numbers later."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from qmodel.measure.targets.device import cpu_name

_LIBRARIES = ("numpy", "onnxruntime", "torch", "transformers")
_GPU_FIELDS = {
    "name": "gpu",
    "driver_version": "driver",
    "memory.total": "memory_mib",
    "clocks.sm": "sm_clock_mhz",
    "clocks.max.sm": "sm_clock_max_mhz",
    "clocks.mem": "memory_clock_mhz",
    "temperature.gpu": "temperature_c",
    "power.draw": "power_w",
    "power.limit": "power_limit_w",
    "clocks_throttle_reasons.active": "throttle_reasons",
}


def describe_machine(threads: int) -> dict[str, Any]:
    """Hardware, system, library versions and timer, without the host's name; unknown items are left out."""
    found = {
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "cores_allowed": cores_allowed(),
        "threads": threads,
        "memory_bytes": _memory_bytes(),
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "clock_mhz": clock_mhz(),
        "system": platform.system(),
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "container": container(),
        "python": platform.python_version(),
        "qmodel": library_version("qmodel"),
        "libraries": {name: found for name in _LIBRARIES if (found := library_version(name))},
        "timer": {"clock": "time.perf_counter_ns", "resolution_s": timer_resolution_s()},
        "gpus": gpus() or None,
    }
    return {key: value for key, value in found.items() if value is not None}


def load_average() -> float | None:
    """Runnable processes over the last minute, where the system tells."""
    try:
        return round(os.getloadavg()[0], 2)
    except (OSError, AttributeError):
        return None


def load_warning() -> str | None:
    """A sentence when the machine is busier than measurements bear: load above half of its cores."""
    load, cores = load_average(), cores_allowed()
    if load is None or load <= 0.5 * cores:
        return None
    return f"the machine is busy: load average {load:.2f} on {cores} cores; latencies will be long and scattered"


def cores_allowed() -> int:
    """Cores that this process may use."""
    with suppress(AttributeError, OSError):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def clock_mhz() -> float | None:
    """Clock of the first core now, where the system tells."""
    for line in (_read("/proc/cpuinfo") or "").splitlines():
        if line.startswith("cpu MHz"):
            return float(line.partition(":")[2])
    return None


def container() -> str | None:
    """A hint that this is a container or a virtual machine, whose neighbours can be felt."""
    if Path("/.dockerenv").exists():
        return "docker"
    if Path("/run/.containerenv").exists():
        return "podman"
    if "KUBERNETES_SERVICE_HOST" in os.environ:
        return "kubernetes"
    return "virtual machine" if "hypervisor" in (_read("/proc/cpuinfo") or "") else None


def kernel_oom_kills() -> int:
    """Processes that the Linux kernel has killed for want of memory since it started; 0 elsewhere."""
    for line in (_read("/proc/vmstat") or "").splitlines():
        if line.startswith("oom_kill "):
            return int(line.split()[1])
    return 0


def timer_resolution_s() -> float:
    """Smallest step that the timer was seen to make, in seconds."""
    steps = []
    for _ in range(200):
        start = now = time.perf_counter_ns()
        while now == start:
            now = time.perf_counter_ns()
        steps.append(now - start)
    return min(steps) * 1e-9


def library_version(name: str) -> str | None:
    """Version of an installed library, without importing it; None when it is not there."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def gpus() -> list[dict[str, str | float]]:
    """State of each NVIDIA GPU: driver, clocks, temperature, power; empty without one."""
    fields = list(_GPU_FIELDS)
    text = _query_gpus(fields) or _query_gpus(fields := fields[:-1])  # throttle reasons have two names
    return [_gpu(fields, line) for line in (text or "").splitlines() if line.count(",") == len(fields) - 1]


def _query_gpus(fields: list[str]) -> str | None:
    return _output("nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits")


def _gpu(fields: list[str], line: str) -> dict[str, str | float]:
    values = zip(fields, (value.strip() for value in line.split(",")), strict=True)
    return {_GPU_FIELDS[name]: _number(value) for name, value in values if _known(value)}


def _known(value: str) -> bool:
    return not value.startswith("[") and value not in ("", "N/A")


def _number(value: str) -> str | float:
    try:
        return float(value)
    except ValueError:
        return value


def _memory_bytes() -> int | None:
    with suppress(AttributeError, ValueError, OSError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text(errors="replace").strip()
    except OSError:
        return None


def _output(*command: str) -> str | None:
    """What a command prints, or None when it is not there or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
