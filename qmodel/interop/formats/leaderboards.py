"""Measurements that leaderboards and blogs published: ML.ENERGY, lambda-diffusers, InferenceX."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from qmodel.fit.hygiene import finding, served_findings
from qmodel.interop.cells import LEAST_S, MOST_S, bad, column, kept
from qmodel.interop.content import Content
from qmodel.interop.csv_frame import csv_frame
from qmodel.interop.imported import Imported, Translation
from qmodel.interop.profiles import profile
from qmodel.interop.reading import Options, Reader

# --- ML.ENERGY --------------------------------------------------------------------------------------------

DIFFUSION = {"Batch size": "batch_size", "Denoising steps": "steps", "Frames": "frames"}


def is_energy_diffusion(content: Content) -> bool:
    """Batch latencies of image and video models."""
    return content.has("Batch latency (s)", "Batch size")


def read_energy_diffusion(content: Content, options: Options) -> Imported:
    """True batch service times, with energy: that of one product times the batch."""
    frame = csv_frame(content)
    batch = column(frame, "Batch size")
    columns: dict[str, Any] = {}
    names = []
    for theirs, ours in (("Model", "target"), ("GPU", "device"), ("task", "phase")):
        if theirs in frame:
            columns[ours] = frame[theirs].astype(str).to_numpy()
            names.append(ours)
    for theirs, ours in DIFFUSION.items():
        if theirs in frame:
            columns[ours] = column(frame, theirs)
            names.append(ours)
    if "frames" in columns:
        columns["frames"] = np.where(frame["Frames"].isna(), 1.0, columns["frames"])
    columns["latency_s"] = column(frame, "Batch latency (s)")
    mapping = [Translation("Batch latency (s)", "latency_s"), Translation("Model", "target")]
    mapping += [Translation(theirs, ours) for theirs, ours in DIFFUSION.items() if theirs in frame]
    if "frames" in columns:
        mapping.append(Translation("Frames, empty", "frames = 1", "an image is one frame"))
    each = [name for name in ("Energy/image (J)", "Energy/video (J)") if name in frame]
    if each:
        energy = np.nansum([np.nan_to_num(column(frame, name)) for name in each], axis=0)
        columns["energy_j"] = np.where(energy > 0, energy * batch, np.nan)
        mapping.append(Translation(" or ".join(each), "energy_j", "of one product, times the batch"))
    return profile(content.path, [int(k) for k in frame.index], columns, names, options, mapping=mapping)


ENERGY_NAMES = {
    "Model": "target",
    "GPU": "device",
    "TP": "tensor_parallel",
    "PP": "pipeline_parallel",
    "Energy/req (J)": "energy_j_per_request",
    "Avg TPOT (s)": "mean_tpot_s",
    "Token tput (tok/s)": "throughput_tokens_per_s",
    "Avg Output Tokens": "mean_output_tokens",
    "Avg BS (reqs)": "mean_batch_size",
    "Max BS (reqs)": "max_batch",
}


def is_energy_llm(content: Content) -> bool:
    """Averages of served language models."""
    return content.has("Avg TPOT (s)", "Max BS (reqs)")


def read_energy_llm(content: Content, options: Options) -> Imported:
    """Served figures: TPOT against the most requests in a batch."""
    return _served(content, ENERGY_NAMES, ("mean_tpot_s",))


def _served(content: Content, renames: dict[str, str], times: tuple[str, ...], scale: float = 1.0) -> Imported:
    out = csv_frame(content).rename(columns=renames)
    faults, findings = [], []
    for name in times:
        out[name] = scale * column(out, name)
        fault, told = bad(out[name].to_numpy(float), name, [int(k) for k in out.index], least=LEAST_S, most=MOST_S)
        faults.append(fault)
        findings += told
    out = kept(content.path, out, faults, findings)
    findings += served_findings(dict.fromkeys(times, "") | {"concurrency": ""})
    mapping = [Translation(theirs, ours) for theirs, ours in renames.items() if theirs in content.header]
    return Imported("", "", "figures", out, mapping, findings)


# --- lambda-diffusers -------------------------------------------------------------------------------------


def is_lambda(content: Content) -> bool:
    """Latency and memory by GPU, precision and number of samples."""
    return content.has("device", "precision", "runtime", "n_samples", "latency", "memory")


def read_lambda(content: Content, options: Options) -> Imported:
    """Seconds a batch of images; -1 in place of a time is out of memory."""
    frame = csv_frame(content)
    columns: dict[str, Any] = {
        "device": frame["device"].astype(str).to_numpy(),
        "precision": frame["precision"].astype(str).to_numpy(),
        "runtime": frame["runtime"].astype(str).to_numpy(),
        "batch_size": column(frame, "n_samples"),
    }
    for name in ("autocast", "xformers"):
        if name in frame and frame[name].nunique() > 1:
            columns[name] = frame[name].astype(str).to_numpy()
    factors = list(columns)
    columns["latency_s"] = column(frame, "latency")
    memory = column(frame, "memory")
    columns["peak_memory_bytes"] = np.where(memory > 0, 1e9 * memory, np.nan)
    mapping = [
        Translation("n_samples", "batch_size"),
        Translation("latency", "latency_s", "seconds a batch; the column names no unit, its repository does"),
        Translation("memory", "peak_memory_bytes", "GB"),
        Translation("latency = -1", "status = out_of_memory"),
    ]
    lines = [int(k) for k in frame.index]
    found = profile(content.path, lines, columns, factors, options, mapping=mapping, target="stable-diffusion")
    odd = _odd_memory(frame, memory)
    if odd:
        sentence = "memory falls while the batch grows: it was not peak memory throughout"
        found.findings.append(finding("implausible", odd, sentence))
    return found


def _odd_memory(frame, memory: np.ndarray) -> list[int]:  # type: ignore[no-untyped-def]
    table = frame.assign(memory=memory, n=column(frame, "n_samples"))
    table = table[table["memory"] > 0].sort_values("n", kind="stable")
    best = table.groupby(["device", "precision", "runtime"])["memory"].cummax()
    return sorted(int(k) for k in table.index[table["memory"] < 0.75 * best])


# --- InferenceX -------------------------------------------------------------------------------------------

SERVED_TIMES = re.compile(r"(mean|median|p\d+)_(ttft|tpot|itl|e2el)")
OURS = {"ttft": "ttft", "tpot": "tpot", "itl": "itl", "e2el": "response"}


def is_inferencex(content: Content) -> bool:
    """Summaries of vLLM runs in columns, closed loop."""
    return content.has("max_concurrency", "median_ttft", "median_tpot")


def read_inferencex(content: Content, options: Options) -> Imported:
    """Served figures, one row a run; times in seconds already."""
    renames = {"isl": "input_tokens", "osl": "output_tokens", "model_id": "target"}
    times = []
    for name in content.header:
        match = SERVED_TIMES.fullmatch(name)
        if match:
            renames[name] = f"{match[1].replace('median', 'p50')}_{OURS[match[2]]}_s"
            times.append(renames[name])
    return _served(content, renames, tuple(times))


ENERGY_DIFFUSION = Reader("mlenergy-diffusion", "ML.ENERGY diffusion", is_energy_diffusion, read_energy_diffusion)
ENERGY_LLM = Reader("mlenergy-llm", "ML.ENERGY language models", is_energy_llm, read_energy_llm)
LAMBDA = Reader("lambda-diffusers", "lambda-diffusers benchmark", is_lambda, read_lambda)
INFERENCEX = Reader("inferencex", "InferenceX runs", is_inferencex, read_inferencex)
