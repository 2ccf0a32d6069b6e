"""Functions that the profiling tests have timed; found by the worker process on the path it is given."""

import os
import signal
import time
from pathlib import Path

__version__ = "1.2"


def nap(seconds: float, repeat: int = 1) -> None:
    """Sleep: real work that takes no processor."""
    time.sleep(seconds * repeat)


def exact(seconds: float, width: int = 1) -> float:
    """A latency that is known beforehand."""
    return seconds * width


def spin(width: int, **more: float) -> None:
    """Takes any factor."""


def fail_at(level: int, bad: int = 2, how: str = "raise") -> float:
    """One level is fatal, in several ways."""
    if level == bad:
        if how == "raise":
            raise ValueError("no layer 2")
        if how == "memory":
            raise MemoryError
        if how == "hang":
            time.sleep(60)
        if how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "exit":
            print("last words", flush=True)
            os._exit(7)
    return 0.001 * level


def log_process(folder: str, level: int) -> float:
    """Tell who is working, and take a moment over it."""
    with (Path(folder) / "processes").open("a") as file:
        file.write(f"{os.getpid()}\n")
    time.sleep(0.01)
    return 0.001 * level


def threads(level: int) -> float:
    """The thread count that libraries saw when they were imported, as a latency."""
    return float(os.environ["OMP_NUM_THREADS"])


def trending(level: int) -> float:
    """Latency that grows with every call in this process: planted drift."""
    trending.calls += 1
    return 0.01 * level * (1 + 0.01 * trending.calls)


trending.calls = 0


def hang_always(level: int) -> None:
    """Never come back."""
    time.sleep(60)
