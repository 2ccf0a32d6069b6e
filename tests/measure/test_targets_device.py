"""Hardware names."""

import platform
import sys
import types

from qmodel.measure.targets import device


def test_cpu_name_reads_the_model(tmp_path):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(
        "processor\t: 0\nmodel\t\t: 2\nmodel name\t: AMD EPYC 9655\nflags\t: fpu\n\nprocessor\t: 1\n"
    )
    assert device.cpu_name(cpuinfo) == "AMD EPYC 9655"


def test_cpu_name_falls_back_to_the_architecture(tmp_path, monkeypatch):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\n")
    monkeypatch.setattr(platform, "processor", lambda: "")
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    assert device.cpu_name(cpuinfo) == "riscv64"


def test_cpu_name_asks_macos(tmp_path, monkeypatch):
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(device, "first_line", lambda command: "Apple M4" if command[0] == "sysctl" else None)
    assert device.cpu_name(tmp_path / "absent") == "Apple M4"


def test_cuda_name_from_torch(monkeypatch):
    cuda = types.SimpleNamespace(
        is_available=lambda: True, device_count=lambda: 1, get_device_name=lambda index: f"GPU {index}"
    )
    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(cuda=cuda))
    assert device.cuda_name() == "GPU 0"
    assert device.cuda_name(1) is None


def test_cuda_name_without_torch_asks_the_driver(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr(device, "first_line", lambda command: " ".join(command[:2]))
    assert device.cuda_name(2) == "nvidia-smi --id=2"


def test_first_line_of_commands_that_print_nothing_or_fail():
    assert device.first_line([sys.executable, "-c", "print('one'); print('two')"]) == "one"
    assert device.first_line([sys.executable, "-c", "pass"]) is None
    assert device.first_line([sys.executable, "-c", "raise SystemExit(1)"]) is None
