"""What the server itself measured during the run: differences of its Prometheus metrics, before and after.

vLLM's histograms give the time in the queue directly, which a client cannot see.
"""

from __future__ import annotations

from typing import Any

PREFIX = "vllm:"
MEANS = {
    "request_queue_time_seconds": "mean_queue_s",
    "request_prefill_time_seconds": "mean_prefill_s",
    "request_decode_time_seconds": "mean_decode_s",
    "request_inference_time_seconds": "mean_inference_s",
    "e2e_request_latency_seconds": "mean_e2e_s",
}
COUNTS = {
    "num_preemptions": "preemptions",
    "prompt_tokens": "prompt_tokens",
    "generation_tokens": "generation_tokens",
}


def sums_of(text: str) -> dict[str, float]:
    """Samples of vLLM's metrics by name, summed over their labels; empty for text that is none.

    >>> sums_of('vllm:num_preemptions_total{engine="0"} 3.0\\n')
    {'num_preemptions_total': 3.0}
    """
    from prometheus_client.parser import text_string_to_metric_families

    found: dict[str, float] = {}
    try:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name.startswith(PREFIX) and not sample.name.endswith(("_bucket", "_created")):
                    name = sample.name.removeprefix(PREFIX)
                    found[name] = found.get(name, 0.0) + sample.value
    except (ValueError, KeyError, IndexError):
        return {}
    return found


def between(before: str, after: str) -> dict[str, Any]:
    """Means and counts of what came between two scrapes; empty without them, or where the server began anew.

    >>> text = 'vllm:request_queue_time_seconds_{}{{engine="0"}} {}\\n'
    >>> between(text.format("count", 1), text.format("count", 1))
    {}
    """
    first, last = sums_of(before), sums_of(after)
    if not first or not last or any(last.get(name, 0.0) < value for name, value in first.items() if _grows(name)):
        return {}
    found: dict[str, Any] = {}
    for name, ours in MEANS.items():
        count = last.get(f"{name}_count", 0.0) - first.get(f"{name}_count", 0.0)
        if count > 0:
            found[ours] = (last[f"{name}_sum"] - first.get(f"{name}_sum", 0.0)) / count
            found["requests"] = int(count)
    for name, ours in COUNTS.items():
        if f"{name}_total" in last:
            found[ours] = int(last[f"{name}_total"] - first.get(f"{name}_total", 0.0))
    return found if "requests" in found else {}


def _grows(name: str) -> bool:
    return name.endswith(("_total", "_count"))
