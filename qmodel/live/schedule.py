"""The whole schedule of a run, drawn before it starts: who arrives when, and what each asks for.

Common random numbers: every class, and everything drawn for it, has a random stream of its own, named by the seed
and by what is drawn. So the same seed and rate give the same arrivals and the same factors under every policy
and every early-exit setting, and settings are compared on the very same requests.
"""

from __future__ import annotations

import hashlib
import math
import zlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from qmodel.errors import InputError
from qmodel.live.pausing import AWAY, LATER, Pauses, drawn, written
from qmodel.scenario import Scenario
from qmodel.service.alone_time import AloneTime
from qmodel.service.token_service import TokenService
from qmodel.service.token_worth import token_worth
from qmodel.service.transform import Cache, ClipOutput, EarlyExit, FewerSteps, ModelSwap, Transform
from qmodel.workload import RequestClass
from qmodel.workload.slo import limit_of

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

LONG = "_long"
"""Suffix of the columns that hold for a service which starts while the queue condition holds."""


def draw_schedule(scenario: Scenario, horizon_s: float, seed: int) -> pd.DataFrame:
    """One row for each request that arrives in [0, horizon_s), in order of arrival.

    Columns: request_id (0, 1, ...), class, scheduled_s, one for each factor of a class (`steps`, `batch_size`, ...;
    whole numbers, after the transforms that always apply), size_s (seconds that the model predicts, or that were
    drawn), with a queue condition the same again ending in `_long`, work_s (size_s with the model's residual: how
    long an emulated engine takes), first_s (seconds of the first step, where the model tells it apart: a prefill),
    delivered_at (share of the steps after which the result is out), predicted_size_s, priority, weight, deadline_s,
    lottery; where some class pauses, later and away_s (see `qmodel.live.pausing`). `attrs` holds seed, horizon_s
    and rate.
    Raises InputError when nothing arrives.
    """
    import pandas as pd

    if not (math.isfinite(horizon_s) and horizon_s > 0):
        raise InputError("horizon", f"{horizon_s} is no duration", "give seconds above 0")
    frames = [_class_rows(scenario, request_class, horizon_s, seed) for request_class in scenario.classes]
    rows = pd.concat([frame for frame in frames if len(frame)] or frames[:1], ignore_index=True)
    if not len(rows):
        raise InputError("schedule", f"no request arrives in {horizon_s:g} s", "run for longer")
    rows = rows.sort_values("scheduled_s", kind="stable", ignore_index=True)
    rows.insert(0, "request_id", np.arange(len(rows)))
    rows.attrs = {"seed": int(seed), "horizon_s": float(horizon_s), "rate": float(scenario.rate)}
    return rows


def digest(schedule: pd.DataFrame) -> str:
    """SHA-256 of a schedule: equal schedules have equal digests."""
    return hashlib.sha256(schedule.to_csv(index=False).encode()).hexdigest()


def _class_rows(scenario: Scenario, request_class: RequestClass, horizon_s: float, seed: int) -> pd.DataFrame:
    import pandas as pd

    draw = Draws(seed, request_class.name)
    times = request_class.arrivals.times(draw.stream("arrivals"), horizon_s)
    n = times.size
    factors = {name: _whole(law.sample(draw.stream(name), n)) for name, law in request_class.factors.items()}
    base = None if request_class.service is None else request_class.service.sample(draw.stream("service"), n)
    always = [transform for transform in scenario.transforms if transform.when is None]
    settings = Settings(scenario, request_class, factors, base, draw)
    columns: dict[str, Any] = {"class": request_class.name, "scheduled_s": times}
    columns |= settings.under(always)
    if "pause" in scenario.features:
        columns |= _pauses(scenario, request_class, draw, columns)
    if scenario.condition is not None:
        changed = settings.under(list(scenario.transforms))
        columns |= {name + LONG: values for name, values in changed.items() if name != "delivered_at"}
    columns["work_s"] = columns["size_s"] * settings.residual
    if scenario.condition is not None:
        columns["work_s" + LONG] = columns["size_s" + LONG] * settings.residual
    columns["predicted_size_s"] = predictions(scenario, request_class, columns["size_s"], draw.stream("prediction"))
    columns |= {"priority": request_class.priority, "weight": request_class.weight}
    columns["deadline_s"] = times + limit_of(request_class.slo, "response")
    columns["lottery"] = draw.uniform("lottery", n)
    return pd.DataFrame(columns)


def _pauses(
    scenario: Scenario, request_class: RequestClass, draw: Draws, columns: Mapping[str, Any]
) -> dict[str, Any]:
    """What follows the first service, the seconds away, and the size with what it brings."""
    later = [Pauses(services=each) for each in drawn(request_class, draw.stream, columns["scheduled_s"].size)]
    size = columns["size_s"]
    if request_class.pause is not None and scenario.system.batching == "continuous":
        prompt = columns["input_tokens"] + [each.input_tokens for each in later]
        output = columns["output_tokens"] + [each.output_tokens for each in later]
        size = np.asarray(token_worth(scenario).size(prompt, output))
    return {
        LATER: [written(each.services) for each in later],
        AWAY: np.array([each.away_s for each in later], dtype=float),
        "size_s": size,
    }


