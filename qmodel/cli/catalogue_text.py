"""The catalogue on a terminal: the list, a row explained, a row's answers beside each other with the verdict."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from qmodel.cli.catalogue_table import otherwise, table
from qmodel.cli.tables import significant

if TYPE_CHECKING:
    from qmodel.catalogue.row import Row, Setting
    from qmodel.catalogue.running import Ran


def width() -> int:
    """Columns of the terminal, 100 at most."""
    return max(40, min(shutil.get_terminal_size().columns, 100))


def print_list(rows: Sequence[Row]) -> None:
    """Number, name, method and title of each row, one line each."""
    name = max(len(row.name) for row in rows)
    for row in rows:
        line = f"{row.code:>4} {row.name:<{name}} {row.method:<13} {row.title}"
        print(line if len(line) <= width() else line[: width() - 3] + " ..")


def print_row(row: Row) -> None:
    """The idea, the settings, the formula, the reference, what was assumed or is missing, and the scenario."""
    print(f"{row.code} {row.name}: {row.title}\n")
    for line in wrapped(row.idea):
        print(line)
    for head, text in (("formula", row.formula), ("reference", row.reference), ("unchecked", row.unchecked),
                       ("missing", row.missing), ("no live run", row.no_live)):  # fmt: skip
        if text:
            print()
            print(*wrapped(f"{head}: {text}", "  "), sep="\n")
    if row.settings:
        print(f"\nmethod: {row.method}; settings, the idea first, its baseline last:")
        for setting in row.settings:
            print(*wrapped(f"- {setting.label}: {settings_in_words(setting)}", "    "), sep="\n")
    if row.live:
        print("\n--live compares, on an engine of this machine:")
        for setting in row.live:
            print(*wrapped(f"- {setting.label}: {settings_in_words(setting)}", "    "), sep="\n")
    if row.text:
        print(f"\nscenario (qmodel catalogue {row.name} --toml > FILE keeps it):\n\n{row.text}", end="")


def settings_in_words(setting: Setting) -> str:
    """What a setting changes of the scenario, or searches for."""
    changed = [f"{path} = {shown(value)}" for path, value in setting.changes.items()]
    if setting.tuned is not None:
        changed.append(setting.tuned.words)
    return ", ".join(changed) or "as below"


def shown(value: object) -> str:
    """A value as a person would write it after --set.

    >>> shown({"preset": "fcfs"}), shown(0.5), shown(False)
    ("{ preset = 'fcfs' }", '0.5', 'false')
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {shown(each)}" for key, each in value.items()) + " }"
    return repr(value)


def wrapped(text: str, indent: str = "") -> list[str]:
    """Lines no wider than the terminal."""
    return textwrap.wrap(" ".join(text.split()), width(), subsequent_indent=indent, break_on_hyphens=False)


def print_ran(ran: Ran) -> None:
    """The table of all settings, what changed, and the verdict."""
    row = ran.case.row
    print(f"{row.code} {row.name}: {row.title}\n")
    for line in table(ran, width()):
        print(line)
    print()
    for line in notes(ran):
        print(*wrapped(line, "  "), sep="\n")
    if not ran.case.is_own:
        print(*wrapped("acceptance: speaks of the row's own scenario, and is not judged on another"), sep="\n")
        return
    print()
    for check in ran.checks:
        print(*wrapped(f"{'met' if check.holds else 'NOT MET'}: {check.says}", "  "), sep="\n")
    print(verdict(ran))


def print_verdict(ran: Ran) -> None:
    """The verdict as one of many, aligned."""
    print(f"{ran.case.row.code:>4} {verdict(ran).partition(' ')[2]}")


def verdict(ran: Ran) -> str:
    """One line: whether the acceptance is met, and how long it took."""
    row, met = ran.case.row, sum(check.holds for check in ran.checks)
    word = "accepted" if ran.holds else "NOT ACCEPTED"
    return f"{row.code} {row.name}: {word}, {met} of {len(ran.checks)} checks met ({ran.seconds:.1f} s)"


def notes(ran: Ran) -> list[str]:
    """Where the numbers come from, each once; times are in seconds."""
    lines = ["times in seconds"]
    if ran.case.model is not None:
        factor = significant(ran.case.time_factor, 3)
        lines.append(f"your model: 1 s of the row is {factor} s here, for limits and costs too; --set takes yours")
    if ran.case.trace is not None:
        lines.append("your trace stretched to the row's rate: move it with --set")
    origins: dict[str, list[str]] = {}
    for setting, answer in zip(ran.settings, ran.answers, strict=True):
        source = f" ({answer.source})" if answer.source else ""
        origins.setdefault(f"{answer.result}{source}", []).append(setting.label)
    lines += [f"{whom(labels, len(ran.settings))}: {origin}" for origin, labels in origins.items()]
    if other := otherwise(ran):
        lines.append(f"~ by {' or '.join(other)}, intervals in --json")
    return lines


def whom(labels: Sequence[str], of: int) -> str:
    """The settings that a note concerns.

    >>> whom(["fcfs", "sjf"], 2), whom(["fcfs", "sjf"], 3)
    ('all', 'fcfs; sjf')
    """
    return "all" if len(labels) == of > 1 else "; ".join(labels)
