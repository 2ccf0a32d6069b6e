"""The answers of a row beside each other: one line a setting, two-line heads, what the idea changes below.

As many blocks of columns as the terminal needs; the method stands in the first.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING

from qmodel.cli.tables import significant

if TYPE_CHECKING:
    from qmodel.answer import PolicyAnswer
    from qmodel.catalogue.running import Ran

WRITTEN = {"ttft": "TTFT", "tpot": "TPOT", "itl": "ITL", "qoe": "QoE"}
UNITS = {
    "energy_j_per_token": "J/token", "energy_j_per_request": "J/request", "throughput_tokens_per_s": "tokens/s",
    "throughput_requests_per_s": "requests/s",
}  # fmt: skip
GAP = 2


def named(metric: str) -> str:
    """A metric as tables head it; a time is in seconds.

    >>> named("chat:mean_ttft_s"), named("throughput_tokens_per_s")
    ('chat: mean TTFT', 'tokens/s')
    """
    class_name, _, name = metric.rpartition(":")
    plain = name.removesuffix("_s").replace("_", " ")
    words = UNITS.get(name) or " ".join(WRITTEN.get(word, word) for word in plain.split())
    return f"{class_name}: {words}" if class_name else words


def is_share(metric: str) -> bool:
    """Whether a metric lies between 0 and 1, so that a change is told in points of a hundred.

    >>> is_share("chat:attainment"), is_share("mean_response_s")
    (True, False)
    """
    name = metric.rpartition(":")[2]
    return name in ("attainment", "mean_qoe", "utilisation") or "share" in name.split("_")


def change(metric: str, new: float, old: float) -> str:
    """What became of a metric: in per cent, a share's in percentage points.

    >>> change("mean_wait_s", 3.0, 4.0), change("attainment", 0.98, 0.4), change("mean_wait_s", 1.0, 1.0)
    ('-25.0 %', '+58.0 pp', '0.0 %')
    """
    moved, unit = (100 * (new - old), "pp") if is_share(metric) else (100 * (new / old - 1), "%")
    return f"{moved:+.1f} {unit}" if abs(moved) >= 0.05 else f"0.0 {unit}"


def table(ran: Ran, width: int) -> Iterator[str]:
    """Settings by metrics, and how the first differs from the last."""
    labels = [setting.label for setting in ran.settings]
    lines = [*labels, "idea against baseline"] if len(labels) > 1 else labels
    numbers = [_column(ran, metric) for metric in ran.case.row.shown]
    ends = ["method", *map(how, ran.answers)]
    names = max(map(len, lines))
    while numbers:
        room = width - names - (GAP + max(map(len, ends)) if ends else 0)
        count = _fitting(numbers, room)
        yield from _block(lines, names, numbers[:count], ends)
        numbers, ends = numbers[count:], []
        if numbers:
            yield ""


def how(answer: PolicyAnswer) -> str:
    """The method of an answer; "unstable" where there is no steady state and no horizon was simulated."""
    return answer.method if answer.stable or answer["all"].metrics.get("mean_response_s") else "unstable"


def otherwise(ran: Ran) -> list[str]:
    """Methods of cells that were had in another way than the rest of their line."""
    found = {_method(answer, metric) for answer in ran.answers for metric in ran.case.row.shown}
    return sorted(each for each in found if each)


def _method(answer: PolicyAnswer, metric: str) -> str:
    """The method of a metric where it is not that of its answer, else nothing."""
    from qmodel.catalogue.running import metric_of

    if metric_of(answer, metric) is None:
        return ""
    class_name, _, name = metric.rpartition(":")
    own = answer.method_of(class_name or "all", name)
    return own if own != answer.method else ""


def _column(ran: Ran, metric: str) -> list[str]:
    """The two lines of the head, the cells, and the change."""
    from qmodel.catalogue.running import metric_of

    values = [metric_of(answer, metric) for answer in ran.answers]
    cells = [
        ("~" if _method(answer, metric) else "") + significant(value)
        for answer, value in zip(ran.answers, values, strict=True)
    ]
    new, old = values[0], values[-1]
    moved = "-" if new is None or not old else change(metric, new, old)
    body = [*cells, moved] if len(cells) > 1 else cells
    return [*_head(named(metric), max(map(len, body))), *body]


def _head(text: str, width: int) -> list[str]:
    """Two lines, the class above; else as narrow as two lines can be. The first may be empty.

    >>> _head("interactive: mean TTFT", 7), _head("p99 ITL", 7)
    (['interactive:', 'mean TTFT'], ['', 'p99 ITL'])
    """
    if ": " in text:
        class_name, _, name = text.partition(": ")
        return [f"{class_name}:", name]
    found = textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)
    while len(found) > 2:
        width += 1
        found = textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)
    return ["", *found] if len(found) == 1 else found


def _fitting(columns: list[list[str]], room: int) -> int:
    """How many columns fit beside each other, one at least."""
    for count in range(len(columns), 1, -1):
        if sum(GAP + max(map(len, column)) for column in columns[:count]) <= room:
            return count
    return 1


def _block(lines: list[str], names: int, numbers: list[list[str]], ends: list[str]) -> Iterator[str]:
    labels = ["", "", *lines]
    last = ["", *ends, *[""] * (len(labels) - 1 - len(ends))]
    rows = []
    for i, label in enumerate(labels):
        cells = "".join(" " * GAP + column[i].rjust(max(map(len, column))) for column in numbers)
        rows.append(f"{label:<{names}}{cells}{' ' * GAP}{last[i]}".rstrip())
    heads = rows[:2] if rows[0] else rows[1:2]
    yield from (*heads, "-" * max(map(len, rows)), *rows[2:])
