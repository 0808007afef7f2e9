"""A lease on a store: a file beside it that refuses a second driver, and goes stale by itself.

The lease names host, process and job, and its modification time is the heartbeat. It is stale when its process is
gone (same host) or when the heartbeat is older than `STALE` seconds (another host).
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from pathlib import Path

import psutil

from hpcsweep.errors import StoreError

HEARTBEAT = 10.0  # seconds between two signs of life
STALE = 90.0  # seconds without one after which another host may take over


def lease_path(store: Path) -> Path:
    """Return where the lease of a store lies."""
    return store.with_name(store.name + ".lease")


def holder(store: Path) -> str | None:
    """Return who holds a live lease on `store`, in words, or None."""
    path = lease_path(store)
    try:
        claim = json.loads(path.read_text())
        age = time.time() - path.stat().st_mtime
    except (OSError, ValueError):
        return None
    here = claim.get("host") == socket.gethostname()
    alive = _same_process(claim) if here else age < STALE
    return f"process {claim.get('process')} on {claim.get('host')}" if alive else None


def _same_process(claim: dict[str, object]) -> bool:
    """Whether the process of a claim made on this host still runs (a process number may be used again)."""
    with contextlib.suppress(psutil.NoSuchProcess, TypeError, ValueError):
        process = psutil.Process(int(str(claim["process"])))
        return process.status() != psutil.STATUS_ZOMBIE and process.create_time() == claim["created"]
    return False


class Lease:
    """A held lease; a thread renews it until `release`."""

    def __init__(self, store: Path) -> None:
        """Take the lease, or raise `StoreError` naming the process that holds it."""
        self.path = lease_path(store)
        if (owner := holder(store)) is not None:
            raise StoreError(f"{store} is being written by {owner}; wait for it or stop it, or give another file.")
        self.path.unlink(missing_ok=True)
        try:
            with self.path.open("x") as file:
                json.dump(_claim(), file)
        except FileExistsError as error:
            raise StoreError(f"{store} was taken by another run at this very moment; try again.") from error
        except OSError as error:
            raise StoreError(f"{store.parent} cannot be written: {error.strerror}; give another file.") from error
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)
        self._thread.start()

    def _beat(self) -> None:
        while not self._over.wait(HEARTBEAT):
            with contextlib.suppress(OSError):
                os.utime(self.path)

    def release(self) -> None:
        """Give the store free."""
        self._over.set()
        self._thread.join()
        self.path.unlink(missing_ok=True)


def _claim() -> dict[str, object]:
    process = psutil.Process()
    return {
        "host": socket.gethostname(),
        "process": process.pid,
        "created": process.create_time(),
        "job": os.environ.get("SLURM_JOB_ID", ""),
    }
