"""A run's last moments: the server's last word may come while the load generator is looking."""

import threading
import time

import numpy as np
import pytest

from qmodel.live.session import Aborted, Session


class Over(threading.Event):
    """Set in the very moment after it was waited for in vain."""

    def wait(self, timeout=None):
        found = self.is_set()
        self.set()
        return found


class Collector:
    sent_s = np.zeros(1)
    error, gone = None, False

    def __init__(self):
        self.rows, self.over, self.heard = {0: {}}, Over(), time.monotonic()


class Process:
    arrivals = -1

    def cause_of_death(self):
        return "it closed its connection but still runs"


def session():
    return Session(Process(), Collector(), np.zeros(1), step_timeout_s=30.0)


def test_the_end_of_a_run_that_comes_while_looking_is_its_end():
    ending = session()
    ending._drain(1, timeout_s=60.0)
    assert ending._collector.over.is_set()
    assert not ending.failure


def test_a_server_that_ends_before_all_was_sent_has_failed():
    early = session()
    early._collector.over.set()
    with pytest.raises(Aborted, match="the server ended"):
        early._look(0, 1.0)


def test_a_server_that_goes_while_it_is_waited_for_has_failed():
    gone = session()
    gone._collector.gone = True
    with pytest.raises(Aborted, match="the server ended"):
        gone._drain(1, timeout_s=60.0)
