"""Small files of every format, made here; and where the open data are, slices of them."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

DATA = Path(os.environ.get("QMODEL_DATA", Path(__file__).parents[3] / "shared" / "data"))
START = 1.7e9


def poisson(n: int, rate: float, seed: int = 1) -> np.ndarray:
    return np.cumsum(np.random.default_rng(seed).exponential(1.0 / rate, n))


def lengths(n: int, seed: int = 2) -> tuple[list[int], list[int]]:
    rng = np.random.default_rng(seed)
    return (
        [int(x) + 1 for x in rng.lognormal(5.0, 0.8, n)],
        [int(x) + 2 for x in rng.lognormal(3.5, 0.6, n)],
    )


def table(header: str, rows: Iterator[list] | list[list]) -> str:
    return header + "\n" + "".join(",".join(map(str, row)) + "\n" for row in rows)


def vllm_serve(n: int = 40, detailed: bool = True, starts: bool = True, **more) -> str:
    inputs, outputs = lengths(n)
    ttft = np.random.default_rng(3).uniform(0.01, 0.03, n)
    itls = [[0.002] * (k - 1) for k in outputs]
    run = {
        "date": "20260101-000000", "backend": "openai", "model_id": "tiny", "num_prompts": n, "request_rate": 4.0,
        "burstiness": 1.0, "max_concurrency": None, "duration": 10.0, "completed": n, "failed": 0,
        "request_throughput": 4.0, "output_throughput": 120.0, "mean_ttft_ms": 20.0, "median_ttft_ms": 19.0,
        "p99_ttft_ms": 30.0, "mean_tpot_ms": 2.0, "mean_itl_ms": 2.0, "mean_e2el_ms": 70.0, "p99_e2el_ms": 100.0,
    }  # fmt: skip
    if detailed:
        run |= {
            "input_lens": inputs, "output_lens": outputs, "ttfts": ttft.tolist(), "itls": itls, "errors": [""] * n,
        }  # fmt: skip
        if starts:
            run |= {
                "latencies": [t + sum(gaps) for t, gaps in zip(ttft.tolist(), itls, strict=True)],
                "start_times": (100.0 + poisson(n, 4.0)).tolist(),
                "queue_times": [1e-4] * n,
            }
    return json.dumps(run | more)


def vllm_latency() -> str:
    return json.dumps({"avg_latency": 0.51, "latencies": [0.5, 0.51, 0.52], "percentiles": {"50": 0.51}})


def vllm_throughput() -> str:
    figures = {"elapsed_time": 10.0, "num_requests": 100, "total_num_tokens": 5000, "requests_per_second": 10.0}
    return json.dumps(figures | {"tokens_per_second": 500.0})


METRICS = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="tiny"} 3.0
vllm:num_requests_waiting{engine="0",model_name="tiny"} 1.0
vllm:kv_cache_usage_perc{engine="0",model_name="tiny"} 0.25
vllm:request_queue_time_seconds_bucket{engine="0",le="0.3",model_name="tiny"} 50.0
vllm:request_queue_time_seconds_bucket{engine="0",le="0.5",model_name="tiny"} 90.0
vllm:request_queue_time_seconds_bucket{engine="0",le="+Inf",model_name="tiny"} 100.0
vllm:request_queue_time_seconds_count{engine="0",model_name="tiny"} 100.0
vllm:request_queue_time_seconds_sum{engine="0",model_name="tiny"} 31.5
vllm:e2e_request_latency_seconds_count{engine="0",model_name="tiny"} 100.0
vllm:e2e_request_latency_seconds_sum{engine="0",model_name="tiny"} 210.0
"""


def guidellm(n: int = 40, kind: str = "poisson") -> str:
    due, (inputs, outputs) = START + poisson(n, 5.0), lengths(n)
    requests = [
        {
            "prompt_tokens": inputs[k],
            "output_tokens": outputs[k],
            "inter_token_latency_ms": 2.0,
            "time_per_output_token_ms": 2.5,
            "info": {
                "timings": {
                    "targeted_start": float(due[k]),
                    "request_start": float(due[k]) + 0.002,
                    "first_token_iteration": float(due[k]) + 0.02,
                    "last_token_iteration": float(due[k]) + 0.02 + 0.002 * (outputs[k] - 1),
                    "request_end": float(due[k]) + 0.021 + 0.002 * (outputs[k] - 1),
                }
            },
        }
        for k in range(n)
    ]
    strategy = {"type_": kind, "rate": 5.0, "random_seed": 42, "worker_count": 10}
    groups = {"successful": requests, "errored": [], "incomplete": []}
    return json.dumps({"benchmarks": [{"config": {"strategy": strategy}, "requests": groups}]})