class Draws:
    """Random streams of one class, one for each thing drawn."""

    def __init__(self, seed: int, class_name: str) -> None:
        self._key = [seed, zlib.crc32(class_name.encode())]

    def stream(self, what: str) -> np.random.Generator:
        """The stream of that name, from its start."""
        return np.random.default_rng([*self._key, zlib.crc32(what.encode())])

    def uniform(self, what: str, n: int) -> Array:
        """n numbers in [0, 1) from the stream of that name."""
        return self.stream(what).random(n)


class Settings:
    """What the requests of one class ask for, under one list of transforms or another."""

    def __init__(
        self,
        scenario: Scenario,
        request_class: RequestClass,
        factors: Mapping[str, Array],
        base_s: Array | None,
        draw: Draws,
    ) -> None:
        self._scenario, self._class = scenario, request_class
        self._factors, self._base_s, self._draw = factors, base_s, draw
        self._n = len(next(iter(factors.values()))) if base_s is None else len(base_s)
        self.residual = self._residual()

    def under(self, transforms: list[Transform]) -> dict[str, Array]:
        """Factors, size_s and delivered_at when these transforms apply."""
        factors, pending = dict(self._factors), []
        for transform in transforms:
            if isinstance(transform, FewerSteps) and self._base_s is None and "steps" in factors:
                factors["steps"] = np.array(
                    [transform.steps_kept(steps) for steps in factors["steps"]], dtype=float
                )
            elif isinstance(transform, ClipOutput) and "output_tokens" in factors:
                factors["output_tokens"] = np.minimum(factors["output_tokens"], float(transform.max_tokens))
            else:
                pending.append(transform)
        model = self._scenario.system.model
        size, delivered = self._sizes(factors), np.ones(self._n)
        first = self._predicted(model.first_token, factors) if isinstance(model, TokenService) else None
        for transform in pending:
            size, kept, out = self._apply(transform, size, self._uniform(transform))
            delivered = delivered * out
            if "steps" in factors:
                factors["steps"] = np.maximum(1.0, np.rint(factors["steps"] * kept))
        found = {**factors, "size_s": size, "delivered_at": delivered}
        return found if first is None else {**found, "first_s": np.minimum(first, size)}

    def _sizes(self, factors: Mapping[str, Array]) -> Array:
        """Seconds at full speed: drawn, or predicted by the fitted model from the factors."""
        if self._base_s is not None:
            return self._base_s
        system = self._scenario.system
        if system.batching == "continuous":
            return np.asarray(token_worth(self._scenario).size(factors["input_tokens"], factors["output_tokens"]))
        model = system.model or (AloneTime(system.iteration_time) if system.iteration_time else None)
        if model is None:
            place = f"class '{self._class.name}'"
            raise InputError(place, "gives factors but the system has no fitted model", "set system.service")
        return self._predicted(model.predict, factors)

    def _predicted(self, seconds_at: Callable[[dict[str, float]], float], factors: Mapping[str, Array]) -> Array:
        """Seconds at each request's factors; asked once for each distinct setting."""
        names = list(factors)
        distinct, which = np.unique(np.column_stack([factors[name] for name in names]), axis=0, return_inverse=True)
        seconds = [float(seconds_at(dict(zip(names, row.tolist(), strict=True)))) for row in distinct]
        return np.array(seconds)[which.reshape(-1)]

    def _apply(self, transform: Transform, size: Array, uniform: Array) -> tuple[Array, Array, Array]:
        """The size after one transform, with the shares of the steps done and of those before delivery."""
        one = np.ones_like(size)
        if isinstance(transform, FewerSteps):
            return size * transform.fraction, one, one
        if isinstance(transform, ModelSwap):
            return size * transform.service_factor, one, one
        if isinstance(transform, EarlyExit):
            edges = np.cumsum(transform.probabilities)[:-1]
            share = np.asarray(transform.fractions)[np.searchsorted(edges, uniform, side="right")]
            return (size, one, share) if transform.delivery == "release" else (size * share, share, one)
        if isinstance(transform, Cache):
            left = np.where(uniform < transform.hits, 1.0 - transform.saved_fraction, 1.0)
            return transform.lookup_s + size * left, one, one
        raise InputError("transform", f"{type(transform).__name__} cannot be run live", "leave it out")

    def _uniform(self, transform: Transform) -> Array:
        """What decides about each request; the same whatever other kinds of transform there are."""
        kind = type(transform)
        same = [other for other in self._scenario.transforms if type(other) is kind]
        number = next(i for i, other in enumerate(same) if other is transform)
        return self._draw.uniform(f"{kind.__name__} {number}", self._n)

    def _residual(self) -> Array:
        """What repeats of the same work vary by; 1 where sizes are drawn."""
        model = self._scenario.system.model
        scv = model.residual_scv if model else 0.0
        if self._base_s is not None or model is None or scv <= 1e-10:
            return np.ones(self._n)
        return np.asarray(model.residual.law(1.0).sample(self._draw.stream("residual"), self._n))


def predictions(scenario: Scenario, request_class: RequestClass, sizes: Array, rng: np.random.Generator) -> Array:
    """Predicted sizes of requests of these sizes; NaN where none is made."""
    law = next(served.size for served in scenario.served if served.name == request_class.name)
    return request_class.predicted_size.draw(sizes, law, rng)


def _whole(levels: Array) -> Array:
    """Engines take whole numbers, at least 1."""
    return np.maximum(1.0, np.rint(levels))
