"""Section 3: how service times were measured, on what machine, and whether it kept still."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from qmodel.report.document import Block, Column, Table, bullets, paragraph, prose, section
from qmodel.report.inline import Content
from qmodel.report.names import counted, is_or_are, listed, numbers, setting_value, words
from qmodel.report.quantity import Quantity, p_value
from qmodel.report.sections.evidence import Evidence
from qmodel.report.sections.front import container_words, load_averages

KINDS = {"full": "full factorial", "fractional": "fractional factorial", "2kr": "2^k r factorial"}
SHOWN_CELLS = 4
"""Scattered cells named one by one; more are counted."""


def blocks(study: Evidence) -> Iterator[Block]:
    """Grid, procedure, machine, and the state of the machine over the run."""
    yield section("Experiment design", "design")
    if not study.profiled:
        yield paragraph("No service time was measured in this study: the scenario brings its own.")
        return
    yield paragraph(
        "Service times were measured in a designed experiment, so that the effect of each factor can be told "
        "from noise and from drift. @tab:design lists what was done, @tab:machine the machine it was done on."
    )
    yield Table(
        "tab:design", "Design of the experiment.", (Column("Item"), Column("Choice")), tuple(design_rows(study))
    )
    yield Table(
        "tab:machine",
        "The machine and the software.",
        (Column("Item"), Column("Value")),
        tuple(machine_rows(study)),
    )
    yield paragraph("Did the machine keep still?")
    yield bullets(stillness(study))


def design_rows(study: Evidence) -> Iterator[tuple[Any, Any]]:
    """What was varied, how often, in what order, under what rule."""
    spec, plan, measurement = study.meta["spec"], study.meta["plan"], study.meta["spec"]["measurement"]
    for name, factors in factor_tables(spec).items():
        levels = "; ".join(f"{words(factor)} {level_words(values)}" for factor, values in factors.items())
        yield (f"Factors and levels{f' ({name})' if name else ''}", levels)
    pacing = spec["design"].get("pacing", [])
    yield ("Pacing", pacing_words(pacing, spec["design"].get("idle_gap_s")))
    kind = KINDS.get(plan["kind"], plan["kind"])
    visits = f"each visited once in each of {counted(plan['blocks'], 'block')}"
    yield (
        "Design",
        f"{kind}, {counted(plan['cells'], 'cell')}, {visits}; order {plan['order']} (seed {plan['seed']})",
    )
    yield ("Repetitions", repetitions(study))
    yield ("Stopping rule", study.meta["stopping"])
    yield ("Warm-up", study.meta["warm_up"])
    yield ("Clock", clock_words(study))
    yield ("Time limit", limit_words(measurement))


def factor_tables(spec: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Levels by factor, for each phase; without phases under an empty name."""
    phases = {phase["name"]: phase["factors"] for phase in spec.get("phase", [])}
    return phases or {"": spec.get("factors", {})}


def level_words(values: Any) -> str:
    """Levels in a phrase, numbers or names.

    >>> level_words([1, 2, 4]), level_words(["fp32", "bf16"])
    ('1, 2 and 4', 'fp32 and bf16')
    """
    known = values if isinstance(values, list) else [values]
    return numbers(known) if all(isinstance(v, int | float) for v in known) else listed(map(str, known))


def pacing_words(pacing: list[str], gap_s: float | None) -> str:
    """How repetitions follow one another."""
    said = {
        "back-to-back": "back to back",
        "idle-gaps": f"with idle gaps of {setting_value(gap_s, 's')}, as a server sees between requests"
        if gap_s
        else "with idle gaps",
    }
    return listed(said.get(name, words(name)) for name in pacing) or "back to back"


def repetitions(study: Evidence) -> str:
    """How many repetitions there are, in all and a cell."""
    per_cell = [cell.n for cell in study.profile.cells]
    fewest, most = min(per_cell), max(per_cell)
    each = f"{fewest}" if fewest == most else f"{fewest} to {most}"
    return f"{study.profile.rows:,} in all, {each} a cell, every one kept as a row"


def clock_words(study: Evidence) -> str:
    """How time was taken."""
    resolution = study.machine.get("timer", {}).get("resolution_s")
    seen = f"; smallest step seen {setting_value(round(resolution, 12), 's')}" if resolution else ""
    return f"{study.meta['timing']}{seen}"


def limit_words(measurement: dict[str, Any]) -> str:
    """What bounds the whole profile, and one repetition."""
    budget = measurement.get("budget_s")
    whole = f"{setting_value(budget, 's')} for the whole profile; " if budget else "none for the whole profile; "
    return f"{whole}{setting_value(measurement['trial_timeout_s'], 's')} for one repetition"


