"""Two hosts at once: namespaces with names, processes and users of their own, and clocks that differ."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from hpcsweep.store import journal, weights
from hpcsweep.store.lease import lease_path
from scripts.fault_matrix.hosts import missing, on_host
from tests.cluster.conftest import MEASURED
from tests.cluster.launches import LONG, count, end, family, kill, start, wait_until

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())


def on(host: str, folder: Path, *arguments: object, ahead: int = 0) -> subprocess.Popen[str]:
    return start(on_host(host, arguments, ahead), folder)


def test_a_run_keeps_out_other_containers_whatever_their_clocks(tmp_path: Path) -> None:
    """The process numbers, 1 in each of them, are the same."""
    (tmp_path / "long.toml").write_text(LONG)
    line = ("run", "long.toml", "-o", "s.h5", "--progress", "none")
    first = on("first", tmp_path, *line)
    try:
        wait_until(lambda: count(tmp_path / "s.h5", "running"), first)
        others = [on("second", tmp_path, *line, ahead=seconds) for seconds in (0, -100, 100)]
        for code, text in map(end, others):
            assert code == 2 and "is being written by process 1 on first" in text, text
        assert first.poll() is None
    finally:
        kill(first)
    taking = on("second", tmp_path, *line, "--stop-after", "1s", ahead=-100)
    code, text = end(taking)
    assert code == 75 and "its heartbeat is watched" in text, text


def test_a_measurement_that_has_lost_its_lease_writes_nothing_any_more(store: Path) -> None:
    """Its host stands still; another one, whose clock is ahead, takes over, and extends the study."""
    choices = ("--points", "2^22", "--certificate", "off", "--progress", "none")
    first = on("first", store.parent, "measure", "s.h5", *choices)
    wait_until(lease_path(store).exists, first)
    stopped = family(first)[1:]
    for process in stopped:
        process.suspend()
    (store.parent / "study.toml").write_text(MEASURED.replace("replicate = 2", "replicate = 3"))
    code, text = end(on("second", store.parent, "run", "study.toml", "-o", "s.h5", ahead=100))
    assert code == 0, text
    before = [path.read_bytes() for path in (store, weights.path_of(store))]
    for process in stopped:
        process.resume()
    code, text = end(first)
    assert code == 2 and "taken over" in text, text
    assert [path.read_bytes() for path in (store, weights.path_of(store))] == before
    assert not journal.path_of(store).exists() and not lease_path(store).exists()
