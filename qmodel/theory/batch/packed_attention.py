"""Queries times keys in continuous batching: what one dense attention over all requests adds to an iteration.

With g seconds a pair, n requests of mean context kappa decode in

    d(n) = a + (b + c kappa) n + g kappa n^2,

which is a speed that depends on the state as before. Prompts of P tokens in all make (n + P) (n kappa + P) pairs of
n^2 kappa, so a prompt of I tokens takes the longer the more decode beside it, and two that share an iteration take
longer than one after the other: an iteration with n decoding takes, prompts that come meanwhile included,

    t(n) = d(n) + lambda t E[S_n] + g (lambda E[I] t)^2,   S_n = (p + g n (1 + kappa)) I + g I^2,

the smaller root. The share of time 1 - d(n) / t(n) in which prompts are computed grows with n, and so do the
clusters in which requests come (see `continuous_batching`): the cluster that starts with n present has offspring of
that mean, and the law of the number present by time is that of the time without prompts divided by d(n) / t(n).

With B running all the time and prompts never cut, places are independent and each passes through its request's
iterations: a request is one query and context keys while it decodes, I queries and I keys as it begins, so that

    E[Q K] = B E[q k] + B (B - 1) E[q] E[k]  exactly,

which gives the largest rate (outputs of one length keep their phases: 2 % off then). Fluctuations are those of the
iteration time made linear about the mean number running.

Held against the iteration-level simulation (a = 1.4 and 10 ms, g = 0.4 to 106 ns, caps 8 to 256, prompts of mean 16
to 1000 and scv 0 to 1, outputs of mean 16 to 400 and scv 0 to 2, loads 0.3 to 0.95; of 1266 cases 303 in the range
that `engine_answer` answers in): mean E2E within 3 % and TTFT within 5 %, p99 within 10 % but for one case near
saturation. With g = 0 it is the linear engine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qmodel.theory.batch.progeny import progeny
from qmodel.theory.batch.token_demand import Demand

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qmodel.service.iteration_time import IterationTime

    Floats = NDArray[np.float64]

CLUSTERS = 16
"""Laws of clusters worked out; those of the states in between are interpolated."""
MOST_PAUSING = 0.99
"""Share of time with prompts at most; beyond it no steady iteration exists with so many running."""


def pairs_at_cap(demand: Demand, cap: int) -> float:
    """E[Q K]: mean queries times keys of an iteration with `cap` running all the time, prompts never cut.

    >>> from qmodel.theory.batch.token_demand import Points, together
    >>> from qmodel.workload import Deterministic
    >>> two, three = (Points.of(Deterministic(n)) for n in (2, 3))
    >>> pairs_at_cap(together([1.0], [(two, two, three)]), cap=1)  # 2 x 2, then 3 keys, then 4
    3.6666666666666665
    """
    tokens, prompts = demand.outputs.moment(1), demand.prefills
    queries = (tokens - 1.0 + prompts.moment(1)) / tokens
    keys = (demand.context_seen + prompts.moment(1)) / tokens
    own = (demand.context_seen + prompts.moment(2)) / tokens
    return cap * own + cap * (cap - 1.0) * queries * keys


def prompt_moments(taken: IterationTime, demand: Demand, running: Floats) -> tuple[Floats, Floats]:
    """E[S_n] and E[S_n^2]: seconds that a prompt adds beside so many decoding requests, and their square."""
    each = taken.per_prefill_token + taken.per_query_key * running * (1.0 + demand.context)
    first, second, third, fourth = (demand.prefills.moment(order) for order in (1, 2, 3, 4))
    pair = taken.per_query_key
    mean = each * first + pair * second
    return mean, each**2 * second + 2.0 * each * pair * third + pair**2 * fourth


def pausing(taken: IterationTime, demand: Demand, decoding: Floats) -> Floats:
    """Share of time in which prompts are computed, by the number that decode, in `decoding` seconds alone."""
    mean, _ = prompt_moments(taken, demand, np.arange(decoding.size, dtype=float))
    rest = np.maximum(1.0 - demand.rate * mean, 1.0 - MOST_PAUSING)
    together = taken.per_query_key * demand.prefill_rate**2
    inside = np.maximum(rest**2 - 4.0 * together * decoding, 0.0)
    return np.asarray(np.minimum(1.0 - 0.5 * (rest + np.sqrt(inside)), MOST_PAUSING))


def beyond(taken: IterationTime, demand: Demand, pauses: Floats) -> Floats:
    """P(K > m) of the clusters that start with n present, by n and m = 0, 1, ...

    K is the total progeny of one whose children are Poisson over the time of a prompt beside n.
    """
    mean, square = prompt_moments(taken, demand, np.arange(pauses.size, dtype=float))
    scv = square / mean**2 - 1.0
    places = np.unique(np.linspace(0, pauses.size - 1, min(CLUSTERS, pauses.size)).round().astype(int))
    laws = [1.0 - np.cumsum(progeny(float(pauses[n]), float(scv[n]))) for n in places]
    table = np.zeros((places.size, max(law.size for law in laws)))
    for row, law in zip(table, laws, strict=True):
        row[: law.size] = np.maximum(law, 0.0)
    if places.size == 1:
        return table
    low = np.clip(np.searchsorted(pauses[places], pauses, side="right") - 1, 0, places.size - 2)
    step = np.maximum(pauses[places][low + 1] - pauses[places][low], 1e-300)
    share = np.clip((pauses - pauses[places][low]) / step, 0.0, 1.0)[:, None]
    return np.asarray(table[low] * (1.0 - share) + table[low + 1] * share)


def occupancy(rate: float, more: Floats, leaving: Floats, states: int) -> Floats:
    """mu(n + 1) pi(n + 1) = lambda sum_{j <= n} pi(j) P(K_j > n - j), not normalised, the cap's row beyond it."""
    cap, width = leaving.size - 1, more.shape[1]
    law = np.zeros(states + 1)
    law[0] = 1.0
    for n in range(states):
        j = np.arange(max(0, n - width + 1), n + 1)
        came = rate * float(law[j] @ more[np.minimum(j, cap), n - j])
        law[n + 1] = came / leaving[min(n + 1, cap)]
        if law[n + 1] > 1e200:
            law /= 1e200
    return law
