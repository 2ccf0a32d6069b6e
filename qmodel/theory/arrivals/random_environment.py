"""A server whose speed follows a Markov chain (other tenants, throttling, outages), FCFS, exact.

In state j the server works off c_j seconds of work a second; c_j = 0 is an outage, which interrupts a service and
resumes it. An arrival finds the work V of `modulated_work` and is done when the capacity from then on reaches
X = V + S. With the chain's rates D and U, O the states where the server works and stands still, the capacity
reaches x at a time with transform

    E[exp(-w T(x))] = exp(-K x),   K(w) = C_U^-1 (w I - D_UU - D_UO (w I - D_OO)^-1 D_OU),

so that over the law of X it is sum_j x~(kappa_j) P_j over the eigenvalues of K and their projectors; from an outage
its end comes first. Its derivative at 0 is the mean: of the wait, until the service starts, with V alone; of the
service, interruptions and all, what S adds. Arrivals may be bursty as in MAP/G/1. Sources: Asmussen, *Applied
Probability and Queues* (2003), chapter XI; Takine, *Queueing Systems* 49 (2005) 7-22 (M/G/1 with
Markov-modulated speed); Mitrani & Avi-Itzhak, *Oper. Res.* 16 (1968) 628-638 (breakdowns).

>>> from qmodel.service.environment import Environment
>>> from qmodel.workload import Exponential, Poisson
>>> slow = Environment((1.0, 0.5), ((-0.1, 0.1), (0.1, -0.1)))
>>> queue = Capacity.of(slow, [Poisson(0.5)], [Exponential(1.0)])
>>> round(queue.mean_response(0, Exponential(1.0)), 8)
5.10213979
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from qmodel.answer import NotAnalysable
from qmodel.policy import FCFS
from qmodel.scenario import Scenario, ServedClass
from qmodel.service.environment import Environment
from qmodel.theory.arrivals.map_g_1 import DRIVEN
from qmodel.theory.arrivals.modulated_work import BLOCK, ModulatedWork, NoConvergence, merged_streams
from qmodel.theory.numerics.inversion import InvertedLaw
from qmodel.theory.numerics.stationary import stationary_law
from qmodel.theory.one_server.atoms import MOST, NEGLIGIBLE, Atoms, cdf_of
from qmodel.theory.one_server.m_g_1 import INDEPENDENT, POISSON
from qmodel.theory.premises import MOST_PHASES, driven, unmet
from qmodel.theory.result import ClassResult, Result, Unstable
from qmodel.theory.supply import delivery
from qmodel.workload import ArrivalProcess, Distribution

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]
    Vector = NDArray[np.float64]
    Complex = NDArray[np.complex128]


@dataclass(frozen=True)
class Reaching:
    """How the capacity grows: rates of the phases per unit of work (`steps`), phases in which it first grows
    (`start`), the time until then (`stopped`), the mean time per unit of work (`pace`), what a phase adds to it."""

    steps: Matrix
    start: Matrix
    stopped: Vector
    pace: float
    deviation: Vector


@dataclass(frozen=True)
class Capacity:
    """The stationary work, `marked[k]` the arrivals of class k, and the time that the server takes for it."""

    work: ModulatedWork
    marked: tuple[Matrix, ...]

    @classmethod
    def of(
        cls, environment: Environment, processes: Sequence[ArrivalProcess], laws: Sequence[Distribution]
    ) -> Capacity:
        """The queue of these classes in the environment; the processes must be MAPs."""
        arrivals = driven(processes)
        assert arrivals is not None
        states, phases = len(environment.speeds), len(arrivals.d0)
        same, other = np.eye(states), np.eye(phases)
        d0 = np.kron(np.array(environment.generator), other) + np.kron(same, arrivals.d0)
        np.fill_diagonal(d0, 0.0)
        marked = tuple(np.asarray(np.kron(same, rates), dtype=float) for rates in arrivals.marked)
        np.fill_diagonal(d0, -d0.sum(axis=1) - sum(rates.sum(axis=1) for rates in marked))
        streams, each = merged_streams(list(zip(marked, laws, strict=True)))
        return cls(ModulatedWork(d0, streams, each, np.repeat(environment.speeds, phases)), marked)

    @cached_property
    def up(self) -> NDArray[np.bool_]:
        """Phases in which the server works."""
        return self.work.speeds > 0

    def _pace(self, w: Complex) -> tuple[Complex, Complex]:
        """K(w), and the transform of the time until the server works again, by phase then: all phases to `up`."""
        up, rates = self.up, self.work.generator
        eye = np.eye(len(rates))
        begun = np.zeros((len(w), len(rates), int(up.sum())), dtype=complex)
        begun[:, up] = np.eye(int(up.sum()))
        if not up.all():
            waiting = w[:, None, None] * eye[np.ix_(~up, ~up)] - rates[np.ix_(~up, ~up)]
            begun[:, ~up] = np.linalg.solve(waiting, np.broadcast_to(rates[np.ix_(~up, up)], begun[:, ~up].shape))
        inner = w[:, None, None] * eye[np.ix_(up, up)] - rates[up] @ begun
        return np.asarray(inner / self.work.speeds[up][:, None]), begun

    def transform(self, w: Any, stream: int, own: Distribution) -> Complex:
        """E[exp(-w T)] of a class whose request is delivered after work `own`; shape of w kept."""
        flat, rows = np.asarray(w, dtype=complex).reshape(-1), max(1, BLOCK // self.work.d0.size)
        parts = [self._transform(flat[i : i + rows], stream, own) for i in range(0, len(flat), rows)]
        return np.concatenate(parts).reshape(np.shape(w))

    def _transform(self, w: Complex, stream: int, own: Distribution) -> Complex:
        pace, begun = self._pace(w)
        values, vectors = np.linalg.eig(pace)
        rows = self.work.seen(self.work.transform(values), self.marked[stream]) * own.lst(values)[..., None]
        # sum_j row_j begun r_j (l_j 1), with l the left eigenvectors: rows of the inverse
        reached = np.einsum("njm,nmu,nuj->nj", rows, begun, vectors)
        weights = np.linalg.solve(vectors, np.ones((*values.shape, 1), dtype=complex))[..., 0]
        return np.asarray((reached * weights).sum(axis=1))

    def mean_response(self, stream: int, own: Distribution) -> float:
        """E[T] (s) of a class whose request is delivered after work `own`: until it starts, and from then on."""
        return self.mean_wait(stream) + self.mean_service(stream, own)

    def mean_wait(self, stream: int) -> float:
        """Mean time (s) until the service of a class's requests starts: the work found is done, at some speed."""
        if any(math.isinf(law.moment(2)) for law in self.work.laws):
            return math.inf
        found = self._reaching
        phases = self.work.seen(self.work.phases, self.marked[stream])
        amount = -float(self.work.seen(self.work.slope, self.marked[stream]).sum())
        ended = self._phases_when_done(stream, None) - phases @ found.start
        return float(phases @ found.stopped + amount * found.pace + ended @ found.deviation)

    def mean_service(self, stream: int, own: Distribution) -> float:
        """Mean time (s) that work `own` takes from then on, outages included."""
        change = self._phases_when_done(stream, own) - self._phases_when_done(stream, None)
        return float(own.mean * self._reaching.pace + change @ self._reaching.deviation)

    @cached_property
    def _reaching(self) -> Reaching:
        up, rates = self.up, self.work.generator
        pace, begun = self._pace(np.zeros(1, dtype=complex))
        steps, start = -pace[0].real, begun[0].real
        stopped = np.zeros(len(rates))
        if not up.all():
            stopped[~up] = np.linalg.solve(-rates[np.ix_(~up, ~up)], np.ones(int((~up).sum())))
        each = (1.0 + rates[up] @ stopped) / self.work.speeds[up]
        one, stationary = np.ones(len(each)), stationary_law(steps)
        scale = np.abs(self.work.d0).max() / self.work.speeds.max()
        group = np.outer(one, stationary) / scale - np.linalg.inv(scale * np.outer(one, stationary) - steps)
        return Reaching(steps, start, stopped, float(stationary @ each), np.asarray(group @ each))

    def _phases_when_done(self, stream: int, own: Distribution | None) -> Vector:
        """Phases in which the work found, and `own` if any, is done."""
        values, vectors = np.linalg.eig(-self._reaching.steps)
        pace = np.abs(self.work.d0).max() / self.work.speeds.max()
        values = np.where(np.abs(values) <= 1e-12 * pace, 0.0, values).astype(complex)
        moving = values != 0
        rows = np.empty((len(values), len(self.work.speeds)), dtype=complex)
        rows[~moving] = self.work.seen(self.work.phases, self.marked[stream])
        rows[moving] = self.work.seen(self.work.transform(values[moving]), self.marked[stream])
        if own is not None:
            rows[moving] *= own.lst(values[moving])[:, None]
        weights = np.einsum("jm,mu,uj->j", rows, self._reaching.start, vectors)
        return np.asarray((weights @ np.linalg.inv(vectors)).real)

    def atoms(self, stream: int, own: Distribution) -> Atoms:
        """(time, mass) of responses that find no work, at one speed throughout."""
        from scipy.linalg import expm

        empty = self.work.seen(self.work.empty, self.marked[stream])
        found: Atoms = []
        for x, p in sorted(own.atoms(), key=lambda atom: -atom[1])[:MOST]:
            for speed in np.unique(self.work.speeds[self.up]):
                alike = self.work.speeds == speed
                stay = expm(self.work.generator[np.ix_(alike, alike)] * (x / speed)).sum(axis=1)
                found.append((x / float(speed), p * float(empty[alike] @ stay)))
        return sorted(atom for atom in found if atom[1] > NEGLIGIBLE)


