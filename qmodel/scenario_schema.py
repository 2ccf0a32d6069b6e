"""What a scenario file may hold: its tables and keys, each with its type and default."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from qmodel.validation import Table


class IterationTable(Table):
    """[system.iteration_time], seconds."""

    base: float
    per_sequence: float = 0.0
    per_context_token: float = 0.0
    per_prefill_token: float = 0.0
    per_query_key: float = 0.0


class PoolTable(Table):
    """[[system.engine.pools]], in the order of their stages; the rest is as in `qmodel.service.pool.Pool`."""

    stages: list[Literal["encode", "prefill", "decode"]]
    servers: int | None = None
    routing: str | None = None
    max_batch: int | None = None
    max_batched_tokens: int | None = None
    kv_capacity_tokens: int | None = None
    transfer_s: float | None = None
    transfer_tokens_per_s: float | None = None


class EngineTable(Table):
    """[system.engine], of continuous batching; what is left out is as in `qmodel.service.engine.Engine`."""

    max_batched_tokens: int | None = None
    prefill: Literal["mixed", "first", "separate"] | None = None
    kv_block_tokens: int | None = None
    whole_prompt: bool | None = None
    eviction: Literal["recompute", "swap"] | None = None
    swap_tokens_per_s: float | None = None
    prefix_caching: bool | None = None
    lookahead: bool | Literal["none", "reserve", "future"] | None = None
    speculative_tokens: int | None = None
    acceptance: float | None = None
    draft_s: float | None = None
    prefill_servers: int | None = None
    transfer_tokens_per_s: float | None = None
    transfer_s: float | None = None
    encode: Literal["mixed", "separate"] | None = None
    encode_servers: int | None = None
    encode_transfer_s: float | None = None
    pools: list[PoolTable] | None = None
    power_w: float | None = None
    idle_power_w: float | None = None


class EnvironmentTable(Table):
    """[system.environment]."""

    speeds: list[float]
    generator: list[list[float]]


class SystemTable(Table):
    """[system]."""

    servers: int = 1
    batching: Literal["none", "processor-sharing", "dynamic", "continuous"] = "none"
    max_batch: int | None = None
    min_batch: int | None = None
    bins: int | list[float] | None = None
    kv_capacity_tokens: int | None = None
    service: str | dict[Literal["prefill", "decode"], str] | None = None
    iteration_time: IterationTable | None = None
    buffer: int | None = None
    routing: str = "shared"
    migration_s: float | None = None
    setup_s: Any = None
    vacation_s: Any = None
    environment: EnvironmentTable | None = None
    engine: EngineTable | None = None


class PolicyTable(Table):
    """[policy]; `options` are the preset's own (thresholds, quantum, ...)."""

    preset: str = "fcfs"
    preemption_cost_s: float = Field(default=0.0, ge=0.0)
    grain_s: float = Field(default=0.0, ge=0.0)
    options: dict[str, Any] = Field(default_factory=dict)


class PredictedSizeTable(Table):
    """class.predicted_size."""

    error: Literal["none", "exact", "exponential", "lognormal", "correlated", "one-bit", "file"] = "exact"
    scv: float = 0.0
    correlation: float | None = None
    threshold: float | None = None
    accuracy: float | None = None
    file: str | None = None
    sizes_s: list[float] | None = None
    predictions_s: list[float] | None = None


class PauseTable(Table):
    """class.pause; `duration` is a law, in seconds."""

    probability: float
    duration: Any
    kv: Literal["keep", "discard", "swap"] = "keep"


class StationTable(Table):
    """[[station]], in the order in which requests pass them."""

    name: str
    servers: int = 1
    policy: str = "fcfs"
    transfer_s: float = 0.0


class LengthsTable(Table):
    """class.lengths: how input and output lengths hang together; a file or lists give their laws as well."""

    correlation: float | None = None
    file: str | None = None
    input_tokens: list[float] | None = None
    output_tokens: list[float] | None = None


class ClassTable(Table):
    """[[class]]; the grammar of workload reads arrivals and laws."""

    name: str
    arrivals: Any = Field(description="e.g. arrivals = { process = 'poisson', rate = 0.5 }")
    service: Any = None
    input_tokens: Any = None
    output_tokens: Any = None
    lengths: LengthsTable | str | None = None
    factors: dict[str, Any] = Field(default_factory=dict)
    priority: int = 0
    weight: float = 1.0
    predicted_size: PredictedSizeTable = PredictedSizeTable()
    slo: dict[str, float] = Field(default_factory=dict)
    patience: Any = None
    pause: PauseTable | None = None
    prefix_hit: float = 0.0
    encode_s: Any = None
    services: dict[str, Any] = Field(default_factory=dict)


class TransformTable(Table):
    """[[transform]]; which keys belong to which kind is checked when the transform is made."""

    kind: Literal["model-swap", "steps", "early-exit", "cache", "quantise", "clip-output"]
    above_queue: int | None = None
    below_queue: int | None = None
    swap_time_s: float | None = None
    quality: float | None = None
    service_factor: float | None = None
    energy_factor: float | None = None
    fraction: float | None = None
    fractions: list[float] | None = None
    probabilities: list[float] | None = None
    delivery: Literal["stop", "release"] | None = None
    hit_ratio: float | None = None
    saved_fraction: float | None = None
    lookup_s: float | None = None
    items: int | None = None
    capacity: int | None = None
    zipf: float | None = None
    eviction: Literal["lru", "lfu", "fifo", "random"] | None = None
    max_tokens: int | None = None


class ScenarioTables(Table):
    """The whole file."""

    name: str | None = None
    system: SystemTable = SystemTable()
    policy: PolicyTable = PolicyTable()
    request_class: list[ClassTable] = Field(alias="class", min_length=1, description="add a [[class]]")
    transform: list[TransformTable] = Field(default_factory=list)
    station: list[StationTable] = Field(default_factory=list)
