"""Waking up on time: what the load generator's thread asks of the Linux scheduler, and gives back.

A sleep ends late by the timer's slack (50 us), and by up to a scheduling slice (3 ms) when every core is busy. A
thread that sleeps nearly always may ask for better without harm: no timer slack, and real-time priority where that
is allowed, or else a short slice, which since Linux 6.12 lets a waking thread go first. Elsewhere nothing is asked.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_PR_SET_TIMERSLACK, _DEFAULT_SLACK_NS, _SLACK_NS = 29, 0, 1_000
_SLICE_NS, _DEFAULT_SLICE_NS = 100_000, 0
_SCHED_SETATTR = {"x86_64": 314, "aarch64": 274}
_SCHED_ATTR = struct.Struct("<IIQiIQQQ")


@contextmanager
def punctual() -> Iterator[str]:
    """The calling thread wakes up as promptly as the system allows; yields in words what was obtained."""
    if sys.platform != "linux":
        yield "as the system does"
        return
    _slack(_SLACK_NS)
    real_time = _real_time(True)
    short = not real_time and _slice(_SLICE_NS)
    try:
        yield "real-time priority" if real_time else ("short slice" if short else "no timer slack")
    finally:
        if real_time:
            _real_time(False)
        if short:
            _slice(_DEFAULT_SLICE_NS)
        _slack(_DEFAULT_SLACK_NS)


def _real_time(on: bool) -> bool:
    """Lowest real-time priority for the calling thread, or back to the normal one; False where not allowed."""
    policy = os.SCHED_RR if on else os.SCHED_OTHER
    try:
        os.sched_setscheduler(0, policy, os.sched_param(1 if on else 0))
    except OSError:
        return False
    return True


def _slack(nanoseconds: int) -> None:
    """Timer slack of the calling thread; 0 is the default again. The call cannot fail for these values."""
    ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, ctypes.c_ulong(nanoseconds), 0, 0, 0)


def _slice(nanoseconds: int) -> bool:
    """Scheduling slice of the calling thread, at its present niceness; False where it cannot be set."""
    number = _SCHED_SETATTR.get(platform.machine())
    if number is None:
        return False
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    attributes = _SCHED_ATTR.pack(_SCHED_ATTR.size, os.SCHED_OTHER, 0, nice, 0, nanoseconds, 0, 0)
    return bool(ctypes.CDLL(None).syscall(number, 0, attributes, 0) == 0)
