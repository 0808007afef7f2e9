"""The jobs of an array for submitit: an element, and the merge at the end. Light to unpickle, see `Element`."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from submitit import JobEnvironment
from submitit.core.utils import DelayedSubmission, cloudpickle_dump

from hpcsweep.cluster import abort, launchers, slurm, stopping
from hpcsweep.cluster.options import RunOptions
from hpcsweep.cluster.stopping import AGAIN
from hpcsweep.errors import LaunchError
from hpcsweep.store import merging, shards
from hpcsweep.store.shards import Shard
from hpcsweep.study.changing import Changed


@dataclass(frozen=True)
class Element:
    """One element of an array: an MPI run of its share of a study, on every rank of its job.

    Two protocols are joined. submitit's: USR2 calls a handler that asks `checkpoint` for what is to run next, requeues
    the job and exits, on the spot. Ours (`stopping`): every signal sets a flag, packs save themselves and return, the
    store is closed. While a study runs our handlers stand, so that submitit's cannot cut a write short; when the run
    has come back unfinished, submitit's is called. Before the run has begun there is nothing to save and submitit's
    stands: so what takes long to import is imported after it was put up.
    """

    study: Changed
    text: str  # of the study when it was submitted: shares follow from it
    store: Path
    shard: Shard
    options: RunOptions
    seconds: float | None = None  # after which to stop, where no Slurm does it
    retry_failed: bool = False

    def __call__(self) -> int:
        """Run; return the exit code of the run, on rank 0."""
        theirs = signal.getsignal(signal.SIGUSR2)
        abort.listen()
        from hpcsweep.cluster import launch

        if self.study.text() != self.text:
            raise LaunchError(f"{self.study.path} has changed since it was submitted; submit it again.")
        with abort.guarded():
            code = launch.run(
                self.study,
                self.store,
                "lines",
                self.retry_failed,
                self.seconds,
                shard=self.shard,
                stuck=functools.partial(_stuck, theirs),
                options=self.options,
            )
        if code == AGAIN and os.environ.get("SUBMITIT_EXECUTOR") == "slurm":
            _requeue(theirs)
        _only_rank_0_reports()
        return code

    def checkpoint(self) -> DelayedSubmission:
        """Return what is to run next: the same. All that is saved lies beside the store."""
        return DelayedSubmission(self)


def _requeue(handler: Any) -> None:
    """Let submitit requeue the job and exit; not if Slurm has taken it back already, or somebody cancels it."""
    for number in stopping.SIGNALS:  # its steps are signalled once more when it goes
        signal.signal(number, signal.SIG_IGN)
    if "mpi4py.MPI" in sys.modules:  # with the other ranks, who are done: killed in it they leave things behind
        from mpi4py import MPI

        MPI.Finalize()
    _hand_back(handler)
    raise SystemExit(AGAIN)


def _hand_back(handler: Any) -> None:
    if callable(handler) and slurm.still_running():
        handler(signal.SIGUSR2, None)


def _stuck(handler: Any) -> None:
    """Do what submitit needs before ranks that hang are ended from within: a requeue, or the exit code as result."""
    executor = os.environ.get("SUBMITIT_EXECUTOR")
    with contextlib.suppress(SystemExit):  # of its handler: we have to end the ranks ourselves
        if executor == "slurm":
            _hand_back(handler)
        elif executor == "local":
            cloudpickle_dump(("success", AGAIN), JobEnvironment().paths.result_pickle)


def _only_rank_0_reports() -> None:
    """End the other ranks of an mpiexec here: submitit sees one process and would write one result several times."""
    if os.environ.get("SUBMITIT_EXECUTOR") == "local" and launchers.rank() > 0:
        raise SystemExit(0)


@dataclass(frozen=True)
class MergeJob:
    """The last job: merges what the elements have finished."""

    store: Path
    shards: tuple[Path, ...]

    def __call__(self) -> int:
        """Merge, say what is missing; the exit code of the job is 0 if nothing is, 1 if cells failed, else 75."""
        lines, code = merge(self.store, self.shards)
        print("\n".join(lines), flush=True)
        if code:
            raise SystemExit(code)
        return code


def merge(path: Path, files: tuple[Path, ...]) -> tuple[list[str], int]:
    """Merge the shards that are there; return what there is to say, and 0, 1 (cells failed) or 75 (some missing)."""
    present = [file for file in files if file.exists()]
    if not (present or path.exists()):
        return shards.missing(path, files), AGAIN
    new, finished = merging.merge(path, present)
    lacking = shards.missing(path, files)
    failed = shards.failures(path)
    counts = f"{path}: {new} new cells, {finished} finished in all" + (f", {failed} failed" if failed else "")
    return [counts, *lacking], AGAIN if lacking else int(failed > 0)
