"""A study as a job array, through submitit: K elements, each an MPI run of its share, and a job that merges them.

The same on Slurm, on this machine (`local`: a few processes at a time) and in this process (`debug`: one element after
another). Nothing here knows what an element does; see `jobs`.
"""

from __future__ import annotations

import dataclasses
import math
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import submitit
from submitit.core.utils import FailedSubmissionError, UncompletedJobError

from hpcsweep import libraries
from hpcsweep.cluster import launch, shares, slurm, stopping
from hpcsweep.cluster.arrays import jobs, local
from hpcsweep.cluster.arrays.jobs import Element, MergeJob
from hpcsweep.cluster.options import RunOptions
from hpcsweep.cluster.stopping import AGAIN
from hpcsweep.errors import LaunchError, StoreError
from hpcsweep.store import shards
from hpcsweep.store.shards import Shard
from hpcsweep.study.cells import Cells
from hpcsweep.study.changing import Changed
from hpcsweep.study.plan import Pack
from hpcsweep.texts import hidden, pasteable, visible

Cluster = Literal["slurm", "local", "debug"]
MOST_TIMEOUTS = 100  # of an element, after which submitit requeues it no more
NOTICE = 120  # seconds before the end of the walltime that Slurm sends USR2
LONGEST_MERGE = 60  # minutes
# USR2 in the seconds in which Python begins would kill an element, which would then have failed: it is ignored until
# submitit's handler stands. (Slurm gives its tasks the signal handling of its daemon, not that of the batch script.)
PYTHON = f"""sh -c 'trap "" USR2; exec "$0" "$@"' {shlex.quote(sys.executable)}"""
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
    """A study shared out among elements: `left` are to run, `busy` of them have cells to do."""

    study: Changed
    store: Path
    request: JobRequest
    text: str
    seconds: tuple[float, ...]  # predicted for each element, on the reference device
    left: tuple[Shard, ...]
    busy: int
    options: RunOptions
    retry_failed: bool = False

    @property
    def files(self) -> tuple[Path, ...]:
        """The shards that the elements write; none where one element writes the main file."""
        return tuple(shard.path(self.store) for shard in self.request.shards) if self.request.elements > 1 else ()

    def elements(self, seconds: float | None = None) -> list[Element]:
        """Return the elements that have something to do."""
        fixed = (self.options, seconds, self.retry_failed)
        return [Element(self.study, self.text, self.store, shard, *fixed) for shard in self.left]

    def about(self) -> str:
        """Say what will be submitted."""
        request, total = self.request, sum(self.seconds)
        each = f"{request.nodes} node(s) x {request.tasks} task(s) x {request.cores} core(s)"
        devices = f", {request.gpus} GPU(s) a node" if request.gpus else ""
        spread = (
            f"{min(self.seconds) / total:.1%} to {max(self.seconds) / total:.1%} of the cost" if total else "no cost"
        )
        hours = len(self.left) * request.nodes * request.minutes / 60
        elements = "1 element" if request.elements == 1 else f"{request.elements} elements"
        return (
            f"{self.busy} of {elements} with something to do, each {spread}, "
            f"on {each}{devices}, {request.minutes} min; at most {hours:.3g} node hours a start"
        )


def prepare(
    study: Path | Changed, store: Path, request: JobRequest, options: RunOptions, retry_failed: bool = False
) -> Submission:
    """Share out a study. Raises `StoreError` if the store or a shard is in use, or is of another number of elements."""
    source = study if isinstance(study, Changed) else Changed(study)
    source, store = dataclasses.replace(source, path=source.path.resolve()), store.resolve()
    parts = shards.beside(store)
    if held := shards.holder([store, *parts]):
        raise StoreError(f"{held} is being written by a run; wait for its end or stop it.")
    if others := [path for path in parts if shards.of(path) not in request.shards]:
        raise StoreError(
            f"{others[0]} is a shard of an array with another number of elements; first merge it: "
            f"python -m hpcsweep merge {pasteable(store)} --delete-shards"
        )
    read, cells = launch.read(source)
    dealt = shares.deal(read, cells, request.elements)
    pending = [
        _pending(cells, packs, shard.path(store), store, retry_failed)
        for shard, packs in zip(request.shards, dealt, strict=True)
    ]
    # An element without cells writes an empty shard, so that a merge can tell that none is missing.
    left = [s for s, count in zip(request.shards, pending, strict=True) if count or not s.path(store).exists()]
    seconds = tuple(sum(pack.seconds for pack in packs) for packs in dealt)
    return Submission(
        source,
        store,
        request,
        read.text,
        seconds,
        tuple(left if any(pending) else ()),
        sum(map(bool, pending)),
        options,
        retry_failed,
    )


def _pending(cells: Cells, packs: list[Pack], own: Path, store: Path, retry_failed: bool) -> int:
    """Return how many cells an element has to do."""
    rows = shares.answerable(cells, packs, own, store, retry_failed)
    done = shares.finished(own, failed=not retry_failed)
    return int((~np.isin(cells.columns["key"][rows], done)).sum())


def submit(submission: Submission, cluster: Cluster) -> int:
    """Run a submission, or hand it to Slurm, and say what became of it.

    Returns 0 if all is done (under Slurm: submitted), 1 if cells failed, 75 if it is to be submitted again.
    """
    if not submission.left:
        return _merge_here(submission, [file for file in submission.files if file.exists()])
    if cluster == "slurm":
        with slurm.outside():
            return _to_slurm(submission)
    if submission.request.nodes > 1:
        raise LaunchError("There is only one node here; use --nodes 1 or --cluster slurm.")
    with slurm.outside():
        codes = _in_turn(submission) if cluster == "debug" else _side_by_side(submission)
    merged = _merge_here(submission, submission.files)
    return AGAIN if AGAIN in codes else max([merged, *codes])


