"""Join the shortest of d queues drawn at random (JSQ(d), with d = k the shortest of all): exponential services.

Finite chain. The numbers at the k servers, sorted, are a Markov chain, kept finite by moving a request from the
longest to the shortest queue whenever they would differ by more than T; see `shortest_queue_chain`.

Mean field. With k -> infinity and d fixed a share s_n of the servers has n or more requests,

    s_n = rho^{(d^n - 1) / (d - 1)},    E[T] = E[S] sum_n s_n / rho.

For finite k E[T] is taken as that plus a polynomial in 1 / k without constant, such that it holds for the small
systems of d to 4 servers, and the law of the number found as a mixture of the mean field's and the largest one's.
Stated error of E[T], against simulations with k = 8 to 64 at loads 0.5 to 0.95: 1.2 % for d = 2 and 3.2 % for d = 3
(the mean field alone: 27 % and 36 % at k = 8, load 0.95); three times as much beyond, where 0.99 was tried.

Sources: Vvedenskaya, Dobrushin & Karpelevich, *Probl. Inf. Transm.* 32 (1996) 15-27; Mitzenmacher, *IEEE TPDS* 12
(2001) 1094-1104; Gast & Van Houdt, *POMACS* 1 (2017) 28 (corrections in 1/k); Adan, van Houtum & van der Wal, *Ann.
Oper. Res.* 48 (1994) 197-217; Gupta, Harchol-Balter, Sigman & Whitt, *Perf. Eval.* 64 (2007) 1062-1081 (JSQ with
processor sharing is nearly insensitive to the service law).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from qmodel.theory.servers.shortest_queue_chain import JockeyingChain, jockeying_chain

MOST_STATES, MOST_SMALL = 1_800, 900
"""States of the chain, and of one of the small systems of the mean field: more take longer than an answer may."""
MOST_THERE = 40_000
"""Number there that is not negligible, from which on the load is too near 1."""
ENOUGH = 1e-9
"""Gap of the chain's means that is aimed at."""
CHAIN_ERROR = 0.05
"""Gap of the chain's means up to which it serves: JSQ of 32 servers at load 0.95 has 0.014, and is 0.8 % off."""
THIN, HOPELESS = 2, 10.0
"""A T of which the chain takes no time; its error, relative to that stated, which no larger T here makes up for."""
MOST_WIDTH = 30
STATED = {2: 0.012, 3: 0.032}
"""By d, the error of the refined mean field."""
TRIED, BEYOND = 0.95, 3.0
"""Load up to which that error was found, and how much larger it is taken beyond."""
LARGEST = 4
"""Servers of the largest small system."""
CUT = 1e-13
"""Probability of what is left out."""


@dataclass(frozen=True)
class Found:
    """Probabilities that an arrival finds 0, 1, 2, ... where it joins, and the relative error of the mean."""

    probabilities: np.ndarray
    error: float
    name: str

    @property
    def mean_response(self) -> float:
        """E[T] in mean service times."""
        return _mean(self.probabilities)


def found_by_arrivals(servers: int, load: float, choices: int) -> Found | None:
    """The better of chain and refined mean field; None where there is only a chain, and not good to 5 %.

    >>> round(found_by_arrivals(2, 0.5, 2).mean_response, 6)
    1.426321
    """
    near_one = 1.0 if load <= TRIED else BEYOND
    if choices == servers or choices not in STATED:
        law, error = _best_chain(servers, load, choices)
        return Found(law, error, "finite chain") if error < CHAIN_ERROR else None
    stated = STATED[choices] * near_one
    thin = _best_chain(servers, load, choices, THIN)
    law, error = _best_chain(servers, load, choices) if thin[1] < HOPELESS * stated else thin
    if error > stated:
        return Found(refined(servers, load, choices), stated, "refined mean field")
    return Found(law, error, "finite chain")


def _best_chain(servers: int, load: float, choices: int, most: int = MOST_WIDTH) -> tuple[np.ndarray, float]:
    """The chain of largest T, at most `most`, and its error: for d < k a multiple of the gap."""
    width = min(most, widest(servers, load, choices))
    if not width:
        return np.empty(0), math.inf
    law, gap = chain(servers, load, choices, width)
    beside = 1.0 if choices == servers else max(1.0, servers / 4.0) * (1.0 if load <= TRIED else BEYOND)
    return law, gap * beside


def refined(servers: int, load: float, choices: int) -> np.ndarray:
    """A mixture of the mean field and a small system, with the mean that the small systems lead to."""
    sizes = np.arange(choices, LARGEST + 1.0)
    limit = mean_field(load, choices)
    small = [chain(int(k), load, choices, widest(int(k), load, choices, MOST_SMALL))[0] for k in sizes]
    excess = np.array([_mean(law) for law in small]) - _mean(limit)
    powers = np.arange(1.0, len(sizes) + 1.0)
    bends = np.linalg.solve(sizes[:, None] ** -powers, excess)
    share = float(bends @ servers**-powers) / excess[-1]
    longest = max(len(limit), len(small[-1]))
    limit, larger = (np.pad(law, (0, longest - len(law))) for law in (limit, small[-1]))
    return np.asarray((1.0 - share) * limit + share * larger)


def _mean(law: np.ndarray) -> float:
    return float(law @ (1 + np.arange(len(law))))


def mean_field(load: float, choices: int) -> np.ndarray:
    """Probabilities that an arrival finds 0, 1, 2, ... requests at the server it joins, as k -> infinity.

    >>> p = mean_field(0.9, 2)
    >>> round(float(p @ (1 + np.arange(len(p)))), 6)
    2.614057
    """
    at_least = [1.0]
    while at_least[-1] ** choices > CUT and len(at_least) < 20_000:
        at_least.append(load * at_least[-1] ** choices)
    longer = np.array([*at_least, 0.0]) ** choices
    return longer[:-1] - longer[1:]


def widest(servers: int, load: float, choices: int, most: int = MOST_STATES) -> int:
    """The T to take: for a gap of some `ENOUGH`, or the largest whose chain is small enough; 0 if there is none.

    The gap falls with T as about exp(-T (1.25 - 1/k - k log(rho))), more slowly for d < k.
    """
    if math.log(CUT) / math.log(load) > MOST_THERE:
        return 0
    steep = -servers * math.log(load)
    fall = 1.25 - 1.0 / servers + steep if choices == servers else 0.55 + 0.65 * steep
    enough = 1 + max(2, math.ceil(-math.log(ENOUGH) / fall))
    return next((width for width in range(enough, 0, -1) if states(servers, choices, width) <= most), 0)


def states(servers: int, choices: int, width: int) -> int:
    """How many states the chain has.

    >>> states(2, 2, 3), len(JockeyingChain(2, 2, 3).states)
    (14, 14)
    """
    top = JockeyingChain(servers, choices, width).longest
    return sum(math.comb(servers - 2 + w, w) * (top + 1 - w) for w in range(width + 1)) if servers > 1 else top + 1


@lru_cache(maxsize=64)
def chain(servers: int, load: float, choices: int, width: int) -> tuple[np.ndarray, float]:
    """Probabilities that an arrival finds 0, 1, 2, ..., moves at a difference of `width`; and the gap of its means.

    >>> law, gap = chain(2, 0.5, 2, 10)
    >>> round(_mean(law), 6), gap < 1e-8
    (1.426321, True)
    """
    return jockeying_chain(servers, choices, width).solved(load)
