"""Preemption in steps and at a cost, part by part, against plain numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from qmodel.theory.preemption.grained_path import grained
from qmodel.theory.rank.rank_path import Path


def test_a_step_is_open_for_a_moment_and_then_closed_until_the_next():
    """Steps of a quarter second, three of them; the rank is the age."""
    line = Path(*(np.array([x]) for x in (0.0, 9.0, 0.0, 9.0)))
    found = grained(line, 0.25, 3)
    assert found.start.tolist() == pytest.approx([0.0, 0.25e-12, 0.25, 0.25, 0.5, 0.5], rel=1e-9)
    assert found.end.tolist() == pytest.approx([0.25e-12, 0.25, 0.25, 0.5, 0.5, 0.75], rel=1e-9)
    assert (found.end > found.start).all()
    assert found.first.tolist() == pytest.approx([0.0, -math.inf, 0.25, -math.inf, 0.5, -math.inf], rel=1e-9)
