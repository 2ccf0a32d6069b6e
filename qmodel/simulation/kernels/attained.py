"""Least attained service (foreground-background): those served least share one server equally.

Requests of equal age form a group; only the youngest group is served. When it grows as old as the next group
the two become one. Groups are leftist heaps by the next age at which something happens to a request, and merge in
logarithmic time (Crane 1972; Knuth, *The Art of Computer Programming* 3, section 5.2.3).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qmodel.simulation.kernels.columns import Control, Demand, Floats, Log
from qmodel.simulation.kernels.compiled import compiled
from qmodel.simulation.kernels.servers import is_long

NONE = -1


class Forest(NamedTuple):
    """Leftist heaps over requests: children, length of the right spine, and the key (an age)."""

    left: NDArray[np.int64]
    right: NDArray[np.int64]
    spine: NDArray[np.int64]
    path: NDArray[np.int64]
    age_s: Floats


class Groups(NamedTuple):
    """A stack of groups, the youngest on top: root of the heap, number of members, and age."""

    root: NDArray[np.int64]
    members: NDArray[np.int64]
    age_s: Floats


@compiled
def merge(forest: Forest, first: int, second: int) -> int:
    """Merge two heaps; returns the root. Goes down the right spines, then mends the lengths on the way up."""
    depth = 0
    while first != NONE and second != NONE:
        if forest.age_s[second] < forest.age_s[first]:
            first, second = second, first
        forest.path[depth] = first
        depth += 1
        first = forest.right[first]
    root = second if first == NONE else first
    while depth > 0:
        depth -= 1
        parent = forest.path[depth]
        forest.right[parent] = root
        left = forest.left[parent]
        if left == NONE or forest.spine[left] < forest.spine[root]:
            forest.left[parent], forest.right[parent] = root, left
        right = forest.right[parent]
        forest.spine[parent] = 1 if right == NONE else forest.spine[right] + 1
        root = parent
    return root


@compiled
def insert(forest: Forest, root: int, request: int, age_s: float) -> int:
    """Put a request into a heap (NONE: an empty one) under an age; returns the root."""
    forest.left[request] = forest.right[request] = NONE
    forest.spine[request] = 1
    forest.age_s[request] = age_s
    return merge(forest, root, request)


@compiled
def serve_least_attained(demand: Demand, control: Control, log: Log) -> None:
    """Serve all requests on one server. Fills the log; a request starts as it arrives."""
    count = demand.arrival_s.size
    left, right = np.empty(count, dtype=np.int64), np.empty(count, dtype=np.int64)
    spine, path = np.empty(count, dtype=np.int64), np.empty(count, dtype=np.int64)
    forest = Forest(left, right, spine, path, np.empty(count))
    groups = Groups(np.empty(count, dtype=np.int64), np.empty(count, dtype=np.int64), np.empty(count))
    work = np.zeros(count)
    top = NONE
    arrived = departed = 0
    now = 0.0
    long, marked = False, demand.mark.size > 0
    while departed < count:
        upcoming = demand.arrival_s[arrived] if arrived < count else np.inf
        target, reached = 0.0, np.inf
        if top != NONE:
            target = forest.age_s[groups.root[top]]
            if top > 0:
                target = min(target, groups.age_s[top - 1])
            reached = now + max(0.0, target - groups.age_s[top]) * groups.members[top]
        if reached <= upcoming:
            now = reached
            groups.age_s[top] = target
            request = groups.root[top]
            if forest.age_s[request] > target:  # as old as the group below: they become one
                top -= 1
                groups.root[top] = merge(forest, groups.root[top], groups.root[top + 1])
                groups.members[top] += groups.members[top + 1]
                continue
            groups.root[top] = merge(forest, forest.left[request], forest.right[request])
            mark = 1.0
            if marked:
                mark = demand.long_mark[request] if log.reduced[request] else demand.mark[request]
            if mark < 1.0 and np.isnan(log.delivered_s[request]):
                log.delivered_s[request] = now
                groups.root[top] = insert(forest, groups.root[top], request, work[request])
                continue
            log.done_s[request] = now
            if mark == 1.0:
                log.delivered_s[request] = now
            departed += 1
            groups.members[top] -= 1
            if groups.members[top] == 0:
                top -= 1
            continue
        if top != NONE:
            groups.age_s[top] += (upcoming - now) / groups.members[top]
        now = upcoming
        first = arrived
        while arrived < count and demand.arrival_s[arrived] <= now:
            arrived += 1
        if top == NONE or groups.age_s[top] > 0.0:
            top += 1
            groups.root[top], groups.members[top], groups.age_s[top] = NONE, 0, 0.0
        for request in range(first, arrived):
            long = is_long(arrived - departed, long, control)
            log.start_s[request], log.reduced[request] = now, long
            work[request] = demand.long_s[request] if long else demand.service_s[request]
            first_stop = work[request]
            if marked:
                first_stop *= demand.long_mark[request] if long else demand.mark[request]
            groups.root[top] = insert(forest, groups.root[top], request, first_stop)
            groups.members[top] += 1
