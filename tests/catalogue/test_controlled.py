"""Thresholds decided before a setting is answered, on the row's own traffic and on a user's trace."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from qmodel.catalogue import find
from qmodel.catalogue.case import Case
from qmodel.catalogue.controlled import ABOVE, LARGEST, trace_of
from qmodel.catalogue.row import Controlled, Setting
from qmodel.catalogue.tuned import resolved
from qmodel.cli.catalogue_text import settings_in_words

HOW = ("optimum", "static", "learned")


def setting(how: str, requests: int = 3_000) -> Setting:
    return Setting(how, tuned=Controlled(how, 0.005, requests))  # type: ignore[arg-type]


@pytest.mark.parametrize("how", HOW)
def test_the_label_tells_the_threshold(how: str) -> None:
    found = resolved(Case(find("best-effort")), setting(how))
    assert found.tuned is None and 0 <= found.changes[ABOVE] <= LARGEST
    assert found.label == f"{how}: above {found.changes[ABOVE]}"
    assert "worth 0.005 of quality" in settings_in_words(setting(how))


def test_what_is_judged_was_not_learned_from() -> None:
    case, how = Case(find("best-effort")), Controlled("learned", 0.005, 500)
    train, judge = (trace_of(case, Setting(""), how, judged=judged) for judged in (False, True))
    assert train.arrival_s.size == judge.arrival_s.size == 500
    assert not np.isin(train.arrival_s, judge.arrival_s).any()


def test_on_a_trace_its_halves_and_what_the_optimum_is_of(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    times = np.cumsum(rng.exponential(0.2, 400) * np.repeat([0.2, 1.8], 200))
    path = tmp_path / "trace.csv"
    path.write_text("scheduled_s\n" + "\n".join(f"{t:.6f}" for t in times) + "\n")
    case = Case(find("best-effort"), trace=path)
    found = resolved(case, setting("optimum"))
    assert found.label.endswith(", were arrivals Poisson")
    assert "Poisson" not in resolved(case, setting("static", 200)).label
    how = Controlled("static", 0.005, 200)
    halves = [trace_of(case, Setting(""), how, judged=judged).arrival_s for judged in (False, True)]
    assert all(150 <= half.size <= 200 for half in halves)
    gaps = [np.diff(half)[:150] for half in halves]
    assert not np.allclose(*gaps)
