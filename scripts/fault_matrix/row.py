"""A row of the matrix: a fault, how it strikes, and what is looked at after it."""

from __future__ import annotations

import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from hpcsweep.store import layout
from scripts.fault_matrix.trial import Hangs, Reference, TooLate, Trial

TRIES = 5  # of a repetition whose fault came too late


def nothing(trial: Trial) -> None:
    """Mend nothing: the same command is enough."""


@dataclass(frozen=True)
class Row:
    """A fault. `strike` starts a run, does the harm at a random moment, waits for the end and says how it ended."""

    name: str
    what: str  # for the table
    strike: Callable[[Trial], str]
    remedy: str = ""  # what has to be done before the same command completes the study; nothing for nothing
    mend: Callable[[Trial], None] = nothing
    obstacle: Callable[[], str] = str  # why it cannot be had here; nothing if it can
    retry: bool = False  # run again with --retry-failed
    gone: bool = False  # the store itself is what the fault takes away
    ranks: int = 2


@dataclass
class Repetition:
    """What one repetition came to."""

    ended: str = "?"
    readable: bool = False
    right: bool = False
    done: int = 0  # cells that were done when the fault was over
    lost: int = 0  # cells that had been marked done and were not any more
    again: int = 0  # cells in flight, gone on with or done again
    launches: int = 0  # of the same command that completed the study; 0: it was not completed
    wrong: str = ""  # what went wrong

    @property
    def good(self) -> bool:
        """Whether nothing was lost and the study was completed."""
        return self.readable and self.right and not self.lost and self.launches > 0 and not self.wrong


@dataclass
class Verdict:
    """What all repetitions of a row came to, or why there are none."""

    row: Row
    skipped: str = ""
    repetitions: list[Repetition] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether nothing was lost."""
        return all(one.good for one in self.repetitions)

    @property
    def ends(self) -> str:
        """How the runs ended that the fault befell."""
        return "; ".join(
            f"{many} × {end}" for end, many in Counter(one.ended for one in self.repetitions).most_common()
        )


def repeat(row: Row, reference: Reference, chance: random.Random, ranks: int) -> Repetition:
    """Let a fault strike once, look at what is left, and complete the study. Keeps the folder if that goes wrong."""
    for _ in range(TRIES):
        folder = Path(tempfile.mkdtemp(prefix=f"faults-{row.name}-"))
        found, trial = Repetition(), Trial(folder, chance, min(row.ranks, ranks))
        try:
            _go_through(row, trial, reference, found)
        except TooLate:
            found.wrong = "the fault came too late each time"
        except Hangs as hangs:
            found.wrong = f"hangs: {hangs}"
        except Exception as error:
            found.wrong = f"{type(error).__name__}: {error}"
        finally:
            trial.close()
            row.mend(trial)
        if found.good or "too late" in found.wrong:
            shutil.rmtree(folder, ignore_errors=True)
        if "too late" not in found.wrong:
            break
    found.wrong += "" if found.good else f" (kept in {folder})"
    return found


def _go_through(row: Row, trial: Trial, reference: Reference, found: Repetition) -> None:
    with trial.watched():
        found.ended = row.strike(trial)
    if any("Traceback" in launch.said() for launch in trial.launches):
        found.wrong = "a traceback where a sentence is due"
    if trial.store.exists():
        found.right = reference.wrong(trial.store) == 0
        done = trial.status(layout.DONE)
        found.lost = len((trial.seen - done) | trial.vanished)
        found.done, found.again = trial.noted or (len(done), len(trial.begun()))
    else:  # never laid out, or deleted
        found.right, found.lost = True, 0 if row.gone else len(trial.seen)
    found.readable = True
    if found.again > reference.in_flight:
        found.wrong = f"more than {reference.in_flight} cells were in flight"
    row.mend(trial)
    found.launches = trial.complete(row.retry)
    if not reference.whole(trial.store):
        found.wrong = "the completed store differs from the undisturbed one"
