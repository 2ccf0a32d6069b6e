"""Times read against data sheets: implied rates by hand, a floor that no prediction crosses."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from qmodel.errors import InputError
from qmodel.fit import fit_measurements
from qmodel.fit.datasheets import DEVICES, device_named
from qmodel.fit.figures import FIGURES, fit_figures
from qmodel.fit.hardware import Work, floor_form, parse_work, read_hardware
from qmodel.fit.roofline_figure import roofline
from qmodel.fit.table import Measurements

H100 = DEVICES["h100"]


def decode(weights_s=0.005, kv_s=4e-8):
    grid = [(b, c) for b in (1.0, 4, 16, 64) for c in (128.0, 512, 2048, 8192) for _ in range(2)]
    frame = pd.DataFrame(grid, columns=["batch_size", "context_tokens"])
    y = weights_s + 1e-5 * frame.batch_size + kv_s * frame.batch_size * frame.context_tokens
    frame["latency_s"] = y * np.random.default_rng(0).lognormal(0, 0.003, len(frame))
    m = Measurements(frame, "latency_s", ("batch_size", "context_tokens"))
    return fit_measurements(m, terms=["1", "batch_size", "batch_size:context_tokens"])


WORK = Work({"1": 16e9, "batch_size:context_tokens": 131072.0}, {"batch_size": 16e9})


def test_implied_rates_by_hand():
    found = read_hardware(decode(), H100, WORK)
    table = found.hardware.table
    assert table.loc["1", "bandwidth"] == pytest.approx(16e9 / 0.005, rel=0.01)
    assert table.loc["1", "bandwidth_share"] == pytest.approx(3.2e12 / 3.35e12, rel=0.01)
    assert table.loc["batch_size", "flop_rate"] == pytest.approx(16e9 / 1e-5, rel=0.05)
    assert table.loc["1", "most_bytes"] == pytest.approx(0.005 * 3.35e12, rel=0.01)
    text = " ".join(found.summary().split())
    assert "Data sheet of h100: 3350 GB/s" in text and "it hides behind other work" in text
    for document in (found.to_markdown(), found.to_latex()):
        assert "Hardware" in document
    assert max(map(len, found.summary().splitlines())) <= 80


def test_no_prediction_goes_below_the_floor():
    model = read_hardware(decode(), H100, WORK).model
    rng = np.random.default_rng(1)
    batch, context = rng.uniform(1, 2000, 500), rng.uniform(1, 1e5, 500)
    floor = np.maximum((16e9 + 131072 * batch * context) / H100.bandwidth, 16e9 * batch / H100.flops)
    predicted = model.predict({"batch_size": batch, "context_tokens": context})
    assert np.all(predicted >= floor * (1 - 1e-12))
    assert floor_form(H100, Work()) is None


def test_what_a_device_cannot_do_is_said():
    """Weights read in a millisecond: 16 TB/s."""
    found = read_hardware(decode(weights_s=0.001), H100, WORK)
    assert any("faster than h100 could feed them" in text for text in found.warnings)
    assert any("crosses the roofline floor" in text for text in found.warnings)
    honest = read_hardware(decode(), H100, WORK)
    assert honest.hardware.warnings == () and honest.warnings == decode().warnings


def test_without_work_the_reading_goes_the_other_way():
    found = read_hardware(decode(), H100)
    assert found.model.floor is None
    assert "bytes at full bandwidth" in found.summary()
    with pytest.raises(InputError, match="roofline: needs a device and the work"):
        roofline(found)


def test_roofline_figure():
    found = read_hardware(decode(), H100, WORK)
    assert set(fit_figures(found)) == set(FIGURES)
    axes = roofline(found).axes[0]
    assert axes.get_ylabel() == "TFLOP/s" and "bound by memory" in axes.get_title()
    x, y = axes.lines[1].get_data()
    roof = np.minimum(x * H100.bandwidth, H100.flops) / 1e12
    assert np.all(y <= roof * 1.05)
    memory = roofline(read_hardware(decode(), H100, Work({"1": 16e9}))).axes[0]
    assert memory.get_xlabel().startswith("least latency") and "of the measured time" in memory.get_title()


def test_devices_by_name():
    assert device_named("NVIDIA H100 PCIe").name == "h100-pcie"
    assert device_named("NVIDIA A100-SXM4-40GB").bandwidth in (1.555e12, 2.039e12)
    with pytest.raises(InputError, match="'tpu' is not in the data sheets"):
        device_named("tpu")
    assert all(d.bandwidth < 1e13 and d.flops < 1e16 and d.source for d in DEVICES.values())


@pytest.mark.parametrize("text", ["16G", "=3", "1=x", "1=1.2.3G", "1=-4"])
def test_bad_work(text):
    with pytest.raises(InputError, match="--bytes"):
        parse_work([text], "--bytes")


def test_bad_requests():
    with pytest.raises(InputError, match="'tokens' is not a factor"):
        read_hardware(decode(), H100, Work({"tokens": 1.0}))
    energy = decode()
    energy = replace(energy, model=replace(energy.model, response="energy_j"))
    with pytest.raises(InputError, match="energy_j is no time"):
        read_hardware(energy, H100)
