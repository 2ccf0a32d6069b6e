"""Costs and grains of preemption: what is allowed."""

from __future__ import annotations

import math

import pytest

from qmodel.errors import InputError
from qmodel.policy.preemption import Preemption


def test_free_unless_something_is_asked():
    assert Preemption().is_free and not Preemption(cost_s=0.1).is_free and not Preemption(grain_s=0.1).is_free


@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf])
@pytest.mark.parametrize("name", ["cost_s", "grain_s"])
def test_only_times_are_allowed(name, value):
    with pytest.raises(InputError, match=f"policy.preemption, {name}: .* is no time"):
        Preemption(**{name: value})
