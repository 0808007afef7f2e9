"""The lease on a store: one writer at a time, on one machine or many, whatever their clocks and process numbers say."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hpcsweep.errors import StoreError
from hpcsweep.store import lease
from hpcsweep.store.lease import Lease, lease_path


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path of a store that exists, and leases whose heart beats fast."""
    monkeypatch.setattr(lease, "HEARTBEAT", 0.05)
    monkeypatch.setattr(lease, "STALE", 0.6)
    store = tmp_path / "s.h5"
    store.write_bytes(b"")
    return store


def change(store: Path, **claims: object) -> None:
    """Let the lease of a store claim something else; its heartbeat stays where it is."""
    file, beat = lease_path(store), lease_path(store).stat().st_mtime_ns
    file.write_text(json.dumps(json.loads(file.read_text()) | claims))
    os.utime(file, ns=(beat, beat))


def plant(store: Path, **claims: object) -> None:
    """Write the lease of a process that cannot be looked up from here."""
    claim = {"host": "elsewhere", "process": 1, "processes": "another boot", "birth": "1", "name": "n", "number": 7}
    lease_path(store).write_text(json.dumps(claim | claims))


def test_a_living_process_keeps_its_lease_and_a_released_one_is_free(path: Path) -> None:
    with Lease(path) as held:
        assert lease.holder(path) == f"process {os.getpid()} on {os.uname().nodename}"
        with pytest.raises(StoreError, match=f"is being written by process {os.getpid()} on"):
            Lease(path)
        held.check()
    assert lease.holder(path) is None and not list(path.parent.glob("*lease*"))
    with Lease(path):
        pass


def test_numbers_grow_whatever_was_there(path: Path) -> None:
    with Lease(path) as first:
        assert first.number == 1
    with Lease(path, after=5) as second:
        assert second.number == 6
    plant(path, number=40)
    with Lease(path, after=5) as third:
        assert third.number == 41
    plant(path, number="many")
    with Lease(path) as fourth:
        assert fourth.number == 1


def test_a_process_that_is_gone_is_stale_at_once(path: Path) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    with Lease(path) as other:
        change(path, process=gone.pid, name="another")
        with pytest.raises(StoreError, match="Another run has taken"):
            other.check()
    start = time.monotonic()
    with Lease(path) as held:
        assert time.monotonic() - start < lease.STALE and not held.unsure
        held.check()


def test_a_number_that_another_process_has_by_now_is_stale(path: Path) -> None:
    with Lease(path):
        change(path, birth="long ago")
    with Lease(path) as held:
        assert not held.unsure


@pytest.mark.parametrize("clock", [-1e6, 0.0, 1e6], ids=["behind", "right", "ahead"])
def test_a_lease_of_elsewhere_is_stale_when_it_stands_still_whatever_the_clock(
    path: Path, clock: float, capsys: pytest.CaptureFixture[str]
) -> None:
    plant(path)
    os.utime(lease_path(path), (time.time() + clock,) * 2)
    start = time.monotonic()
    with Lease(path) as held:
        assert time.monotonic() - start >= lease.STALE and held.unsure
    said = capsys.readouterr().err
    assert "held by process 1 on elsewhere" in said and "watched" in said


@pytest.mark.parametrize("clock", [-1e6, 1e6], ids=["behind", "ahead"])
def test_a_heartbeat_that_goes_on_keeps_others_out_whatever_the_clock(path: Path, clock: float) -> None:
    plant(path)
    program = textwrap.dedent(f"""
        import os, time
        for beat in range(10**9):
            os.utime({str(lease_path(path))!r}, ({time.time() + clock} + beat,) * 2)
            time.sleep(0.02)
    """)
    other = subprocess.Popen([sys.executable, "-c", program])
    try:
        time.sleep(0.3)
        with pytest.raises(StoreError, match="is being written by process 1 on elsewhere"):
            Lease(path)
    finally:
        other.kill()
        other.wait()
    assert json.loads(lease_path(path).read_text())["name"] == "n", "the lease is untouched"


@pytest.mark.parametrize("birth", ["this process", "another"])
def test_a_process_number_of_another_pid_namespace_says_nothing(path: Path, birth: str) -> None:
    """Neither that the holder lives nor that it is gone: the heartbeat decides."""
    same = lease._birth(os.getpid()) if birth == "this process" else "1"
    plant(path, process=os.getpid(), birth=same, host=os.uname().nodename, processes="the same boot, another container")
    start = time.monotonic()
    with Lease(path) as held:
        assert held.unsure and time.monotonic() - start >= lease.STALE


