"""All policies on two recorded workloads, on one batching engine: who wins for whom, at which load, at what price.

    python experiments/policies-on-traces/run.py DATA_FOLDER [REPLICATIONS]

The engine is an RTX 4090 with Llama-3.1-8B: iteration times composed of LLMServingSim's layer tables, 256 requests
at most, 41,408 tokens of KV cache, prompts in chunks of 2,048 tokens beside decodes. Its capacity is what it serves
of the trace, first come first served, when all of it waits at once. Loads are shares of that capacity.

A replication is served from empty to its end (a finite horizon, so 1.2 is no exception), the same requests under
every policy. Mooncake's is a thinning of the whole hour, disjoint from the others; Azure's trace is too slow for
that, and one is a stretch of it, thinned to 0.5 and compressed in time for the higher loads. Intervals are 95 % t
intervals of the mean logarithm of the ratio to FCFS over the replications.
"""

from __future__ import annotations

import itertools
import multiprocessing
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from qmodel.interop.llmservingsim_tables import read_tables
from qmodel.planning.recorded import Recorded, read_recorded
from qmodel.policy import Policy, make_policy
from qmodel.scenario import Scenario
from qmodel.service.engine import Engine
from qmodel.simulation.iterations.pools import collected
from qmodel.simulation.iterations.rules import Rules
from qmodel.simulation.iterations.token_requests import TokenRequests, given
from qmodel.workload import Discrete, Poisson, RequestClass

HERE = Path(__file__).parent
LOADS = (0.5, 0.7, 0.9, 1.2)
GROUPS = ("short", "middle", "long")
MEMORY, BATCH, LAYERS = 2588 * 16, 256, 32
LATE = 4.0
"""Deadline of a request for `edf`: so many times the mean service of its group, alone."""
LIMIT_S = 120.0
POLICIES = (
    "fcfs", "lcfs", "lcfs-pr", "random", "round-robin", "np-priority", "pr-priority", "edf", "las", "mlfq",
    "gittins", "sjf", "psjf", "srpt", "spjf", "pspjf", "sprpt", "trail",
)  # fmt: skip
KNOWS = {
    "np-priority": "group", "pr-priority": "group", "edf": "group", "gittins": "law of sizes",
    "sjf": "size", "psjf": "size", "srpt": "size", "spjf": "prediction", "pspjf": "prediction",
    "sprpt": "prediction", "trail": "prediction",
}  # fmt: skip
JITTER_S = {"Mooncake conversation": 3.0}
"""Time stamps are whole multiples of so much: spread evenly over it, for what is finer means nothing."""


@dataclass(frozen=True)
class Workload:
    """A trace on the engine: requests that fit its memory, how fast it serves them, what share did not fit."""

    name: str
    recorded: Recorded
    capacity: float
    too_long: float


def rules_of(data: Path) -> Rules:
    """The engine, its times read from the tables."""
    parts = ("dense", "attention", "per_sequence")
    tables = [data / "profiling" / f"llmservingsim_RTX4090_llama3.1-8b_tp1_{part}.csv" for part in parts]
    return Rules(read_tables(*tables, layers=LAYERS), Engine(), BATCH, MEMORY)


def workload(name: str, path: Path, rules: Rules) -> Workload:
    """The requests of a trace that fit the memory, and how fast the engine serves them."""
    whole = read_recorded(path)
    if name in JITTER_S:
        spread = np.random.default_rng(1).uniform(0.0, JITTER_S[name], len(whole))
        order = np.argsort(whole.arrival_s + spread, kind="stable")
        whole = replace(whole.of(order), arrival_s=(whole.arrival_s + spread)[order])
    fits = whole.input_tokens + whole.output_tokens <= MEMORY
    recorded = whole.of(fits)
    return Workload(name, recorded, capacity(recorded, rules), float(1.0 - fits.mean()))


def capacity(recorded: Recorded, rules: Rules) -> float:
    """Requests a second, between the 20th and the 70th per cent that leave, when all wait at once."""
    outcome, _ = collected(
        requests(replace(recorded, arrival_s=np.zeros(len(recorded))), rules, 1), make_policy("fcfs"), rules
    )
    left = np.sort(outcome.done_s[outcome.served])
    low, high = int(0.2 * left.size), int(0.7 * left.size)
    return (high - low) / float(left[high] - left[low])


def requests(recorded: Recorded, rules: Rules, seed: int) -> TokenRequests:
    """Requests in three groups of equal number by their service alone; predictions exponential around the size."""
    classes = [
        RequestClass(name, Poisson(1.0), Discrete((1.0,), (1.0,)), priority=i) for i, name in enumerate(GROUPS)
    ]
    made = given(classes, recorded.arrival_s, recorded.input_tokens, recorded.output_tokens)
    prompt_s, token_s = rules.alone_s(float(made.prompt.mean() + 0.5 * made.output.mean()))
    size = made.prompt * prompt_s + made.output * token_s
    rng = np.random.default_rng([seed, 1])
    group = np.searchsorted(np.quantile(size, [1 / 3, 2 / 3]), size)
    limits = [LATE * float(size[group == i].mean()) if (group == i).any() else 1.0 for i in range(3)]
    laws = [law(size[group == i]) for i in range(3)]
    classes = [
        replace(each, slo={"response_s": limit}, service=one)
        for each, limit, one in zip(classes, limits, laws, strict=True)
    ]
    return replace(
        made, classes=tuple(classes), class_index=group, size_s=size, predicted_s=rng.exponential(size),
        lottery=rng.random(len(size)),
    )  # fmt: skip


