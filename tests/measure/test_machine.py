"""What is told of the machine, here and on machines that are not here."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

from qmodel.measure import machine
from qmodel.measure.gpu_watch import GpuWatch

SMI = "NVIDIA H200, 570.86, 143771, 1980, 1980, 3201, 31, 78.5, [N/A], 0x0000000000000001\n"


def test_describes_this_machine() -> None:
    found = machine.describe_machine(2)
    assert found["threads"] == 2
    assert found["cores"] == os.cpu_count()
    assert found["cpu"] and found["kernel"] and found["python"] == sys.version.split()[0]
    assert found["memory_bytes"] > 2**28
    assert found["timer"]["clock"] == "time.perf_counter_ns"
    assert 0 < found["timer"]["resolution_s"] < 1e-3
    assert found["libraries"]["numpy"]
    assert None not in found.values()
    assert socket.gethostname() not in {str(value) for value in found.values()}


def test_timer_resolution_is_the_smallest_step(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(10**6))
    monkeypatch.setattr(time, "perf_counter_ns", lambda: 250 * (next(ticks) // 3))
    assert machine.timer_resolution_s() == pytest.approx(250e-9)


@pytest.mark.parametrize(("load", "busy"), [(0.9, False), (1.0, False), (1.1, True)])
def test_warns_above_half_the_cores(monkeypatch: pytest.MonkeyPatch, load: float, busy: bool) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0))
    monkeypatch.setattr(machine, "cores_allowed", lambda: 2)
    warning = machine.load_warning()
    assert (warning is not None) is busy
    if warning:
        assert "load average 1.10 on 2 cores" in warning


def test_systems_that_tell_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "getloadavg")
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.delattr(os, "sysconf")
    monkeypatch.setattr(machine, "_read", lambda path: None)
    assert machine.load_average() is None
    assert machine.load_warning() is None
    assert machine.cores_allowed() == os.cpu_count()
    assert machine.clock_mhz() is None
    assert machine.kernel_oom_kills() == 0
    assert "memory_bytes" not in machine.describe_machine(1)
    assert machine.library_version("no-such-library") is None


def test_reads_the_systems_files(monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"/proc/cpuinfo": "flags : hypervisor\ncpu MHz : 2596.12", "/proc/vmstat": "nr_free 5\noom_kill 7"}
    monkeypatch.setattr(machine, "_read", files.get)
    assert machine.clock_mhz() == 2596.12
    assert machine.kernel_oom_kills() == 7
    monkeypatch.setattr(Path, "exists", lambda path: False)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    assert machine.container() == "virtual machine"


@pytest.mark.parametrize(("mark", "name"), [("/.dockerenv", "docker"), ("/run/.containerenv", "podman")])
def test_containers(monkeypatch: pytest.MonkeyPatch, mark: str, name: str) -> None:
    monkeypatch.setattr(Path, "exists", lambda path: str(path) == mark)
    assert machine.container() == name
    monkeypatch.setattr(Path, "exists", lambda path: False)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    assert machine.container() == "kubernetes"


def test_gpus_as_the_driver_tells_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_output", lambda *command: SMI)
    (gpu,) = machine.gpus()
    assert (gpu["gpu"], gpu["driver"], gpu["sm_clock_mhz"], gpu["power_w"]) == ("NVIDIA H200", 570.86, 1980.0, 78.5)
    assert "power_limit_w" not in gpu
    assert gpu["throttle_reasons"] == "0x0000000000000001"


def test_gpus_of_another_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    def picky(*command: str) -> str | None:
        return None if "throttle" in command[1] else SMI.rpartition(",")[0]

    monkeypatch.setattr(machine, "_output", picky)
    assert machine.gpus()[0]["temperature_c"] == 31.0
    monkeypatch.setattr(machine, "_output", lambda *command: None)
    assert machine.gpus() == []


def test_commands_that_are_not_there() -> None:
    assert machine._output("no-such-program") is None
    assert machine._output("false") is None
    assert machine._output("echo", "there") == "there"
    assert subprocess.run(["true"], check=True).returncode == 0


class FakeNvml(ModuleType):
    """Two looks at one board: the second one is throttled by heat."""

    NVML_CLOCK_SM, NVML_TEMPERATURE_GPU = 1, 0
    states = iter([(1980, 60, 0x1), (1500, 88, 0x40)])

    def nvmlInit(self) -> None: ...

    def nvmlDeviceGetCount(self) -> int:
        return 1

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetClockInfo(self, device: int, kind: int) -> int:
        self.now = next(self.states)
        return self.now[0]

    def nvmlDeviceGetTemperature(self, device: int, kind: int) -> int:
        return self.now[1]

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, device: int) -> int:
        return self.now[2]


def test_watches_the_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml("pynvml"))
    watch = GpuWatch()
    assert watch.seen() is None
    for _ in range(3):  # the third look fails, as some boards do
        watch.look()
    assert watch.seen() == {
        "looks": 2, "sm_clock_mhz_lowest": 1500, "sm_clock_mhz_highest": 1980, "temperature_c_highest": 88,
        "throttled_looks": 1,
    }  # fmt: skip


def test_without_nvml_nothing_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    watch = GpuWatch()
    watch.look()
    assert watch.seen() is None
