"""What a live run says beside times: the quality of experience of its readers, and how often requests gave way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from qmodel.live.log import OK, tokens_path
from qmodel.metrics.one_stream import qoe
from qmodel.statistics.intervals import batch_means

if TYPE_CHECKING:
    from qmodel.answer import PolicyAnswer
    from qmodel.live import LiveRun
    from qmodel.scenario import Scenario

READING = ("ttft_s", "tpot_s")
"""The promises that say how a class reads: the first token awaited so long, a token every so often."""


def add_qoe(answer: PolicyAnswer, run: LiveRun, scenario: Scenario, warmup: float) -> None:
    """Put mean_qoe, with its interval, into the answer of a run whose classes all say how they read."""
    if not all(set(READING) <= set(one.slo) for one in scenario.classes) or not tokens_path(run.path).exists():
        return
    found = batch_means(np.array(list(_each(run, scenario, warmup))))
    answer["all"].metrics["mean_qoe"] = found.value
    answer["all"].ci95["mean_qoe"] = (found.low, found.high)


def add_preemptions(answer: PolicyAnswer, run: LiveRun) -> None:
    """Put preemptions_per_request into the answer of a batching engine's run, which counts them."""
    count = run.meta.get("loop", {}).get("totals", {}).get("preemptions")
    if count is not None:
        answer["all"].metrics["preemptions_per_request"] = count / max(len(run.log), 1)


def _each(run: LiveRun, scenario: Scenario, warmup: float) -> Iterator[float]:
    """QoE of each request that came through, in order of arrival."""
    import pandas as pd

    limits = {one.name: one.slo for one in scenario.classes}
    times = dict(list(pd.read_csv(tokens_path(run.path)).groupby("request_id")["t_s"]))
    log = run.log[(run.log["status"] == OK) & (run.log["scheduled_s"] >= warmup * run.meta["horizon_s"])]
    for row in log.itertuples():
        reader = limits[log.at[row.Index, "class"]]
        since = times[row.request_id].to_numpy(float) - row.scheduled_s
        yield qoe(since, awaited_s=reader["ttft_s"], tokens_per_s=1.0 / reader["tpot_s"])
