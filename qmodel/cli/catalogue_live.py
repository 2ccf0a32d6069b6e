"""A live run of a catalogue's row on a terminal: predicted beside measured, the interval, what to know of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qmodel.cli.catalogue_table import change, named
from qmodel.cli.catalogue_text import width, wrapped
from qmodel.cli.tables import Column, blocks, significant

if TYPE_CHECKING:
    from qmodel.catalogue.case import Case
    from qmodel.catalogue.live import LiveRan


BUSY = 2.5
"""Load average above which a live run is not on a machine of its own."""


def run(case: Case, output: Path | None, as_json: bool) -> int:
    """Run the row live and print it; predictions and logs stay in `output` (default: NAME-live here)."""
    from qmodel.catalogue.live import run_row
    from qmodel.cli.progress import TerminalWatcher, note

    folder = output or Path(f"{case.row.name}-live")
    with TerminalWatcher() as watcher:
        ran = run_row(case, folder, watcher)
    if as_json:
        print(json.dumps(ran.to_dict(), indent=1, allow_nan=False))
    else:
        for line in lines(ran):
            print(line.rstrip())
    note(f"predictions, their hash and the logs of all requests are in {folder}")
    return 0


def lines(ran: LiveRan) -> Iterator[str]:
    """Title, table, what the idea changes, and notes."""
    row = ran.case.row
    yield f"{row.code} {row.name}: {row.title}"
    yield ""
    rows = list(figures(ran))
    names = [Column("", [one[0] for one in rows], is_name=True)]
    numbers = [Column(head, [one[i] for one in rows]) for i, head in enumerate(("predicted", "live", "95 %"), 1)]
    for block in blocks(names, numbers, Column("gap", [one[4] for one in rows], True), width()):
        yield from (block[0], "-" * len(block[0]), *block[1:], "")
    yield from changes(ran)
    yield ""
    for text in notes(ran):
        yield from wrapped(text, "  ")


def figures(ran: LiveRan) -> Iterator[tuple[str, ...]]:
    """Below each setting a row for each metric that both know; the gap is live over predicted.

    It is "inside" where the interval of the live run holds what was predicted.
    """
    for both in ran.both:
        yield both.setting.label, "", "", "", ""
        for metric in shown(ran):
            found = both.figures(metric)
            if found is None:
                continue
            predicted, live, interval = found
            span, gap = "", f"{100 * (live / predicted - 1):+.0f} %" if predicted else ""
            if interval is not None:
                low, high = (significant(end, 3) for end in interval)
                span = f"{low} to {high}" if interval[1] < float("inf") else f"from {low} on"
                gap += ", inside" if interval[0] <= predicted <= interval[1] else ""
            yield f"  {named(metric)}", significant(predicted), significant(live), span, gap


def shown(ran: LiveRan) -> list[str]:
    """What the row shows and a live run can measure; the mean and the 95th percentile where that is nothing."""
    wanted = [metric for metric in ran.case.row.shown if all(both.figures(metric) for both in ran.both)]
    return wanted or ["mean_response_s", "p95_response_s"]


def changes(ran: LiveRan) -> Iterator[str]:
    """What the idea changes against its baseline, predicted and live."""
    for metric in shown(ran):
        idea, baseline = (both.figures(metric) for both in (ran.both[0], ran.both[-1]))
        if idea and baseline and baseline[0] and baseline[1]:
            predicted = change(metric, idea[0], baseline[0])
            live = change(metric, idea[1], baseline[1])
            yield from wrapped(f"{named(metric)}: {predicted} predicted, {live} live", "  ")


def notes(ran: LiveRan) -> list[str]:
    """Where it ran, how its time stands to the row's, what was left out, and what speaks against a run."""
    facts: list[dict[str, Any]] = [both.live.run for both in ran.both]
    slower = significant(ran.machine.factor, 3)
    found = [
        f"times in seconds, on {facts[0]['engine']}, {facts[0]['device']}; 1 s of the row takes {slower} s here",
        ", ".join(f"{both.setting.label}: {both.live.run['requests']:,} requests" for both in ran.both),
    ]
    for both in ran.both:
        steps = ", ".join(f"{rung.rung} {significant(rung.mean_response_s)}" for rung in both.rungs)
        found += [f"{both.setting.label}, mean response from live to theory: {steps}"] if steps else []
    found += [f"not run: {text}" for text in ran.left_out]
    for both, fact in zip(ran.both, facts, strict=True):
        found += [
            f"{both.setting.label}: {note}" for note in both.live.notes if not note.startswith("the run is too")
        ]
        if fact["rejected"]:
            found.append(f"{both.setting.label}: do not trust this run, {fact['rejected']}")
    busy = max(fact["load_average"] for fact in facts)
    if busy > BUSY:
        found.append(f"the machine was busy, load average {busy:.1f}: live services may be longer than timed ones")
    return found
