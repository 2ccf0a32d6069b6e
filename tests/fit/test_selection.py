import numpy as np

from qmodel.fit.selection import mean_known, simplest, within_one_standard_error


def test_paired_differences():
    """Means 0.100, 0.103 and 0.200; the second's difference of 0.003 has standard error 0.004."""
    best = np.array([0.01, 0.19, 0.05, 0.15])
    near = best + np.array([0.015, -0.005, 0.002, 0.0])
    far = best + 0.1
    assert within_one_standard_error([best, near, far]) == [True, True, False]
    assert simplest([best, near, far], [(3,), (2,), (1,)]) == 1
    assert simplest([best, near, far], [(2, 1.0), (2, 2.0), (1,)]) == 0


def test_a_constant_shift_is_no_tie_although_folds_differ_widely():
    best = np.array([0.01, 0.5, 0.2, 0.9])
    assert within_one_standard_error([best, best + 0.01]) == [True, False]


def test_equal_size_goes_to_the_better():
    e = np.array([0.1, 0.2, 0.3])
    assert simplest([e + np.array([0.01, -0.01, 0.001]), e], [(2,), (2,)]) == 1


def test_undetermined_and_unjudged_folds():
    best = np.array([0.1, np.nan, 0.2])
    assert within_one_standard_error([best, np.array([0.1, 5.0, 0.2]), np.full(3, np.inf)]) == [True, True, False]
    assert within_one_standard_error([np.array([0.5]), np.array([0.4])]) == [False, True]
    assert within_one_standard_error([np.array([np.nan]), np.array([0.4])]) == [True, False]
    assert mean_known(np.array([np.nan, 2.0])) == 2.0
    assert mean_known(np.array([np.nan])) == np.inf


def test_a_simpler_function_may_not_be_much_worse():
    """Folds that differ widely make every difference look small; half as bad again is worse all the same."""
    best, worse = np.array([0.1, 0.1, 1.0]), np.array([0.1, 0.1, 1.8])
    assert within_one_standard_error([best, worse]) == [True, False]
    assert within_one_standard_error([best, best + np.array([0.0, 0.0, 0.1])]) == [True, True]