@pytest.mark.parametrize(
    "spoil",
    [
        lambda store: plant(store),
        lambda store: store.unlink(),
        lambda store: lease_path(store).unlink(),
        lambda store: lease_path(store).write_text("no claim"),
    ],
    ids=["taken", "deleted", "lease removed", "lease spoiled"],
)
def test_a_lost_lease_is_noticed_before_the_next_write(path: Path, spoil: Callable[[Path], None]) -> None:
    with Lease(path) as held:
        held.check()
        spoil(path)
        with pytest.raises(StoreError, match=r"taken|deleted"):
            held.check()


def test_an_instant_without_the_lease_is_forgiven(path: Path) -> None:
    """Who moves a stale lease aside late may have moved ours; it is put back."""
    with Lease(path) as held:
        aside = path.with_name("aside")
        os.rename(lease_path(path), aside)
        program = f"import os, time; time.sleep(0.05); os.link({str(aside)!r}, {str(lease_path(path))!r})"
        other = subprocess.Popen([sys.executable, "-c", program])
        held.check()
        other.wait()


NAMESPACE = ["unshare", "--pid", "--fork", "--uts", "--user", "--map-root-user", "--mount-proc"]
HOLD = """
import sys, time, pathlib
from hpcsweep.store import lease
lease.HEARTBEAT, lease.STALE = 0.05, float(sys.argv[3])
if sys.argv[2] == "hold":
    with lease.Lease(pathlib.Path(sys.argv[1])):
        print("held", flush=True)
        time.sleep(1000)
lease.Lease(pathlib.Path(sys.argv[1]))
"""


@pytest.mark.skipif(
    shutil.which("unshare") is None or subprocess.run([*NAMESPACE, "true"], capture_output=True).returncode != 0,
    reason="this system gives no PID namespaces to users",
)
def test_of_two_containers_the_second_is_refused_and_takes_over_from_a_dead_one(path: Path) -> None:
    def inside(action: str) -> subprocess.Popen[str]:
        line = [*NAMESPACE, sys.executable, "-c", HOLD, str(path), action, "0.6"]
        return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    first = inside("hold")
    try:
        assert first.stdout is not None and first.stdout.readline() == "held\n"
        second = inside("take")
        _, said = second.communicate(timeout=60)
        assert second.returncode != 0 and "is being written by process" in said
    finally:
        subprocess.run(["pkill", "-9", "-P", str(first.pid)], check=False)
        first.kill()
        first.wait()
    third = inside("take")
    third.communicate(timeout=60)
    assert third.returncode == 0


@pytest.mark.parametrize("kind", ["pipe", "link to a device", "link", "deep", "large", "no process"])
def test_what_lies_in_the_place_of_a_lease_is_looked_at_and_never_waited_for(path: Path, kind: str) -> None:
    file = lease_path(path)
    claim = {"host": "h", "process": -1, "processes": lease._processes()}
    match kind:
        case "pipe":
            os.mkfifo(file)
        case "link to a device":
            file.symlink_to("/dev/zero")
        case "link":
            path.with_name("claim").write_text("{}")
            file.symlink_to(path.with_name("claim"))
        case "deep":
            file.write_text("[" * 200_000)
        case "large":
            file.write_text(json.dumps({**claim, "host": "h" * 2**20}))
        case "no process":
            file.write_text(json.dumps(claim))
    limit = time.monotonic() + 30
    assert lease.holder(path) is not None
    with Lease(path) as held:
        assert held.unsure and time.monotonic() < limit


def test_a_process_that_may_still_write_is_inherited_until_a_new_file_is_there(path: Path) -> None:
    plant(path)
    os.utime(lease_path(path))
    child = os.fork()
    if not child:  # takes over, and is killed before it writes
        os._exit(0 if Lease(path).unsure else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    number = json.loads(lease_path(path).read_text())["number"]
    with Lease(path, after=number - 1) as held:
        assert held.unsure
        change(path, process=2**22 + 1)
    with Lease(path, after=number + 1) as held:  # which the file has that the other one has put in place
        assert not held.unsure


def test_a_process_that_may_still_write_is_inherited_from_a_command_that_ends_without_a_new_file(path: Path) -> None:
    plant(path)
    with Lease(path) as held:
        assert held.unsure
    assert lease.holder(path) is None, "the mark that stays is held by nobody"
    for replaced in (False, True):
        start = time.monotonic()
        with Lease(path) as heir:
            assert heir.unsure and heir.number > held.number and time.monotonic() - start < lease.STALE
            with pytest.raises(StoreError, match="taken over"):
                held.check()
            heir.unsure = not replaced
    assert not list(path.parent.glob("*lease*"))
    with Lease(path) as after:
        assert not after.unsure
    plant(path)
    with Lease(path):
        path.unlink()
    assert not list(path.parent.glob("*lease*")), "of a store that is gone, nothing stays"
