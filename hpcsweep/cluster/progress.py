"""What rank 0 shows of a run while it goes on: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from hpcsweep.store.status import duration

Style = Literal["auto", "bar", "lines", "none"]
SECONDS_BETWEEN_LINES = 10.0


class Display:
    """Shows how far a run is; this one shows nothing. `eta` in seconds, or None while nothing is known."""

    def show(self, finished: int, total: int, eta: float | None, note: str) -> None:
        """Show the present state; cheap enough to call several times a second."""

    def close(self) -> None:
        """Leave the screen in order."""


class Bar(Display):
    """A live bar; `width` as told by the launcher's shell, since under mpiexec the terminal is not ours."""

    def __init__(self, stream: TextIO, force: bool, unit: str) -> None:
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        further = (TextColumn(unit), TimeElapsedColumn(), TextColumn("{task.fields[note]}"))
        console = Console(file=stream, force_terminal=force or None)
        self._progress = Progress(*columns, *further, console=console, refresh_per_second=4)
        self._task = self._progress.add_task("starting", total=None, note="")
        self._progress.start()

    def show(self, finished: int, total: int, eta: float | None, note: str) -> None:
        """Move the bar."""
        ahead = f"about {duration(eta)} to go" if eta is not None else "estimating"
        text = f"{ahead} | {note}" if note else ahead
        self._progress.update(self._task, completed=finished, total=total, note="" if finished == total else text)

    def close(self) -> None:
        """Stop the live display; the bar stays."""
        self._progress.stop()


class Lines(Display):
    """A line every few seconds, and one at the end: for log files."""

    def __init__(self, stream: TextIO, unit: str) -> None:
        self._stream, self._unit = stream, unit
        self._last = 0.0
        self._shown = -1

    def show(self, finished: int, total: int, eta: float | None, note: str) -> None:
        """Print a line if it is time for one."""
        now = time.monotonic()
        over = finished == total
        if finished == self._shown or (now - self._last < SECONDS_BETWEEN_LINES and not over):
            return
        self._last, self._shown = now, finished
        ahead = "" if over or eta is None else f", about {duration(eta)} to go"
        print(
            f"{finished} of {total} {self._unit}{ahead}" + (f" ({note})" if note else ""), file=self._stream, flush=True
        )


def counting(cells: int, stream: TextIO) -> Callable[[int], None]:
    """Return what tells on a stream, now and then, how many of the cells of a study are multiplied out."""
    last = time.monotonic()

    def show(done: int) -> None:
        nonlocal last
        if time.monotonic() - last >= SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            print(f"{done:,} of {cells:,} cells are listed", file=stream, flush=True)

    return show


def display(style: Style, stream: TextIO, unit: str = "cells") -> Display:
    """Return the display of a style; "auto" is a bar on a terminal, lines elsewhere. Counts in units so called."""
    if style == "none":
        return Display()
    if style == "bar" or (style == "auto" and stream.isatty()):
        return Bar(stream, force=style == "bar", unit=unit)
    return Lines(stream, unit)
