"""Serving requests that are given one by one: a recorded run, a trace, an overload from empty."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from qmodel.policy import FCFS
from qmodel.service.engine import Engine
from qmodel.simulation.iterations.rules import Rules, Time
from qmodel.simulation.iterations.token_requests import given
from qmodel.simulation.replaying import to_stderr
from qmodel.workload import Deterministic, Poisson, RequestClass

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

    from qmodel.policy import Policy
    from qmodel.scenario import Scenario
    from qmodel.simulation.iterations.outcome import TokenOutcome
    from qmodel.simulation.iterations.serving import Totals
    from qmodel.simulation.iterations.token_requests import Later

ANYBODY = RequestClass("requests", Poisson(rate=1.0), Deterministic(1.0))
"""The class of requests that come without one."""


@dataclass(frozen=True)
class Replay:
    """What became of each request in order of arrival, totals of the run, and the series of its state.

    `samples`: columns time (s), running, waiting, KV blocks in use, at multiples of the sampling time.
    """

    outcome: TokenOutcome
    totals: Totals

    @property
    def samples(self) -> NDArray[np.float64]:
        """Time, running, waiting, KV blocks."""
        return self.totals.samples

    def to_frame(self) -> pd.DataFrame:
        """One row a request."""
        return self.outcome.to_frame()


def replay_run(
    time: Time,
    arrival_s: ArrayLike,
    input_tokens: ArrayLike,
    output_tokens: ArrayLike,
    *,
    engine: Engine | None = None,
    max_batch: int | None = None,
    kv_capacity_tokens: int | None = None,
    policy: Policy | None = None,
    classes: Sequence[RequestClass] = (ANYBODY,),
    class_index: ArrayLike | None = None,
    prefix_tokens: ArrayLike | None = None,
    sample_s: float = 0.0,
    seed: int = 1,
    jumps: bool = True,
    tell: Callable[[str], None] | None = to_stderr,
) -> Replay:
    """Serve these requests, from an empty engine, whose iterations take `time`; to the end.

    Nothing is drawn but early exits and accepted drafts. With `sample_s`, the state is sampled at its multiples.
    Raises InputError naming the column and row at fault.

    >>> from qmodel.service.iteration_time import IterationTime
    >>> done = replay_run(IterationTime(base=1.0), [0.0, 0.5], [10, 10], [3, 2], tell=None)
    >>> done.outcome.first_s.tolist(), done.outcome.done_s.tolist()
    ([1.0, 2.0], [3.0, 3.0])
    """
    rules = Rules(time, engine or Engine(), max_batch, kv_capacity_tokens)
    return replay_by(
        rules, policy or FCFS(), classes, arrival_s, input_tokens, output_tokens, class_index=class_index,
        prefix_tokens=prefix_tokens, sample_s=sample_s, seed=seed, jumps=jumps, tell=tell,
    )  # fmt: skip


def replay_scenario(
    scenario: Scenario,
    arrival_s: ArrayLike,
    input_tokens: ArrayLike,
    output_tokens: ArrayLike,
    *,
    class_index: ArrayLike | None = None,
    later: Later | None = None,
    sample_s: float = 0.0,
    seed: int = 1,
    tell: Callable[[str], None] | None = to_stderr,
) -> Replay:
    """Serve these requests under the scenario's policy and engine, whatever its own arrivals and lengths.

    Prefixes are the classes' shares of the input tokens. `later`: services after pauses; lengths are then those of
    the first. What a token is worth to the policy is what it is to the simulation of the scenario and to a live
    run, by the mean lengths of its laws and not of these requests.
    """
    from qmodel.simulation.iterations.scenario_rules import rules_of

    index = np.zeros(np.shape(arrival_s), dtype=np.int64) if class_index is None else np.asarray(class_index)
    hits = np.array([each.prefix_hit for each in scenario.classes])
    prompt = np.asarray(input_tokens, dtype=float)
    prefix = None
    if hits.any():
        prefix = np.minimum(np.floor(hits[index] * prompt), prompt - 1)
    return replay_by(
        rules_of(scenario), scenario.policy, scenario.classes, arrival_s, input_tokens, output_tokens,
        class_index=index, prefix_tokens=prefix, later=later, sample_s=sample_s, seed=seed, tell=tell,
    )  # fmt: skip


def replay_by(
    rules: Rules, policy: Policy, classes: Sequence[RequestClass], arrival_s: ArrayLike, input_tokens: ArrayLike,
    output_tokens: ArrayLike, *, class_index: ArrayLike | None = None, prefix_tokens: ArrayLike | None = None,
    later: Later | None = None, sample_s: float = 0.0, seed: int = 1, jumps: bool = True,
    tell: Callable[[str], None] | None = to_stderr,
) -> Replay:  # fmt: skip
    """Serve these requests by these rules; where those name no context, a token is worth what it is at theirs."""
    from qmodel.simulation.iterations.pools import collected
    from qmodel.simulation.kernels.compiled import announced

    requests = given(
        classes, arrival_s, input_tokens, output_tokens, class_index=class_index, prefix_tokens=prefix_tokens
    )
    context = float(requests.prompt.mean() + 0.5 * requests.output.mean())
    prompt_s, token_s = rules.alone_s(context)
    prompt, output = requests.prompt, requests.output
    if later is not None:
        requests = replace(requests, later=later)
        prompt, output = prompt + later.sums(later.prompt), output + later.sums(later.output)
    size = prompt * prompt_s + output * token_s
    requests = replace(requests, size_s=size, predicted_s=size)
    with announced(tell):
        outcome, totals = collected(requests, policy, rules, seed=seed, jumps=jumps, sample_s=sample_s)
    return Replay(outcome, totals)
