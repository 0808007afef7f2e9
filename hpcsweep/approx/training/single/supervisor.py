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
    """Of the networks of one call.

    Networks look up from threads of their own, and hand over their state when it is wanted. The outside world (`stop`,
    `report`, `checkpoint`) hears of the thread alone that made this object.
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
        self._checkpoint, self._period = checkpoint, checkpoint_seconds
        self._lock, self._main = threading.Lock(), threading.current_thread()
        self._stopped, self._asked, self._reported = False, -float("inf"), -float("inf")
        self._shares = [0.0] * count
        self._states: dict[int, Mapping[str, Any]] = {}  # of networks that have ended, and of others for the next file
        self._wanted: set[int] = set()  # networks whose state is wanted and has not come
        self._working: set[int] = set()
        self._changed, self._round, self._written = False, False, time.perf_counter()

    def run(self, jobs: Sequence[Callable[[], None]], threads: int) -> None:
        """Do all jobs, so many at once, each on one core; a mistake in one is raised, and stops the others.

        What networks hand over when they are stopped is written once, when all have come to their end.
        """
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            if min(threads, len(jobs)) == 1:
                for job in jobs:
                    job()
            else:
                self._run_together(jobs, threads)
        finally:
            torch.set_num_threads(before)
        if self._stopped and self._changed:
            self._write()

    def _run_together(self, jobs: Sequence[Callable[[], None]], threads: int) -> None:
        pool = ThreadPoolExecutor(threads, "network")
        try:
            running = {pool.submit(job) for job in jobs}
            while running:
                done, running = wait(running, timeout=2 * _ASKS)
                self._ask()
                self._tell()
                self._save()
                for one in done:
                    one.result()
        except BaseException:
            self._stopped = True
            raise
        finally:
            pool.shutdown(cancel_futures=True)

    def _ask(self) -> None:
        now = time.perf_counter()
        if not self._stopped and now - self._asked >= _ASKS:
            self._asked, self._stopped = now, bool(self._stop())

    def begin(self, cell: int) -> None:
        """Take note that a network begins to work."""
        with self._lock:
            self._working.add(cell)

    def end(self, cell: int, state: Mapping[str, Any]) -> None:
        """Take note that a network has ended, and what is to be saved of it."""
        with self._lock:
            self._working.discard(cell)
            self._wanted.discard(cell)
            self._states[cell], self._changed = state, True
            self._shares[cell] = 1.0

    def keep(self, cell: int, state: Mapping[str, Any]) -> None:
        """Take in what an earlier call saved of a network."""
        self._states[cell] = state

    def verdict(self, spent: float, seconds: float | None) -> str:
        """Return "interrupted" or "out of budget" if a network is to stop that has spent so many seconds, else ""."""
        if threading.current_thread() is self._main:
            self._ask()
        if self._stopped:
            return "interrupted"
        return "out of budget" if seconds is not None and spent > seconds else ""

    def look(self, cell: int, share: float, verdict: str, state: Callable[[], Mapping[str, Any]]) -> None:
        """Hear that a network has done a share of its work, 0 to 1; take in its state where that is wanted."""
        self._shares[cell] = share
        alone = threading.current_thread() is self._main
        if alone:
            self._tell()
            self._save()
        if self._checkpoint is not None and (verdict == "interrupted" or (cell in self._wanted and not verdict)):
            saved = state()
            with self._lock:
                self._states[cell], self._changed = saved, True
                self._wanted.discard(cell)
            if alone and not verdict:
                self._save()

    def _tell(self) -> None:
        now = time.perf_counter()
        if self._report is not None and now - self._reported >= _REPORT:
            self._reported = now
            self._report(sum(self._shares) / len(self._shares))

    def _save(self) -> None:
        """Now and then, want the states of all that work; write them once all have come."""
        if self._checkpoint is None or self._stopped:
            return
        with self._lock:
            if not self._round and time.perf_counter() - self._written >= self._period:
                self._round, self._wanted = True, set(self._working)
            complete = self._round and not self._wanted
        if complete:
            self._write()

    def _write(self) -> None:
        if self._checkpoint is not None:
            with self._lock:
                states = dict(self._states)
            self._checkpoint({"networks": states})
            with self._lock:  # of those at work another state will come; theirs may be large
                self._states = {cell: one for cell, one in self._states.items() if cell not in self._working}
        self._changed, self._round, self._written = False, False, time.perf_counter()
