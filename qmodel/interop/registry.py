"""All formats, in the order in which they are tried. A new format is one module and one line here."""

from __future__ import annotations

from qmodel.interop.formats import (
    aiconfigurator,
    aiperf,
    azure,
    burstgpt,
    distserve,
    generic,
    guidellm,
    leaderboards,
    llmperf,
    llmservingsim,
    mooncake,
    own,
    prometheus,
    servegen,
    splitwise,
    vidur,
    vidur_trace,
    vllm_bench,
    vllm_requests,
)
from qmodel.interop.reading import Reader

READERS: tuple[Reader, ...] = (
    aiconfigurator.KERNELS,
    servegen.DATASET,
    guidellm.JSON,
    vllm_bench.SGLANG,
    vllm_bench.SERVE,
    vllm_bench.LATENCY,
    vllm_bench.THROUGHPUT,
    aiperf.READER,
    llmperf.READER,
    mooncake.READER,
    vllm_requests.READER,
    vllm_requests.SERIES,
    distserve.READER,
    own.LOG,
    own.PROFILE,
    azure.READER,
    burstgpt.READER,
    vidur_trace.READER,
    vidur.READER,
    splitwise.READER,
    llmservingsim.READER,
    servegen.WINDOWS,
    aiconfigurator.SILICON,
    leaderboards.ENERGY_DIFFUSION,
    leaderboards.ENERGY_LLM,
    leaderboards.LAMBDA,
    leaderboards.INFERENCEX,
    guidellm.CSV,
    prometheus.READER,
)
GENERIC = generic.READER
"""For a CSV whose columns the user names."""
