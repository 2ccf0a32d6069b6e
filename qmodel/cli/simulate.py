"""`qmodel simulate`: predict by simulation, with the same options."""

from __future__ import annotations

from pathlib import Path

from qmodel.cli import predict
from qmodel.cli.predict import (
    ARRIVALS,
    CSV,
    ENGINE,
    HORIZON,
    JOBS,
    JSON,
    OUTPUT,
    PAIRED,
    PERCENTILES,
    PLOT,
    POLICY,
    PRECISION,
    RATE,
    REQUESTS,
    RESUME,
    SCENARIO,
    SEED,
    SERVICE,
    SET,
    VARY,
)


def command(
    scenario: Path | None = SCENARIO,
    arrivals: str | None = ARRIVALS,
    service: str | None = SERVICE,
    policy: list[str] = POLICY,
    rate: str | None = RATE,
    set_: list[str] = SET,
    vary: list[str] = VARY,
    percentiles: str = PERCENTILES,
    json: bool = JSON,
    csv: Path | None = CSV,
    plot: Path | None = PLOT,
    seed: int = SEED,
    requests: int = REQUESTS,
    precision: float | None = PRECISION,
    horizon: float | None = HORIZON,
    paired: bool = PAIRED,
    jobs: int | None = JOBS,
    engine: str = ENGINE,
    output: Path | None = OUTPUT,
    resume: bool = RESUME,
) -> int:
    """Simulate per-class latency under each policy and rate."""
    return predict.command(
        scenario=scenario,
        arrivals=arrivals,
        service=service,
        policy=policy,
        rate=rate,
        set_=set_,
        vary=vary,
        method="simulation",
        percentiles=percentiles,
        json=json,
        csv=csv,
        plot=plot,
        seed=seed,
        requests=requests,
        precision=precision,
        horizon=horizon,
        paired=paired,
        jobs=jobs,
        engine=engine,
        output=output,
        resume=resume,
        sensitivity=False,
    )
