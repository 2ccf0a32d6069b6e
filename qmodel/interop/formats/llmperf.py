"""llmperf individual responses: latencies and lengths, no arrival times.

`inter_token_latency_s` counts the first token and another tokenizer's tokens: it is not TPOT, which is computed.
"""

from __future__ import annotations

import numpy as np

from qmodel.fit.hygiene import finding
from qmodel.interop.cells import number, parsed_records
from qmodel.interop.content import Content
from qmodel.interop.imported import OK, Imported, Translation
from qmodel.interop.logs import LONGEST_S, latency_frame, whole_latencies
from qmodel.interop.reading import Options, Reader

MAPPING = [
    Translation("ttft_s", "ttft_s"),
    Translation("end_to_end_latency_s", "response_s", "from sending"),
    Translation("(end_to_end - ttft) / (number_output_tokens - 1)", "tpot_s"),
    Translation("inter_token_latency_s", "(left out)", "includes the first token: no TPOT"),
    Translation("number_input_tokens, number_output_tokens", "input_tokens, output_tokens"),
    Translation("error_code", "status"),
]


def is_llmperf(content: Content) -> bool:
    """A list of responses with `ttft_s` and `end_to_end_latency_s`."""
    value = content.json
    first = value[0] if isinstance(value, list) and value else content.first_record
    return isinstance(first, dict) and {"ttft_s", "end_to_end_latency_s"} <= set(first)


def read(content: Content, options: Options) -> Imported:
    """Latencies of requests without arrival times."""
    rows, records, findings = parsed_records(content)

    def values(name: str) -> np.ndarray:
        return np.array([number(record.get(name)) for record in records])

    first, whole, out = values("ttft_s"), values("end_to_end_latency_s"), values("number_output_tokens")
    status = np.array([OK if not record.get("error_code") else f"failed: {str(record['error_code'])[:40]}"
                       for record in records])  # fmt: skip
    with np.errstate(invalid="ignore"):
        wrong = (status == OK) & ~((first >= 0) & (whole > 0) & (whole < LONGEST_S) & (first <= whole))
    if wrong.any():
        lines = [rows[k] for k in np.flatnonzero(wrong)]
        sentence = f"{len(lines)} response(s) end before their first token, or hold no time; failed"
        findings.append(finding("clock", lines, sentence))
        status = np.where(wrong, "failed: times out of order", status)
    ok = status == OK
    with np.errstate(divide="ignore", invalid="ignore"):
        tpot = np.where(ok & (out > 1), (whole - first) / (out - 1.0), np.nan)
    columns = {
        "ttft_s": np.where(ok, first, np.nan),
        "tpot_s": tpot,
        "response_s": np.where(ok, whole, np.nan),
        "input_tokens": values("number_input_tokens"),
        "output_tokens": out,
        "status": status,
    }
    return Imported("", "", "latencies", whole_latencies(latency_frame(rows, columns), findings), MAPPING, findings)


READER = Reader("llmperf", "llmperf individual responses", is_llmperf, read)
