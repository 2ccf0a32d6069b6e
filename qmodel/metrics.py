"""The registry of metrics: name, symbol, unit, formula, and what other tools call the same thing."""

from __future__ import annotations

from dataclasses import dataclass

from qmodel.errors import InputError, nearest


@dataclass(frozen=True)
class Metric:
    """One metric as it is called here. `symbol` is LaTeX, `typst` the same in Typst."""

    name: str
    title: str
    symbol: str
    typst: str
    unit: str
    formula: str
    elsewhere: str = ""


_ALL = (
    Metric("mean_response_s", "mean response time", r"\mathrm{E}[T]", '"E"[T]', "s",
           "done - scheduled, averaged over requests", "vLLM: mean E2EL; guidellm: request_latency"),
    Metric("mean_wait_s", "mean wait", r"\mathrm{E}[W]", '"E"[W]', "s",
           "response - service", "vLLM /metrics: request_queue_time_seconds (until the first service)"),
    Metric("mean_service_s", "mean service time", r"\mathrm{E}[S]", '"E"[S]', "s",
           "time the server works on the request alone", ""),
    Metric("p50_response_s", "median response time", "T_{50}", "T_50", "s", "P(T <= x) = 0.50",
           "vLLM: median E2EL"),
    Metric("p95_response_s", "95th percentile of response time", "T_{95}", "T_95", "s", "P(T <= x) = 0.95",
           "vLLM: p95 E2EL"),
    Metric("p99_response_s", "99th percentile of response time", "T_{99}", "T_99", "s", "P(T <= x) = 0.99",
           "vLLM: p99 E2EL"),
    Metric("mean_slowdown", "mean slowdown", r"\mathrm{E}[T/S]", '"E"[T\\/S]', "1", "response / service time",
           "stretch, normalised latency"),
    Metric("attainment", "attainment", "A", "A", "1", "share of requests that meet their SLO", "SLO attainment"),
    Metric("goodput", "goodput", "G", "G", "requests/s", "requests/s that meet all their SLOs",
           "vLLM: request goodput"),
    Metric("share_reduced", "share served with fewer steps", "q", "q", "1",
           "services that start while the queue condition holds", ""),
    Metric("mean_ttft_s", "mean time to first token", r"\mathrm{TTFT}", '"TTFT"', "s", "first token - scheduled",
           "vLLM: mean TTFT; guidellm: time_to_first_token_ms"),
    Metric("mean_tpot_s", "mean time per output token", r"\mathrm{TPOT}", '"TPOT"', "s",
           "(response - TTFT) / (output tokens - 1)",
           "vLLM: TPOT; guidellm and AIPerf: inter-token latency; guidellm's time_per_output_token includes TTFT"),
    Metric("utilisation", "utilisation", r"\rho", "rho", "1", "arrival rate x mean service / servers", ""),
    Metric("scv", "squared coefficient of variation", "C^2", "C^2", "1", "variance / mean^2", ""),
)  # fmt: skip
METRICS = {metric.name: metric for metric in _ALL}


def metric(name: str) -> Metric:
    """A metric by its name. Raises InputError with the nearest known name.

    >>> metric("mean_response_s").unit
    's'
    """
    if name not in METRICS:
        raise InputError(f"metric '{name}'", "is unknown", nearest(name, list(METRICS)))
    return METRICS[name]
