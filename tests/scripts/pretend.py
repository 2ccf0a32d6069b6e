"""A device that only pretends: a GPU made of the CPU, and a bench that does nothing but take its time."""

import time
from contextlib import contextmanager

from campaign.bench import Trial
from campaign.plan import Design, Grid
from campaign.runner import Protocol
from campaign.shapes import Cost
from campaign.stages import Stage


class SleepingBench:
    """Sleeps `batch_size` milliseconds; `on_begin` is called with the cell before each repetition."""

    name = "sleeper"

    def __init__(self, engine, on_begin=lambda cell: None, call_s=1e-3):
        self.engine, self.on_begin, self.call_s, self.closed = engine, on_begin, call_s, False

    def prepare(self, cell):
        def begin():
            self.on_begin(cell)
            return lambda: time.sleep(self.call_s * cell.levels["batch_size"])

        return Trial(begin, lambda: None)

    def about(self):
        return {"name": self.name}

    def versions(self):
        return {}

    def close(self):
        self.closed = True


def cost_of(cell):
    """A thousand bytes and operations for each of the batch."""
    return Cost(1e3 * cell.levels["batch_size"], 1e3, 1e3 * cell.levels["batch_size"], 0)


def stage(*, batches=(1, 2, 3), rounds=2, repetitions=2, capacity=1e9, name="sleep", **bench):
    """A stage on the sleeping bench; coarse: the first and the last batch size."""
    design = Design(
        [Grid("decode", {"batch_size": batches, "kind": ("a", "b")}, {"batch_size": (batches[0], batches[-1])})],
        rounds=rounds,
        repetitions=repetitions,
    )
    small = {"ceiling_width": 16, "ceiling_bytes": 1024}
    return Stage(
        name, "sleep", lambda engine: SleepingBench(engine, **bench), cost_of, lambda executions: design,
        Protocol(0.0, 0.01), capacity, **small,
    )  # fmt: skip


class Event:
    """A CUDA event on the host's clock; the device is a hundredth faster."""

    def __init__(self, enable_timing):
        assert enable_timing

    def record(self):
        self.at = time.perf_counter()

    def synchronize(self):
        pass

    def elapsed_time(self, end):
        return 0.99e3 * (end.at - self.at)


class Stream:
    def wait_stream(self, other):
        assert other is not self


class Graph:
    def __init__(self):
        self.captured = self.replays = 0

    def replay(self):
        assert self.captured == 1, "captured before it is replayed"
        self.replays += 1


@contextmanager
def capture(graph):
    graph.captured += 1
    yield


@contextmanager
def nothing(*arguments):
    yield


def pretend_cuda(monkeypatch, torch, free_bytes=10**9):
    """Let TorchEngine and the campaign believe that the CPU is a GPU."""
    from qmodel.measure.targets.torch_engine import TorchEngine

    plain = TorchEngine.__init__

    def init(self, *arguments, **options):
        plain(self, *arguments, **options)
        self.on_cuda, self.name = True, "NVIDIA Pretence"

    monkeypatch.setattr(TorchEngine, "__init__", init)
    cuda = torch.cuda
    for name, value in {
        "Event": Event,
        "Stream": Stream,
        "CUDAGraph": Graph,
        "graph": capture,
        "stream": nothing,
        "current_stream": Stream,
        "synchronize": lambda *a: None,
        "reset_peak_memory_stats": lambda *a: None,
        "max_memory_allocated": lambda *a: 4711,
        "mem_get_info": lambda *a: (free_bytes, 2 * free_bytes),
        "set_device": lambda *a: None,
        "empty_cache": lambda: None,
    }.items():
        monkeypatch.setattr(cuda, name, value)
