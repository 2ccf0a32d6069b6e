"""What `qmodel validate` shows: predictions beside what was run, and what was not computed named so."""

from __future__ import annotations

import pandas as pd
import pytest

from qmodel.cli.validate import show
from qmodel.ladder import EXPLAINS


def compared(method: str) -> pd.DataFrame:
    row = {"policy": "fcfs", "load": 0.5, "class": "all", "metric": "mean_response_s", "predicted": 0.0060,
           "measured": 0.0066, "measured_method": method, "low": 0.0058, "high": 0.0074,
           "relative_error": -1 / 11, "inside": True}  # fmt: skip
    return pd.DataFrame([row, row | {"metric": "p95_response_s", "predicted": 9.0}])


LADDER = pd.DataFrame(
    [
        {
            "policy": "fcfs",
            "load": 0.5,
            "class": "all",
            "rung": rung,
            "mean_response_s": seconds,
            "explains": EXPLAINS[rung],
        }
        for rung, seconds in (
            ("live", 0.0066),
            ("measured services", 0.0064),
            ("fitted services", 0.0061),
            ("poisson arrivals", 0.006),
            ("theory", 0.006),
        )
    ]
)


@pytest.mark.parametrize(("method", "head"), [("measured", "live ms"), ("simulation", "emulated ms")])
def test_waits_are_not_called_live(capsys: pytest.CaptureFixture[str], method: str, head: str) -> None:
    show(compared(method), LADDER)
    told = capsys.readouterr().out
    assert head in told
    assert ("nothing was measured" in told) == (method == "simulation")
    row = next(line for line in told.splitlines() if line.startswith(" fcfs") or line.startswith("fcfs"))
    assert row.split() == ["fcfs", "0.5", "all", "6.000", "6.600", "5.80..7.40", "-9.1", "%", "in"]
    assert told.endswith(
        "fcfs at 0.5: live 6.600 -> measured services 6.400 -> fitted services 6.100 ->\n"
        "  poisson arrivals 6.000 -> theory 6.000\n"
        "  most of the gap: service times in this run against the fitted service function\n"
    )
    assert all(len(line) <= 80 for line in told.splitlines())
