"""Clocks, temperature and throttling of the GPUs while they are measured, through NVML where it is installed."""

from __future__ import annotations

import importlib
from contextlib import suppress
from typing import Any

_HARMLESS = 0x1 | 0x2  # idle; clocks set by the application


class GpuWatch:
    """Looks at every GPU when told to; without NVML or a GPU it sees nothing and costs nothing."""

    def __init__(self) -> None:
        self._nvml: Any = None
        self._devices: list[Any] = []
        self._clocks: list[int] = []
        self._temperatures: list[int] = []
        self._throttled = 0
        with suppress(Exception):  # NVML raises its own errors where there is no driver
            nvml = importlib.import_module("pynvml")
            nvml.nvmlInit()
            self._devices = [nvml.nvmlDeviceGetHandleByIndex(i) for i in range(nvml.nvmlDeviceGetCount())]
            self._nvml = nvml

    def look(self) -> None:
        """Take note of the state now."""
        for device in self._devices:
            with suppress(Exception):  # some boards do not tell
                self._look(device)

    def _look(self, device: Any) -> None:
        nvml = self._nvml
        self._clocks.append(nvml.nvmlDeviceGetClockInfo(device, nvml.NVML_CLOCK_SM))
        self._temperatures.append(nvml.nvmlDeviceGetTemperature(device, nvml.NVML_TEMPERATURE_GPU))
        self._throttled += bool(nvml.nvmlDeviceGetCurrentClocksThrottleReasons(device) & ~_HARMLESS)

    def seen(self) -> dict[str, int] | None:
        """Range of clocks and temperatures, and in how many looks a GPU was throttled; None if nothing was seen."""
        if not self._clocks:
            return None
        return {
            "looks": len(self._clocks),
            "sm_clock_mhz_lowest": min(self._clocks),
            "sm_clock_mhz_highest": max(self._clocks),
            "temperature_c_highest": max(self._temperatures, default=0),
            "throttled_looks": self._throttled,
        }
