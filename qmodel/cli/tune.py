"""`qmodel plan --tune`: knobs tuned on one trace, judged on another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from qmodel.cli import ask
from qmodel.cli.tables import Column, blocks, share, significant
from qmodel.errors import InputError

if TYPE_CHECKING:
    from qmodel.planning.tuning import Tuning

NOT_MET, WIDTH = 3, 80


def tuned(
    scenario: Path, slos: list[str], method: str | None, knobs: list[str], traces: tuple[Path | None, Path | None],
    how: tuple[float, int, int], set_options: list[str], as_json: bool,
) -> int:  # fmt: skip
    """Tune, judge and print; exit code 3 when the tuned controller misses the bounds in every window."""
    from qmodel.planning.knobs import parse_knob
    from qmodel.planning.recorded import read_recorded
    from qmodel.planning.tuning import tune

    if method is None:
        raise InputError("--tune", "is missing", "threshold, annealing, bayesian or bandit")
    train, judge = traces
    if train is None or judge is None:
        missing = "--train" if train is None else "--judge"
        raise InputError(missing, "is missing", "give a trace to tune on, and another to judge on")
    window_s, budget, seed = how
    found = tune(
        scenario, method, [parse_knob(text) for text in knobs], read_recorded(train), read_recorded(judge),
        slos=slos, window_s=window_s, budget=budget, seed=seed, settings=ask.settings(set_options),
    )  # fmt: skip
    if as_json:
        print(json.dumps(found.to_dict(), indent=1, allow_nan=False))
    else:
        print_tuning(found)
    return 0 if found.records[0].windows_met > 0 else NOT_MET


def print_tuning(found: Tuning) -> None:
    """A row a controller."""
    rows = found.records
    paths = [knob.path.rpartition(".")[2] for knob in found.knobs]
    numbers = [
        Column("loss", [significant(each.loss, 3) for each in rows]),
        Column("windows in SLO", [share(each.windows_met) for each in rows]),
        Column("quality", [significant(each.quality) for each in rows]),
    ]
    if any(each.energy_j is not None for each in rows):
        numbers.append(Column("J/request", [significant(each.energy_j) for each in rows]))
    numbers.append(Column("moves", [str(each.moves) for each in rows]))
    print(f"trained on {found.trained_on} windows, judged on {found.judged_on} of another trace")
    print()
    names = [Column("controller", [each.name for each in rows], is_name=True)]
    for lines in blocks(names, numbers, Column("", [""] * len(rows)), WIDTH):
        print(lines[0].rstrip(), "-" * len(lines[0].rstrip()), *(line.rstrip() for line in lines[1:]), sep="\n")
        print()
    for each in rows:
        values = ", ".join(f"{path} {value:.6g}" for path, value in zip(paths, each.usual, strict=True))
        print(f"{each.name}: {'mostly ' if each.moves else ''}{values}")
    print("each window from empty; loss: 10 ln(worst bound) where missed, plus the quality")
    print("lost, plus 1 % of the bound used; 'best static' is best on the trace trained on")
