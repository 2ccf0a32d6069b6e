"""Predicted sizes, part by part, against plain numbers."""

from __future__ import annotations

import numpy as np
import pytest

from qmodel.theory.prediction.prediction_copula import Correlated
from qmodel.workload import Lognormal


@pytest.mark.parametrize("unit", [1e-6, 1e6])
def test_scores_that_are_kept_have_no_unit(unit):
    plain, scaled = (Correlated(Lognormal(mean, 4.0), 0.7, frozenset())._nodes for mean in (1.0, unit))
    np.testing.assert_allclose(scaled[0], plain[0])
    np.testing.assert_allclose(scaled[1], unit * plain[1], rtol=1e-9)
