"""The registry of metrics: name, symbol, unit, formula, and what other tools call the same thing."""

from __future__ import annotations

import re
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
    Metric("std_response_s", "standard deviation of response time", r"\sigma_T", "sigma_T", "s",
           "square root of the mean squared distance from the mean", "vLLM: std E2EL"),
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
    Metric("rejected_share", "share rejected", r"P_{\mathrm{rejected}}", 'P_("rejected")', "1",
           "requests that find the system full / requests", "HTTP 429 or 503"),
    Metric("abandoned_share", "share abandoned", r"P_{\mathrm{abandoned}}", 'P_("abandoned")', "1",
           "requests whose patience ends before their service begins / requests", "timeouts, client disconnects"),
    Metric("mean_ttft_s", "mean time to first token", r"\mathrm{TTFT}", '"TTFT"', "s", "first token - scheduled",
           "vLLM: mean TTFT; guidellm: time_to_first_token_ms"),
    Metric("mean_tpot_s", "mean time per output token", r"\mathrm{TPOT}", '"TPOT"', "s",
           "(response - TTFT) / (output tokens - 1)",
           "vLLM: TPOT; guidellm and AIPerf: inter-token latency; guidellm's time_per_output_token includes TTFT"),
    Metric("mean_itl_s", "mean inter-token latency", r"\mathrm{ITL}", '"ITL"', "s",
           "gap between tokens, averaged over all gaps", "vLLM: mean ITL"),
    Metric("throughput_tokens_per_s", "output tokens a second", r"\mathrm{X}_{\mathrm{tokens}}", 'X_("tokens")',
           "tokens/s", "output tokens of requests that are served to the end / s", "vLLM: output throughput"),
    Metric("mean_qoe", "mean quality of experience", r"\mathrm{QoE}", '"QoE"', "1",
           "1 - reader's delay / (last token read - expected), averaged over requests", "Andes: QoE"),
    Metric("energy_j_per_request", "energy per request", r"E_{\mathrm{request}}", 'E_("request")', "J",
           "energy of the engine, idle included / requests served", "ML.ENERGY: energy per request"),
    Metric("energy_j_per_token", "energy per output token", r"E_{\mathrm{token}}", 'E_("token")', "J",
           "energy of the engine, idle included / output tokens", "ML.ENERGY: energy per token"),
    Metric("preemptions_per_request", "preemptions per request", "P", "P", "1",
           "times that requests are taken off the batch / requests", "vLLM /metrics: num_preemptions_total"),
    Metric("utilisation", "utilisation", r"\rho", "rho", "1", "arrival rate x mean service / servers", ""),
    Metric("scv", "squared coefficient of variation", "C^2", "C^2", "1", "variance / mean^2", ""),
)  # fmt: skip
METRICS = {metric.name: metric for metric in _ALL}


PERCENTILE = re.compile(r"p(?P<percent>\d{1,2}(\.\d+)?)_(?P<quantity>response|ttft|tpot|itl)_s")
QUANTITIES = {"response": ("response time", "T"), "ttft": ("time to first token", "TTFT")} | {
    "tpot": ("time per output token", "TPOT"),
    "itl": ("inter-token latency", "ITL"),
}


def metric(name: str) -> Metric:
    """A metric by its name, any percentile included. Raises InputError with the nearest known name.

    >>> metric("mean_response_s").unit, metric("p99.9_ttft_s").title
    ('s', '99.9th percentile of time to first token')
    """
    if name in METRICS:
        return METRICS[name]
    percentile = PERCENTILE.fullmatch(name)
    if percentile is None:
        raise InputError(f"metric '{name}'", "is unknown", nearest(name, list(METRICS)))
    return _percentile(name, percentile["percent"], *QUANTITIES[percentile["quantity"]])


def _percentile(name: str, percent: str, quantity: str, letters: str) -> Metric:
    latex = letters if len(letters) == 1 else rf"\mathrm{{{letters}}}"
    typst = letters if len(letters) == 1 else f'"{letters}"'
    title = f"{percent}{_ordinal(percent)} percentile of {quantity}"
    share = f"{float(percent) / 100:.12g}"
    return Metric(
        name, title, f"{latex}_{{{percent}}}", f"{typst}_({percent})", "s", f"P({letters} <= x) = {share}"
    )


def _ordinal(number: str) -> str:
    """Ending of an ordinal number: 1st, 22nd, 43rd, 11th, 99.9th.

    >>> [_ordinal(number) for number in ("1", "22", "43", "11", "90", "99.9")]
    ['st', 'nd', 'rd', 'th', 'th', 'th']
    """
    if "." in number or number[-2:] in ("11", "12", "13"):
        return "th"
    return {"1": "st", "2": "nd", "3": "rd"}.get(number[-1], "th")
