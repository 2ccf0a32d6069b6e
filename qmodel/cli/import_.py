"""`qmodel import`: other tools' results and traces, recognised, translated, checked, characterised."""

from __future__ import annotations

import json as json_text
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from qmodel.fit.arrivals import ArrivalProfile
    from qmodel.fit.hygiene import Finding
    from qmodel.fit.lengths import Lengths
    from qmodel.interop.imported import Imported


MOST_FIGURES = 40
"""Figures shown; more are written only."""


def command(
    file: Path = typer.Argument(help="Another tool's result, trace or measurements."),
    source: str | None = typer.Option(
        None, "--from", help="Its format, where it is not to be recognised ('?' lists them)."
    ),
    output: Path | None = typer.Option(None, "--output", "-o", help="Write the tidy CSV and its .meta.toml."),
    factors: str | None = typer.Option(None, help="Factor columns of any other CSV, F[,F...]."),
    response: str | None = typer.Option(None, help="Its column of measured times."),
    unit: str | None = typer.Option(None, help="Unit of that column: s, ms, us or ns."),
    level: list[str] = typer.Option([], help="FACTOR=VALUE that the file does not say; repeatable."),
    layers: int | None = typer.Option(
        None, min=1, help="Compose kernel times of a layer to an iteration of so many."
    ),
    device: str | None = typer.Option(None, help="Device whose memory must feed each repetition: h200, a100 ..."),
    reads: str | None = typer.Option(None, help="Bytes each repetition reads at least, e.g. 16G, for --device."),
    arrivals: Path | None = typer.Option(None, help="Write the fitted arrival process (JSON, for mmpp:FILE.json)."),
    answer: Path | None = typer.Option(None, help="Write what the requests saw as an answer (JSON)."),
    as_scenario: Path | None = typer.Option(
        None, "--as-scenario", help="Write these arrivals and lengths as a scenario (TOML)."
    ),
    service: Path | None = typer.Option(None, help="Its fitted model (JSON); an example server without."),
    scenario: Path | None = typer.Option(None, help="Scenario whose policy and rate that answer takes."),
    policy: str = typer.Option("fcfs", help="Policy of that answer, without a scenario."),
    json: bool = typer.Option(False, "--json", help="Print what was found as JSON."),
) -> int:
    """Read another tool's file: say what it is, what its names mean here, and what to know before using it."""
    from qmodel.cli.ask import settings
    from qmodel.cli.progress import note
    from qmodel.errors import InputError
    from qmodel.fit.arrivals import characterise
    from qmodel.fit.lengths import fit_lengths
    from qmodel.interop.reading import Options, read_file

    if source == "?":
        return print_kinds()
    columns = tuple(name.strip() for name in factors.split(",")) if factors else ()
    found = read_file(file, source, Options(settings(level), columns, response, unit, layers))
    found.findings += floors(found, device, reads)
    shown = None
    if found.shape == "requests" and found.frame["scheduled_s"].iloc[-1] > 0:
        shown = characterise(found.frame["scheduled_s"], found.nominal_rate, found.nominal)
    lengths = fit_lengths(found.frame) if found.shape in ("requests", "latencies", "lengths") else None
    for finding in found.findings:
        note(f"warning: {finding}")
    if shown is not None and shown.refused_name:
        note("warning: said to be Poisson, and is not: " + shown.tests.verdict)
    if json:
        print(json_text.dumps(facts(found, shown), indent=1))
    else:
        print_found(found, shown, lengths, output)
    if output is not None:
        write_table(found, shown, output)
    if as_scenario is not None:
        write_scenario(found, shown, lengths, as_scenario, service, output)
    elif service is not None:
        raise InputError("--service", "is for --as-scenario", "name the scenario to write as well")
    if arrivals is not None:
        write_process(found, shown, arrivals)
    if answer is not None:
        write_answer(found, scenario, policy, answer)
    return 0


