"""MAP/G/1 under FCFS: bursty, correlated arrivals driven by a Markov chain, any law of service, exact.

Classes with Poisson, Markov-modulated, Markovian or Erlang arrivals are one marked Markovian arrival process. A
request of class k finds the work v(s) of `modulated_work` in the phase of its arrival:

    W_k~(s) = v(s) D_k 1 / lambda_k,   T_k = W_k + S_k,   P(W_k = 0) = v(inf) D_k 1 / lambda_k.

Waits differ between classes: a bursty class finds more work than a regular one. Sources: Ramaswami, *Adv. Appl.
Prob.* 12 (1980) 222-261; Lucantoni, *Stochastic Models* 7 (1991) 1-46; Takine & Hasegawa, *Stochastic Models* 10
(1994) 183-204 (classes with services of their own).

>>> from qmodel.workload import Exponential, Map
>>> erlang = Map(d0=((-1.8, 1.8), (0.0, -1.8)), d1=((0.0, 0.0), (1.8, 0.0)))  # gaps of two phases, 0.9/s
>>> round(mean_waits([erlang], [Exponential(mean=1.0)])[0], 9)  # GI/M/1: x/(1 - x), x = (1.8/(2.8 - x))^2
6.588283629
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from qmodel.answer import NotAnalysable
from qmodel.scenario import ServedClass
from qmodel.theory.arrivals.modulated_work import ModulatedWork, NoConvergence, merged_streams
from qmodel.theory.one_server.m_g_1 import INDEPENDENT, ONE_SERVER, after_wait
from qmodel.theory.premises import driven
from qmodel.theory.result import ClassResult, Result, Unstable
from qmodel.workload import ArrivalProcess, Distribution
from qmodel.workload.superposition import MarkedArrivals

SOURCE = "Ramaswami 1980; Lucantoni 1991; Takine & Hasegawa 1994"
DRIVEN = "arrivals driven by a Markov chain (Poisson, MMPP, MAP, Erlang)"


def stationary_work(arrivals: MarkedArrivals, laws: Sequence[Distribution]) -> ModulatedWork:
    """The work that these streams, of these laws, bring to a server of speed 1."""
    marked, each = merged_streams(list(zip(arrivals.marked, laws, strict=True)))
    return ModulatedWork(arrivals.d0, marked, each, np.ones(len(arrivals.d0)))


def mean_waits(processes: Sequence[ArrivalProcess], laws: Sequence[Distribution]) -> list[float]:
    """E[W_k] of each stream; the processes must be MAPs and the queue stable."""
    arrivals = driven(processes)
    assert arrivals is not None
    work = stationary_work(arrivals, laws)
    return [-float(work.seen(work.slope, marked).sum()) for marked in arrivals.marked]


def map_g_1(classes: Sequence[ServedClass], arrivals: MarkedArrivals) -> Result | NotAnalysable | Unstable:
    """Every class's mean and law of the response, `arrivals` being the classes' own as one marked chain."""
    work = stationary_work(arrivals, [served.size for served in classes])
    if work.drift <= 0:
        return Unstable(1.0 - work.drift)
    try:
        results = [_class(served, marked, work) for served, marked in zip(classes, arrivals.marked, strict=True)]
    except NoConvergence as error:
        return NotAnalysable(
            f"the equations of the arrivals' chain are beyond double precision: {error}", "other rates"
        )
    return Result(
        classes=tuple(results),
        name="MAP/G/1 FCFS",
        source=SOURCE,
        assumptions=(DRIVEN, INDEPENDENT, ONE_SERVER),
    )


def _class(served: ServedClass, marked: np.ndarray, work: ModulatedWork) -> ClassResult:
    at_once = float(work.seen(work.empty, marked).sum())
    shares = marked.sum(axis=1) / served.rate

    def positive(s: np.ndarray) -> np.ndarray:
        return np.asarray(work.transform(s) @ shares - at_once)

    variable = any(math.isinf(law.moment(2)) for law in work.laws)
    wait = math.inf if variable else max(0.0, -float(work.seen(work.slope, marked).sum()))
    return after_wait(served, wait, positive, 1.0 - at_once)
