"""Blocks as a random effect: exact tests where balanced, REML elsewhere, both alike; components come back."""

from dataclasses import replace

import numpy as np
import pytest

from qmodel.errors import InputError
from qmodel.fit.anova import analyse
from qmodel.fit.random_blocks import random_blocks

from .planted import planted
from .test_planted_truth import band, seeds


def balanced(seed, **options):
    return planted(seed, blocks=4, steps=(5, 20, 50), batch_size=(1, 8), pacing=("idle-gaps",), **options)


@pytest.mark.parametrize("n", seeds(20, 500))
def test_components_come_back(n):
    found = [
        random_blocks(analyse(balanced(s, block_sd=0.03, visit_sd=0.02), remedies=False)).components
        for s in range(n)
    ]
    mean = {name: np.mean([c[name] for c in found]) for name in found[0]}
    assert mean["between visits of a cell"] == pytest.approx(0.02**2, rel=4 * 0.5 / np.sqrt(n))
    assert mean["between repetitions"] == pytest.approx(0.02**2, rel=4 * 0.2 / np.sqrt(n))
    assert mean["between blocks"] == pytest.approx(0.03**2, rel=4 * 0.9 / np.sqrt(n))


def test_reml_agrees_with_mean_squares():
    m = planted(3, blocks=4, block_sd=0.03, visit_sd=0.02)
    exact = random_blocks(analyse(m, remedies=False))
    holes = replace(m, frame=m.frame.drop(index=m.frame.index[[3, 77]]).reset_index(drop=True))
    fitted = random_blocks(analyse(holes, remedies=False))
    assert (exact.method, fitted.method) == ("expected mean squares", "REML")
    for name, value in exact.components.items():
        assert fitted.components[name] == pytest.approx(value, rel=0.05)
    ratio = fitted.table["F"] / exact.table["F"]
    assert ratio.between(0.85, 1.15).all()
    assert "Blocks as random (REML, 4 blocks)" in fitted.sentence()


@pytest.mark.parametrize("n", seeds(30, 500))
def test_level_holds_where_visits_differ(n):
    """Nothing planted: against repetitions alone far too much is found, against visits 5 %."""
    exact = plain = 0
    for s in range(n):
        anova = analyse(
            balanced(s, visit_sd=0.05, coefficients={"1": 0.01}, noise=0.01, replicates=4), remedies=False
        )
        exact += random_blocks(anova).table.loc["steps", "PR(>F)"] < 0.05
        plain += anova.table.loc["steps", "PR(>F)"] < 0.05
    assert band(n, 0.05)[0] <= exact <= band(n, 0.05)[1]
    assert plain > 0.3 * n


def test_one_repetition_a_visit():
    found = random_blocks(analyse(balanced(0, replicates=1), order=None, remedies=False))
    assert "between repetitions" not in found.components or found.method == "REML"


def test_no_blocks():
    with pytest.raises(InputError, match="random blocks: there is one block"):
        random_blocks(analyse(planted(0), remedies=False))
