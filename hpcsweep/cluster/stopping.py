"""When to end early: signals, the end of the walltime, or the word of rank 0. They set a flag, and whoever works looks.

The walltime is that of Slurm (``SLURM_JOB_END_TIME``), or what the user says. An early end takes a margin: work in
flight has to come to a point where it can be saved, and to be written.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterable
from types import FrameType

AGAIN = 75  # exit code: stopped early, run the same command again
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP)
LEAST_MARGIN = 60.0  # seconds before the end of the walltime
LONGEST_TASK = 20.0  # seconds of a task that cannot be interrupted, about
# Share of the margin that is waited for those who work. Of the least margin, more than the longest task, and less than
# the 30 s that Slurm leaves between SIGTERM and SIGKILL.
PATIENCE = 0.45
LEAST_PATIENCE = 1.0  # seconds, of a walltime that is a matter of seconds


class Stuck(Exception):
    """Asked to stop, some did not come to an end: a plugin that hangs, a node that stands still. Says which."""


class StopRequest:
    """Whether an early end is asked for, and since when.

    Sent to another rank it is that rank's own, `here()`: a task takes it as an argument, wherever it runs.
    """

    def __init__(self) -> None:
        """Nobody asks yet."""
        self.reset()

    def reset(self) -> None:
        """Forget all that asked, or would have asked, for an early end: another run may begin in this process."""
        self._asked = False  # no Event: a signal that comes while one is being set would wait for its lock, for ever
        self._reason = ""
        self._bells: list[Callable[[], bool]] = []
        self._end = math.inf  # of the walltime, Unix time
        self._margin = LEAST_MARGIN
        self._moment = math.inf  # when to stop, whatever the walltime
        self._since = math.inf  # when it was first seen that an early end was asked for, by the monotonic clock

    def __reduce__(self) -> tuple[Callable[[], StopRequest], tuple[()]]:
        return here, ()

    def listen(self, numbers: Iterable[signal.Signals] = SIGNALS) -> None:
        """Let signals set the flag, in this process, from now on. A second interrupt from the keyboard kills."""
        for number in numbers:
            signal.signal(number, self._signalled)

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        self.ask(f"signal {signal.Signals(number).name}")

    def ask(self, reason: str = "") -> None:
        """Ask for an early end, as a signal would."""
        self._reason = self._reason or reason
        self._asked = True

    @property
    def reason(self) -> str:
        """Why an early end was asked for, in a few words; empty if it was not, or another rank knows it."""
        return self._reason

    def also_when(self, rings: Callable[[], bool]) -> None:
        """Let `asked` also look whether somebody else asks: rank 0, by a message."""
        self._bells.append(rings)

    def before(self, end: float) -> None:
        """Let `asked` say so in time before the walltime ends (Unix time); of a short one at most a quarter is lost."""
        self._end, self._margin = end, min(LEAST_MARGIN, max(0.0, end - time.time()) / 4)

    def at(self, moment: float) -> None:
        """Let `asked` say so from this moment on (Unix time)."""
        self._moment = moment

    def learn(self, saving: float) -> None:
        """Widen the margin by what a checkpoint took, in seconds."""
        if saving > LEAST_MARGIN / 10:
            self._margin = max(self._margin, LONGEST_TASK + 3 * saving)

    def asked(self) -> bool:
        """Whether an early end was asked for; looked at some 40 times a second by those who work."""
        now = time.time()
        if not self._asked and now > self._moment:
            self.ask("the time given by --stop-after is over")
        if not self._asked and now > self._end - self._margin:
            self.ask(f"the walltime ends at {time.strftime('%H:%M:%S', time.localtime(self._end))}")
        if not self._asked and any(rings() for rings in self._bells):
            self.ask()
        if self._asked:
            self._since = min(self._since, time.monotonic())
        return self._asked

    def overdue(self) -> bool:
        """Whether an early end was asked for so long ago that whoever has not come to one is not waited for."""
        return self.asked() and time.monotonic() - self._since > max(LEAST_PATIENCE, PATIENCE * self._margin)


_here = StopRequest()
listen, asked = _here.listen, _here.asked  # of this process, whoever asks it


def here() -> StopRequest:
    """Return the request of this process, which its signals set."""
    return _here
