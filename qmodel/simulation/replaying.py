"""The same queue on requests that are given one by one: a recorded schedule, a trace, measured service times."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from qmodel.errors import InputError

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

    from qmodel.scenario import Scenario
    from qmodel.simulation.kernels.columns import Log
    from qmodel.simulation.network.serving import Fates
    from qmodel.simulation.requests import Requests

    Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Outcome:
    """What became of each request, in the order given. Times are seconds on the arrivals' clock.

    `start_s` first service, `delivered_s` result out, `done_s` server free of it, `reduced` served in the
    long-queue mode, `preemptions` times interrupted (not counted where requests share at every instant),
    `rejected` found the system full, `abandoned` lost patience (at `done_s`). Times that there are not are NaN.
    """

    start_s: Floats
    done_s: Floats
    delivered_s: Floats
    reduced: NDArray[np.bool_]
    preemptions: NDArray[np.int64]
    rejected: NDArray[np.bool_]
    abandoned: NDArray[np.bool_]
    notes: tuple[str, ...] = field(default=(), compare=False)

    @classmethod
    def of(cls, log: Log, notes: list[str]) -> Outcome:
        """From an event loop's log."""
        nobody = np.zeros(log.done_s.size, dtype=np.bool_)
        return cls(
            log.start_s, log.done_s, log.delivered_s, log.reduced, log.preemptions, nobody, nobody, tuple(notes)
        )

    @classmethod
    def of_fates(cls, fates: Fates, notes: list[str]) -> Outcome:
        """From what the general loop, or batches, made of the requests."""
        from qmodel.simulation.kernels.network_rows import ABANDONED, REJECTED

        rejected, abandoned = fates.state == REJECTED, fates.state == ABANDONED
        times = fates.start_s, fates.done_s, fates.delivered_s
        return cls(*times, fates.reduced, fates.preemptions, rejected, abandoned, tuple(notes))

    def to_frame(self) -> pd.DataFrame:
        """One row a request."""
        import pandas as pd

        names = ("start_s", "done_s", "delivered_s", "reduced", "preemptions", "rejected", "abandoned")
        return pd.DataFrame({name: getattr(self, name) for name in names})


def to_stderr(message: str) -> None:
    """One line to the user, beside the results."""
    sys.stderr.write(message + "\n")


def replay(
    scenario: Scenario,
    *,
    arrival_s: ArrayLike,
    service_s: ArrayLike,
    class_index: ArrayLike | None = None,
    service_long_s: ArrayLike | None = None,
    delivered_share: ArrayLike | None = None,
    size_s: ArrayLike | None = None,
    size_long_s: ArrayLike | None = None,
    predicted_s: ArrayLike | None = None,
    lottery: ArrayLike | None = None,
    grain_s: ArrayLike | None = None,
    grain_long_s: ArrayLike | None = None,
    seed: int = 0,
    tell: Callable[[str], None] | None = to_stderr,
) -> Outcome:
    """Serve these requests under the scenario's policy, system and queue condition.

    The scenario's own arrivals, sizes and predictions are not used.

    Columns, one entry a request, in order of arrival: `class_index` into the scenario's classes (0), `service_s`
    while the queue is short, `service_long_s` for a service that starts while the queue condition holds (the
    same), `delivered_share` of the service after which the result is out (1), `size_s` and `size_long_s` that the
    policy is told (the services), `predicted_s` (the sizes), `lottery` (0).

    With `grain_s` (seconds, one for all or one each; `grain_long_s` in the other mode), service is given in whole
    steps of about that length and decisions are taken between steps only, as a live serving loop takes them: the
    request of lowest (rank, arrival, index) gets the next step; sharing policies go by service received per weight.

    What else the scenario asks for (patience, routes, pauses, ...) is drawn from `seed`. Raises InputError naming
    the column and row at fault, and for what cannot be replayed.

    >>> from qmodel.policy import SRPT
    >>> from qmodel.scenario import Scenario
    >>> from qmodel.workload import Exponential, Poisson, RequestClass
    >>> one = RequestClass("a", arrivals=Poisson(rate=0.5), service=Exponential(mean=1.0))
    >>> given = {"arrival_s": [0.0, 1.0], "service_s": [3.0, 1.0], "tell": None}
    >>> replay(Scenario(classes=[one], policy=SRPT()), **given).done_s.tolist()
    [4.0, 2.0]
    >>> replay(Scenario(classes=[one], policy=SRPT()), grain_s=1.5, **given).done_s.tolist()
    [4.0, 2.5]
    """
    from qmodel.simulation.kernels.compiled import announced
    from qmodel.simulation.requests import given
    from qmodel.simulation.running import refuse_unknown
    from qmodel.simulation.serving import Rules, serve

    requests = given(
        scenario.served,
        arrival_s,
        np.zeros(np.shape(arrival_s)) if class_index is None else class_index,
        service_s,
        service_long_s=service_long_s,
        delivered_share=delivered_share,
        size_s=size_s,
        size_long_s=size_long_s,
        predicted_s=predicted_s,
        lottery=lottery,
    )
    refuse_unknown(scenario)
    if grain_s is not None:
        _refuse_in_steps(scenario)
        steps = _steps(requests, grain_s, grain_s if grain_long_s is None else grain_long_s)
        rules = Rules.of(scenario).in_steps(*steps)
    with announced(tell):
        if grain_s is not None:
            return Outcome.of(*serve(scenario.policy, requests, rules))
        return _whole(scenario, requests, np.random.SeedSequence(seed))


def _whole(scenario: Scenario, requests: Requests, seed: np.random.SeedSequence) -> Outcome:
    """Services that are not cut into steps."""
    from qmodel.simulation import batching
    from qmodel.simulation.network import serving as network
    from qmodel.simulation.running import needs_general
    from qmodel.simulation.serving import Rules, serve

    if scenario.system.batching == "dynamic":
        if any(each.factors for each in scenario.classes):
            fault = "lengths are drawn, and cannot be replayed"
            raise InputError("replay, output_tokens", fault, "give iteration times without tokens")
        fates, _, notes = batching.serve_batches(scenario, requests, seed)
        return Outcome.of_fates(fates, notes)
    rules = Rules.of(scenario)
    if not needs_general(scenario):
        return Outcome.of(*serve(scenario.policy, requests, rules))
    if "closed" in scenario.features:
        raise InputError("replay, arrivals", "closed populations bring their own", "use simulate")
    fates, _, notes = network.serve(scenario, requests, seed, rules.control)
    return Outcome.of_fates(fates, notes)


def _refuse_in_steps(scenario: Scenario) -> None:
    odd = sorted(scenario.features - {"piecewise"})
    if odd:
        raise InputError(f"replay, {odd[0]}", "is not replayed in steps", "leave out grain_s")
    if scenario.system.batching == "dynamic":
        raise InputError("system, batching", "a dynamic batch is served whole: no steps", "leave out grain_s")


def _steps(requests: Requests, grain_s: ArrayLike, grain_long_s: ArrayLike) -> tuple[Floats, Floats]:
    """Whole numbers of steps, at least one, in the two modes."""
    numbers = []
    for name, grain, service in (
        ("grain_s", grain_s, requests.service_s),
        ("grain_long_s", grain_long_s, requests.long_s),
    ):
        grain = np.asarray(grain, dtype=float)
        if grain.shape not in ((), service.shape) or not (np.isfinite(grain) & (grain > 0)).all():
            raise InputError(f"replay, {name}", "is not a positive number of seconds each", "give one, or one each")
        numbers.append(np.maximum(1.0, np.rint(service / grain)))
    return numbers[0], numbers[1]