def in_environment(scenario: Scenario) -> Result | NotAnalysable | Unstable:
    """Every class's mean and law of the response in a random environment."""
    refusal = unmet(scenario, (FCFS,))
    environment = scenario.system.environment
    if refusal is not None or environment is None:
        return refusal or NotAnalysable("there is no environment", "one")
    arrivals = driven([served.arrivals for served in scenario.served])
    if arrivals is None or len(arrivals.d0) * len(environment.speeds) > MOST_PHASES:
        return NotAnalysable("arrivals and environment have no small Markov chain together", "Poisson arrivals")
    classes = scenario.served
    queue = Capacity.of(environment, [c.arrivals for c in classes], [c.size for c in classes])
    load = 1.0 - queue.work.drift / environment.mean_speed
    if load >= 1.0:
        return Unstable(load)
    try:
        results = tuple(_class(k, served, queue) for k, served in enumerate(classes))
    except NoConvergence as error:
        return NotAnalysable(
            f"the equations of the environment are beyond double precision: {error}", "other rates"
        )
    return Result(
        classes=results,
        name=f"{'MAP' if len(arrivals.d0) > 1 else 'M'}/G/1 FCFS in a random environment",
        source="Takine 2005; Asmussen 2003, chapter XI",
        assumptions=(
            POISSON if len(arrivals.d0) == 1 else DRIVEN,
            INDEPENDENT,
            "one server, whose speed follows a Markov chain; interrupted work is kept",
        ),
        utilisation=load,
    )


def _class(stream: int, served: ServedClass, queue: Capacity) -> ClassResult:
    given = delivery(served.service)
    atoms = queue.atoms(stream, given)
    places, masses = (np.array([atom[i] for atom in atoms]) for i in (0, 1))

    def rest(w: np.ndarray) -> np.ndarray:
        return queue.transform(w, stream, given) - np.exp(-np.multiply.outer(w, places)) @ masses

    law = InvertedLaw(rest, 1.0 - math.fsum(masses), cdf_of(atoms), scale=given.mean)
    service = queue.mean_service(stream, given)
    return ClassResult(served, service, queue.mean_wait(stream) + service, law=law)
