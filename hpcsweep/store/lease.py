"""A lease on a store: a file beside it that refuses a second writer, and goes stale by itself.

The lease names host, process, job and a number that is larger than that of every lease before it; its modification time
is the heartbeat. Where process numbers mean the same to both (same boot of the kernel, same PID namespace), a lease is
stale when its process is gone. Elsewhere its heartbeat is watched, and it is stale if that stands still for `STALE`
seconds; no clocks are compared, and every look opens the file anew, which a network file system answers with what the
server knows. The lease appears whole, by `os.link`, so that of several who try at once exactly one succeeds; a stale
one is moved aside first, and put back if it was not the one that was seen. A writer that finds another claim in its
lease has lost it and must not write any more (`Lease.check`, before every write).
"""

from __future__ import annotations

import contextlib
import functools
import glob
import json
import os
import socket
import stat
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from hpcsweep.errors import StoreError
from hpcsweep.store import links
from hpcsweep.texts import visible

HEARTBEAT = 10.0  # seconds between two signs of life
STALE = 90.0  # seconds without one after which a lease is stale: longer than the caches of network file systems
LOOK = 1.0  # seconds between two looks at a heartbeat that is watched
_UNKNOWN = {"host": "another host or of another user", "process": "(unknown)"}
_LARGEST = 2**16  # bytes of a lease that are read; ours have some hundred
SURE = 0.1  # seconds after which a lease that took the place of a stale one is looked at again


def lease_path(store: Path) -> Path:
    """Return where the lease of a store lies: beside the file to which a link leads."""
    file = links.followed(store)
    return file.with_name(file.name + ".lease")


def holder(store: Path) -> str | None:
    """Return who holds a live lease on `store`, in words, or None: at once, to be shown.

    Of a holder whose process cannot be looked up from here, the age of the heartbeat by this clock decides. Who is
    about to write takes the lease instead, which compares no clocks.
    """
    claim, beat = _read(lease_path(store))
    alive = _alive(claim)
    live = alive if alive is not None else bool(claim) and abs(time.time() - beat / 1e9) < STALE
    return _words(claim) if live else None


def _words(claim: dict[str, Any]) -> str:
    return visible(f"process {claim.get('process')} on {claim.get('host')}")


