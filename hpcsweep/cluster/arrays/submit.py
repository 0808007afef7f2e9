"""A study as a job array, through submitit: K elements, each an MPI run of its share, and a job that merges them.

The same on Slurm, on this machine (`local`: a few processes at a time) and in this process (`debug`: one element after
another). Nothing here knows what an element does; see `element`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import submitit
from submitit.core.utils import FailedSubmissionError, UncompletedJobError

from hpcsweep import libraries
from hpcsweep.cluster import launch, shares, slurm, stopping
from hpcsweep.cluster.arrays import element, local
from hpcsweep.cluster.arrays.element import AGAIN, Element, Merging
from hpcsweep.errors import LaunchError, StoreError
from hpcsweep.store import shards
from hpcsweep.store.shards import Shard
from hpcsweep.study.cells import Cells
from hpcsweep.study.plan import Pack

Cluster = Literal["slurm", "local", "debug"]
MOST_TIMEOUTS = 100  # of an element, after which submitit requeues it no more
NOTICE = 120  # seconds before the end of the walltime that Slurm sends USR2
LONGEST_MERGE = 60  # minutes
EXPORTS = f"export OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 {libraries.MKL_SHELL}"


@dataclass(frozen=True)
class JobRequest:
    """What each element asks of the cluster."""

    elements: int = 1
    nodes: int = 1
    tasks: int = 1  # on each node
    gpus: int = 0  # on each node
    cores: int = 1  # of each task
    seconds: float | None = None  # walltime
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    mpi: str = "pmi2"

    @property
    def shards(self) -> tuple[Shard, ...]:
        """The elements."""
        return tuple(Shard(self.elements, number) for number in range(1, self.elements + 1))

    @property
    def minutes(self) -> int:
        """The walltime in whole minutes; an hour unless said."""
        return 60 if self.seconds is None else max(1, math.ceil(self.seconds / 60))


@dataclass(frozen=True)
class Submission:
    """A study shared out among elements; `left` of them have something to do."""

    study: Path
    store: Path
    wish: JobRequest
    text: str
    seconds: tuple[float, ...]  # predicted for each element, on the reference device
    left: tuple[Shard, ...]
    threads: int = 1
    retry_failed: bool = False

    @property
    def files(self) -> tuple[Path, ...]:
        """The shards that the elements write; none where one element writes the main file."""
        return tuple(shard.path(self.store) for shard in self.wish.shards) if self.wish.elements > 1 else ()

    def elements(self, seconds: float | None = None) -> list[Element]:
        """Return the elements that have something to do."""
        fixed = (self.threads, seconds, self.retry_failed)
        return [Element(self.study, self.text, self.store, shard, *fixed) for shard in self.left]

    def about(self) -> str:
        """Say what will be submitted."""
        wish, total = self.wish, sum(self.seconds)
        each = f"{wish.nodes} node(s) x {wish.tasks} task(s) x {wish.cores} core(s)"
        devices = f", {wish.gpus} GPU(s) per node" if wish.gpus else ""
        spread = (
            f"{min(self.seconds) / total:.1%} to {max(self.seconds) / total:.1%} of the cost" if total else "no cost"
        )
        return (
            f"{len(self.left)} of {wish.elements} element(s) with unfinished cells, each {spread}, on {each}{devices}, "
            f"{wish.minutes} min; at most {len(self.left) * wish.nodes * wish.minutes / 60:.3g} node hours per start"
        )


def prepare(study: Path, store: Path, wish: JobRequest, threads: int = 1, retry_failed: bool = False) -> Submission:
    """Share out a study. Raises `StoreError` if the store or a shard is in use, or is of another number of elements."""
    study, store = study.resolve(), store.resolve()
    parts = shards.beside(store)
    if held := shards.holder([store, *parts]):
        raise StoreError(f"{held} is being written by a run; wait for its end or stop it.")
    if others := [path for path in parts if shards.of(path) not in wish.shards]:
        raise StoreError(
            f"{others[0]} is a shard of an array with another number of elements; first merge it: "
            f"python -m hpcsweep merge {store} --delete-shards"
        )
    read, cells = launch.read(study)
    dealt = shares.deal(read, cells, wish.elements)
    pending = [
        _pending(cells, packs, shard.path(store), store, retry_failed)
        for shard, packs in zip(wish.shards, dealt, strict=True)
    ]
    # An element without cells writes an empty shard, so that a merge can tell that none is missing.
    left = [s for s, count in zip(wish.shards, pending, strict=True) if count or not s.path(store).exists()]
    seconds = tuple(sum(pack.seconds for pack in packs) for packs in dealt)
    return Submission(
        study, store, wish, read.text, seconds, tuple(left if any(pending) else ()), threads, retry_failed
    )


def _pending(cells: Cells, packs: list[Pack], own: Path, store: Path, retry_failed: bool) -> int:
    """Return how many cells an element has to do."""
    rows = shares.answerable(cells, packs, own, store, retry_failed)
    done = shares.finished(own, failed=not retry_failed)
    return int((~np.isin(cells.columns["key"][rows], done)).sum())


def submit(wanted: Submission, cluster: Cluster) -> int:
    """Run a submission, or hand it to Slurm, and say what became of it.

    Returns 0 if all is done (under Slurm: submitted), 1 if cells failed, 75 if it is to be submitted again.
    """
    if not wanted.left:
        return _merge_here(wanted, [file for file in wanted.files if file.exists()])
    if cluster == "slurm":
        with slurm.outside():
            return _to_slurm(wanted)
    if wanted.wish.nodes > 1:
        raise LaunchError("There is only one node here; use --nodes 1 or --cluster slurm.")
    with slurm.outside():
        codes = _in_turn(wanted) if cluster == "debug" else _side_by_side(wanted)
    merged = _merge_here(wanted, wanted.files)
    return AGAIN if AGAIN in codes else max([merged, *codes])


def _merge_here(wanted: Submission, files: Sequence[Path]) -> int:
    """Merge now; without shards the main file has everything already."""
    if not files:
        return int(shards.failures(wanted.store) > 0)
    told, code = element.merge(wanted.store, tuple(files))
    print("\n".join(told), flush=True)
    return code


def text(wanted: Submission) -> str:
    """Return the batch script that Slurm would get for the elements. Raises `LaunchError` if there is no srun here."""
    executor = _executor(wanted)
    if len(wanted.left) > 1:
        executor.parameters["map_count"] = len(wanted.left)
    return executor._make_submission_file_text(executor._submitit_command_str, "")


def _executor(wanted: Submission, **changes: Any) -> submitit.SlurmExecutor:
    """Return what submits the elements; `changes` to its parameters."""
    wish, name = wanted.wish, wanted.store.name.removesuffix(".h5")
    try:
        executor = submitit.SlurmExecutor(slurm.folder_of(wanted.store), max_num_timeout=MOST_TIMEOUTS)
    except RuntimeError as error:
        raise LaunchError("There is no Slurm here (no srun); use --cluster local or debug.") from error
    named = {"partition": wish.partition, "account": wish.account, "qos": wish.qos, "gpus_per_node": wish.gpus or None}
    arguments = ["--kill-on-bad-exit=1", f"--mpi={wish.mpi}", f"--cpus-per-task={wish.cores}"]
    parameters = {
        "job_name": f"hpcsweep-{name}",
        "time": wish.minutes,
        "nodes": wish.nodes,
        "ntasks_per_node": wish.tasks,
        "cpus_per_task": wish.cores,
        "signal_delay_s": NOTICE,
        "array_parallelism": wish.elements,
        "setup": [EXPORTS],
        "wckey": None,  # submitit would set one, which some sites refuse
        "srun_args": arguments,  # srun does not take the cores of a task from sbatch
        "additional_parameters": {"requeue": True},
        **{name: value for name, value in named.items() if value is not None},
    }
    executor.update_parameters(**{**parameters, **changes})
    return executor


def _to_slurm(wanted: Submission) -> int:
    longest, elements, jobs = slurm.longest_array(), wanted.elements(), []
    executor = _executor(wanted)
    try:
        for start in range(0, len(elements), longest):
            jobs += executor.submit_array(elements[start : start + longest])
        numbers = sorted({job.job_id.partition("_")[0] for job in jobs}, key=int)
        print(f"Submitted: job {', '.join(numbers)}, {len(jobs)} element(s); logs in {executor.folder}")
        if wanted.files:
            print(f"Submitted: job {_submit_merge(wanted, numbers)} merges them at the end into {wanted.store}")
    except (FailedSubmissionError, UncompletedJobError) as error:
        raise LaunchError(f"Slurm refuses: {str(error).strip()}") from error
    print(f"Progress:  python -m hpcsweep status {wanted.store} --jobs")
    return 0


def _submit_merge(wanted: Submission, numbers: Sequence[str]) -> str:
    """Submit the job that merges when all elements have ended, however they did."""
    alone = {"nodes": 1, "ntasks_per_node": 1, "cpus_per_task": 1, "gpus_per_node": None}
    executor = _executor(
        wanted,
        **alone,
        job_name=f"hpcsweep-merge-{wanted.store.name.removesuffix('.h5')}",
        time=min(wanted.wish.minutes, LONGEST_MERGE),
        srun_args=["--kill-on-bad-exit=1"],
        additional_parameters={"requeue": True, "dependency": "afterany:" + ":".join(numbers)},
    )
    return executor.submit(Merging(wanted.store, wanted.files)).job_id


def _in_turn(wanted: Submission) -> list[int]:
    """Run the elements in this process, one after the other; return their exit codes."""
    if wanted.wish.tasks > 1:
        raise LaunchError("--cluster debug runs in this process only; use --ntasks-per-node 1 or --cluster local.")
    executor, codes = submitit.DebugExecutor(slurm.folder_of(wanted.store)), []
    for one in wanted.elements(wanted.wish.seconds):
        job = executor.submit(one)
        if (error := job.exception()) is not None:  # `result` would open a debugger
            raise error
        codes.append(job.submission().result())
        if stopping.asked():
            break
    return codes + [AGAIN] * (len(codes) < len(wanted.left))


def _side_by_side(wanted: Submission) -> list[int]:
    """Run the elements in processes of this machine; return their exit codes."""
    wish = wanted.wish
    return local.run(wanted.elements(wish.seconds), slurm.folder_of(wanted.store), wish.tasks, wish.cores, wish.gpus)