def machine_rows(study: Evidence) -> Iterator[tuple[str, str]]:
    """Hardware, system and versions."""
    machine, target = study.machine, study.meta["target"]
    yield ("Device that was timed", study.device)
    yield (
        "Processor",
        f"{machine.get('cpu', 'unknown')}, {machine.get('cores_allowed', '?')} of {machine.get('cores', '?')} "
        f"cores allowed",
    )
    for gpu in machine.get("gpus", []):
        yield ("GPU", ", ".join(f"{words(str(k))} {v}" for k, v in gpu.items()))
    yield ("Threads of the computation", str(machine["threads"]))
    yield ("Memory", str(Quantity(machine.get("memory_bytes"), "bytes")))
    clock = f"{machine['clock_mhz']:,.0f} MHz" if "clock_mhz" in machine else "not told by the system"
    yield (
        "Clock",
        clock + (f", governor {machine['governor']}" if "governor" in machine else ", governor not told"),
    )
    inside = f", {container_words(machine['container'])}" if "container" in machine else ""
    yield ("System", f"{machine['system']} {machine['kernel']} ({machine['architecture']}){inside}")
    versions = {k: v for k, v in target.get("versions", {}).items() if not k.endswith("sha256")}
    libraries = {"Python": machine["python"], "qmodel": machine.get("qmodel", "?"), **versions}
    yield ("Software", ", ".join(f"{k} {v}" for k, v in libraries.items()))


def stillness(study: Evidence) -> Iterator[Content]:
    """Load, drift, scattered and failed cells."""
    yield load_line(study)
    yield drift_line(study)
    yield scatter_line(study)
    if failed := study.profile.failed:
        kinds = Counter(cell.status.split(":")[0].replace("_", " ") for cell in failed)
        yield prose(
            "*Failures*: {what}; those cells are left out.",
            what=listed(f"{counted(n, 'cell')} {kind}" for kind, n in kinds.items()),
        )


def load_line(study: Evidence) -> Content:
    """Load average over the study."""
    noted = load_averages(study)
    if not noted:
        return prose("*Load*: this system tells no load average.")
    return prose(
        "*Load*: the load average, noted before and after the profile{runs}, was {low} to {high} on {cores}. "
        "The study itself causes about 1.",
        runs=" and each live run" if study.live else "",
        low=f"{min(noted):.2f}",
        high=f"{max(noted):.2f}",
        cores=counted(int(study.machine.get("cores_allowed", 1)), "core"),
    )


def drift_line(study: Evidence) -> Content:
    """Trend of latency over the run."""
    drift = study.profile.drift
    if drift is None:
        return prose("*Drift*: not testable, each cell was visited once.")
    verdict = (
        "so the machine changed while it was measured; blocks in random order keep that out of the effects"
        if drift.significant
        else "which cannot be told from chance"
    )
    return prose(
        "*Drift*: over the run latency changed by {change} (seasonal Kendall test over {visits}, $p$ {p}), "
        "{verdict}.",
        change=Quantity(drift.change, "ratio", signed=True),
        visits=counted(drift.visits, "visit"),
        p=equals(drift.p_value),
        verdict=verdict,
    )


def scatter_line(study: Evidence) -> Content:
    """Cells whose repetitions disagree."""
    scattered = [cell for cell in study.profile.cells if cell.status == "ok" and not cell.valid]
    total = len(study.profile.cells)
    if not scattered:
        return prose(
            "*Scatter*: in every cell the interquartile range is within 10 % of the median; none is flagged."
        )
    worst = sorted(scattered, key=lambda cell: -(cell.iqr_over_median or 0))[:SHOWN_CELLS]
    named = "; ".join(
        f"{cell_words(cell.levels, cell.pacing)}: {Quantity(cell.iqr_over_median, 'ratio')}" for cell in worst
    )
    return prose(
        "*Scatter*: {count} of {total} {verb} flagged as scattered, with an interquartile range above 10 % of "
        "the median ({most}{named}).",
        count=counted(len(scattered), "cell"),
        total=total,
        verb=is_or_are(len(scattered)),
        most="the worst: " if len(scattered) > SHOWN_CELLS else "",
        named=named,
    )


def cell_words(levels: Any, pacing: str) -> str:
    """A cell by its levels."""
    return ", ".join([*(f"{words(name)} {level}" for name, level in levels.items()), words(pacing)])


def equals(p: float | None) -> str:
    """A p value with the sign before it.

    >>> equals(0.0213).replace("\\u00a0", " "), equals(1e-7).replace("\\u00a0", " ")
    ('= 0.021', '< 0.001')
    """
    text = p_value(p)
    return text if text.startswith("<") else f"= {text}"