def _read(path: Path) -> tuple[dict[str, Any], int]:
    """Return the claim in a lease file and its heartbeat (ns); an empty claim where there is no file.

    What cannot be read is a claim of somebody unknown.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            status = os.fstat(descriptor)
            claim = json.loads(os.read(descriptor, _LARGEST)) if stat.S_ISREG(status.st_mode) else None
        finally:
            os.close(descriptor)
        return (claim if isinstance(claim, dict) and claim else _UNKNOWN), status.st_mtime_ns
    except FileNotFoundError:
        return {}, 0
    except (OSError, ValueError, RecursionError):
        with contextlib.suppress(OSError):
            return _UNKNOWN, path.lstat().st_mtime_ns
        return _UNKNOWN, 0


def _number(claim: dict[str, Any]) -> int:
    number = claim.get("number", 0)
    return number if isinstance(number, int) and 0 <= number < 2**62 else 0


def _alive(claim: dict[str, Any]) -> bool | None:
    """Return whether the process of a claim lives, and has not released it; None if its number means nothing here."""
    if not claim or claim.get("released") is True:
        return False
    process = claim.get("process")
    if claim.get("processes") != _processes() or not isinstance(process, int) or process <= 0:
        return None
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # of another user, whose processes may be hidden
        return None
    try:
        return _birth(process) == claim.get("birth")
    except psutil.Error:
        return None


@functools.cache
def _processes() -> str:
    """Return what tells the process numbers that are valid here from all others: boot and PID namespace."""
    try:
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:  # no /proc here
        return f"{socket.gethostname()} {psutil.boot_time():.0f}"


def _birth(process: int) -> str | None:
    """Return what tells a process from every other with its number, whatever the clock does; None if it is gone."""
    try:
        if psutil.Process(process).status() == psutil.STATUS_ZOMBIE:
            return None
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19]
    except psutil.NoSuchProcess:
        return None
    except (OSError, IndexError):  # no /proc here
        with contextlib.suppress(psutil.NoSuchProcess):
            return f"{psutil.Process(process).create_time():.0f}"
        return None


class Lease:
    """A held lease; a thread renews it until `release`, which the end of a `with` block calls.

    number: larger than that of every earlier lease on the store.
    unsure: the lease before it was taken over from a process that may still live, since it cannot be looked up here;
        whoever comes next inherits that, also after a `release`, until a new file is in the place of the store.
    """

    def __init__(self, store: Path, after: int = 0) -> None:
        """Take the lease, with a number larger than `after`.

        Waits up to `STALE` seconds for a sign of life, and says so on the standard error.
        Raises `StoreError` naming the process that holds it.
        """
        self.store, self.path, self.unsure = store, lease_path(store), False
        self._over = threading.Event()
        self._after = after
        if store.exists() and not os.access(store, os.W_OK):
            raise StoreError(f"{store} is read-only for this user; make it writable, or choose another file.")
        try:
            self._take()
        except OSError as error:
            raise StoreError(f"{store.parent} cannot be written: {error.strerror}; choose another file.") from error
        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)
        self._thread.start()

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()

    def check(self, new: bool = False) -> None:
        """Raise `StoreError` if the store must not be written any more: it was deleted, or another run has taken it.

        new: there is no store yet.
        """
        if not (new or self.store.exists()):  # writes would go to a file without a name, and vanish with this process
            raise StoreError(f"{self.store} was deleted while it was being written; the same command starts anew.")
        for pause in (0.0, SURE, 10 * SURE):  # a file system may stumble, or another look at the lease for an instant
            time.sleep(pause)
            claim, _ = _read(self.path)
            if claim == self._claim:
                return
            if claim and claim != _UNKNOWN:
                break
        raise StoreError(f"Another run has taken over {self.store}; this run may no longer write it.")

    def _take(self) -> None:
        """Publish our claim, after moving a stale one aside."""
        seen = self._require_stale()
        self.number = 1 + max(self._after, _number(seen))
        self._claim = {
            "host": socket.gethostname(),
            "process": os.getpid(),
            "processes": _processes(),
            "birth": _birth(os.getpid()),
            "job": os.environ.get("SLURM_JOB_ID", ""),
            "name": uuid.uuid4().hex,
            "number": self.number,
            "unsure": self.unsure,
        }
        try:
            with self._written() as own:
                if seen:
                    self._move_aside(seen)
                os.link(own, self.path)
            if seen:
                self._make_sure()
            self._sweep()
        except FileExistsError as error:
            raise StoreError(f"Another run has just begun to write {self.store}; wait for its end.") from error

    @contextlib.contextmanager
    def _written(self) -> Iterator[Path]:
        """Give a file beside the lease with our claim, which is removed afterwards if it is still there."""
        own = self.path.with_name(f".{self.path.name}.{self._claim['name']}")
        try:
            descriptor = os.open(own, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
            with open(descriptor, "w") as file:
                json.dump(self._claim, file)
            yield own
        finally:
            own.unlink(missing_ok=True)

    def _sweep(self) -> None:
        """Remove what killed processes left of leases that they were about to publish."""
        with contextlib.suppress(OSError):
            youngest = self.path.stat().st_mtime - STALE  # by the clock of the file system, which made all of them
            for left in self.path.parent.glob(f".{glob.escape(self.path.name)}.{'[0-9a-f]' * 32}*"):
                if left.stat().st_mtime < youngest:
                    left.unlink()

    def _require_stale(self) -> dict[str, Any]:
        """Return the claim in the lease, which is stale, or an empty one. Raises `StoreError` if its holder lives."""
        seen, beat = _read(self.path)
        alive = _alive(seen)
        # Whoever took over from a process that may still live has put a new file in place, with its number, or has not.
        self.unsure = seen.get("unsure") is True and self._after < _number(seen)
        if alive is None:
            print(
                f"{self.store} is held by {_words(seen)}; its heartbeat is watched for up to {STALE:.0f} s, to see "
                "whether that process is still alive.",
                file=sys.stderr,
            )
            alive = self._changes(seen, beat)
            self.unsure = True
        if alive:
            raise StoreError(
                f"{self.store} is being written by {_words(seen)}; wait for it or stop it, or choose another file."
            )
        return seen

    def _changes(self, seen: dict[str, Any], beat: int) -> bool:
        """Watch a lease; return whether its heartbeat goes on, or whether another one takes its place."""
        limit = time.monotonic() + STALE
        while time.monotonic() < limit:
            self._over.wait(min(LOOK, STALE / 5))
            claim, now = _read(self.path)
            if claim and (claim != seen or now != beat):
                return True
        return False

    def _move_aside(self, seen: dict[str, Any]) -> None:
        """Remove the stale lease that was `seen`; if it is another by now, put it back."""
        if _read(self.path)[0] != seen:
            return
        aside = self.path.with_name(f".{self.path.name}.{self._claim['name']}.stale")
        with contextlib.suppress(FileNotFoundError):
            os.rename(self.path, aside)
            try:
                if _read(aside)[0] != seen:
                    os.link(aside, self.path)
            finally:
                aside.unlink()

    def _make_sure(self) -> None:
        """Look again after a moment: who was late to move the stale lease aside may have moved ours, for an instant.

        Raises `FileExistsError` if somebody else came into that instant.
        """
        limit = time.monotonic() + SURE
        while (claim := _read(self.path)[0]) in ({}, self._claim):
            if time.monotonic() > (limit if claim else limit + 10 * SURE):  # later: who moved it died over that
                break
            time.sleep(SURE / 10)
        if claim != self._claim:
            raise FileExistsError(self.path)

    def _beat(self) -> None:
        while not self._over.wait(HEARTBEAT):
            with contextlib.suppress(OSError):  # a file system that stumbles for a moment takes nothing over
                if _read(self.path)[0] not in ({}, _UNKNOWN, self._claim):
                    return  # lost, which `check` finds
                os.utime(self.path, follow_symlinks=False)

    def release(self) -> None:
        """Release the store; a lease that is still `unsure` stays as a mark of that, held by nobody."""
        self._over.set()
        self._thread.join()
        with contextlib.suppress(OSError):  # a disk turned read-only: it goes stale with this process
            if _read(self.path)[0] == self._claim:
                if self.unsure and self.store.exists():
                    self._claim["released"] = True
                    with self._written() as own:
                        os.replace(own, self.path)
                else:
                    self.path.unlink(missing_ok=True)
