"""What an expert would frown at in a table of measurements: each finding named, with its rows.

Findings are about the data, not about a model of them: sentinels that stand for a failure, exact copies posing as
replicates, cells that contradict one another, a column whose levels were mixed, served figures offered as service
times. They are said, never mended behind the user's back.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

SENTINELS = (-1.0, -999.0, 999999.0, 1e9)
"""Numbers that tools write where nothing was measured."""
MORE_WORK = (
    "batch_size", "input_tokens", "output_tokens", "context_tokens", "tokens", "steps", "frames", "sequences",
    "prefill_tokens", "history_tokens", "message_bytes", "m", "n", "k",
)  # fmt: skip
"""Factors of which more is never faster, all else equal."""
FALL = 0.25
"""A cell is implausible when it is faster than one with less work by more than this share (tiles, warm clocks and
noise make smaller falls)."""
COPIES = 0.002
"""Exact copies are told from this share of the rows on: two equal times by chance are rarer with any timer."""
SHOWN = 6
"""Row numbers written out in a sentence."""
FEW = 4
"""Cells told one by one; more are told together."""


@dataclass(frozen=True)
class Finding:
    """Something to know before the data are used: `kind`, the `rows` concerned (lines of the file), a sentence.

    `count` is the number of rows concerned, of which `rows` may be the first ones only.
    """

    kind: str
    rows: tuple[int, ...]
    sentence: str
    count: int = 0

    def __str__(self) -> str:
        """The sentence with its first rows.

        >>> str(Finding("sentinel", (17, 21), "2 rows hold -1, which is no time"))
        'sentinel: 2 rows hold -1, which is no time (lines 17, 21)'
        """
        if not self.rows:
            return f"{self.kind}: {self.sentence}"
        shown = ", ".join(str(row) for row in self.rows[:SHOWN])
        total = max(self.count, len(self.rows))
        more = f", ... {total} in all" if total > min(len(self.rows), SHOWN) else ""
        return f"{self.kind}: {self.sentence} (line{'s' if total > 1 else ''} {shown}{more})"


def finding(kind: str, rows: Sequence[int], sentence: str) -> Finding:
    """A finding that keeps the first thousand of its rows and knows their number."""
    return Finding(kind, tuple(int(row) for row in rows[:1000]), sentence, len(rows))


def profile_findings(frame: pd.DataFrame, factors: Sequence[str], response: str = "latency_s") -> list[Finding]:
    """Findings about measured times: copies, cells that fall where they must rise, factors that were mixed.

    `frame` holds the factors, the response (a number, NaN where there is none) and is indexed by line number.
    Rows whose `status` is not ok are passed over.
    """
    rows = frame if "status" not in frame else frame[frame["status"] == "ok"]
    rows = rows[rows[response].gt(0)]
    if len(rows) < 2:
        return []
    known = [name for name in factors if name in rows]
    if not known:
        return []
    return [*copies(rows, known, response), *falling(rows, known, response), *mixed(rows, known, response)]


def copies(rows: pd.DataFrame, factors: Sequence[str], response: str) -> list[Finding]:
    """Rows that repeat an earlier one to the last digit, which no two measurements do.

    A time read from a coarse clock repeats by chance: times of fewer than four significant digits do not count.
    """
    fine = rows[_digits(rows[response].to_numpy(float)) >= 4]
    if fine.empty:
        return []
    again = fine.duplicated([*factors, response], keep="first")
    measured = [name for name in rows.columns if name.endswith(("_s", "_j", "_w", "_bytes")) and name != response]
    again &= fine.duplicated([*factors, response, *measured], keep="first")
    count = int(again.sum())
    if not count or count < COPIES * len(fine):
        return []
    sentence = (
        f"{count} of {len(rows)} rows repeat an earlier row to the last digit: they are copies, not replicates, "
        "and make the noise look smaller than it is"
    )
    return [finding("copies", list(fine.index[again]), sentence)]


def _digits(values: np.ndarray) -> np.ndarray:
    """Significant digits written, up to 6, shape (rows,)."""
    values = np.abs(values)
    exponent = np.floor(np.log10(values))
    out = np.full(values.size, 6)
    for digits in (5, 4, 3, 2, 1):
        scaled = values * 10.0 ** (digits - 1 - exponent)
        out[np.abs(scaled - np.rint(scaled)) < 1e-6 * scaled] = digits
    return out


def falling(rows: pd.DataFrame, factors: Sequence[str], response: str) -> list[Finding]:
    """Cells out of line with those of less and more work, all other factors equal, by more than `FALL`.

    Along each factor the longest rising sequence of cell medians is believed. A cell outside it is told when it is
    faster than a believed cell with less work, or slower than one with more, by that much. Factors with many levels
    come first, and what they tell is left out for the others: of two cells alone none can be believed.
    """
    found: list[Finding] = []
    work = sorted((name for name in factors if name in MORE_WORK), key=lambda name: -rows[name].nunique())
    for name in work:
        others = [key for key in factors if key != name and rows[key].nunique() > 1]
        told = _out_of_line(rows, name, others, response) if rows[name].nunique() > 1 else []
        rows = rows.drop(index=[line for one in told for line in one.rows])
        found += told
    return found


def _out_of_line(rows: pd.DataFrame, name: str, others: list[str], response: str) -> list[Finding]:
    """Findings about the cells that are out of line along `name`: one by one if few, together if many."""
    keys = [*others, name]
    cells = rows.groupby(keys, sort=True, dropna=False, observed=True)[response].median().reset_index()
    chain = (
        cells.groupby(others, dropna=False, observed=True).ngroup().to_numpy() if others else np.zeros(len(cells))
    )
    ends = np.flatnonzero(np.diff(chain, prepend=-1.0, append=math.inf))
    times = cells[response].to_numpy(float)
    cells["off"] = np.concatenate([departures(times[i:j]) for i, j in pairwise(ends)])
    bad = cells[cells["off"].abs() > FALL].sort_values("off", key=abs, ascending=False)
    if bad.empty:
        return []
    at = rows[keys].reset_index(names="line").merge(bad[[*keys, "off"]], on=keys)
    if len(bad) <= FEW:
        return [_one_out(name, bad.iloc[[k]], at.merge(bad.iloc[[k]][keys], on=keys)) for k in range(len(bad))]
    sentence = (
        f"{len(bad)} of {len(cells)} cells are out of line along {name} by more than {FALL:.0%}, most of all "
        f"{_where(name, bad.iloc[0], keys)} ({_by(bad.iloc[0]['off'], name)}): another kernel, a hidden factor, or "
        "invalid rows"
    )
    return [finding("implausible", sorted(int(line) for line in at["line"]), sentence)]


def departures(times: np.ndarray) -> np.ndarray:
    """How far each time is from the longest rising sequence: negative if too fast, positive if too slow, else 0.

    >>> departures(np.array([1.0, 2.0, 3.0, 0.6, 4.0])).round(3).tolist()
    [0.0, 0.0, 0.0, -0.8, 0.0]
    """
    believed = _longest_rise(times)
    below = np.maximum.accumulate(np.where(believed, times, -math.inf))
    above = np.minimum.accumulate(np.where(believed, times, math.inf)[::-1])[::-1]
    with np.errstate(invalid="ignore"):
        off = np.where(times < below, times / below - 1.0, np.where(times > above, 1.0 - above / times, 0.0))
    return np.where(believed, 0.0, off)


def _longest_rise(times: np.ndarray) -> np.ndarray:
    """Members of one longest non-decreasing subsequence, by patience sorting."""
    piles: list[float] = []
    tops: list[int] = []
    before = np.full(times.size, -1)
    for k, time in enumerate(times.tolist()):
        pile = bisect_right(piles, time)
        before[k] = tops[pile - 1] if pile else -1
        if pile == len(piles):
            piles.append(time)
            tops.append(k)
        else:
            piles[pile], tops[pile] = time, k
    member = np.zeros(times.size, dtype=bool)
    k = tops[-1] if tops else -1
    while k >= 0:
        member[k] = True
        k = int(before[k])
    return member


def _one_out(name: str, cell: pd.DataFrame, lines: pd.DataFrame) -> Finding:
    row = cell.iloc[0]
    keys = [key for key in cell.columns if key in lines.columns and key not in ("line", "off")]
    sentence = (
        f"at {_where(name, row, keys)} the time is {_by(row['off'], name)}: these rows are invalid (out of memory, "
        "stopped early), another kernel ran, or a factor is hidden"
    )
    return finding("implausible", sorted(int(line) for line in lines["line"]), sentence)


def _where(name: str, row: pd.Series, keys: Sequence[str]) -> str:
    return ", ".join(f"{key} = {_plain(row[key])}" for key in (name, *(k for k in keys if k != name)))


def _by(off: float, name: str) -> str:
    if off < 0:
        return f"{-100 * off:.0f} % below that of a smaller {name}"
    return f"{1.0 / max(1.0 - float(off), 1e-12):.3g} times that of a larger {name}"


MOST_CELLS = 400
"""Cells looked at for hidden groups; all of them where a quarter of these show some."""
MIXED_GAP = 4.0
"""Two groups of times are told apart from so many spreads on."""


def mixed(rows: pd.DataFrame, factors: Sequence[str], response: str) -> list[Finding]:
    """Cells whose times fall into two groups far apart: a factor that is not in the table.

    A cell of four rows or more counts when its widest gap between successive log times splits it into two groups,
    of two rows or more each, whose means are `MIXED_GAP` times the spread inside them apart, and 20 % at least.
    One such cell in four is told.
    """
    sizes = rows.groupby(list(factors), dropna=False, observed=True)[response].transform("size")
    repeated = rows[sizes >= 4]
    cells = [cell for _, cell in repeated.groupby(list(factors), dropna=False, observed=True)[response]]
    few = _split(cells[:: max(1, len(cells) // MOST_CELLS)])
    if not few or len(few) < min(len(cells), MOST_CELLS) / 4:
        return []
    split = _split(cells)
    sentence = (
        f"in {len(split)} of {len(cells)} cells the times of the same levels fall into two groups far apart: "
        "another factor was varied and is not among these"
    )
    return [finding("mixed", sorted(int(line) for cell in split for line in cell.index), sentence)]


def _split(cells: Sequence[pd.Series]) -> list[pd.Series]:
    """The cells whose times fall into two groups."""
    return [cell for cell in cells if _two_groups(np.sort(np.log(cell.to_numpy(float))))]


def _two_groups(values: np.ndarray) -> bool:
    """Whether sorted values (log) fall into two groups with nothing between."""
    gaps = np.diff(values)[1:-1]
    if gaps.size == 0:
        return False
    k = int(np.argmax(gaps)) + 2
    low, high = values[:k], values[k:]
    inside = np.sqrt((low.var() * low.size + high.var() * high.size) / values.size)
    apart = float(high.mean() - low.mean())
    return apart > np.log(1.2) and apart > MIXED_GAP * inside and gaps.max() > 2.0 * max(np.ptp(low), np.ptp(high))


def floor_findings(
    frame: pd.DataFrame, bytes_moved: float, bandwidth: float, response: str = "latency_s"
) -> list[Finding]:
    """Rows faster than the memory could feed `bytes_moved` at `bandwidth` bytes/s: a wrong unit, or nothing done.

    >>> import pandas as pd
    >>> rows = pd.DataFrame({"latency_s": [0.017, 0.000017]}, index=[2, 3])
    >>> [str(one)[:46] for one in floor_findings(rows, 16e9, 1008e9)]
    ['too fast: 1 row is faster than the 15.87 ms in']
    """
    least = bytes_moved / bandwidth
    fast = frame.index[frame[response].to_numpy(float) < least]
    if not len(fast):
        return []
    who = f"{len(fast)} row{' is' if len(fast) == 1 else 's are'}"
    sentence = (
        f"{who} faster than the {1e3 * least:.4g} ms in which {bandwidth / 1e9:.4g} GB/s of memory could read "
        f"{bytes_moved / 1e9:.4g} GB once: a wrong unit, or not this work"
    )
    return [finding("too fast", list(fast), sentence)]


LOADS = ("concurrency", "request_rate", "max bs", "conc")
"""Words in the names of columns that say how a server was loaded."""


def served_findings(columns: Mapping[str, str]) -> list[Finding]:
    """Responses that are what users saw of a loaded server, by the names of other tools' columns."""
    served = [name for name in columns if is_served(name)]
    against = [name for name in columns if any(word in name.lower() for word in LOADS)]
    if not (served and against):
        return []
    sentence = (
        f"{', '.join(served[:4])} against {', '.join(against[:2])} is served latency, waiting and batching "
        "included: material to validate a model with, no service times to fit one to"
    )
    return [Finding("served", (), sentence)]


def is_served(name: str) -> bool:
    """Whether a column of this name holds what users of a server saw.

    >>> is_served("median_tpot_ms"), is_served("latency_s")
    (True, False)
    """
    low = name.lower()
    return any(word in low for word in ("tpot", "ttft", "e2el", "itl", "request_latency", "end_to_end"))


def _plain(level: object) -> str:
    return f"{level:g}" if isinstance(level, int | float | np.number) else str(level)
