import numpy as np
import pandas as pd

from qmodel.fit.cells import Cells
from qmodel.fit.folds import largest_fifth, level_folds


def cells(**levels):
    frame = pd.DataFrame(levels, dtype=float)
    return Cells.of(frame, list(levels), np.ones(len(frame)))


def grid(a, b):
    pairs = [(x, y) for x in a for y in b]
    return cells(a=[p[0] for p in pairs], b=[p[1] for p in pairs])


def test_each_level_once():
    c = grid([1, 2, 4], [10, 20])
    folds = level_folds(c, ["a", "b"])
    assert [(f.label, f.edge) for f in folds] == [("a = 1", True), ("a = 2", False), ("a = 4", True)]
    for fold, level in zip(folds, [1, 2, 4], strict=True):
        assert np.array_equal(fold.test, c.levels["a"] == level)


def test_many_levels_go_in_groups_without_neighbours():
    c = cells(tokens=np.arange(1, 401))
    folds = level_folds(c, ["tokens"])
    assert len(folds) == 21
    assert np.sum([f.test for f in folds], axis=0).tolist() == [1] * 400
    assert [f.label for f in folds if f.edge] == ["tokens = 1", "tokens = 400"]
    for fold in folds:
        assert np.all(np.diff(np.flatnonzero(fold.test)) > 1)
        assert not (fold.edge and fold.test.sum() != 1)


def test_two_levels_only():
    folds = level_folds(grid([1, 2], [3, 4]), ["a", "b"])
    assert [f.factor for f in folds] == ["cell"] * 4
    assert np.sum([f.test for f in folds], axis=0).tolist() == [1] * 4
    assert not any(f.edge for f in folds)


def test_nothing_can_be_spared():
    assert level_folds(cells(a=[1, 2]), ["a"]) == []


def test_largest_fifth():
    c = cells(a=np.arange(1, 11), b=np.tile([1, 2], 5))
    (fold,) = largest_fifth(c, ["a", "b"])
    assert fold.label == "a >= 9"
    assert c.levels["a"][fold.test].tolist() == [9, 10]
    (fold,) = largest_fifth(cells(a=[1, 2, 4, 8, 16]), ["a"])
    assert fold.label == "a >= 16"


def test_the_base_of_a_design_one_factor_at_a_time_is_not_left_out():
    """Batch at 512 tokens, tokens at batch 1: without batch 1 the tokens do not vary."""
    cells_at = [(b, 512.0) for b in (1.0, 2, 4, 8)] + [(1.0, t) for t in (64.0, 128, 256, 1024)]
    frame = pd.DataFrame(cells_at, columns=["batch", "tokens"])
    cells = Cells.of(frame, ["batch", "tokens"], np.ones(len(frame)))
    labels = [fold.label for fold in level_folds(cells, ["batch", "tokens"])]
    assert "batch = 1" not in labels and "tokens = 512" not in labels
    assert {"batch = 2", "batch = 8", "tokens = 64", "tokens = 1024"} <= set(labels)
