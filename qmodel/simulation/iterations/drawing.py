"""Drawing the token requests of a run: from each class's own streams, so that policies meet the same requests."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from qmodel.errors import InputError
from qmodel.simulation.draw import arrival_times, predictions
from qmodel.simulation.iterations.token_requests import MOST_TOKENS, Later, TokenRequests, given
from qmodel.simulation.streams import generator, stream
from qmodel.workload import Closed, Trace

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qmodel.scenario import Scenario
    from qmodel.workload import Pause, RequestClass

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]

LENGTHS = ("input_tokens", "output_tokens")


def check_lengths(scenario: Scenario) -> None:
    """Raise InputError unless every class says how many tokens its requests bring, and nothing else."""
    for each in scenario.classes:
        place = f"class '{each.name}'"
        for name in LENGTHS:
            if name not in each.factors:
                raise InputError(f"{place}, {name}", "is missing", "batching = 'continuous' needs its law")
        other = next((name for name in each.factors if name not in LENGTHS), None)
        if other is not None:
            raise InputError(
                f"{place}, {other}", "is no length", "continuous batching reads input and output tokens"
            )
        if isinstance(each.arrivals, Closed):
            raise InputError(
                f"{place}, arrivals", "a closed population is not simulated here", "give open arrivals"
            )


def draw(
    scenario: Scenario, count: int, seed: np.random.SeedSequence, per_token_s: tuple[float, float],
    horizon_s: float | None = None,
) -> TokenRequests:  # fmt: skip
    """About `count` requests of all classes (exactly, with one that is no trace), or those in a horizon.

    Sizes are tokens times `per_token_s`, seconds a prompt token and an output token.
    """
    classes = scenario.classes
    horizon = _last_recorded(scenario, count / scenario.rate if horizon_s is None else horizon_s)
    exactly = count if horizon_s is None and len(classes) == 1 else None
    arrivals = [
        arrival_times(each.arrivals, stream(seed, index, "arrivals"), horizon, exactly)
        for index, each in enumerate(classes)
    ]
    columns = [_columns(c, seed, i, arrivals[i].size, per_token_s) for i, c in enumerate(classes)]
    return _merged(classes, arrivals, columns)


def _last_recorded(scenario: Scenario, horizon: float) -> float:
    ends = [c.arrivals.recorded_s[-1] for c in scenario.classes if isinstance(c.arrivals, Trace)]
    return min([horizon, *(math.nextafter(end, math.inf) for end in ends)])


BALANCED = 512
"""Requests of a block whose lengths stand for their laws."""


def balanced(scenario: Scenario, count: int, seed: np.random.SeedSequence) -> TokenRequests:
    """So many requests that wait at time 0, each block with classes and lengths in proportion to their laws.

    Quantiles along the additive recurrence of Roberts (2018) in three dimensions, shuffled within blocks.
    """
    recurrence = 1.22074408460575947536 ** -np.arange(1.0, 4.0)  # root of x^4 = x + 1
    levels = np.modf(0.5 + np.arange(count)[:, None] * recurrence)[0]
    rng = np.random.default_rng(seed)
    for first in range(0, count, BALANCED):
        rng.shuffle(levels[first : first + BALANCED])
    shares = np.cumsum([each.rate for each in scenario.classes]) / scenario.rate
    index = np.minimum(np.searchsorted(shares, levels[:, 0], side="right"), len(shares) - 1)
    lengths = np.ones((2, count), dtype=np.int64)
    hits = np.array([each.prefix_hit for each in scenario.classes])[index]
    for number, each in enumerate(scenario.classes):
        own = index == number
        for row, values in enumerate(each.lengths_at(levels[own, 1], levels[own, 2])):
            lengths[row, own] = _whole(values)
    prompt, output = lengths
    prefix = np.minimum((hits * prompt).astype(np.int64), prompt - 1)
    return given(scenario.classes, np.zeros(count), prompt, output, class_index=index, prefix_tokens=prefix)


def _lengths(
    each: RequestClass, first: np.random.Generator, second: np.random.Generator, count: int
) -> tuple[Integers, Integers]:
    prompt, output = each.draw_lengths(first, second, count)
    return _whole(prompt), _whole(output)


def _whole(lengths: Floats) -> Integers:
    """Rounded to whole tokens, at least one."""
    return np.minimum(np.maximum(1.0, np.rint(lengths)), MOST_TOKENS).astype(np.int64)


def _columns(
    each: RequestClass, seed: np.random.SeedSequence, index: int, n: int, per_token_s: tuple[float, float]
) -> dict[str, Any]:
    prompt, output = _lengths(each, generator(seed, index, "sizes"), generator(seed, index, "tokens"), n)
    later = _later(each, each.pause, seed, index, n)
    size = per_token_s[0] * (prompt + later.sums(later.prompt)) + per_token_s[1] * (
        output + later.sums(later.output)
    )
    encode = np.zeros(n)
    if each.encode_s is not None:
        encode = np.maximum(0.0, each.encode_s.sample(generator(seed, index, "encodings"), n))
        size = size + encode
    patience = np.full(n, math.inf)
    if each.patience is not None:
        patience = each.patience.sample(generator(seed, index, "patience"), n)
    return {
        "prompt": prompt,
        "output": output,
        "prefix": np.minimum((each.prefix_hit * prompt).astype(np.int64), prompt - 1),
        "patience_s": patience,
        "encode_s": encode,
        "size_s": size,
        "predicted_s": predictions(each.predicted_size, size, generator(seed, index, "predictions")),
        "lottery": generator(seed, index, "lotteries").random(n),
        "later": later,
    }


def _later(each: RequestClass, pause: Pause | None, seed: np.random.SeedSequence, index: int, n: int) -> Later:
    """The services that follow pauses: geometric in number, each of the class's own lengths."""
    if pause is None:
        return Later.none(n)
    rng = generator(seed, index, "pauses")
    number = rng.geometric(1.0 - pause.probability, n).astype(np.int64) - 1
    total = int(number.sum())
    visits = generator(seed, index, "visits")
    prompt, output = _lengths(each, visits, visits, total)
    return Later(
        first=np.concatenate(([0], np.cumsum(number)[:-1])).astype(np.int64),
        number=number,
        pause_s=np.maximum(0.0, pause.duration.sample(rng, total)),
        prompt=prompt,
        output=output,
    )


