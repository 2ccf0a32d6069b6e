"""What the general event loop works on: visits, servers, queues and stations as rows of records.

A *visit* is one stay of a request at one station: its first is the row of the request itself, the others (after a
pause, or at the next station of a tandem) follow it through `next`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qmodel.simulation.kernels.columns import Control, Floats
from qmodel.simulation.kernels.rank import Own

NONE = -1
NOT_BEGUN = -1.0

# what became of a visit
COMING, WAITING, SERVING, DONE, REJECTED, ABANDONED = range(6)
# what a server does
ON, OFF, SETTING_UP, AWAY = range(4)
# what the rank of a visit is made of
FIXED, JOINED, JOINED_LAST, DEADLINE, TURN, USERS, ACCUMULATED, TABLE = range(8)
# who gets a request of a station whose servers have their own queues
RANDOM, CYCLIC, SHORTEST, LEAST_WORK = range(4)


def _record(*fields: tuple[str, Any]) -> Any:
    """np.record, so that rows have attributes without the compiler too."""
    return np.dtype((np.record, np.dtype(list(fields), align=True)))


VISIT = _record(
    ("station", np.int64),
    ("group", np.int64),  # waits with its group: the class where priorities accumulate, else 0
    ("table", np.int64),  # its table of ranks by age
    ("next", np.int64),  # visit that follows, or NONE
    ("gap_s", np.float64),  # pause or transfer before that
    ("closed", np.int64),  # closed population it belongs to, or NONE
    ("service_s", np.float64),
    ("long_s", np.float64),
    ("mark", np.float64),
    ("long_mark", np.float64),
    ("primary", np.float64),  # goes before the rank
    ("key", np.float64),
    ("limit_s", np.float64),  # age from which it is not interrupted; infinite without one
    ("weight", np.float64),
    ("route", np.float64),  # uniform on [0, 1)
    ("patience_s", np.float64),
    ("deadline_after_s", np.float64),
    ("born_s", np.float64),  # arrival of the request
    ("join_s", np.float64),  # arrival at the station
    ("rank", np.float64),
    ("attained_s", np.float64),
    ("work_s", np.float64),  # service needed; NOT_BEGUN until its start
    ("start_s", np.float64),
    ("done_s", np.float64),
    ("delivered_s", np.float64),
    ("overhead_s", np.float64),  # spent on it beside service: preemption, swap, migration
    ("preemptions", np.int64),
    ("migrations", np.int64),
    ("interrupted", np.bool_),
    ("reduced", np.bool_),
    ("state", np.int64),
    ("queue", np.int64),
    ("left", np.int64),
    ("right", np.int64),
    ("spine", np.int64),
)
SERVER = _record(
    ("queue", np.int64),
    ("state", np.int64),
    ("visit", np.int64),
    ("since_s", np.float64),  # took its visit up, or was last looked at
    ("begin_s", np.float64),
    ("stop_s", np.float64),
    ("target_s", np.float64),
    ("turn_end_s", np.float64),
    ("loaded", np.bool_),
)
QUEUE = _record(
    ("station", np.int64),
    ("first", np.int64),  # its servers are first .. first + servers - 1
    ("servers", np.int64),
    ("waiting", np.int64),
    ("waiting_work_s", np.float64),
    ("inside", np.int64),  # in service, where service is shared
    ("root", np.int64),
    ("weight", np.float64),
    ("virtual", np.float64),
    ("updated_s", np.float64),
    ("inside_work_s", np.float64),
    ("leave_s", np.float64),
)
STATION = _record(
    ("first", np.int64),  # its queues are first .. first + queues - 1
    ("queues", np.int64),
    ("order", np.int64),
    ("preemptive", np.bool_),
    ("sharing", np.bool_),
    ("weighted", np.bool_),
    ("limit", np.int64),  # in service at once in a queue, where service is shared
    ("sized", np.bool_),
    ("slope", np.float64),
    ("levels", np.bool_),  # ranks rise at the thresholds
    ("turn_s", np.float64),
    ("look_s", np.float64),
    ("cost_s", np.float64),
    ("grain_s", np.float64),
    ("routing", np.int64),
    ("choices", np.int64),  # queues looked at
    ("turn", np.int64),
    ("migrates", np.bool_),
    ("migration_s", np.float64),
    ("switches", np.bool_),  # off when idle
    ("leaves", np.bool_),  # on vacation when idle
)
CLOCK = _record(
    ("now", np.float64),
    ("area_s", np.float64),  # integral of the number in the system
    ("busy_s", np.float64),  # spent by all servers on requests, what they need beside service too
    ("speed", np.float64),
    ("present", np.int64),
    ("finished", np.int64),
    ("announced", np.int64),  # entries of the heap of events
    ("taken_up", np.int64),
    ("sequence", np.int64),
    ("spell", np.int64),
    ("long", np.bool_),
    ("dry", np.bool_),  # a pool of samples has run out
    ("ran_out", np.int64),  # times a closed population had no request left before its time
)


class Network(NamedTuple):
    """All of it.

    `control`: the queue condition. `tables`: pieces of ranks by age (start, end, first, last); table t is in rows
    table_rows[t] to table_rows[t + 1]. `first_s`: arrivals of the first rows, in order. `requests`: how many there
    are; `buffer`: the most in the system. `until_s`: closed populations send nothing after it. `roots`: heads of
    the waiting, a row a queue and a column a group. `event_s` and `event`: a heap of visits that join (v) or lose
    patience (-1 - v). `pools`: the next request of each closed population, and its end; `think_s` before each.
    `spell_s`: setups or vacations. `change_s` and `speeds`: the path of the environment. `own`: a user's rank.
    `trail`: who was taken up, at `trail_s` (no entries: not kept). `candidates` and `burdens`: room for the queues
    that routing compares.
    """

    visits: Any
    servers: Any
    queues: Any
    stations: Any
    clock: Any
    control: Control
    tables: Floats
    table_rows: NDArray[np.int64]
    first_s: Floats
    requests: int
    buffer: int
    until_s: float
    roots: NDArray[np.int64]
    path: NDArray[np.int64]
    event_s: Floats
    event: NDArray[np.int64]
    thresholds: Floats
    pools: NDArray[np.int64]
    think_s: Floats
    spell_s: Floats
    change_s: Floats
    speeds: Floats
    own: Own
    trail: NDArray[np.int64]
    trail_s: Floats
    candidates: NDArray[np.int64]
    burdens: Floats