def _merge_here(submission: Submission, files: Sequence[Path]) -> int:
    """Merge now; without shards the main file has everything already."""
    if not files:
        return int(shards.failures(submission.store) > 0)
    lines, code = jobs.merge(submission.store, tuple(files))
    print("\n".join(lines), flush=True)
    return code


def text(submission: Submission) -> str:
    """Return the batch script that Slurm would get for the elements. Raises `LaunchError` if there is no srun here."""
    executor = _executor(submission)
    if len(submission.left) > 1:
        executor.parameters["map_count"] = len(submission.left)
    return executor._make_submission_file_text(executor._submitit_command_str, "")


def _executor(submission: Submission, **changes: Any) -> submitit.SlurmExecutor:
    """Return what submits the elements; `changes` to its parameters."""
    request, name = submission.request, submission.store.name.removesuffix(".h5")
    for text in (submission.store, request.partition, request.account, request.qos, request.mpi):
        _require_scriptable(str(text))
    try:
        folder = slurm.folder_of(submission.store)
        executor = submitit.SlurmExecutor(folder, max_num_timeout=MOST_TIMEOUTS, python=PYTHON)
    except RuntimeError as error:
        raise LaunchError("There is no Slurm here (no srun); use --cluster local or debug.") from error
    named = {name: getattr(request, name) for name in ("partition", "account", "qos")}
    named |= {"gpus_per_node": request.gpus or None}
    arguments = ["--kill-on-bad-exit=1", f"--mpi={request.mpi}", f"--cpus-per-task={request.cores}"]
    parameters = {
        "job_name": f"hpcsweep-{name}",
        "time": request.minutes,
        "nodes": request.nodes,
        "ntasks_per_node": request.tasks,
        "cpus_per_task": request.cores,
        "signal_delay_s": NOTICE,
        "array_parallelism": request.elements,
        "setup": [EXPORTS],
        "wckey": None,  # submitit would set one, which some sites refuse
        "srun_args": arguments,  # srun does not take the cores of a task from sbatch
        "additional_parameters": {"requeue": True},
        **{name: value for name, value in named.items() if value is not None},
    }
    executor.update_parameters(**{**parameters, **changes})
    return executor


def _require_scriptable(text: str) -> None:
    """Raise `LaunchError` for a path or an option that would be something else in a batch script.

    Of the rest submitit quotes all that a shell would take for its own.
    """
    if hidden(text):
        raise LaunchError(f"{visible(text)!r} cannot stand in a batch script: it contains {hidden(text)}.")
    if set(text) & {"%", "\\"}:
        raise LaunchError(f"{text!r} cannot be used here: Slurm replaces % and \\ in the names of logs.")


def _to_slurm(submission: Submission) -> int:
    longest, elements, submitted = slurm.longest_array(), submission.elements(), []
    executor = _executor(submission)
    slurm.make_folder(submission.store)
    try:
        for start in range(0, len(elements), longest):
            submitted += executor.submit_array(elements[start : start + longest])
        numbers = sorted({job.job_id.partition("_")[0] for job in submitted}, key=int)
        print(f"Submitted: job {', '.join(numbers)}, {len(submitted)} element(s); logs in {executor.folder}")
        if submission.files:
            print(f"Submitted: job {_submit_merge(submission, numbers)} merges them at the end into {submission.store}")
    except (FailedSubmissionError, UncompletedJobError) as error:
        raise LaunchError(f"Slurm refuses: {str(error).strip()}") from error
    print(f"Look:  python -m hpcsweep status {pasteable(submission.store)} --jobs")
    return 0


def _submit_merge(submission: Submission, numbers: Sequence[str]) -> str:
    """Submit the job that merges when all elements have ended, however they did."""
    alone = {"nodes": 1, "ntasks_per_node": 1, "cpus_per_task": 1, "gpus_per_node": None}
    executor = _executor(
        submission,
        **alone,
        job_name=f"hpcsweep-merge-{submission.store.name.removesuffix('.h5')}",
        time=min(submission.request.minutes, LONGEST_MERGE),
        srun_args=["--kill-on-bad-exit=1"],
        additional_parameters={"requeue": True, "dependency": "afterany:" + ":".join(numbers)},
    )
    return executor.submit(MergeJob(submission.store, submission.files)).job_id


def _in_turn(submission: Submission) -> list[int]:
    """Run the elements in this process, one after the other; return their exit codes."""
    if submission.request.tasks > 1:
        raise LaunchError("--cluster debug runs in this process only; use --ntasks-per-node 1 or --cluster local.")
    executor, codes = submitit.DebugExecutor(slurm.make_folder(submission.store)), []
    for element in submission.elements(submission.request.seconds):
        job = executor.submit(element)
        if (error := job.exception()) is not None:  # `result` would open a debugger
            raise error
        codes.append(job.submission().result())
        if stopping.asked():
            break
    return codes + [AGAIN] * (len(codes) < len(submission.left))


def _side_by_side(submission: Submission) -> list[int]:
    """Run the elements in processes of this machine; return their exit codes."""
    request, folder = submission.request, slurm.make_folder(submission.store)
    return local.run(submission.elements(request.seconds), folder, request.tasks, request.cores, request.gpus)
