"""Who looks after networks that train alone, some at once: the clock, requests to stop, progress, and what is saved."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import torch

_ASKS = 0.0125  # seconds between two questions whether to stop, at least
_REPORT = 0.3  # seconds between two reports, at least


class Supervisor:
    """Of the networks of one call, which call from their own threads.

    Requests to stop and reports are the business of the thread that began; checkpoints that of any, one at a time.
    """

    def __init__(
        self,
        count: int,
        stop: Callable[[], bool],
        report: Callable[[float], None] | None,
        checkpoint: Callable[[dict[str, Any]], None] | None,
        checkpoint_seconds: float,
    ) -> None:
        self._stop, self._report = stop, report
        self._checkpoint, self._checkpoint_seconds = checkpoint, checkpoint_seconds
        self._lock, self._main = threading.RLock(), threading.current_thread()
        self._stopped, self._asked, self._reported = False, -float("inf"), -float("inf")
        self._shares = [0.0] * count
        self._states: dict[int, Mapping[str, Any]] = {}
        now = time.perf_counter()
        self._saved, self._written = [now] * count, now

    def run(self, jobs: Sequence[Callable[[], None]], threads: int) -> None:
        """Do all jobs, so many at once; a mistake in one is raised once the others are over."""
        if min(threads, len(jobs)) == 1:
            for job in jobs:
                job()
            return
        before = torch.get_num_threads()
        torch.set_num_threads(1)  # of each job
        try:
            with ThreadPoolExecutor(threads, "network") as pool:
                running = {pool.submit(job) for job in jobs}
                while running:
                    done, running = wait(running, timeout=2 * _ASKS)
                    self._ask()
                    self._tell()
                    for one in done:
                        one.result()
        finally:
            torch.set_num_threads(before)

    def _ask(self) -> None:
        now = time.perf_counter()
        if not self._stopped and now - self._asked >= _ASKS:
            self._asked, self._stopped = now, bool(self._stop())

    def verdict(self, spent: float, seconds: float | None) -> str:
        """Return "interrupted" or "out of budget" if a network is to stop that has spent so many seconds, else ""."""
        if threading.current_thread() is self._main:
            self._ask()
        if self._stopped:
            return "interrupted"
        return "out of budget" if seconds is not None and spent > seconds else ""

    def progress(self, cell: int, share: float) -> None:
        """Take in which share of its work a network has done, 0 to 1."""
        self._shares[cell] = share
        if threading.current_thread() is self._main:
            self._tell()

    def _tell(self) -> None:
        now = time.perf_counter()
        if self._report is not None and now - self._reported >= _REPORT:
            self._reported = now
            self._report(sum(self._shares) / len(self._shares))

    def keep(self, cell: int, state: Mapping[str, Any]) -> None:
        """Take in what is to be saved of a network, with the next checkpoint."""
        with self._lock:
            self._states[cell] = state
            if "state" not in state:
                self._shares[cell] = 1.0

    def saves(self, cell: int, verdict: str) -> bool:
        """Return whether it is time for a network to save: before an interruption, and now and then."""
        if self._checkpoint is None or verdict == "out of budget":
            return False
        return verdict == "interrupted" or time.perf_counter() - self._saved[cell] >= self._checkpoint_seconds

    def save(self, cell: int, state: Mapping[str, Any]) -> None:
        """Write a checkpoint of all networks, with the latest that each has given."""
        with self._lock:
            self.keep(cell, state)
            now = time.perf_counter()
            self._saved[cell] = now
            if self._checkpoint is not None and (self._stopped or now - self._written >= self._checkpoint_seconds):
                self._checkpoint({"networks": dict(self._states)})
                self._written = time.perf_counter()
