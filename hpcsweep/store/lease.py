"""A lease on a store: a file beside it that refuses a second driver, and goes stale by itself.

The lease names host, process and job; its modification time is the heartbeat. It is stale when its process is gone
(same host) or when the heartbeat is older than `STALE` seconds (another host). It appears whole, by `os.link`, so that
of several who try at once exactly one succeeds; a stale one is moved aside first, and put back if it was not the one
that was seen. A run that finds another claim in its lease has lost it and must not write any more (`Lease.check`).
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import psutil

from hpcsweep.errors import StoreError

HEARTBEAT = 10.0  # seconds between two signs of life
STALE = 90.0  # seconds without one after which another host may take over
SURE = 0.1  # seconds after which a lease that took the place of a stale one is looked at again


def lease_path(store: Path) -> Path:
    """Return where the lease of a store lies."""
    return store.with_name(store.name + ".lease")


def holder(store: Path) -> str | None:
    """Return who holds a live lease on `store`, in words, or None."""
    claim, age = _read(lease_path(store))
    return f"process {claim.get('process')} on {claim.get('host')}" if _is_live(claim, age) else None


def _read(path: Path) -> tuple[dict[str, Any], float]:
    """Return the claim in a lease file and the age of its heartbeat; an empty claim where there is none."""
    try:
        claim, age = json.loads(path.read_text()), time.time() - path.stat().st_mtime
    except (OSError, ValueError):
        return {}, 0.0
    return (claim, age) if isinstance(claim, dict) else ({}, 0.0)


def _is_live(claim: dict[str, Any], age: float) -> bool:
    if not claim:
        return False
    if claim.get("host") != socket.gethostname():
        return age < STALE
    process = claim.get("process")
    return isinstance(process, int) and _birth(process) == claim.get("birth")


def _birth(process: int) -> str | None:
    """Return what tells a process from every other with its number, whatever the clock does; None if it is gone."""
    try:
        if psutil.Process(process).status() == psutil.STATUS_ZOMBIE:
            return None
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        ticks = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19]
        return f"{boot} {ticks}"
    except psutil.NoSuchProcess:
        return None
    except (OSError, IndexError):  # no /proc here
        with contextlib.suppress(psutil.NoSuchProcess):
            return f"{psutil.Process(process).create_time():.0f}"
        return None


class Lease:
    """A held lease; a thread renews it until `release`, which the end of a `with` block calls."""

    def __init__(self, store: Path) -> None:
        """Take the lease, or raise `StoreError` naming the process that holds it."""
        self.store, self.path, self._lost = store, lease_path(store), False
        self._claim = {
            "host": socket.gethostname(),
            "process": os.getpid(),
            "birth": _birth(os.getpid()),
            "job": os.environ.get("SLURM_JOB_ID", ""),
            "name": uuid.uuid4().hex,
        }
        try:
            self._take()
        except OSError as error:
            raise StoreError(f"{store.parent} cannot be written: {error.strerror}; choose another file.") from error
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)
        self._thread.start()

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()

    def check(self) -> None:
        """Raise `StoreError` if the store must not be written any more: it was deleted, or another run has taken it."""
        if not self.store.exists():  # writes would go to a file without a name, and vanish with this process
            raise StoreError(f"{self.store} was deleted while it was being written; the same command starts anew.")
        if self._lost:
            raise StoreError(f"Another run has taken over {self.store}; this run may no longer write it.")

    def _take(self) -> None:
        """Publish our claim, after moving a stale one aside."""
        seen, age = _read(self.path)
        if _is_live(seen, age):
            raise StoreError(
                f"{self.store} is being written by {holder(self.store)}; wait for it or stop it, or choose another "
                "file."
            )
        own = self.path.with_name(f".{self.path.name}.{self._claim['name']}")
        own.write_text(json.dumps(self._claim))
        try:
            self._move_aside(seen)
            os.link(own, self.path)
            if seen:
                self._make_sure()
        except FileExistsError as error:
            raise StoreError(f"Another run has just begun to write {self.store}; wait for its end.") from error
        finally:
            own.unlink()

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

    def _ours(self) -> bool:
        return _read(self.path)[0] == self._claim

    def _beat(self) -> None:
        while not self._over.wait(HEARTBEAT):
            with contextlib.suppress(OSError):  # a file system that stumbles for a moment takes nothing over
                if not self._ours() and (_read(self.path)[0] or not self.path.exists()):
                    self._lost = True
                    return
                os.utime(self.path)

    def release(self) -> None:
        """Release the store."""
        self._over.set()
        self._thread.join()
        if self._ours():
            with contextlib.suppress(OSError):  # a disk turned read-only: it goes stale with this process
                self.path.unlink(missing_ok=True)
