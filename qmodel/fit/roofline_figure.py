"""Roofline: what each cell attains against what the device's memory and arithmetic allow."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from qmodel.errors import InputError
from qmodel.fit.figure_axes import COLOURS, GREY, plain_log, reading_scale, response_label, style
from qmodel.fit.hardware import HardwareReading
from qmodel.fit.result import FitResult


def roofline(result: FitResult) -> Figure:
    """Attained FLOP/s against FLOP a byte under the roof; without FLOP counts, measured times against the floor.

    Raises InputError where the fit was not read against a data sheet with the work of its terms.
    """
    reading = result.hardware
    if reading is None or not reading.work.known:
        raise InputError("roofline", "needs a device and the work of the terms", "give --device, --bytes, --flops")
    with style():
        figure = Figure(figsize=(5.4, 3.9), layout="constrained")
        axes = figure.subplots()
        if np.isfinite(reading.rate).any() and np.isfinite(reading.intensity).any():
            _under_the_roof(axes, reading)
        else:
            _against_the_floor(axes, result, reading)
        axes.set_xscale("log")
        axes.set_yscale("log")
        plain_log(axes.xaxis)
        plain_log(axes.yaxis)
        axes.legend(loc="lower right")
    return figure


def _under_the_roof(axes: Axes, reading: HardwareReading) -> None:
    known = np.isfinite(reading.intensity) & np.isfinite(reading.rate)
    x, y = reading.intensity[known], reading.rate[known] / 1e12
    device = reading.device
    ridge = device.flops / device.bandwidth
    span = np.geomspace(min(x.min(), ridge) / 2, max(x.max(), ridge) * 2, 200)
    axes.plot(
        span, np.minimum(span * device.bandwidth, device.flops) / 1e12, color=GREY, label=f"roof of {device.name}"
    )
    axes.plot(x, y, "o", ms=4, color=COLOURS[0], mec="white", mew=0.5, label="cells, as measured")
    axes.axvline(ridge, color=GREY, lw=0.7, ls=":")
    axes.set_xlabel("FLOP a byte moved")
    axes.set_ylabel("TFLOP/s")
    left = float(np.mean(x < ridge))
    where = "bound by memory" if left > 0.5 else "bound by arithmetic"
    axes.set_title(
        f"{100 * max(left, 1 - left):.0f} % of the cells are {where}; the ridge is at {ridge:.0f} FLOP a byte"
    )


def _against_the_floor(axes: Axes, result: FitResult, reading: HardwareReading) -> None:
    scale, unit = reading_scale(result, result.cells.mean)
    floor = reading.floor_share * result.cells.mean * scale
    measured = result.cells.mean * scale
    ends = np.array([min(floor[floor > 0].min(), measured.min()), max(floor.max(), measured.max())])
    axes.plot(ends, ends, color=GREY, label=f"floor of {reading.device.name}")
    axes.plot(floor, measured, "o", ms=4, color=COLOURS[0], mec="white", mew=0.5, label="cells, as measured")
    axes.set_xlabel(f"least {response_label(result, unit)}")
    axes.set_ylabel(f"measured {response_label(result, unit)}")
    low, high = (100 * float(q) for q in np.nanquantile(reading.floor_share, (0.05, 0.95)))
    axes.set_title(f"The floor makes {low:.0f} to {high:.0f} % of the measured time (9 of 10 cells)")
