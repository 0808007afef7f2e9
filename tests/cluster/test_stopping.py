"""When a run ends early: requests that travel between ranks, and what is overdue."""

from __future__ import annotations

import pickle
import time

from hpcsweep.cluster import stopping
from hpcsweep.cluster.stopping import StopRequest


def test_a_stop_request_that_travels_is_that_of_the_process_where_it_arrives() -> None:
    sent = StopRequest()
    sent.ask()
    arrived = pickle.loads(pickle.dumps(sent))
    assert arrived is stopping.here() and sent.asked() and not arrived.asked()


def test_a_stop_request_is_overdue_after_a_part_of_its_margin() -> None:
    stop = StopRequest()
    stop.before(time.time() + 8)  # a margin of 2 s
    assert not stop.asked() and not stop.overdue()
    stop.ask()
    assert stop.asked() and not stop.overdue()
    time.sleep(stopping.LEAST_PATIENCE + 0.1)
    assert stop.overdue()
    stop.learn(20.0)  # checkpoints that take long are waited for
    assert not stop.overdue()
