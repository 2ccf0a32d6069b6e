"""Small scenarios and traces that several tests plan with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from qmodel.planning import Recorded
from qmodel.scenario import Scenario
from qmodel.service.engine import Engine
from qmodel.service.iteration_time import IterationTime
from qmodel.service.system import System
from qmodel.workload import Exponential, Geometric, Poisson, RequestClass

ENGINE = """
[system]
batching = "continuous"
max_batch = 8
[system.iteration_time]
base = 0.01
per_sequence = 0.001
per_prefill_token = 1e-5
[system.engine]
power_w = 300.0
idle_power_w = 60.0
max_batched_tokens = 1024
[[class]]
name = "chat"
arrivals = { process = "poisson", rate = 4 }
input_tokens = { distribution = "geometric", mean = 200 }
output_tokens = { distribution = "geometric", mean = 50 }
"""


@pytest.fixture
def m_m_1() -> Scenario:
    """M/M/1 at 0.8."""
    return Scenario([RequestClass("jobs", Poisson(0.8), Exponential(1.0))])


@pytest.fixture
def engine() -> Scenario:
    """A batching engine with power."""
    tokens = {"input_tokens": Geometric(200.0), "output_tokens": Geometric(50.0)}
    time = IterationTime(base=0.01, per_sequence=0.001, per_prefill_token=1e-5)
    system = System(
        batching="continuous", max_batch=16, iteration_time=time, engine=Engine(power_w=300.0, idle_power_w=60.0)
    )
    return Scenario([RequestClass("chat", Poisson(10.0), factors=tokens)], system=system)


@pytest.fixture
def engine_file(tmp_path: Path) -> Path:
    """A scenario file of a batching engine."""
    return written_engine(tmp_path)


def written_engine(tmp_path: Path) -> Path:
    """The scenario file in a folder."""
    file = tmp_path / "engine.toml"
    file.write_text(ENGINE, encoding="utf-8")
    return file


def recorded(seed: int, count: int = 400, rate: float = 8.0) -> Recorded:
    """Poisson arrivals with geometric lengths."""
    rng = np.random.default_rng(seed)
    arrival = np.cumsum(rng.exponential(1.0 / rate, count))
    return Recorded(arrival - arrival[0], rng.geometric(1 / 200, count), rng.geometric(1 / 50, count))


def written_traces(tmp_path: Path) -> tuple[Path, Path]:
    """Two traces in Azure's format."""
    files = []
    for seed in (1, 2):
        one = recorded(seed)
        assert one.input_tokens is not None and one.output_tokens is not None
        file = tmp_path / f"trace{seed}.csv"
        rows = ["TIMESTAMP,ContextTokens,GeneratedTokens"]
        stamps = np.datetime64("2023-11-16T18:00:00.000000") + (one.arrival_s * 1e6).astype("timedelta64[us]")
        rows += [
            f"{str(t).replace('T', ' ')},{a},{b}"
            for t, a, b in zip(stamps, one.input_tokens, one.output_tokens, strict=True)
        ]
        file.write_text("\n".join(rows) + "\n", encoding="utf-8")
        files.append(file)
    return files[0], files[1]
