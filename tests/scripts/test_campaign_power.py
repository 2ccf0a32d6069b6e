"""Energy through NVML, through nvidia-smi, or not at all."""

import sys
import time
import types

import pytest
from campaign.power import NoMeter, NvmlMeter, SampledMeter, energy_meter, integral


class FakeNvml(types.ModuleType):
    """A board whose counter advances by a joule at each reading."""

    def __init__(self, counts=True):
        super().__init__("pynvml")
        self.millijoules, self.counts = 5_000_000, counts

    def nvmlInit(self):
        pass

    def nvmlDeviceGetHandleByIndex(self, index):
        return index

    def nvmlDeviceGetTotalEnergyConsumption(self, device):
        if not self.counts:
            raise RuntimeError("Not Supported")
        self.millijoules += 1000
        return self.millijoules


def fake_smi(folder, monkeypatch, script):
    path = folder / "nvidia-smi"
    path.write_text(f"#!{sys.executable}\n{script}")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")


SAMPLES = """
import time
print("[N/A]", flush=True)
while True:
    print("350.5", flush=True)
    time.sleep(0.002)
"""


def test_the_counter_of_the_board_is_read_before_and_after(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml())
    meter = energy_meter(on_cuda=True)
    assert isinstance(meter, NvmlMeter)
    mark = meter.mark()
    assert meter.since(mark) == 1.0
    meter.close()


def test_without_a_counter_nvidia_smi_samples_power(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(counts=False))
    fake_smi(tmp_path, monkeypatch, SAMPLES)
    meter = energy_meter(on_cuda=True)
    assert isinstance(meter, SampledMeter)
    begin = time.perf_counter()
    mark = meter.mark()
    while meter.since(mark) is None:
        time.sleep(0.001)
    joules, elapsed = meter.since(mark), time.perf_counter() - begin
    assert 0 < joules <= 350.5 * elapsed
    meter.close()
    assert meter._process.returncode is not None


@pytest.mark.parametrize("script", ["raise SystemExit(9)", "print('no devices')\nimport time\ntime.sleep(0.2)"])
def test_without_either_there_is_no_energy(monkeypatch, tmp_path, script):
    monkeypatch.setitem(sys.modules, "pynvml", None)  # its import fails
    fake_smi(tmp_path, monkeypatch, script)
    monkeypatch.setattr(SampledMeter.__init__, "__defaults__", (0, 0.1))
    meter = energy_meter(on_cuda=True)
    assert isinstance(meter, NoMeter)
    assert meter.since(meter.mark()) is None
    meter.close()


def test_a_cpu_has_no_meter(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml())
    assert isinstance(energy_meter(on_cuda=False), NoMeter)


def test_an_integral_needs_three_samples_and_is_exact_for_constant_power():
    samples = [(0.1 * i, 250.0) for i in range(40)]
    assert integral(samples, 1.03, 2.57) == pytest.approx(250.0 * 1.54)
    assert integral(samples, 1.02, 1.19) is None
    assert integral([], 0.0, 1.0) is None