def floors(found: Imported, device: str | None, reads: str | None) -> list[Finding]:
    """Rows faster than the named device's memory could feed. Raises InputError where only one is named."""
    from qmodel.errors import InputError
    from qmodel.fit.hardware import parse_work
    from qmodel.interop.floors import memory_findings

    if device is None and reads is None:
        return []
    if device is None or reads is None:
        raise InputError("--device, --reads", "go together", "e.g. --device h200 --reads 16G")
    if found.shape != "profile":
        raise InputError("--device", f"is for measured times; this is a table of {found.shape}", "leave it out")
    return memory_findings(found.frame, parse_work([f"1={reads}"], "--reads")["1"], device)


def print_kinds() -> int:
    """The formats and what --from calls them."""
    from qmodel.interop.registry import GENERIC, READERS

    for reader in (*READERS, GENERIC):
        print(f"{reader.kind:<24}{reader.title}")
    return 0


def facts(found: Imported, shown: ArrivalProfile | None) -> dict[str, Any]:
    """Plain values without NaN."""
    whole = found.provenance()
    whole["finding"] = [
        {"kind": one.kind, "rows": list(one.rows), "sentence": one.sentence} for one in found.findings
    ]
    return finite(whole | ({} if shown is None else {"arrivals": shown.to_dict()}))


