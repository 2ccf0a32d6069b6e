"""What `/metrics` tells, in Prometheus' format: vLLM's names where they mean the same, `qmodel:` for the rest.

Histograms have vLLM's meaning: queue time is arrival to the first iteration, prefill from there to the first token,
decode from the first to the last, inference the last two together.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from qmodel.live.endpoint.stream import Backend, Stream

if TYPE_CHECKING:
    from collections.abc import Callable

SECONDS = (
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0,
)  # fmt: skip
HISTOGRAMS = {
    "request_queue_time_seconds": "Arrival to the first iteration.",
    "request_prefill_time_seconds": "First iteration to the first token.",
    "request_decode_time_seconds": "First token to the last.",
    "request_inference_time_seconds": "First iteration to the last token.",
    "time_to_first_token_seconds": "Arrival to the first token.",
    "request_time_per_output_token_seconds": "First token to the last, for each token after the first.",
    "e2e_request_latency_seconds": "Arrival to the last token.",
}


class Gauges:
    """The server's books."""

    def __init__(self, backend: Backend, model: str, policy: str) -> None:
        self.registry = CollectorRegistry()
        self._backend, self._labels = backend, {"model_name": model, "engine": "0"}
        self._live("vllm:num_requests_running", "Requests in service.", lambda: backend.running)
        self._live("vllm:num_requests_waiting", "Requests in the queue.", lambda: backend.waiting)
        self._live("vllm:kv_cache_usage_perc", "Share of the KV memory, 0 to 1.", lambda: backend.memory_used)
        self._live("vllm:num_preemptions_total", "Requests taken off the batch.", lambda: backend.preemptions)
        emulated = "1 where timed waits stand in for computation."
        self._live("qmodel:emulated", emulated, lambda: float(backend.emulated))
        info = Gauge("qmodel:policy", "The policy that serves.", ("policy", "device"), registry=self.registry)
        info.labels(policy, backend.device).set(1)
        self.prompt_tokens = self._counter("vllm:prompt_tokens", "Prompt tokens of requests that came through.")
        self.generated = self._counter("vllm:generation_tokens", "Tokens made.")
        self.rejected = self._counter("qmodel:requests_rejected", "Requests answered 429.")
        self.left = self._counter("qmodel:requests_left", "Requests whose client went away.")
        self.too_long = self._counter("qmodel:requests_timed_out", "Requests that exceeded the time limit.")
        reason = (*self._labels, "finished_reason")
        self._success = Counter("vllm:request_success", "Requests done.", reason, registry=self.registry)
        self._seconds = {name: self._histogram(name, text) for name, text in HISTOGRAMS.items()}

    def done(self, stream: Stream, reason: str) -> None:
        """A request came through."""
        self.prompt_tokens.inc(stream.order.prompt_tokens)
        self.generated.inc(stream.tokens)
        self._success.labels(*self._labels.values(), reason).inc()
        arrived, started, first, last = stream.arrived_s, stream.started_s, stream.first_s, stream.last_s
        found = (started - arrived, first - started, last - first, last - started, first - arrived)
        each = (last - first) / (stream.tokens - 1) if stream.tokens > 1 else math.nan
        for name, value in zip(HISTOGRAMS, (*found, each, last - arrived), strict=True):
            if value == value:
                self._seconds[name].observe(max(value, 0.0))

    def text(self) -> bytes:
        """All of it, as a scraper reads it."""
        return generate_latest(self.registry)

    def _live(self, name: str, text: str, look: Callable[[], float]) -> None:
        gauge = Gauge(name, text, tuple(self._labels), registry=self.registry).labels(*self._labels.values())
        gauge.set_function(look)

    def _counter(self, name: str, text: str) -> Counter:
        return Counter(name, text, tuple(self._labels), registry=self.registry).labels(*self._labels.values())

    def _histogram(self, name: str, text: str) -> Histogram:
        made = Histogram(f"vllm:{name}", text, tuple(self._labels), registry=self.registry, buckets=SECONDS)
        return made.labels(*self._labels.values())
