"""The names of the hardware that does the work."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path


def cpu_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's model name, or its architecture where the system does not tell."""
    if cpuinfo.exists():
        fields = dict(line.split(":", 1) for line in cpuinfo.read_text().splitlines() if ":" in line)
        names = {key.strip(): value.strip() for key, value in fields.items()}
        for key in ("model name", "Model", "Hardware", "cpu model"):
            if names.get(key):
                return names[key]
    elif platform.system() == "Darwin":
        brand = first_line(["sysctl", "-n", "machdep.cpu.brand_string"])
        if brand:
            return brand
    return platform.processor() or platform.machine()


def cuda_name(index: int = 0) -> str | None:
    """The name of an NVIDIA GPU that torch can use (or, without torch, that its driver lists), else None."""
    try:
        import torch
    except ImportError:
        return first_line(["nvidia-smi", f"--id={index}", "--query-gpu=name", "--format=csv,noheader"])
    if not torch.cuda.is_available() or index >= torch.cuda.device_count():
        return None
    return str(torch.cuda.get_device_name(index))


def first_line(command: list[str]) -> str | None:
    """First line a command prints, or None when it is missing, fails or hangs.

    >>> first_line(["no-such-command"]) is None
    True
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    lines = done.stdout.strip().splitlines()
    return lines[0].strip() if lines else None
