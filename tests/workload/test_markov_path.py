"""The compiled walk of a Markovian arrival process, beside itself in plain Python."""

import numpy as np

from qmodel.workload import Mmpp
from qmodel.workload.markov_path import _compiled, arrival_times, walk

D0, D1 = Mmpp((3.0, 0.5), ((-0.1, 0.1), (0.3, -0.3))).matrices


def walked(function, n=2000, horizon=1e9, seed=3):
    rng = np.random.default_rng(seed)
    leave = -np.diag(D0)
    cumulative = np.cumsum(np.hstack((D0 + np.diag(leave), D1)), axis=1) / leave[:, None]
    reached = np.zeros(n)
    ended = function(0, 0.0, horizon, leave, cumulative, rng.standard_exponential(n), rng.random(n), reached)
    return ended, reached


def test_the_walk_is_what_it_says():
    (state, now, count), reached = walked(walk)
    (same_state, same_now, same_count), same = walked(walk.py_func)
    assert (state, count) == (same_state, same_count) and np.allclose([now, *reached], [same_now, *same])
    assert 0 < count < 2000 and (np.diff(reached[:count]) > 0).all()
    (_, stopped, fewer), _ = walked(walk.py_func, horizon=now / 2)
    assert fewer < count and stopped >= now / 2


def test_arrivals_come_at_the_mean_rate():
    times = arrival_times(D0, D1, np.array([0.75, 0.25]), np.random.default_rng(1), 40_000.0)
    # index of dispersion of this process: below 15, so that the standard error is below 0.03
    assert abs(len(times) / 40_000.0 - (0.75 * 3.0 + 0.25 * 0.5)) < 0.12
    assert (np.diff(times) > 0).all() and times[0] > 0 and times[-1] < 40_000.0


def test_without_a_place_for_a_cache():
    made = {}
    exec(compile("def double(x):\n    return 2 * x", "<nowhere>", "exec"), made)
    assert _compiled(made["double"])(21) == 42
