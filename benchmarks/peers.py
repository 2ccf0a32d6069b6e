"""Customers per CPU second of other simulators on the queues of `simulation.py`; who is not installed is skipped.

    python benchmarks/peers.py [CUSTOMERS]

Runs in any Python that has the peers (`pip install simpy ciw most-queue line-solver`, best in an environment of
their own): nothing of qmodel is imported. The queue is M/M/1 at load 0.8, two classes for priority. CPU time counts
child processes too; each peer computes a mean response, printed beside its speed so that it can be checked.
"""

from __future__ import annotations

import importlib.util
import os
import random
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

RATE = 0.8
CUSTOMERS = 20_000
NOWHERE = Path(os.devnull).open("w")  # noqa: SIM115 - peers keep it, so it stays open


def simpy_fcfs(count: int) -> float:
    """A resource with one place."""
    import simpy

    return _simpy(count, simpy.Resource, [(RATE, 0)], preemptive=False)


def simpy_priority(count: int) -> float:
    """A preemptive resource; whoever is interrupted asks again for the rest."""
    import simpy

    return _simpy(count, simpy.PreemptiveResource, [(0.3, 0), (0.5, 1)], preemptive=True)


def _simpy(count: int, resource: Callable, streams: list[tuple[float, int]], preemptive: bool) -> float:
    import simpy

    world, chance = simpy.Environment(), random.Random(1)
    server = resource(world, capacity=1)
    times: list[float] = []

    def request(priority: int):  # type: ignore[no-untyped-def]
        came, left = world.now, chance.expovariate(1.0)
        while left > 0:
            with server.request(priority=priority) if preemptive else server.request() as place:
                yield place
                begun = world.now
                try:
                    yield world.timeout(left)
                    left = 0.0
                except simpy.Interrupt:
                    left -= world.now - begun
        times.append(world.now - came)

    def source(rate: float, priority: int):  # type: ignore[no-untyped-def]
        for _ in range(round(count * rate / RATE)):
            yield world.timeout(chance.expovariate(rate))
            world.process(request(priority))

    for rate, priority in streams:
        world.process(source(rate, priority))
    world.run()
    return sum(times) / len(times)


def ciw_fcfs(count: int) -> float:
    """A network of one node."""
    import ciw

    return _ciw(count, arrivals=[ciw.dists.Exponential(RATE)], services=[ciw.dists.Exponential(1.0)])


def ciw_sharing(count: int) -> float:
    """A node that all its customers share."""
    import ciw

    return _ciw(count, ciw.PSNode, arrivals=[ciw.dists.Exponential(RATE)], services=[ciw.dists.Exponential(1.0)])


def ciw_priority(count: int) -> float:
    """Two classes, interrupted ones resume."""
    import ciw

    return _ciw(
        count,
        arrivals={"a": [ciw.dists.Exponential(0.3)], "b": [ciw.dists.Exponential(0.5)]},
        services={"a": [ciw.dists.Exponential(1.0)], "b": [ciw.dists.Exponential(1.0)]},
        priority_classes=({"a": 0, "b": 1}, ["resume"]),
    )


def _ciw(
    count: int, node: object = None, arrivals: object = None, services: object = None, **more: object
) -> float:
    import ciw

    network = ciw.create_network(
        arrival_distributions=arrivals, service_distributions=services, number_of_servers=[1], **more
    )
    ciw.seed(1)
    run = ciw.Simulation(network, node_class=node) if node else ciw.Simulation(network)
    run.simulate_until_max_customers(count, method="Finish")
    records = [r for r in run.get_all_records() if r.record_type == "service"]
    return sum(r.exit_date - r.arrival_date for r in records) / len(records)


def most_queue_fcfs(count: int) -> float:
    """Its simulator of one queue."""
    from most_queue.sim.base import QsSim

    return _most_queue(count, QsSim(1, verbose=False))


def most_queue_sharing(count: int) -> float:
    """Its processor sharing."""
    from most_queue.sim.single_server_disciplines import ProcessorSharingSim

    return _most_queue(count, ProcessorSharingSim())


