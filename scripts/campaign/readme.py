"""The README of a device's measurements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from campaign.facts import StageFile, energies, highlights, noise_of

if TYPE_CHECKING:
    from campaign.summarise import Fit


def readme(grids: Sequence[StageFile], fits: Sequence[Fit], live: Sequence[str], files: Sequence[StageFile]) -> str:
    """Markdown: the device, what was measured, what came out, how to do it again."""
    device = files[0].device
    tried = any(file.tried for file in files)
    parts = [
        f"# {'Smoke test' if tried else 'Measurements'} on {device}",
        *([_TRIED] if tried else []),
        "Real inference, timed cell by cell; one row a repetition, never averaged. `STAGE.csv` holds the rows, "
        "`STAGE.meta.toml` the design, the software, the clocks and the sessions, `models/` the fitted "
        "service-time functions, `fits/` the evidence for them. Weights are random: latency does not depend on "
        "their values.",
        "## Device\n\n" + _table(["", ""], _device_rows(files)),
    ]
    if grids:
        parts.append("## What was measured\n\n" + _table(_STAGE_HEADS, [_stage_row(file) for file in grids]))
        parts.append(_NOISE_NOTE)
        parts.append("## In short\n\n" + _table(["cell", "median", ""], _highlight_rows(grids)))
    if fits:
        parts.append("## Service-time functions\n\n" + _table(_FIT_HEADS, [_fit_row(fit) for fit in fits]))
        parts.append("Errors are relative, at factor levels left out of the fit (in sample where too few levels).")
    energy = [row for file in grids for row in _energy_rows(file)]
    if energy:
        parts.append("## Energy\n\n" + _table(["stage", "cells", "least", "most"], energy))
    parts += live
    parts.append("## How\n\n" + "\n".join(f"- {line}" for line in _how(files)))
    parts.append(_AGAIN)
    return "\n\n".join(parts) + "\n"


_STAGE_HEADS = ["stage", "model", "cells", "complete", "out of memory", "failed", "rows", "noise (median)",
                "noise (worst)", "host share"]  # fmt: skip
_TRIED = (
    "**The program tried out on tiny models and tiny grids.** The stages have the names of sizes that were not "
    "run; nothing here says how fast the device is."
)
_NOISE_NOTE = (
    "Noise: standard deviation over mean of the repetitions of a cell. Host share: what the clock on the wall adds "
    "to the device's own time, median over the rows."
)
_FIT_HEADS = ["stage", "phase", "function (seconds)", "median error", "95 % of cells within", "model"]
_AGAIN = """## Again

    python scripts/gpu_campaign.py list
    python scripts/gpu_campaign.py STAGE... --out DIR [--from DIR] [--budget-s 520]
    python scripts/gpu_campaign.py summarise --from DIR"""


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def _device_rows(files: Sequence[StageFile]) -> list[list[str]]:
    machine: Mapping[str, Any] = files[0].meta.get("machine", {})
    gpu: Mapping[str, Any] = (machine.get("gpus") or [{}])[0]
    versions = {k: v for file in files for k, v in file.meta["target"]["versions"].items()}
    ceilings = [s["ceilings"] for file in files for s in file.meta["session"] if "ceilings" in s]
    days = sorted(str(file.meta["begun_at"])[:10] for file in files)
    rows = [
        ["device", files[0].device],
        ["measured", days[0] if days[0] == days[-1] else f"{days[0]} to {days[-1]}"],
        ["software", ", ".join(f"{k} {v}" for k, v in sorted(versions.items()))],
        ["system", f"{machine.get('system', '')} {machine.get('kernel', '')}, Python {machine.get('python', '')}"],
        ["host", f"{machine.get('cpu', '')}, {machine.get('cores_allowed', '?')} cores"],
    ]
    known = {"driver": "driver", "memory_mib": "memory (MiB)", "power_limit_w": "power limit (W)"}
    rows += [[title, f"{gpu[key]:g}" if isinstance(gpu[key], float) else str(gpu[key])]
             for key, title in known.items() if key in gpu]  # fmt: skip
    if ceilings:
        best = max(c["operations_per_s"] for c in ceilings), max(c["bytes_per_s"] for c in ceilings)
        rows.append(["bf16 product, measured", f"{best[0] / 1e12:.3g} TFLOP/s"])
        rows.append(["copy (read + written), measured", f"{best[1] / 1e12:.3g} TB/s"])
    return rows


def _stage_row(file: StageFile) -> list[str]:
    timed, noise = file.latencies(), noise_of(file)
    full = int(file.meta.get("plan", {}).get("replicates_per_cell", 1))
    shares = [_percent(value) for value in (noise.middle, noise.worst, noise.host_share)] if noise else ["-"] * 3
    return [
        f"`{file.name}`",
        str(file.meta["target"]["name"]),
        str(file.meta.get("plan", {}).get("cells", len(timed))),
        str(sum(len(values) >= full for values in timed.values())),
        str(file.with_status("out_of_memory")),
        str(file.with_status("failed")),
        str(len(file.rows)),
        *shares,
    ]


def _highlight_rows(grids: Sequence[StageFile]) -> list[list[str]]:
    return [
        [f"`{file.name}` {extreme.levels}", _seconds(extreme.seconds), extreme.text]
        for file in grids
        if file.latencies()
        for extreme in highlights(file)
    ]


def _fit_row(fit: Fit) -> list[str]:
    if fit.refused:
        return [f"`{fit.stage}`", fit.phase, f"none: {fit.refused}", "-", "-", "-"]
    errors = [_percent(value) if value is not None else "-" for value in (fit.median_error, fit.p95_error)]
    return [f"`{fit.stage}`", fit.phase, f"`{fit.formula}`", *errors, f"[{fit.model}](models/{fit.model})"]


def _energy_rows(file: StageFile) -> list[list[str]]:
    """Joules per token (decode) or per repetition."""
    found = energies(file)
    if not found:
        return []
    batch = file.factors.index("batch_size") + 1
    decode = all(key[0] == "decode" for key in found)
    values = [joules / int(key[batch]) if decode else joules for key, joules in found.items()]
    unit = "J per token" if decode else "J per repetition"
    return [[f"`{file.name}`", str(len(values)), f"{min(values):.3g} {unit}", f"{max(values):.3g} {unit}"]]


def _how(files: Sequence[StageFile]) -> list[str]:
    meta = files[0].meta
    grid = next((file.meta for file in files if file.name != "live"), meta)
    sources = sorted(
        {str(s["energy_source"]) for file in files for s in file.meta["session"] if "energy_source" in s}
    )
    looks = [s["gpu_watch"] for file in files for s in file.meta["session"] if "gpu_watch" in s]
    lines = [
        f"{name.replace('_', ' ')}: {grid[name]}" for name in ("timing", "warm_up", "stopping") if name in grid
    ]
    lines.append(f"order: {grid.get('plan', {}).get('order', 'see the metadata')}")
    if sources and sources != ["none"]:
        lines.append(f"energy: {', '.join(sources)}; {grid.get('energy', 'whole runs')}")
    else:
        lines.append("energy: not measured")
    if looks:
        throttled = sum(look["throttled_looks"] for look in looks)
        lowest, highest = (f(look[k] for look in looks) for f, k in
                           ((min, "sm_clock_mhz_lowest"), (max, "sm_clock_mhz_highest")))  # fmt: skip
        hottest = max(look["temperature_c_highest"] for look in looks)
        text = f"clocks {lowest} to {highest} MHz, up to {hottest} degrees Celsius, throttled in {throttled} looks"
        lines.append(text)
    return lines


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share < 0.995 else f"{100 * share:.0f} %"


def _seconds(value: float) -> str:
    for factor, unit in ((1.0, "s"), (1e-3, "ms")):
        if value >= factor:
            return f"{value / factor:.4g} {unit}"
    return f"{value * 1e6:.4g} us"
