"""The commands `plan` and `submit`: the predicted cost of a study, and its submission to Slurm."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hpcsweep.cluster.options import RunOptions
from hpcsweep.commands.parameters import Duration, Output, on_devices, on_study
from hpcsweep.texts import visible

if TYPE_CHECKING:
    from hpcsweep.study.changing import Changed

SUBMIT_EPILOG = """
\b
Exit codes: 0 submitted (with --cluster local or debug: all done); 1 some cells failed;
2 the request is invalid; 75 the run stopped early: submit it again to continue.
"""
COUNT = click.IntRange(min=1)


@click.command()
@on_study
@click.option("-o", "--output", type=Output(dir_okay=False), help="A store of STUDY: also say what remains to be done.")
@click.option("--ranks", type=COUNT, default=1, show_default=True, help="Number of MPI ranks.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def plan(study: Changed, output: Path | None, ranks: int, as_json: bool) -> int:
    """Predict the cost of STUDY: cells, packs, weights, flops, memory, and time on the given number of ranks.

    Times are predicted for devices like the one that runs this command, whose speed is measured for 0.3 s. Of each
    target of your own it tells the seconds that a point takes, and what prevents gradients or proofs (see `check`).
    With -o, it also counts what the store has not finished, shards included; nothing is written.

    \b
      python -m hpcsweep plan study.toml --ranks 64 --set training.steps=100
      python -m hpcsweep plan study.toml -o results.h5
    """
    from hpcsweep.cluster import launch

    priced = launch.price(study, ranks, store=output)
    click.echo(json.dumps(priced) if as_json else _plan_text(priced))
    return 0


def _plan_text(priced: dict[str, Any]) -> str:
    from hpcsweep.approx import own_targets
    from hpcsweep.store.status import duration

    rows = {
        "cells": f"{priced['cells']:,}{_repeated(priced['repeated'])}",
        "packs": f"{priced['packs']:,} (longest {duration(priced['longest_pack_seconds'])})",
        "weights": f"{priced['parameters']:,} trainable parameters in total",
        "flops": f"{priced['flops']:.3g} (training and measuring)",
        "memory": f"{priced['memory_bytes'] / 2**20:,.1f} MiB for the largest pack",
        "store": f"{priced['store_bytes'] / 2**20:,.1f} MiB",
        "time": f"{duration(priced['seconds'])} on {priced['ranks']} rank(s) of {priced['device']}",
    }
    if remaining := priced.get("remaining"):
        left = f"{remaining['cells']:,} cells, {duration(remaining['seconds'])}"
        rows["remains"] = f"{left} (finished ones are in {remaining['store']})"
        if not remaining["exists"]:
            rows["remains"] = f"{left}: there is no store {remaining['store']} yet"
    targets = [f"  {line}" for known in priced["targets"] for line in own_targets.lines(known)]
    text = [priced["title"], *(f"  {name:8} {value}" for name, value in rows.items()), *targets]
    return "\n".join(map(visible, text))


def _repeated(count: int) -> str:
    return f" ({count:,} more are equal to one of these and count once)" if count else ""


@click.command(epilog=SUBMIT_EPILOG)
@on_study
@click.option("-o", "--output", type=Output(dir_okay=False), help="File of the store. Default: results/STUDY.h5")
@click.option(
    "--array", "elements", type=COUNT, default=1, show_default=True, help="Elements among which STUDY is divided."
)
@click.option("--nodes", type=COUNT, default=1, show_default=True, help="Nodes of each element.")
@click.option("--ntasks-per-node", "tasks", type=COUNT, default=1, show_default=True, help="MPI ranks on each node.")
@click.option("--gpus-per-node", "gpus", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--cpus-per-task", "cores", type=COUNT, default=1, show_default=True, help="CPU cores of each rank.")
@click.option("--time", "seconds", type=Duration(), help="Walltime of each element: 2h, 1:30:00. Default: 1h")
@click.option("--partition")
@click.option("--account")
@click.option("--qos")
@click.option("--mpi", default="pmi2", show_default=True, help="pmi2 (MPICH), pmix (Open MPI); see srun --mpi=list.")
@click.option(
    "--threads", type=COUNT, default=1, show_default=True, help="Networks that each rank trains at once, one core each."
)
@click.option("--retry-failed", is_flag=True, help="Retry cells that failed before.")
@click.option("--dry-run", is_flag=True, help="Only print the cost and the jobs that would be submitted.")
@click.option("--cluster", type=click.Choice(["slurm", "local", "debug"]), default="slurm", show_default=True)
@on_devices
def submit(
    study: Changed,
    output: Path | None,
    threads: int,
    retry_failed: bool,
    dry_run: bool,
    cluster: Any,
    options: RunOptions,
    **request: Any,
) -> int:
    """Submit STUDY to Slurm as a job array and a final job that merges the results. Each element runs a share of it.

    Elements continue automatically after preemption or at the end of their walltime. With --cluster local, elements are
    processes on this machine; with --cluster debug, they run in this process.

    \b
      python -m hpcsweep submit study.toml -o results.h5 --array 8 --nodes 2 \\
          --ntasks-per-node 4 --gpus-per-node 4 --time 4h --partition gpu --dry-run
      python -m hpcsweep status results.h5 --jobs
    """
    from hpcsweep.cluster import launch
    from hpcsweep.cluster.arrays import submit as submitting

    job = submitting.JobRequest(**{**request, "cores": max(request["cores"], threads)})
    store = output or Path("results") / f"{study.path.stem}.h5"
    options = dataclasses.replace(options, threads=threads)
    submission = submitting.prepare(study, store, job, options, retry_failed)
    # The device is that of the elements: a login node may have no GPU.
    here = dataclasses.replace(options, device="auto") if cluster == "slurm" else options
    click.echo(_plan_text(launch.price(study, job.elements * job.nodes * job.tasks, here)))
    click.echo(f"  submit   {submission.about()}")
    if dry_run:
        click.echo(submitting.text(submission) if cluster == "slurm" and submission.left else "")
        return 0
    return submitting.submit(submission, cluster)
