"""The GPU's paths on a pretended GPU: events, captured steps, energy, several ways of running a step."""

import csv
import os
import tomllib
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from campaign import stages  # noqa: E402
from campaign.bench import Trial  # noqa: E402
from campaign.clock import Clock  # noqa: E402
from campaign.decoding import EAGER, GRAPH, DecoderBench  # noqa: E402
from campaign.forecast import roofline_s  # noqa: E402
from campaign.plan import Cell, Design, Grid  # noqa: E402
from campaign.runner import Protocol  # noqa: E402
from campaign.session import Settings, measure  # noqa: E402
from campaign.shapes import TINY  # noqa: E402
from campaign.stages import decoder_stage  # noqa: E402
from campaign.timing import H200, Timing, measured_ceilings, timed  # noqa: E402

from qmodel.measure.targets.torch_engine import TorchEngine  # noqa: E402
from tests.scripts import pretend  # noqa: E402
from tests.scripts.test_campaign_power import FakeNvml  # noqa: E402

SMI = """#!/bin/sh
case "$*" in
*loop-ms*) while true; do echo 400.0; sleep 0.005; done;;
*) echo "NVIDIA Pretence, 580.1, 143771, 1980, 1980, 3201, 45, 120.5, 700.0, 0x0";;
esac
"""


