"""Iteration time written out: its formula and what it refuses."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from qmodel.errors import InputError
from qmodel.service.iteration_time import IterationTime

GPU = IterationTime(base=0.010, per_sequence=0.0002, per_context_token=2e-7, per_prefill_token=2e-5)


def test_every_term_counts() -> None:
    assert GPU.seconds(0) == 0.010
    assert GPU.seconds(10) == pytest.approx(0.012, rel=1e-14)
    assert GPU.seconds(10, 5000) == pytest.approx(0.013, rel=1e-14)
    assert GPU.seconds(10, 5000, 300) == pytest.approx(0.019, rel=1e-14)


def test_every_query_meets_every_key() -> None:
    """7 decoding sequences and 300 prompt tokens; 5000 tokens in caches, the prompt's 300 and 100 of it before."""
    packed = replace(GPU, per_query_key=1e-9)
    linear = GPU.seconds(8, 5000, 300)
    assert packed.seconds(8, 5000, 300) == pytest.approx(linear + 1e-9 * (7 + 300) * (5000 + 300), rel=1e-14)
    cached = packed.seconds(9, 5000, 300, prefills=2, cached_tokens=100)
    assert cached == pytest.approx(GPU.seconds(9, 5000, 300) + 1e-9 * (7 + 300) * (5000 + 300 + 100), rel=1e-14)
    assert packed.seconds(7, 5000) == pytest.approx(GPU.seconds(7, 5000) + 1e-9 * 7 * 5000, rel=1e-14)


def test_the_term_of_pairs_is_shown_where_it_is_there() -> None:
    packed = replace(GPU, per_query_key=1e-9)
    assert "per_query_key" not in repr(GPU) and repr(packed).endswith(", per_query_key=1e-09)")
    assert set(packed.terms()) - set(GPU.terms()) == {"per_query_key"}
    assert packed.times(2.0, of_base=3.0).terms() == {
        name: (3.0 if name == "base" else 2.0) * value for name, value in packed.terms().items()
    }


def test_base_or_sequences_alone_suffice() -> None:
    assert IterationTime(base=0.0, per_sequence=0.5).seconds(3) == 1.5
    assert IterationTime(base=0.25).seconds(3) == 0.25


@pytest.mark.parametrize(
    "name", ["base", "per_sequence", "per_context_token", "per_prefill_token", "per_query_key"]
)
@pytest.mark.parametrize("value", [-1e-9, math.nan, math.inf])
def test_no_time(name: str, value: float) -> None:
    with pytest.raises(InputError, match=f"iteration_time, {name}: .* is no time; give seconds >= 0"):
        IterationTime(**{"base": 0.1, name: value})


def test_it_takes_some_time() -> None:
    with pytest.raises(InputError, match="iteration_time: takes no time; give base or per_sequence above 0"):
        IterationTime(base=0.0, per_prefill_token=1.0)
