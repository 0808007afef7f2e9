"""`hpcsweep.run`: a study run in this process, by the code of the command `run`."""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hpcsweep.api.studies import Study
from hpcsweep.approx import machine
from hpcsweep.cluster import abort, devices, launch, stopping
from hpcsweep.cluster.options import RunOptions
from hpcsweep.cluster.progress import Style
from hpcsweep.errors import LaunchError
from hpcsweep.store import status


@dataclass(frozen=True)
class Summary:
    """What a store holds after a run.

    Attributes
    ----------
    store : the HDF5 file
    cells : how many there are, those of earlier runs that the study no longer asks for included; and of these
    done, diverged, out_of_budget, failed, pending : by how they ended; pending ones have not
    failures : message by key, of every cell that failed
    """

    store: Path
    cells: int
    done: int
    diverged: int
    out_of_budget: int
    failed: int
    pending: int
    failures: dict[str, str]

    @property
    def complete(self) -> bool:
        """Whether no cell is pending; if one is, the run was stopped, and the same call goes on."""
        return not self.pending


def run(
    study: Study | str | Path,
    output: str | Path,
    *,
    retry_failed: bool = False,
    threads: int | None = None,
    stop_after: float | None = None,
    progress: Style = "none",
) -> Summary:
    """Run a study in this process, or resume or extend it: finished cells are kept, the others run.

    Keys, results and files are those of `python -m hpcsweep run`. While it runs, an interrupt from the keyboard (or
    SIGTERM) asks for an early end: what is done is saved, and the summary is returned with `pending` cells. If a cell
    then does not come to an end within half a minute (a plugin that hangs), this process ends, with exit code 75; the
    store is closed first. Started by mpiexec or srun, all ranks share the study and must all call this function.

    Parameters
    ----------
    study: a `Study`, or the path of a study file.
    output: the store (HDF5); its folder is made. The parameters of the networks go beside it, to FILE.weights.h5.
    retry_failed: try the cells again that failed before.
    threads: networks that are trained at once, one processor core each; results have the same bits for any number. By
        default HPCSWEEP_THREADS, or 1.
    stop_after: seconds after which the run begins to stop.
    progress: "lines" or "bar" shows on stderr how far it is and prints what became of it, "auto" the one that suits the
        terminal; "none" prints nothing.

    Returns
    -------
    Summary: how many cells of the store are `done`, `diverged`, `out_of_budget`, `failed` and `pending`, and the
    `failures`. A cell that fails raises nothing.

    Raises
    ------
    UserError: for a mistake in the study, a store that belongs to another study, that another process is writing to or
        that cannot be written; if not called from the main thread, which alone receives signals.
    """
    if threading.current_thread() is not threading.main_thread():
        raise LaunchError("run: call it from the main thread; other threads cannot be interrupted.")
    if threads is not None and (not isinstance(threads, int) or threads < 1):
        raise LaunchError(f"run: threads must be an integer of at least 1, not {threads!r}.")
    loaded = study if isinstance(study, Study) else Study.load(study)
    options = RunOptions.read()
    if threads is not None:
        options = dataclasses.replace(options, threads=threads)
    with _as_before(options.threads), abort.guarded():
        launch.run(loaded._parsed, output, progress, retry_failed, stop_after, options=options)
    return _summary(Path(output))


def _summary(path: Path) -> Summary:
    summary = status.summary(path)
    counts = {name: summary[name] for name in ("cells", "done", "diverged", "failed")}
    failures = {cell["key"]: cell["message"] for cell in summary["failures"]}
    waiting = summary["pending"] + summary["running"]
    return Summary(path, out_of_budget=summary["out of budget"], pending=waiting, failures=failures, **counts)


@contextlib.contextmanager
def _as_before(threads: int) -> Iterator[None]:
    """Let a run change this process as a command may, and put in order afterwards what it has changed.

    That is signals, what handles uncaught exceptions, the threads of torch, the device, and the request to stop.
    """
    hooks = sys.excepthook, threading.excepthook
    handlers = {number: signal.getsignal(number) for number in stopping.SIGNALS}
    try:
        with machine.threads(threads), devices.unbound():
            yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        sys.excepthook, threading.excepthook = hooks
        stopping.here().reset()
