"""The requests of a run of a batching engine, as columns in order of arrival."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from qmodel.errors import InputError
from qmodel.simulation.checked_columns import check_rows, checked_column
from qmodel.workload.slo import limit_of

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from qmodel.simulation.iterations.columns import Arrivals, Stages
    from qmodel.workload import RequestClass

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]

MOST_TOKENS = 2**40


@dataclass(frozen=True)
class Later:
    """Services after the first: row `first[i]` on, `number[i]` of them for request i, each after a pause."""

    first: Integers
    number: Integers
    pause_s: Floats
    prompt: Integers
    output: Integers

    @classmethod
    def none(cls, requests: int) -> Later:
        """No request has any."""
        zero, nothing = np.zeros(requests, dtype=np.int64), np.empty(0, dtype=np.int64)
        return cls(zero, zero, np.empty(0), nothing, nothing)

    def sums(self, values: Integers) -> Integers:
        """Of each request, the sum of these values over its later services."""
        running = np.concatenate(([0], np.cumsum(values)))
        return running[self.first + self.number] - running[self.first]


@dataclass(frozen=True)
class TokenRequests:
    """Columns in order of arrival. `classes` are those that `class_index` points into.

    `prompt` and `output` are tokens of the first service, `later` has what follows pauses. `prefix`: prompt tokens
    found in a prefix cache. `generated`: tokens made elsewhere already, the last at `spoke_s`, with whose KV cache
    the request comes; `born_s` is then its first arrival. `encode_s`: seconds of an encoder before the prompt
    (None: none). A policy is told `size_s` and `predicted_s` (NaN: none), seconds of service alone.
    """

    classes: tuple[RequestClass, ...]
    arrival_s: Floats
    class_index: Integers
    prompt: Integers
    output: Integers
    prefix: Integers
    generated: Integers
    spoke_s: Floats
    patience_s: Floats
    size_s: Floats
    predicted_s: Floats
    lottery: Floats
    later: Later
    first: int = 0
    born_s: Floats | None = None
    encode_s: Floats | None = None

    def __len__(self) -> int:
        return self.arrival_s.size

    @property
    def service_s(self) -> Floats:
        """The size, by the name that ranks are looked up with."""
        return self.size_s

    @cached_property
    def priority(self) -> Floats:
        """Priority of each request's class."""
        return self._by_class([float(each.priority) for each in self.classes])

    @cached_property
    def weight(self) -> Floats:
        """Weight of each request's class."""
        return self._by_class([each.weight for each in self.classes])

    @cached_property
    def deadline_s(self) -> Floats:
        """First arrival plus the response limit of the class; infinite without one."""
        return self.first_arrival_s + self._by_class([limit_of(each.slo, "response") for each in self.classes])

    @property
    def first_arrival_s(self) -> Floats:
        """When each request arrived, wherever it comes from now."""
        return self.arrival_s if self.born_s is None else self.born_s

    def _by_class(self, values: Sequence[float]) -> Floats:
        return np.asarray(values, dtype=float)[self.class_index]

    def arrivals(self, is_last: bool) -> Arrivals:
        """What the loop reads: all that come, or a chunk that others follow."""
        from qmodel.simulation.iterations.columns import Arrivals

        return Arrivals(
            self.first, self.arrival_s, self.class_index, self.prompt, self.output, self.prefix, self.generated,
            self.spoke_s, self.first_arrival_s, self.patience_s,
            np.zeros(len(self)) if self.encode_s is None else self.encode_s, self.later.first, self.later.number,
            math.inf if is_last else -math.inf,
        )  # fmt: skip

    @property
    def stages(self) -> Stages:
        """The later services, as the loop reads them."""
        from qmodel.simulation.iterations.columns import Stages

        return Stages(self.later.pause_s, self.later.prompt, self.later.output)

    def of(self, chosen: Any) -> TokenRequests:
        """The chosen requests alone; numbers count from 0 again."""
        columns: dict[str, Any] = {
            name: getattr(self, name)[chosen]
            for name in (
                "arrival_s", "class_index", "prompt", "output", "prefix", "generated", "spoke_s", "patience_s",
                "size_s", "predicted_s", "lottery",
            )
        }  # fmt: skip
        columns |= {
            name: getattr(self, name)[chosen] for name in ("born_s", "encode_s") if getattr(self, name) is not None
        }
        later = replace(self.later, first=self.later.first[chosen], number=self.later.number[chosen])
        return replace(self, **columns, later=later, first=0)


def given(
    classes: Sequence[RequestClass],
    arrival_s: ArrayLike,
    input_tokens: ArrayLike,
    output_tokens: ArrayLike,
    *,
    class_index: ArrayLike | None = None,
    prefix_tokens: ArrayLike | None = None,
    predicted_s: ArrayLike | None = None,
    per_token_s: tuple[float, float] = (1.0, 1.0),
    first: int = 0,
) -> TokenRequests:
    """Requests that are known one by one, in order of arrival; sizes are tokens times `per_token_s`.

    Raises InputError naming the column and row that is wrong: text, NaN, arrivals out of order, a prompt or output
    of no token, tokens that are not whole, a class that does not exist.
    """
    arrival = checked_column("arrival_s", arrival_s, None)
    if not arrival.size:
        raise InputError("replay, arrival_s", "holds no request", "give at least one")
    n = arrival.size
    late = np.concatenate(([False], np.diff(arrival) < 0))
    check_rows("arrival_s", late, "comes before the one above it", "sort by time")
    prompt = _tokens("input_tokens", input_tokens, n, 1)
    output = _tokens("output_tokens", output_tokens, n, 1)
    prefix = np.zeros(n, dtype=np.int64)
    if prefix_tokens is not None:
        prefix = _tokens("prefix_tokens", prefix_tokens, n, 0)
        check_rows("prefix_tokens", prefix >= prompt, "is the whole prompt or more", "leave at least one token")
    index = np.zeros(n) if class_index is None else checked_column("class_index", class_index, n)
    known = (index >= 0) & (index < len(classes)) & (index == np.floor(index))
    check_rows("class_index", ~known, "is no class", f"give 0 to {len(classes) - 1}")
    size = prompt * per_token_s[0] + output * per_token_s[1]
    return TokenRequests(
        classes=tuple(classes),
        arrival_s=arrival,
        class_index=index.astype(np.int64),
        prompt=prompt,
        output=output,
        prefix=prefix,
        generated=np.zeros(n, dtype=np.int64),
        spoke_s=np.zeros(n),
        patience_s=np.full(n, math.inf),
        size_s=size,
        predicted_s=size if predicted_s is None else checked_column("predicted_s", predicted_s, n),
        lottery=np.zeros(n),
        later=Later.none(n),
        first=first,
    )


def _tokens(name: str, values: ArrayLike, n: int, least: int) -> Integers:
    column = checked_column(name, values, n)
    check_rows(name, column < least, "is no number of tokens", f"give {least} or more")
    check_rows(name, (column != np.floor(column)) | (column > MOST_TOKENS), "is no whole number", "count tokens")
    return column.astype(np.int64)
