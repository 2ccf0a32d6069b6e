"""Iteration time written out: its formula and what it refuses."""

from __future__ import annotations

import math

import pytest

from qmodel.errors import InputError
from qmodel.service.iteration_time import IterationTime

GPU = IterationTime(base=0.010, per_sequence=0.0002, per_context_token=2e-7, per_prefill_token=2e-5)


def test_every_term_counts() -> None:
    assert GPU.seconds(0) == 0.010
    assert GPU.seconds(10) == pytest.approx(0.012, rel=1e-14)
    assert GPU.seconds(10, 5000) == pytest.approx(0.013, rel=1e-14)
    assert GPU.seconds(10, 5000, 300) == pytest.approx(0.019, rel=1e-14)


def test_base_or_sequences_alone_suffice() -> None:
    assert IterationTime(base=0.0, per_sequence=0.5).seconds(3) == 1.5
    assert IterationTime(base=0.25).seconds(3) == 0.25


@pytest.mark.parametrize("name", ["base", "per_sequence", "per_context_token", "per_prefill_token"])
@pytest.mark.parametrize("value", [-1e-9, math.nan, math.inf])
def test_no_time(name: str, value: float) -> None:
    with pytest.raises(InputError, match=f"iteration_time, {name}: .* is no time; give seconds >= 0"):
        IterationTime(**{"base": 0.1, name: value})


def test_it_takes_some_time() -> None:
    with pytest.raises(InputError, match="iteration_time: takes no time; give base or per_sequence above 0"):
        IterationTime(base=0.0, per_prefill_token=1.0)