@pytest.fixture
def gpu(monkeypatch, tmp_path):
    pretend.pretend_cuda(monkeypatch, torch, free_bytes=2 * 10**9)
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "nvidia-smi").write_text(SMI)
    (folder / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return monkeypatch


def design(executions):
    levels = {"batch_size": (1, 2), "context_tokens": (4, 8)}
    grids = [Grid("decode", {**levels, "execution": (way,)}) for way in executions]
    return Design(grids, rounds=2, repetitions=2, energy_rounds=(2,))


def run(tmp_path):
    stage = decoder_stage(
        "decode-1b", "pretence", TINY, design, longest=64, protocol=Protocol(0.0, 0.05),
        ceiling_width=16, ceiling_bytes=1024,
    )  # fmt: skip
    outcome = measure(stage, Settings(tmp_path / "out", device="cpu"), Clock(100.0))
    with (tmp_path / "out" / "decode-1b.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return outcome, rows, tomllib.loads((tmp_path / "out" / "decode-1b.meta.toml").read_text())


def test_events_and_wall_clock_are_both_recorded(gpu, tmp_path):
    outcome, rows, meta = run(tmp_path)
    assert outcome.complete == 8
    assert {row["device"] for row in rows} == {"NVIDIA Pretence"}
    for row in rows:
        assert 0 < float(row["latency_s"]) < float(row["wall_s"])
        assert row["peak_memory_bytes"] == "4711"
    assert "CUDA events" in meta["timing"]
    assert meta["block_state"][0]["gpus"][0]["temperature_c"] == 45.0
    assert meta["machine"]["gpus"][0]["driver"] == 580.1


@pytest.mark.parametrize("counter", [True, False])
def test_energy_stands_on_the_last_row_of_its_visits(gpu, tmp_path, counter):
    gpu.setitem(__import__("sys").modules, "pynvml", FakeNvml(counts=counter))
    _, rows, meta = run(tmp_path)
    source = meta["session"][0]["energy_source"]
    assert source == ("NVML energy counter" if counter else "nvidia-smi power.draw sampled every 50 ms")
    with_energy = [row for row in rows if row["energy_j"]]
    assert {row["block"] for row in with_energy} == {"2"}
    assert {row["replicate"] for row in with_energy} == {"4"}
    if counter:  # one joule for the window, shared by its calls
        assert all(0 < float(row["energy_j"]) <= 1 for row in with_energy)
        assert len(with_energy) == 8
    else:
        assert with_energy
        assert all(0 < float(row["energy_j"]) < 400 for row in with_energy)


def test_steps_are_captured_once_and_replayed(gpu, tmp_path):
    _, rows, _ = run(tmp_path)
    assert {row["execution"] for row in rows} == {GRAPH, EAGER}
    engine = TorchEngine("cpu", "bfloat16")
    bench = DecoderBench(TINY, engine, longest=64)
    made = []
    plain = pretend.Graph

    class Watched(plain):
        def __init__(self):
            super().__init__()
            made.append(self)

    gpu.setattr(torch.cuda, "CUDAGraph", Watched)
    trial = bench.prepare(Cell("decode", {"batch_size": 2, "context_tokens": 8, "execution": GRAPH}))
    for _ in range(3):
        trial.begin()()
    assert [(graph.captured, graph.replays) for graph in made] == [(1, 3)]


def test_without_graphs_steps_are_launched_one_by_one(gpu, tmp_path):
    class Refusing:
        def __init__(self):
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing")

    gpu.setattr(torch.cuda, "CUDAGraph", Refusing)
    outcome, rows, _ = run(tmp_path)
    assert {row["execution"] for row in rows} == {EAGER}
    assert (outcome.complete, outcome.failed) == (4, 0)


def test_memory_of_the_device_bounds_the_grid(gpu, tmp_path):
    gpu.setattr(torch.cuda, "mem_get_info", lambda *a: (2**30 + TINY.parameters * 2 + 4096, 0))
    outcome, rows, _ = run(tmp_path)
    lacking = {(row["batch_size"], row["context_tokens"]) for row in rows if row["status"] == "out_of_memory"}
    assert lacking == {("1", "8"), ("2", "4"), ("2", "8")}
    assert outcome.complete == 2


class VirtualH200:
    """The benches' place taken by arithmetic: a call takes what the roofline says, without computing anything."""

    def __init__(self, stage, engine):
        self.name, self.engine, self._stage = stage.name, engine, stage

    def executions(self):
        return GRAPH, EAGER

    def prepare(self, cell):
        self.cell = cell
        return Trial.repeating(lambda: None)

    def timing(self, engine, work):
        seconds = roofline_s(self._stage.cost_of(self.cell), H200)
        return Timing(seconds, seconds + 2e-5, 1)

    def about(self):
        return {}

    versions = about

    def close(self):
        pass


@pytest.mark.parametrize(
    ("name", "cells", "lacking", "replicates"),
    [
        ("prefill-1b", 70, 0, 5),
        ("prefill-8b", 70, 0, 5),
        ("decode-1b", 81 + 25, 1 + 1, 15),
        ("decode-8b", 81 + 25, 10 + 3, 15),
        ("exit-precision", 72, 0, 5),
        ("diffusion", 35, 0, 5),
    ],
)
def test_the_full_grids_run_to_their_end_on_a_virtual_h200(gpu, tmp_path, name, cells, lacking, replicates):
    gpu.setattr(torch.cuda, "mem_get_info", lambda *a: (149 * 10**9, 0))
    gpu.setattr("campaign.session.measured_ceilings", lambda *a, **options: H200)
    stage = next(stage for stage in stages.full_stages() if stage.name == name)
    made = []

    def bench(engine):
        made.append(VirtualH200(stage, engine))
        return made[-1]

    gpu.setattr("campaign.runner.timed", lambda engine, work: made[-1].timing(engine, work))
    virtual = replace(stage, bench=bench, protocol=Protocol(0.0, 0.0))
    outcome = measure(virtual, Settings(tmp_path, device="cpu"), Clock(1e5))
    assert (outcome.cells, outcome.out_of_memory, outcome.failed) == (cells, lacking, 0)
    assert outcome.complete == cells - lacking
    assert outcome.rows == (cells - lacking) * replicates + lacking
    assert (tmp_path / f"{name}.csv").stat().st_size < 2**20


def test_weights_that_do_not_fit_end_the_stage_in_one_line(gpu, tmp_path):
    from qmodel.errors import InputError

    def short(*arguments, **options):
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    gpu.setattr("campaign.decoding.Decoder", short)
    with pytest.raises(InputError, match="stage decode-1b: the model's weights do not fit"):
        run(tmp_path)


def test_ceilings_are_rates(gpu):
    engine = TorchEngine("cpu", "bfloat16")
    found = measured_ceilings(engine, width=32, copied_bytes=1 << 16)
    assert 1e6 < found.operations_per_s < 1e15
    assert 1e6 < found.bytes_per_s < 1e14
    timing = timed(engine, lambda: torch.ones(10).sum())
    assert timing.wall_s > timing.latency_s > 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_smoke_test_on_a_real_gpu(tmp_path):
    for stage in stages.smoke_stages():
        outcome = measure(stage, Settings(tmp_path, device="cuda"), Clock(100.0))
        assert (outcome.visits_left, outcome.failed) == (0, 0)


def test_a_capture_that_runs_out_of_memory_is_told_apart_from_a_fault():
    """Leaving the capture raises an error of its own; the one beneath it says what it was."""
    from qmodel.measure.targets.base import OutOfMemory
    from qmodel.measure.targets.memory import out_of_memory

    with pytest.raises(OutOfMemory, match=r"Tried to allocate 20\.00 GiB"), out_of_memory():
        try:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        finally:
            raise RuntimeError("CUDA error: operation failed due to a previous error during capture")
    with pytest.raises(RuntimeError, match="illegal"), out_of_memory():
        raise RuntimeError("CUDA error: an illegal memory access")


@pytest.mark.parametrize("version", ["2.4.1", "1.13.0+cu117"])
def test_a_torch_without_grouped_heads_is_refused(version):
    from campaign.decoding import check_version

    from qmodel.errors import InputError

    with pytest.raises(InputError, match=r"use 2\.5 or later"):
        check_version(version)
