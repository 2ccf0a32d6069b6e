"""Device choice, timing and memory; the CUDA path against a stand-in that records what it is asked."""

import sys
from contextlib import nullcontext

import pytest

from qmodel.errors import InputError, MissingExtra
from qmodel.measure.targets import OutOfMemory
from qmodel.measure.targets.torch_engine import TorchEngine, choose_device


def test_missing_torch_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtra, match=r"qmodel\[torch\]"):
        TorchEngine()


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


@pytest.fixture
def calls(torch, monkeypatch):
    """torch.cuda as if there were one GPU; the list of calls made to it."""
    calls = []

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self):
            calls.append("record")

        def synchronize(self):
            calls.append("wait for event")

        def elapsed_time(self, end):
            return 12.5

    stand_ins = {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "get_device_name": lambda device: "Some GPU",
        "device": lambda device: nullcontext(),
        "Event": Event,
        "synchronize": lambda *device: calls.append("synchronize"),
        "reset_peak_memory_stats": lambda: calls.append("reset peak"),
        "max_memory_allocated": lambda device: 4096,
        "empty_cache": lambda: calls.append("empty cache"),
    }
    for name, stand_in in stand_ins.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    return calls


@pytest.mark.torch
class TestOnTheCPU:
    def test_device_threads_and_precision(self, torch):
        engine = TorchEngine("cpu", "bfloat16", threads=1)
        assert engine.device.type == "cpu"
        assert engine.dtype is torch.bfloat16
        assert torch.get_num_threads() == 1
        assert engine.name
        assert engine.peak_memory_bytes() is None
        assert engine.versions() == {"torch": torch.__version__}

    def test_work_is_run_once_and_timed_by_the_clock(self, torch, monkeypatch):
        ticks = iter([1_000, 2_501_000])
        monkeypatch.setattr("time.perf_counter_ns", lambda: next(ticks))
        done = []
        assert TorchEngine("cpu").timed(lambda: done.append(1)) == pytest.approx(2.5e-3)
        assert done == [1]

    def test_allocation_failure_is_out_of_memory(self, torch):
        with pytest.raises(OutOfMemory):
            TorchEngine("cpu").timed(lambda: torch.empty(1 << 60, dtype=torch.uint8))

    def test_other_errors_pass(self, torch):
        with pytest.raises(RuntimeError, match="size"):
            TorchEngine("cpu").timed(lambda: torch.zeros(2) + torch.zeros(3))

    @pytest.mark.parametrize(
        ("device", "word"), [("gpu", "unknown"), ("cuda:x", "unknown"), ("cuda:99", "no 'cuda:99'")]
    )
    def test_unknown_devices_are_refused(self, torch, device, word):
        with pytest.raises(InputError, match=word):
            choose_device(device)

    def test_unknown_precision_is_refused(self, torch):
        with pytest.raises(InputError, match="did you mean 'float16'"):
            TorchEngine("cpu", "flaot16")


@pytest.mark.torch
class TestOnCUDA:
    def test_auto_takes_the_gpu(self, torch, calls):
        engine = TorchEngine()
        assert (engine.device.type, engine.device.index, engine.name) == ("cuda", 0, "Some GPU")
        assert choose_device("cuda") == engine.device
        assert choose_device("cpu").type == "cpu"
        assert set(engine.versions()) == {"torch", "cuda"}

    def test_events_enclose_the_work_on_an_idle_device(self, torch, calls):
        engine = TorchEngine()
        assert engine.timed(lambda: calls.append("work")) == pytest.approx(0.0125)
        assert calls == ["synchronize", "reset peak", "record", "work", "record", "wait for event"]
        assert engine.peak_memory_bytes() == 4096

    def test_out_of_memory_gives_memory_back(self, torch, calls):
        def work():
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

        with pytest.raises(OutOfMemory, match=r"2\.00 GiB"):
            TorchEngine().timed(work)
        assert calls[-1] == "empty cache"

    def test_synchronise_waits(self, torch, calls):
        TorchEngine().synchronise()
        assert calls == ["synchronize"]
