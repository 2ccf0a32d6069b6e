"""Stationary law of a finite Markov chain."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qmodel.workload.markov_arrivals import stationary_phases

if TYPE_CHECKING:
    from numpy.typing import NDArray


def stationary_law(transitions: NDArray[np.float64]) -> NDArray[np.float64]:
    """The stationary probabilities of the states reached from the last one; 0 for the others.

    By the elimination of Grassmann, Taksar & Heyman (*Oper. Res.* 33 (1985) 1107-1116), which subtracts nothing, so
    small probabilities keep their digits. Rows need not sum to 1: the diagonal is never used.

    >>> stationary_law(np.array([[0.0, 1.0], [0.5, 0.5]])).round(12).tolist()
    [0.333333333333, 0.666666666667]
    """
    reached = _reached(transitions)
    out = np.zeros(len(transitions))
    out[reached] = stationary_phases(transitions[np.ix_(reached, reached)])
    return out


def _reached(transitions: NDArray[np.float64]) -> list[int]:
    """States that the last one leads to, in their order (an elimination order in which all can go down)."""
    seen, pending = set(), [len(transitions) - 1]
    while pending:
        state = pending.pop()
        if state not in seen:
            seen.add(state)
            pending += np.flatnonzero(transitions[state] > 0).tolist()
    return sorted(seen)