def finite(value: Any) -> Any:
    """The same with None for what JSON cannot hold.

    >>> finite({"a": float("nan"), "b": (1.0, float("inf"))})
    {'a': None, 'b': [1.0, None]}
    """
    if isinstance(value, dict):
        return {str(key): finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [finite(one) for one in value]
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not abs(value) < float("inf") else value


def print_found(
    found: Imported, shown: ArrivalProfile | None, lengths: Lengths | None, output: Path | None
) -> None:
    """What the file is, its names, and what its arrivals and lengths are like."""
    from qmodel.fit.arrivals_text import profile_lines, spelling
    from qmodel.fit.lengths import length_lines

    file = output.name if output is not None else "FILE.csv"
    for line in heading(found):
        print(line)
    for line in figure_lines(found):
        print(line)
    if shown is not None:
        print("\nArrivals")
        print("\n".join(profile_lines(shown)))
        if shown.chosen is not None:
            pasted = spelling(shown.chosen)
            print(f"  paste: {pasted}" if pasted else "  paste: (no spelling in a scenario: replay it)")
        print(f'  replay: arrivals = "trace:{file}"')
    if lengths is not None:
        print("\nLengths")
        print("\n".join(length_lines(lengths, file)))
    sys.stdout.flush()


def heading(found: Imported) -> Iterator[str]:
    """Kind, contents, and the mapping of names."""
    from qmodel.interop.imported import SHAPES

    yield f"{found.path}: {found.title} ({found.kind})"
    yield f"{len(found.frame):,} rows: {SHAPES[found.shape]}"
    for name, value in found.origin.items():
        yield f"  {name} = {f'{value:.6g}' if isinstance(value, float) else value}"
    if found.factors:
        yield from factor_lines(found)
    if found.mapping:
        yield ""
        yield "Names"
    for one in found.mapping:
        note = f" ({one.note})" if one.note else ""
        yield from textwrap.wrap(
            f"{one.theirs} -> {one.ours}{note}", 78, initial_indent="  ", subsequent_indent="      "
        )


def figure_lines(found: Imported) -> Iterator[str]:
    """The figures themselves, where the file is a short list of them."""
    if not {"metric", "value", "unit"} <= set(found.frame) or "model" in found.frame:
        return
    yield ""
    yield "Figures"
    for metric, value, unit in found.frame[["metric", "value", "unit"]].head(MOST_FIGURES).itertuples(index=False):
        yield f"  {metric:<32}{value:>12.5g}{'' if unit == '1' else f' {unit}'}"
    if len(found.frame) > MOST_FIGURES:
        yield f"  and {len(found.frame) - MOST_FIGURES} more (-o writes all)"


def factor_lines(found: Imported) -> Iterator[str]:
    """Each factor and its levels."""
    rows = found.frame[~found.frame["status"].astype(str).str.startswith("failed")]
    for name in found.factors:
        values = rows[name]
        levels = sorted(values.dropna().unique().tolist(), key=lambda v: (isinstance(v, str), v))
        few = ", ".join(v if isinstance(v, str) else f"{v:g}" for v in levels[:6])
        more = (
            "" if len(levels) <= 6 else f", ... {levels[-1] if isinstance(levels[-1], str) else f'{levels[-1]:g}'}"
        )
        yield from textwrap.wrap(
            f"{name}: {len(levels)} level{'s' if len(levels) != 1 else ''}: {few}{more}",
            78, initial_indent="  ", subsequent_indent="      ",
        )  # fmt: skip


def write_table(found: Imported, shown: ArrivalProfile | None, path: Path) -> None:
    """The tidy CSV, and beside it where it comes from."""
    from qmodel.cli.progress import note
    from qmodel.files import write_atomically
    from qmodel.toml_text import to_toml

    frame = found.frame.round(9)
    for name in frame:
        if str(name).endswith("_tokens") and frame[name].dtype.kind == "f":
            values = frame[name]
            frame[name] = values if (values.dropna() % 1).any() else values.astype("Int64")
    text = frame.to_csv(index=False, lineterminator="\n")
    write_atomically(path, text)
    meta = path.with_name(path.stem + ".meta.toml")
    arrivals = {} if shown is None else {"arrivals": finite(shown.to_dict())}
    write_atomically(meta, to_toml(finite(found.provenance()) | arrivals))
    note(f"wrote {path} and {meta.name}")


def write_scenario(
    found: Imported,
    shown: ArrivalProfile | None,
    lengths: Lengths | None,
    path: Path,
    service: Path | None,
    table: Path | None,
) -> None:
    """The scenario, and beside it the tidy CSV that it draws from, unless -o has put it there."""
    from qmodel.cli.progress import note
    from qmodel.files import write_atomically
    from qmodel.interop.as_scenario import Supply, scenario_text
    from qmodel.service.model import ServiceModel

    own = path.with_suffix(".csv")
    file = own.name if table is None else _seen_from(path, table)
    supply = Supply() if service is None else Supply(_seen_from(path, service), ServiceModel.load(service))
    text = scenario_text(found, shown, lengths, file, supply)
    if table is None and file in text:
        write_table(found, shown, own)
    write_atomically(path, text)
    note(f"wrote {path}: ask with qmodel predict {path}")


def _seen_from(scenario: Path, file: Path) -> str:
    """The path of a file as a scenario beside it or elsewhere spells it."""
    import os

    return Path(os.path.relpath(file, scenario.parent)).as_posix()


def write_process(found: Imported, shown: ArrivalProfile | None, path: Path) -> None:
    """The chosen arrival process as a table in JSON. Raises InputError where there is none."""
    from qmodel.cli.progress import note
    from qmodel.errors import InputError
    from qmodel.files import write_atomically

    table = None if shown is None or shown.chosen is None else shown.chosen.table
    if table is None:
        remedy = "replay the trace: arrivals = 'trace:FILE.csv' with the file of -o"
        raise InputError(
            f"{found.path}, --arrivals", "no arrival process was fitted that a scenario spells", remedy
        )
    write_atomically(path, json_text.dumps(table, indent=1) + "\n")
    kind = table["process"]
    note(f"wrote {path}: {kind}" + (f", for arrivals = '{kind}:{path.name}'" if kind in ("mmpp", "map") else ""))


def write_answer(found: Imported, scenario: Path | None, policy: str, path: Path) -> None:
    """What the requests saw, to be compared with a prediction."""
    from qmodel.cli.progress import note
    from qmodel.files import write_atomically
    from qmodel.interop.answering import answer_of_log
    from qmodel.scenario_file import read_scenario

    made = answer_of_log(found, read_scenario(scenario) if scenario is not None else None, policy=policy)
    write_atomically(path, made.to_json() + "\n")
    note(f"wrote {path}: measured, by {found.title}")
