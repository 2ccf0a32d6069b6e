"""A recorded vLLM run on an RTX 4090, replayed from the tables of its layers; nothing is fitted to it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from qmodel.interop.llmservingsim_tables import RecordedRun, read_attention, read_run, read_tables
from qmodel.service.composed import ComposedTime
from qmodel.simulation.iterations.replaying import Replay, replay_run

DATA = Path(os.environ.get("QMODEL_DATA", Path(__file__).parents[4] / "shared" / "data"))
PROFILE = DATA / "profiling" / "llmservingsim_RTX4090_llama3.1-8b_tp1_{}.csv"
RUN = DATA / "serving" / "llmservingsim_RTX4090_Llama-3.1-8B_requests.jsonl"
SERIES = DATA / "serving" / "llmservingsim_RTX4090_Llama-3.1-8B_timeseries.csv"

pytestmark = pytest.mark.skipif(not RUN.exists(), reason=f"the recorded run is not in {DATA}; set QMODEL_DATA")


@pytest.fixture(scope="module")
def composed() -> ComposedTime:
    tables = [Path(str(PROFILE).format(part)) for part in ("dense", "attention", "per_sequence")]
    return read_tables(*tables, layers=32)


@pytest.fixture(scope="module")
def recorded() -> RecordedRun:
    return read_run(RUN)


@pytest.fixture(scope="module")
def replayed(composed: ComposedTime, recorded: RecordedRun) -> Replay:
    lengths = (recorded.input_tokens, recorded.output_tokens)
    return replay_run(
        composed, recorded.arrival_s, *lengths, max_batch=256, kv_capacity_tokens=2588 * 16, sample_s=1.0, tell=None
    )


def test_mean_response_and_median_first_token(replayed: Replay, recorded: RecordedRun) -> None:
    response = replayed.outcome.response_s.mean() / recorded.response_s.mean() - 1
    first = np.median(replayed.outcome.ttft_s) / np.median(recorded.ttft_s) - 1
    assert abs(response) < 0.05 and abs(first) < 0.08
    assert abs(replayed.outcome.done_s.max() / recorded.last_token_s.max() - 1) < 0.05


def test_running_and_waiting_follow_the_measured_series(replayed: Replay) -> None:
    measured = np.loadtxt(SERIES, delimiter=",", skiprows=1, usecols=(0, 3, 4))
    running, waiting = (np.interp(measured[:, 0], replayed.samples[:, 0], replayed.samples[:, i]) for i in (1, 2))
    assert abs(running.mean() / measured[:, 1].mean() - 1) < 0.08
    assert np.abs(waiting - measured[:, 2]).mean() < 0.1 * measured[:, 2].max()


def test_every_iteration_lies_inside_the_tables(replayed: Replay) -> None:
    assert replayed.totals.outside == 0 and replayed.totals.preemptions > 100


def test_the_decode_iteration_is_what_the_memory_bandwidth_says(composed: ComposedTime) -> None:
    alone = composed.seconds(1, 16, prefills=0)
    more = composed.seconds(16, 16 * 4096) - composed.seconds(16, 16 * 2048)
    assert 0.0159 < alone < 0.0180  # 16 GB of weights at 1008 GB/s is 15.9 ms
    assert 0.85e12 < 16 * 2048 * 131072 / more < 1.008e12  # 128 KiB of keys and values a token


def test_another_gpu_loads_with_the_same_reader(composed: ComposedTime) -> None:
    older = read_attention(DATA / "profiling" / "llmservingsim_A6000_llama3.1-8b_tp1_attention.csv")
    time = ComposedTime(dense=composed.dense, head=composed.head, attention=older.scaled(32))
    assert older.measured[1:, 0, 1:, :].any() and np.isfinite(older.filled_s).all()
    done = replay_run(time, [0.0, 0.1], [300, 200], [20, 30], tell=None)
    assert done.outcome.served.all()
