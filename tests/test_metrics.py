"""The registry of metrics."""

from __future__ import annotations

import pytest

from qmodel.answer import CORE_METRICS, percentile_name
from qmodel.errors import InputError
from qmodel.metrics import METRICS, metric


def test_every_metric_of_an_answer_is_there() -> None:
    named = [
        *CORE_METRICS,
        *(percentile_name(p) for p in (50, 95, 99)),
        "mean_slowdown",
        "attainment",
        "utilisation",
    ]
    assert set(named) <= set(METRICS)


def test_names_carry_their_unit() -> None:
    for name, entry in METRICS.items():
        assert entry.name == name and entry.title and entry.symbol and entry.typst and entry.formula and entry.unit
        assert (name.endswith("_s") and not name.endswith("_per_s")) == (entry.unit == "s")


def test_symbols_are_balanced() -> None:
    for entry in METRICS.values():
        assert entry.symbol.count("{") == entry.symbol.count("}")
        assert entry.typst.count('"') % 2 == 0 and entry.typst.count("[") == entry.typst.count("]")


def test_any_percentile() -> None:
    entry = metric("p99.9_response_s")
    assert (entry.name, entry.title) == ("p99.9_response_s", "99.9th percentile of response time")
    assert (entry.symbol, entry.typst, entry.unit) == ("T_{99.9}", "T_(99.9)", "s")
    assert entry.formula == "P(T <= x) = 0.999"
    token = metric("p90_tpot_s")
    assert (token.symbol, token.typst) == (r"\mathrm{TPOT}_{90}", '"TPOT"_(90)')
    for name in ("p100_response_s", "p_response_s", "p99_colour_s"):
        with pytest.raises(InputError):
            metric(name)


def test_by_name() -> None:
    assert metric("mean_response_s").unit == "s"
    with pytest.raises(InputError, match="metric 'mean_respons_s': is unknown; did you mean 'mean_response_s'"):
        metric("mean_respons_s")
