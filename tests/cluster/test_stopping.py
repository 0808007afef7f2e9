"""When a run ends early: the walltime as Slurm tells it, and requests that travel between ranks."""

from __future__ import annotations

import pickle
import time

import numpy as np
import pytest

from hpcsweep.cluster import stopping
from hpcsweep.cluster.stopping import StopRequest


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30", 30), ("10:00", 600), ("1:00:05", 3605), ("2-03:00:00", 183600), ("UNLIMITED", np.inf), ("", np.inf)],
)
def test_the_time_that_slurm_leaves(text: str, seconds: float) -> None:
    assert stopping.duration(text) == seconds


def test_the_walltime_is_that_of_the_environment() -> None:
    assert stopping.walltime({"SLURM_JOB_END_TIME": "1700000000", "SLURM_JOB_ID": "3"}) == 1700000000
    assert stopping.walltime({}) == np.inf


def test_outside_slurm_nothing_is_requeued() -> None:
    assert "no Slurm job" in stopping.requeue({})


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
