import numpy as np
import pandas as pd
import pytest

from qmodel.fit.cells import Cells


def test_cells_by_hand():
    frame = pd.DataFrame({"n": [2.0, 1.0, 2.0, 1.0, 3.0], "p": ["b", "a", "b", "a", "a"]})
    y = np.array([4.0, 1.0, 6.0, 3.0, 7.0])
    c = Cells.of(frame, ["n", "p"], y)
    assert c.levels["n"].tolist() == [1.0, 2.0, 3.0]
    assert c.levels["p"].tolist() == ["a", "b", "a"]
    assert c.mean.tolist() == [2.0, 5.0, 7.0]
    assert c.count.tolist() == [2, 2, 1]
    assert c.row_cell.tolist() == [1, 0, 1, 0, 2]
    assert c.noise.degrees_of_freedom == 2
    assert c.noise.scv == pytest.approx((0.25 * 2 + 0.04 * 2) / 2, rel=1e-15)
    some = c.take(np.array([True, False, True]))
    assert (len(some), some.levels["p"].tolist(), some.mean.tolist()) == (2, ["a", "a"], [2.0, 7.0])


def test_nothing_repeated():
    c = Cells.of(pd.DataFrame({"n": [1.0, 2.0]}), ["n"], np.array([1.0, 2.0]))
    assert not c.noise.known and c.noise.scv == 0.0
