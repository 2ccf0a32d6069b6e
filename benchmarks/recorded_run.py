"""A recorded vLLM run on an RTX 4090 beside its replay from tables of its layers: numbers, and the figure.

python benchmarks/recorded_run.py DATA_FOLDER [FIGURE.png]
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from qmodel.interop.llmservingsim_tables import RecordedRun, read_run, read_tables
from qmodel.simulation.iterations.replaying import Replay, replay_run

NAME = "llmservingsim_RTX4090_"
BATCH, BLOCKS, BLOCK_TOKENS, LAYERS = 256, 2588, 16, 32


def replayed(data: Path, recorded: RecordedRun) -> Replay:
    parts = ("dense", "attention", "per_sequence")
    tables = [data / "profiling" / f"{NAME}llama3.1-8b_tp1_{part}.csv" for part in parts]
    lengths = (recorded.input_tokens, recorded.output_tokens)
    time = read_tables(*tables, layers=LAYERS)
    memory = BLOCKS * BLOCK_TOKENS
    return replay_run(time, recorded.arrival_s, *lengths, max_batch=BATCH, kv_capacity_tokens=memory, sample_s=1.0)


def draw(replay: Replay, measured: np.ndarray, file: Path) -> None:
    """Running and waiting requests over time, measured and replayed."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(2, 1, figsize=(7, 5), sharex=True, layout="constrained")
    for panel, column, name in zip(panels, (1, 2), ("running", "waiting"), strict=True):
        panel.plot(measured[:, 0], measured[:, column], color="black", lw=1.2, label="measured, vLLM")
        panel.plot(replay.samples[:, 0], replay.samples[:, column], color="tab:blue", lw=1.2, label="replayed")
        panel.set_ylabel(f"{name} requests")
        panel.set_ylim(bottom=0)
        panel.grid(alpha=0.3)
    panels[0].legend(frameon=False)
    panels[1].set_xlabel("time since the first arrival (s)")
    figure.savefig(file, dpi=150)


def main(data: Path, file: Path) -> None:
    recorded = read_run(data / "serving" / f"{NAME}Llama-3.1-8B_requests.jsonl")
    replay = replayed(data, recorded)
    pairs = {
        "mean E2E": (replay.outcome.response_s.mean(), recorded.response_s.mean()),
        "median TTFT": (np.median(replay.outcome.ttft_s), np.median(recorded.ttft_s)),
        "last token": (replay.outcome.done_s.max(), recorded.last_token_s.max()),
    }
    for name, (ours, theirs) in pairs.items():
        print(f"{name:12} replayed {ours:7.2f} s   measured {theirs:7.2f} s   {100 * (ours / theirs - 1):+.1f} %")
    series = data / "serving" / f"{NAME}Llama-3.1-8B_timeseries.csv"
    draw(replay, np.loadtxt(series, delimiter=",", skiprows=1, usecols=(0, 3, 4)), file)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2] if len(sys.argv) > 2 else "recorded_run.png"))