GUIDELLM_CSV = """\
Benchmark,Benchmark,Timings,Timings,Request Latency,Request Latency,Time to First Token,Inter Token Latency,Time per Output Token
Type,Strategy,Start Time,Duration,Successful Sec,Successful Sec,Successful ms,Successful ms,Successful ms
,,,Sec,Mean,Median,Mean,Mean,Mean
generative_benchmark,poisson@4.00,2026-01-01,3.9,0.138,0.101,29.1,3.49,4.29
"""  # noqa: E501


def aiperf(n: int = 30) -> str:
    start, (inputs, outputs) = poisson(n, 5.0), lengths(n)
    lines = []
    for k in range(n):
        sent = int(1e9 * (START + start[k]))
        lines.append(
            json.dumps(
                {
                    "metadata": {
                        "session_num": k, "credit_issued_ns": sent - 1_000_000, "request_start_ns": sent,
                        "request_end_ns": sent + 80_000_000,
                    },
                    "metrics": {
                        "time_to_first_token": {"value": 20.0, "unit": "ms"},
                        "request_latency": {"value": 80.0, "unit": "ms"},
                        "input_sequence_length": {"value": inputs[k], "unit": "tokens"},
                        "output_sequence_length": {"value": outputs[k], "unit": "tokens"},
                    },
                    "error": None,
                }
            )
        )  # fmt: skip
    return "\n".join(lines) + "\n"


def llmperf(n: int = 20) -> str:
    return json.dumps(
        [
            {
                "error_code": None, "error_msg": "", "inter_token_latency_s": 0.0187, "ttft_s": 0.4 + 0.01 * k,
                "end_to_end_latency_s": 2.9, "number_total_tokens": 701, "number_output_tokens": 151,
                "number_input_tokens": 550,
            }
            for k in range(n)
        ]
    )  # fmt: skip


def azure(n: int = 60) -> str:
    inputs, outputs = lengths(n)
    rows = [
        [f"2023-11-16 18:{int(t) // 60:02d}:{int(t) % 60:02d}.{int(t % 1 * 1e7):07d}", inputs[k], outputs[k]]
        for k, t in enumerate(poisson(n, 2.0))
    ]
    return table("TIMESTAMP,ContextTokens,GeneratedTokens", rows)


