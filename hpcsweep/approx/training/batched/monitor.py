"""When to look up from the work: clock, budget, requests to stop, reports of progress."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

LONGEST = 64  # steps between two looks, at most
_PAUSE = 0.025  # seconds of work between two looks, about
_REPORT = 0.3  # seconds between two reports, at least


class Monitor:
    """Shared by the packs that one call trains one after another; once asked to stop, it stays so."""

    def __init__(
        self,
        stop: Callable[[], bool],
        report: Callable[[float], None] | None,
        checkpoint: Callable[[dict[str, Any]], None] | None = None,
        checkpoint_seconds: float = 60.0,
    ) -> None:
        self._stop, self._report = stop, report
        self._checkpoint, self._checkpoint_seconds = checkpoint, checkpoint_seconds
        self._saved = time.perf_counter()
        self._stopped = self._parting = False  # asked to stop; and has saved since
        self._asked = self._reported = -float("inf")
        self._share = (0.0, 1.0)
        self._budget: float | None = None
        self._place: Callable[[], dict[str, Any]] = dict
        self._begun = self._looked = time.perf_counter()
        self._step = 0

    @property
    def stopped(self) -> bool:
        """Whether somebody has asked to stop."""
        return self._stopped

    def begin(self, budget: float | None, done: float, share: float, place: Callable[[], dict[str, Any]]) -> None:
        """Start on a pack with `budget` seconds, a `share` of all the work; `done` of it is over.

        `place` says what has to be saved beside the state of that pack.
        """
        self._budget, self._share, self._place = budget, (done, share), place
        self._begun = self._looked = time.perf_counter()
        self._step = 0

    def pause(self, step: int) -> int:
        """Return after how many more steps to look again, from the time that the last ones took; at least 1."""
        now = time.perf_counter()
        steps, seconds = step - self._step, now - self._looked
        self._step, self._looked = step, now
        return max(1, min(LONGEST, int(_PAUSE * steps / max(seconds, 1e-9))))

    def verdict(self) -> str:
        """Return "interrupted" or "out of budget" if it is time to stop, else an empty string."""
        now = time.perf_counter()
        if not self._stopped and now - self._asked >= _PAUSE / 2:
            self._asked, self._stopped = now, bool(self._stop())
        if self._stopped:
            return "interrupted"
        over = self._budget is not None and now - self._begun > self._budget
        return "out of budget" if over else ""

    def progress(self, share: float) -> None:
        """Report that a share of this pack, 0 to 1, is done; skipped if the last report is fresh."""
        now = time.perf_counter()
        if self._report is not None and now - self._reported >= _REPORT:
            self._reported = now
            done, part = self._share
            self._report(done + part * share)

    def saves(self, verdict: str) -> bool:
        """Return whether it is time to save: once before an interruption, and now and then.

        What is saved first goes on with all packs; a later one, stopped too, would take down the end of those before.
        """
        if self._checkpoint is None or self._parting or verdict == "out of budget":
            return False
        return verdict == "interrupted" or time.perf_counter() - self._saved >= self._checkpoint_seconds

    def save(self, state: dict[str, Any]) -> None:
        """Hand over the state of the pack at work."""
        if self._checkpoint is not None:
            self._checkpoint({**self._place(), "state": state})
            self._saved, self._parting = time.perf_counter(), self._stopped
