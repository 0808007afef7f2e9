"""Faults of a user's target: it raises, hangs, returns nonsense or ends its process, in a cell drawn at random."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

from hpcsweep.store import layout
from scripts.fault_matrix.processes import ended
from scripts.fault_matrix.row import Row
from scripts.fault_matrix.study import SAMPLES, TILE
from scripts.fault_matrix.trial import Launch, TooLate, Trial

QUIET = 6.0  # seconds without a cell finished, after which nothing but the hanging one is left
WALLTIME = 120  # seconds that a run is told to have: a tenth of them it waits for who hangs


def _errs(kind: str, measuring: bool = False) -> Callable[[Trial], str]:
    """Run with a target that errs where it is sampled or, on request, where it is measured."""

    def strike(trial: Trial) -> str:
        places = [*SAMPLES, *([TILE] if measuring else [])]
        launch = trial.start(TROUBLE=f"{kind} {trial.chance.choice(places)}")
        how, failed = ended(launch), len(trial.status(layout.FAILED))
        return f"{how}, {'some' if failed else 'NO'} cells failed"

    return strike


def _edits(name: str) -> Callable[[Trial], str]:
    """Change a file of the plugin at a random moment."""

    def strike(trial: Trial) -> str:
        launch = trial.start()
        trial.moment(launch)
        with (trial.folder / name).open("a") as file:
            file.write("\n")
        how = ended(launch)
        if how == "exit 0":
            raise TooLate
        return how

    return strike


def _ends(kind: str) -> Callable[[Trial], str]:
    """Run with a target that does this where it is sampled."""
    return lambda trial: ended(trial.start(TROUBLE=f"{kind} {trial.chance.choice(SAMPLES)}"))


def _kills(trial: Trial) -> str:
    """Run again and again until the cell is found out."""
    trouble, codes = f"kills {trial.chance.choice(SAMPLES)}", []
    while len(codes) < 8 and (not codes or codes[-1] not in ("exit 0", "exit 1")):
        codes.append(ended(trial.start(TROUBLE=trouble)))
    return f"killed {len(codes) - 1} times, then {codes[-1]}"


def _hangs(trial: Trial) -> str:
    """Run again and again until the cell is found out; tell each run to stop, once nothing else is left."""
    trouble, codes = f"hangs {trial.chance.choice(SAMPLES)}", []
    while len(codes) < 8 and (not codes or codes[-1] not in (0, 1)):
        walltime = str(int(time.time()) + WALLTIME)
        launch = trial.start(TROUBLE=trouble, TROUBLE_SLOW="0", SLURM_JOB_END_TIME=walltime)
        trial.until_live(launch)
        _until_quiet(trial, launch)
        codes.append(_stop(launch))
    ended = {f"exit {code}" for code in codes[:-1]}
    return f"stopped {len(codes) - 1} times ({', '.join(sorted(ended))}), then exit {codes[-1]}"


def _until_quiet(trial: Trial, launch: Launch) -> None:
    finished, since = -1, time.monotonic()
    while launch.process.poll() is None and time.monotonic() - since < QUIET:
        if trial.driver(launch) is None:  # it starts: what the store says is still of the run before
            since = time.monotonic()
        if (now := len(trial.status(*layout.FINISHED))) != finished:
            finished, since = now, time.monotonic()
        time.sleep(0.1)


def _stop(launch: Launch) -> int:
    for rank in launch.ranks():
        rank.send_signal(signal.SIGTERM)
    return launch.wait()


MENDED = "the plugin corrected, `--retry-failed`"
ROWS = [
    Row("raises", "a plugin that raises", _errs("raises", measuring=True), MENDED, retry=True),
    Row("exits", "a plugin that calls `sys.exit`", _errs("exits", measuring=True), MENDED, retry=True),
    Row("nan", "a plugin that returns NaN", _errs("nan"), MENDED, retry=True),
    Row("shape", "a plugin that returns the wrong shape", _errs("shape", measuring=True), MENDED, retry=True),
    Row("ends", "a plugin that calls `os._exit(0)`", _ends("ends"), "the plugin corrected"),
    Row("forks", "a plugin that forks", _ends("forks")),
    Row("edited", "the file of a plugin is edited", _edits("troubled.py"), "the file as it was", mend=Trial.mend),
    Row("data", "a data file of a plugin is edited", _edits("table.csv"), "the file as it was", mend=Trial.mend),
    Row("kills", "a plugin that kills its process", _kills, MENDED, retry=True),
    Row("hangs", "a plugin that hangs", _hangs, "run stopped three times, then " + MENDED, retry=True),
]