def mooncake(n: int = 60) -> str:
    inputs, outputs = lengths(n)
    lines = [
        json.dumps(
            {
                "timestamp": 3000 * (k // 10),
                "input_length": inputs[k],
                "output_length": outputs[k],
                "hash_ids": [0, k],
            }
        )
        for k in range(n)
    ]
    return "\n".join(lines) + "\n"


def burstgpt(n: int = 50) -> str:
    inputs, outputs = lengths(n)
    rows = [[int(t), "ChatGPT", inputs[k], outputs[k], inputs[k] + outputs[k], "Conversation log"]
            for k, t in enumerate(10.0 * poisson(n, 2.0))]  # fmt: skip
    return table("Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type", rows)


def vidur_trace(n: int = 60, arrivals: bool = True) -> str:
    inputs, outputs = lengths(n)
    if not arrivals:
        return table(
            "num_prefill_tokens,num_decode_tokens", [list(pair) for pair in zip(inputs, outputs, strict=True)]
        )
    rows = [[t, inputs[k], outputs[k]] for k, t in enumerate(poisson(n, 2.0))]
    return table("arrived_at,num_prefill_tokens,num_decode_tokens", rows)


def vllm_requests(n: int = 30) -> str:
    inputs, outputs = lengths(n)
    lines = [
        json.dumps(
            {
                "request_id": f"bench-{k}", "input_toks": inputs[k], "output_toks": outputs[k],
                "arrival_time": START + t, "queued_ts": 500.0 + t + 0.001 * (k % 3), "scheduled_ts": 500.01 + t,
                "first_token_ts": 500.05 + t, "last_token_ts": 500.05 + t + 0.01 * outputs[k],
            }
        )
        for k, t in enumerate(poisson(n, 5.0))
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def vllm_series() -> str:
    rows = [[float(k), 100.0, 50.0, k % 5, k % 2, 10.0 + k] for k in range(1, 20)]
    return table("t,prompt_throughput,gen_throughput,running,waiting,kv_cache_pct", rows)


def servegen_windows(header: bool = True) -> str:
    rows = [[600 * k, 0.5 + 0.1 * k, 1.2, "Gamma", 0.7, 0.04] for k in range(20)]
    if not header:
        return table("", rows).lstrip("\n")
    names = "client_id,window_start_s,rate_rps,iat_cv,iat_family,iat_param1,iat_param2"
    return table(names, [[k % 2, *row] for k, row in enumerate(rows)])


def servegen_dataset() -> str:
    window = {"input_tokens": "{100: 0.5, 200: 0.5}", "output_tokens": "{10: 1.0}"}
    return json.dumps({"0": window, "21600": {"input_tokens": "{}", "output_tokens": "{}"}})


def vidur() -> str:
    operators = ("attn_pre_proj", "attn_post_proj", "mlp_up_proj", "mlp_down_proj", "add")
    stats = ("min", "max", "mean", "median", "std")
    names = [f"time_stats.{name}.{stat}" for name in operators for stat in stats]
    rows = []
    for parallel in (1, 2):
        for tokens in (8, 64, 256, 1024, 4096):
            mean = 0.02 + 2e-4 * tokens / parallel
            times = [mean * factor for _ in operators for factor in (0.9, 1.1, 1.0, 1.0, 0.01)]
            rows.append([*times, 32, 8, 4096, 14336, tokens, parallel])
    header = [
        *names,
        "n_head",
        "n_kv_head",
        "n_embd",
        "n_expanded_embd",
        "num_tokens",
        "num_tensor_parallel_workers",
    ]
    return table(",".join(header), rows)


def splitwise() -> str:
    names = ("model,hardware,prompt_size,batch_size,token_size,peak_power,average_power,prompt_time,token_time,"
             "e2e_time,tensor_parallel")  # fmt: skip
    rng, rows = np.random.default_rng(4), []
    for parallel in (2, 8):
        for batch in (1, 2, 4, 8, 16, 32, 64):
            for _ in range(3):
                noise = 1.0 + 0.005 * rng.standard_normal(2)
                prompt, token = 400.0 * batch / parallel * noise[0], (30.0 + 0.3 * batch) * noise[1]
                whole = prompt + 127 * token
                if parallel == 2 and batch == 64:
                    prompt, whole = 0.1 * prompt, 15.0 * whole
                rows.append(["llama2-70b", "h100-80gb", 512, batch, 128, 1.0, 0.7, prompt, token, whole, parallel])
    return table(names, rows)


KERNELS = {
    "attention": table(
        "prefill_chunk,kv_prefill,n_decode,kv_decode,time_us",
        [[chunk, 0, batch, kv, 9.0 + 0.3 * batch + 2e-3 * batch * kv + 0.02 * chunk]
         for chunk in (0, 64) for batch in (1, 2, 4, 8) for kv in (16, 256, 1024)],
    ),
    "dense": table(
        "layer,tokens,time_us",
        [[layer, tokens, 10.0 + 0.1 * tokens]
         for layer in ("qkv_proj", "rotary_emb", "o_proj", "gate_up_proj", "act_fn", "down_proj", "layernorm",
                       "embedding", "final_layernorm")
         for tokens in (1, 8, 64, 72, 128)],
    ),
    "per_sequence": table(
        "layer,sequences,time_us",
        [[layer, k, time] for layer, time in (("lm_head", 1100.0), ("sampler", 50.0)) for k in (1, 4, 16)],
    ),
}  # fmt: skip


def distserve() -> str:
    fits = {"decoding_large_small_bs_threshold": 95, "prefill": [22.0, 0.14, 8e-6]}
    fits |= {"decoding_smallbs": [23.0, 5e-4, 0.06], "decoding_largebs": [20.0, 4e-4, 0.12]}
    return json.dumps({"facebook/opt-13b": {"1": fits, "2": fits}})


def aiconfigurator_silicon() -> str:
    rows = [["r1", "h200_sxm", "m", 1024, 1024, c, 8, 200.0 + c, 10.0 + 0.1 * c] for c in (4, 8, 16, 32)]
    rows.append(["copy", "h200_sxm", "m", 1024, 1024, 64, 8, 232.0, 13.2])
    return table("id,system,model_path,isl,osl,batch_size,tp_size,silicon_ttft_ms,silicon_tpot_ms", rows)


def energy_diffusion() -> str:
    rows = [["sdxl", "A100", 500.0, 2.0 + 1.5 * b * s / 25, b, s] for b in (1, 2, 4) for s in (25, 50)]
    return table("Model,GPU,Energy/image (J),Batch latency (s),Batch size,Denoising steps", rows)


def energy_llm() -> str:
    rows = [["gemma", "A100", 4, 1, 230.0, 0.1, 1000.0, 392.0, 120.0, 128]]
    names = "Model,GPU,TP,PP,Energy/req (J),Avg TPOT (s),Token tput (tok/s),Avg Output Tokens,Avg BS (reqs),"
    names += "Max BS (reqs)"
    return table(names, rows)


def lambda_diffusers() -> str:
    rows = [
        [gpu, p, "FALSE", "TRUE", "pytorch", n, speed * (0.5 + n), 3.0 + n]
        for gpu, speed in (("A10", 1.0), ("V100", 0.8))
        for p in ("half", "single")
        for n in (1, 2, 4, 8)
    ]
    rows[-1][-2:] = [-1, -1]
    return table("device,precision,autocast,xformers,runtime,n_samples,latency,memory", rows)


def inferencex() -> str:
    rows = [["qwen", 160, "inf", c, 200.0, 7.0, 27.0, 19.0, 41.0, 0.06, 0.2, 10240, 128] for c in (16, 32)]
    names = ("model_id,num_prompts,request_rate,max_concurrency,duration,median_ttft,p99_ttft,median_e2el,p99_e2el,"
             "median_tpot,p99_tpot,isl,osl")  # fmt: skip
    return table(names, rows)


def own_profile() -> str:
    rng = np.random.default_rng(5)
    rows = [["r", "unet", "cpu", "denoise", b, s, k, 0.001 * b * s * (1 + 0.01 * rng.standard_normal()), "ok"]
            for b in (1, 2, 4) for s in (5, 10) for k in (1, 2, 3)]  # fmt: skip
    return table("run_id,target,device,phase,batch_size,steps,replicate,latency_s,status", rows)


def own_log(n: int = 60) -> str:
    inputs, outputs = lengths(n)
    rows = [
        [k, "chat", f"{t:.6f}", f"{t + 0.001:.6f}", f"{t + 0.1:.6f}", f"{t + 0.5:.6f}", f"{t + 0.5:.6f}", inputs[k],
         outputs[k], "full", "ok"]
        for k, t in enumerate(poisson(n, 2.0))
    ]  # fmt: skip
    names = "request_id,class,scheduled_s,sent_s,first_token_s,last_token_s,done_s,input_tokens,output_tokens,"
    names += "exit,status"
    return table(names, rows)


SYNTHETIC: dict[str, tuple[str, str]] = {
    "vllm-serve": ("serve.json", vllm_serve()),
    "vllm-serve-old": ("old.json", vllm_serve(starts=False)),
    "vllm-serve-summary": ("summary.json", vllm_serve(detailed=False)),
    "vllm-latency": ("latency.json", vllm_latency()),
    "vllm-throughput": ("throughput.json", vllm_throughput()),
    "sglang": ("sglang.jsonl", vllm_serve(starts=False, sharegpt_output_len=None) + "\n"),
    "metrics": ("metrics.txt", METRICS),
    "guidellm": ("guidellm.json", guidellm()),
    "guidellm-csv": ("guidellm.csv", GUIDELLM_CSV),
    "aiperf": ("profile_export.jsonl", aiperf()),
    "llmperf": ("llmperf.json", llmperf()),
    "azure": ("azure.csv", azure()),
    "mooncake": ("mooncake.jsonl", mooncake()),
    "burstgpt": ("burstgpt.csv", burstgpt()),
    "vidur-trace": ("trace.csv", vidur_trace()),
    "vidur-trace-lengths": ("lengths.csv", vidur_trace(arrivals=False)),
    "vllm-requests": ("requests.jsonl", vllm_requests()),
    "vllm-series": ("timeseries.csv", vllm_series()),
    "servegen": ("windows.csv", servegen_windows()),
    "servegen-bare": ("chunk-0-trace.csv", servegen_windows(header=False)),
    "servegen-lengths": ("chunk-0-dataset.json", servegen_dataset()),
    "vidur": ("mlp.csv", vidur()),
    "splitwise": ("perf_model.csv", splitwise()),
    "llmservingsim": ("attention.csv", KERNELS["attention"]),
    "llmservingsim-dense": ("dense.csv", KERNELS["dense"]),
    "distserve": ("profiler.json", distserve()),
    "aiconfigurator-silicon": ("silicon_sample.csv", aiconfigurator_silicon()),
    "mlenergy-diffusion": ("diffusion.csv", energy_diffusion()),
    "mlenergy-llm": ("llm.csv", energy_llm()),
    "lambda-diffusers": ("benchmark.csv", lambda_diffusers()),
    "inferencex": ("inferencex.csv", inferencex()),
    "profile": ("profile.csv", own_profile()),
    "log": ("log.csv", own_log()),
}
"""Name (the kind, with a variant after it) -> file name and text."""

MOST_LINES = 150


def open_slices() -> dict[str, bytes]:
    """The first part of each text file of the open data, whole where it is JSON; nothing where they are not."""
    found = {}
    for path in sorted(DATA.glob("*/*")) if DATA.is_dir() else []:
        if path.suffix in (".csv", ".jsonl"):
            lines = path.read_bytes().split(b"\n")
            found[path.name] = b"\n".join(lines[: MOST_LINES + 1])
        elif path.suffix == ".json" and path.stat().st_size < 100_000:
            found[path.name] = path.read_bytes()
        elif path.suffix == ".gz" and "json" in path.name:
            found[path.name] = gzip.compress(gzip.decompress(path.read_bytes()), 1)
    return found
