"""Theory held against simulation: every exact answer, over a grid of policies, laws and loads, and every feature.

    python benchmarks/agreement.py [small|grid|odd|all] [JOBS]

Each case has its own seed, and a run twice as long as a pilot needs for the intervals of its means not to be called
short (if a few million requests are enough). Intervals of 95 % miss one time in twenty; the table says how many
misses chance explains (all but one time in a thousand). Numbers further out than 1.5 half widths are printed.
"""

from __future__ import annotations

import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from qmodel.errors import InputError
from qmodel.sweep.engines import as_finished
from tests.agreement.cases import Case, grid, odd, small_grid
from tests.agreement.judging import Verdict, by_metric, judge, most_outside

FAR = 1.5


def seed_of(name: str) -> int:
    return zlib.crc32(name.encode())


def work(case: Case) -> tuple[str, list[Verdict] | str, float]:
    begin = time.monotonic()
    try:
        found = judge(case, seed_of(case[0]))
    except InputError as error:
        found = str(error)
    return case[0], found, time.monotonic() - begin


def chosen(which: str) -> Iterator[Case]:
    if which in ("small",):
        yield from small_grid()
    if which in ("grid", "all"):
        yield from grid()
    if which in ("odd", "all"):
        yield from odd()


def main(which: str, jobs: int) -> None:
    everything: list[Verdict] = []
    unanswered = 0
    for name, found, seconds in as_finished(work, list(chosen(which)), jobs):
        if isinstance(found, str) or not found:
            unanswered += 1
            print(f"-- {name}: {found or 'nothing exact'}", flush=True)
            continue
        everything += found
        for verdict in found:
            if verdict.errors > FAR and not verdict.inside:
                print(f"{verdict.errors:5.2f} half widths: {verdict}", flush=True)
        if seconds > 20:
            print(f"   {name}: {seconds:.0f} s", flush=True)
    print(f"\n{'metric':18}{'exact':>7}{'outside':>9}{'share':>8}{'allowed':>9}")
    for metric, found in by_metric(everything).items():
        out = sum(not verdict.inside for verdict in found)
        print(f"{metric:18}{len(found):7}{out:9}{out / len(found):8.1%}{most_outside(len(found)):9}")
    print(f"{unanswered} cases without an exact answer")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "all", int(sys.argv[2]) if len(sys.argv) > 2 else 1)
