"""The requests of a run, all known before it: arrival, class, size, prediction, lottery, moment of delivery."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from qmodel.errors import InputError
from qmodel.simulation.checked_columns import check_rows, checked_column
from qmodel.workload.slo import limit_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike, NDArray

    from qmodel.scenario import ServedClass
    from qmodel.simulation.kernels.columns import Demand

    Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Requests:
    """Columns in order of arrival. `classes` are those that `class_index` points into.

    `service_s` holds while the queue is short, `long_s` while it is long; `mark` and `long_mark` are the shares of
    them after which the result is out (no entries: at the end). `size_s` and `long_size_s` are what the policy is
    told of them (the same, unless measured services are replayed); `predicted_s` is NaN where no prediction is
    made.
    """

    classes: tuple[ServedClass, ...]
    arrival_s: Floats
    class_index: NDArray[np.int64]
    service_s: Floats
    long_s: Floats
    mark: Floats
    long_mark: Floats
    size_s: Floats
    long_size_s: Floats
    predicted_s: Floats
    draw_lottery: Callable[[], Floats]

    def __len__(self) -> int:
        return self.arrival_s.size

    @cached_property
    def lottery(self) -> Floats:
        """Uniform on [0, 1), drawn when a policy asks."""
        return self.draw_lottery()

    @cached_property
    def priority(self) -> Floats:
        """Priority of each request's class."""
        return self._by_class([float(served.priority) for served in self.classes])

    @cached_property
    def weight(self) -> Floats:
        """Weight of each request's class."""
        return self._by_class([served.weight for served in self.classes])

    @cached_property
    def deadline_s(self) -> Floats:
        """Arrival plus the response limit of the class; infinite without one."""
        return self.arrival_s + self.deadline_after_s

    @property
    def deadline_after_s(self) -> Floats:
        """The response limit of the class; infinite without one."""
        return self._by_class([limit_of(served.slo, "response") for served in self.classes])

    @property
    def demand(self) -> Demand:
        """What the event loops read."""
        from qmodel.simulation.kernels.columns import Demand

        return Demand(self.arrival_s, self.service_s, self.long_s, self.mark, self.long_mark)

    def _by_class(self, values: Sequence[float]) -> Floats:
        if len(values) == 1:
            return np.full(len(self), values[0])
        return np.asarray(values, dtype=float)[self.class_index]


def given(
    classes: tuple[ServedClass, ...],
    arrival_s: ArrayLike,
    class_index: ArrayLike,
    service_s: ArrayLike,
    *,
    service_long_s: ArrayLike | None = None,
    delivered_share: ArrayLike | None = None,
    size_s: ArrayLike | None = None,
    size_long_s: ArrayLike | None = None,
    predicted_s: ArrayLike | None = None,
    lottery: ArrayLike | None = None,
) -> Requests:
    """Requests that are known one by one.

    Left out, services are the same in a long queue, results are out at the end, sizes are the services, predictions
    the sizes, and lotteries 0. Raises InputError naming the column and row that is wrong: text, NaN, other lengths,
    arrivals out of order, a service that takes no time, a share outside (0, 1], a class that does not exist.
    """
    arrival = checked_column("arrival_s", arrival_s, None)
    n = arrival.size
    if not n:
        raise InputError("replay, arrival_s", "holds no request", "give at least one")

    def column(name: str, values: ArrayLike | None, otherwise: Floats) -> Floats:
        return otherwise if values is None else checked_column(name, values, n)

    service = checked_column("service_s", service_s, n)
    long = column("service_long_s", service_long_s, service)
    size = column("size_s", size_s, service)
    long_size = column("size_long_s", size_long_s, long if size_s is None else size)
    index, mark = (
        checked_column("class_index", class_index, n),
        column("delivered_share", delivered_share, np.empty(0)),
    )
    tickets = column("lottery", lottery, np.zeros(n))
    _check_order(arrival)
    _check_positive(service_s=service, service_long_s=long, size_s=size, size_long_s=long_size)
    check_rows("delivered_share", (mark <= 0) | (mark > 1), "is no share", "give more than 0 and at most 1")
    known = (index >= 0) & (index < len(classes)) & (index == np.floor(index))
    check_rows("class_index", ~known, "is no class", f"give 0 to {len(classes) - 1}")
    return Requests(
        classes=classes,
        arrival_s=arrival,
        class_index=index.astype(np.int64),
        service_s=service,
        long_s=long,
        mark=mark,
        long_mark=mark,
        size_s=size,
        long_size_s=long_size,
        predicted_s=column("predicted_s", predicted_s, size),
        draw_lottery=lambda: tickets,
    )


def _check_order(arrival: Floats) -> None:
    earlier = np.concatenate(([False], np.diff(arrival) < 0))
    check_rows("arrival_s", earlier, "comes before the one above it", "sort by time")


def _check_positive(**columns: Floats) -> None:
    for name, column in columns.items():
        check_rows(name, column <= 0, "takes no time", "give seconds above 0")
