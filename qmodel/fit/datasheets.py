"""What the makers promise: memory bandwidth and dense arithmetic rate of some accelerators.

Rates are those of the 16-bit tensor units with 32-bit accumulation and without sparsity, as the data sheets state
them (where a sheet gives the sparse rate alone, half of it). FP8 doubles, FP32 on the plain units is far less.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from qmodel.errors import InputError, nearest


@dataclass(frozen=True)
class Device:
    """`bandwidth` in bytes/s, `flops` in operations/s (16-bit, dense), `memory` in bytes; `source`: the sheet."""

    name: str
    bandwidth: float
    flops: float
    memory: float
    source: str


DEVICES = {
    device.name: device
    for device in (
        Device("b200", 8.0e12, 2.25e15, 180e9, "NVIDIA Blackwell architecture technical brief (HGX B200)"),
        Device("h200", 4.8e12, 989.5e12, 141e9, "NVIDIA H200 Tensor Core GPU datasheet (SXM)"),
        Device("h100", 3.35e12, 989.5e12, 80e9, "NVIDIA H100 Tensor Core GPU datasheet (SXM)"),
        Device("h100-pcie", 2.0e12, 756e12, 80e9, "NVIDIA H100 Tensor Core GPU datasheet (PCIe)"),
        Device("a100", 2.039e12, 312e12, 80e9, "NVIDIA A100 Tensor Core GPU datasheet (80 GB, SXM)"),
        Device("a100-40gb", 1.555e12, 312e12, 40e9, "NVIDIA A100 Tensor Core GPU datasheet (40 GB)"),
        Device("v100", 0.9e12, 125e12, 32e9, "NVIDIA V100 Tensor Core GPU datasheet (SXM2)"),
        Device("l40s", 0.864e12, 362e12, 48e9, "NVIDIA L40S datasheet"),
        Device("l4", 0.3e12, 121e12, 24e9, "NVIDIA L4 Tensor Core GPU datasheet"),
        Device("a10", 0.6e12, 125e12, 24e9, "NVIDIA A10 Tensor Core GPU datasheet"),
        Device("t4", 0.3e12, 65e12, 16e9, "NVIDIA T4 Tensor Core GPU datasheet"),
        Device("rtx-a6000", 0.768e12, 154.8e12, 48e9, "NVIDIA RTX A6000 datasheet"),
        Device("rtx4090", 1.008e12, 165.2e12, 24e9, "NVIDIA Ada GPU architecture white paper"),
        Device("rtx3090", 0.936e12, 71e12, 24e9, "NVIDIA Ampere GA102 GPU architecture white paper"),
        Device("mi300x", 5.3e12, 1.307e15, 192e9, "AMD Instinct MI300X datasheet"),
    )
}
"""Known devices by name."""


def device_named(text: str) -> Device:
    """The device of a name as people write it. Raises InputError for an unknown one.

    >>> device_named("NVIDIA GeForce RTX 4090").name, device_named("H100-80GB").name, device_named("a100").bandwidth
    ('rtx4090', 'h100', 2039000000000.0)
    """
    plain = _plain(text)
    known = {_plain(name): name for name in DEVICES}
    if plain in known:
        return DEVICES[known[plain]]
    contained = [key for key in known if key in plain]
    if contained:
        return DEVICES[known[max(contained, key=len)]]
    raise InputError("device", f"'{text}' is not in the data sheets", nearest(text, list(DEVICES)))


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())