def most_queue_srpt(count: int) -> float:
    """Its size-based orders."""
    from most_queue.sim.size_based import SizeBasedQsSim

    return _most_queue(count, SizeBasedQsSim(1, "SRPT", verbose=False))


def most_queue_priority(count: int) -> float:
    """Preemptive resume, two classes."""
    from most_queue.sim.priority import PriorityQueueSimulator

    simulator = PriorityQueueSimulator(1, 2, "PR")
    simulator.set_sources([{"type": "M", "params": 0.3}, {"type": "M", "params": 0.5}])
    simulator.set_servers([{"type": "M", "params": 1.0}] * 2)
    found = simulator.run(count)
    return (0.3 * found.v[0][0] + 0.5 * found.v[1][0]) / RATE


def _most_queue(count: int, simulator: object) -> float:
    simulator.set_sources(RATE, "M")  # type: ignore[attr-defined]
    simulator.set_servers(1.0, "M")  # type: ignore[attr-defined]
    return float(simulator.run(count).v[0])  # type: ignore[attr-defined]


def _line(discipline: str) -> Callable[[int], float]:
    def run(count: int) -> float:
        import line_solver as line

        model = line.Network("m")
        source, sink = line.Source(model, "source"), line.Sink(model, "sink")
        queue = line.Queue(model, "queue", getattr(line.SchedStrategy, discipline))
        rates = [0.3, 0.5] if discipline.endswith("PRIO") else [RATE]
        for number, rate in enumerate(rates):
            each = line.OpenClass(model, f"c{number}", number)
            source.setArrival(each, line.Exp(rate))
            queue.setService(each, line.Exp(1.0))
        model.link(line.Network.serialRouting(source, queue, sink))
        table = line.LDES(model, seed=1, samples=count, verbose=False).avg_table()
        means = [float(r) for r, q in zip(table["RespT"], table["Station"], strict=True) if str(q) == "queue"]
        return sum(m * r for m, r in zip(means, rates, strict=True)) / sum(rates)

    return run


PEERS: list[tuple[str, str, dict[str, Callable[[int], float]]]] = [
    ("SimPy", "simpy", {"FCFS": simpy_fcfs, "preemptive priority": simpy_priority}),
    ("Ciw", "ciw", {"FCFS": ciw_fcfs, "PS": ciw_sharing, "preemptive priority": ciw_priority}),
    (
        "most-queue",
        "most_queue",
        {
            "FCFS": most_queue_fcfs,
            "PS": most_queue_sharing,
            "preemptive priority": most_queue_priority,
            "SRPT": most_queue_srpt,
        },
    ),
    (
        "LINE LDES",
        "line_solver",
        {
            "FCFS": _line("FCFS"),
            "PS": _line("PS"),
            "preemptive priority": _line("FCFSPRPRIO"),
            "SRPT": _line("SRPT"),
        },
    ),
]


def cpu_seconds() -> float:
    """CPU time so far, of child processes that have ended too."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def main(count: int) -> None:
    for peer, module, queues in PEERS:
        if importlib.util.find_spec(module) is None:
            print(f"{peer:12} is not installed in {sys.executable}: skipped", flush=True)
            continue
        for queue, run in queues.items():
            measure(peer, queue, run, count * (50 if peer.startswith("LINE") else 1))


def measure(peer: str, queue: str, run: Callable[[int], float], count: int) -> None:
    """One line: the speed once its code is loaded, and the mean response it found."""
    try:
        with redirect_stdout(NOWHERE), redirect_stderr(NOWHERE):
            run(10_000 if peer.startswith("LINE") else 100)
            begin, cpu = time.perf_counter(), cpu_seconds()
            mean = run(count)
        spent, wall = cpu_seconds() - cpu, time.perf_counter() - begin
    except Exception as error:
        print(f"{peer:12} {queue:20} failed: {type(error).__name__}: {error}"[:150], flush=True)
        return
    speeds = f"{count / spent / 1e6:9.4f} M per CPU second {count / wall / 1e6:9.4f} M per second"
    print(f"{peer:12} {queue:20}{speeds}  mean {mean:.3f}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else CUSTOMERS)