def _merged(classes: Sequence[RequestClass], arrivals: list[Floats], parts: list[dict[str, Any]]) -> TokenRequests:
    times = np.concatenate(arrivals)
    order = np.argsort(times, kind="stable")
    n = times.size
    names = [name for name in parts[0] if name != "later"]
    columns: dict[str, Any] = {name: np.concatenate([part[name] for part in parts])[order] for name in names}
    return TokenRequests(
        classes=tuple(classes),
        arrival_s=times[order],
        class_index=np.repeat(np.arange(len(classes)), [each.size for each in arrivals])[order],
        generated=np.zeros(n, dtype=np.int64),
        spoke_s=np.zeros(n),
        later=_merged_later([part["later"] for part in parts], order),
        **columns,
    )


def _merged_later(parts: list[Later], order: Integers) -> Later:
    starts = np.cumsum([0, *(part.pause_s.size for part in parts)])
    first = np.concatenate([part.first + start for part, start in zip(parts, starts, strict=False)])
    return Later(
        first=first[order],
        number=np.concatenate([part.number for part in parts])[order],
        pause_s=np.concatenate([part.pause_s for part in parts]),
        prompt=np.concatenate([part.prompt for part in parts]),
        output=np.concatenate([part.output for part in parts]),
    )


def mean_tokens(scenario: Scenario) -> tuple[float, float]:
    """Mean input and output tokens of a service of any class."""
    prompt, output = (
        math.fsum(c.rate * c.factors[name].mean for c in scenario.classes) / scenario.rate for name in LENGTHS
    )
    return prompt, output