def law(sizes: np.ndarray) -> Discrete:
    """A law of forty equally likely sizes."""
    values, counts = np.unique(np.quantile(sizes, (np.arange(40) + 0.5) / 40), return_counts=True)
    return Discrete(tuple(values.tolist()), tuple((counts / counts.sum()).tolist()))


def policy_of(name: str, made: TokenRequests) -> Policy:
    """The preset; Gittins reads the law of sizes of each group."""
    return Scenario(made.classes, make_policy(name)).policy if name == "gittins" else make_policy(name)


def replications(one: Workload, load: float, count: int) -> Iterator[Recorded]:
    """Streams of requests at so many times the capacity, disjoint from one another."""
    kept = load * one.capacity / one.recorded.rate
    rng = np.random.default_rng(7)
    if kept * count <= 1.0:
        stream = (rng.random(len(one.recorded)) / kept).astype(int)
        yield from (from_zero(one.recorded.of(stream == i)) for i in range(count))
        return
    thinned = (
        one.recorded.of(rng.random(len(one.recorded)) < kept)
        if kept < 1.0
        else one.recorded.at_rate(load * one.capacity)
    )
    edges = np.arange(count + 1) * len(thinned) // count
    yield from (from_zero(thinned.of(slice(a, b))) for a, b in itertools.pairwise(edges))


def from_zero(recorded: Recorded) -> Recorded:
    """On its own clock."""
    return replace(recorded, arrival_s=recorded.arrival_s - recorded.arrival_s[0])


def served(name: str, streams: list[Recorded], rules: Rules) -> list[dict[str, Any]]:
    """A row a replication and group: mean response, 95th percentile of TTFT, and what the order cost."""
    rows = []
    for number, stream in enumerate(streams):
        made = requests(stream, rules, number)
        outcome, totals = collected(made, policy_of(name, made), rules, seed=1)
        span = float(outcome.done_s.max())
        for i, group in enumerate(("all", *GROUPS)):
            part = outcome if group == "all" else outcome.of(outcome.class_index == i - 1)
            rows.append({
                "policy": name, "replication": number, "group": group, "requests": len(part),
                "mean_response_s": part.response_s.mean(), "p95_response_s": np.quantile(part.response_s, 0.95),
                "p95_ttft_s": np.quantile(part.ttft_s, 0.95), "mean_tpot_s": np.nanmean(part.tpot_s),
                "preemptions_per_request": part.preemptions.mean(),
                "recomputed_share": totals.recomputed / max(1, totals.computed), "last_done_s": span,
                "outside_tables": totals.outside / totals.iterations,
            })  # fmt: skip
    return rows


def bounded(name: str, streams: list[Recorded], rules: Rules) -> list[dict[str, Any]] | str:
    """The rows, or why there are none: an order that throws its caches away again and again may never finish."""
    context = multiprocessing.get_context("fork")
    reader, writer = context.Pipe(duplex=False)
    child = context.Process(target=lambda: writer.send(served(name, streams, rules)), daemon=True)
    child.start()
    found = reader.recv() if reader.poll(LIMIT_S) else f"not finished in {LIMIT_S:g} s"
    child.kill()
    child.join()
    return found


def main(data: Path, count: int) -> None:
    """Every policy at every load of both traces; table and figure."""
    from summary import draw, ratios, write_table  # the module beside this one

    rules = rules_of(data)
    files = {
        "Azure code": "azure_llm_2023_code.csv",
        "Mooncake conversation": "mooncake_fast25_conversation.jsonl",
    }
    rows: list[dict[str, Any]] = []
    notes: list[str] = []
    for name, file in files.items():
        one = workload(name, data / "traces" / file, rules)
        notes.append(
            f"{name}: {len(one.recorded):,} requests at {one.recorded.rate:.3g}/s, {one.too_long:.1%} left out as "
            f"too long for the memory; the engine serves {one.capacity:.3g}/s"
        )
        served("gittins", [one.recorded.of(slice(100))], rules)  # compiled here, not in every process
        for load in LOADS:
            streams = list(replications(one, load, count))
            for policy in POLICIES:
                found = bounded(policy, streams, rules)
                if isinstance(found, str):
                    notes.append(f"{name}, load {load:g}, {policy}: {found}")
                    continue
                rows += [{"trace": name, "load": load} | row for row in found]
            print(name, load, sum(len(stream) for stream in streams), file=sys.stderr)
    table = pd.DataFrame(rows)
    results = HERE / "results"
    results.mkdir(exist_ok=True)
    found = ratios(table)
    found.to_csv(results / "ratios.csv", index=False, float_format="%.5g")
    write_table(table, found, notes, KNOWS, results / "table.md")
    draw(found, results / "policies.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 9)
