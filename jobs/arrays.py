"""Several studies at one go, each as an array of its own: what `python -m hpcsweep submit` does, from Python.

    python jobs/arrays.py results jobs/studies/*.toml --dry-run

As many elements for each study as keep one busy for about an hour, on ranks of devices like that of this machine.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import click

from hpcsweep.cluster import launch
from hpcsweep.cluster.arrays.submit import JobRequest, prepare, submit, text
from hpcsweep.cluster.options import RunOptions

REQUEST = JobRequest(tasks=4, seconds=3600.0, partition=None)  # of an element: nodes, ranks, GPUs, walltime, ...
HOUR = 3600.0
MOST = 64  # elements of one study


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.argument("studies", type=click.Path(exists=True, dir_okay=False, path_type=Path), nargs=-1, required=True)
@click.option("--dry-run", is_flag=True)
def main(folder: Path, studies: tuple[Path, ...], dry_run: bool) -> None:
    """Submit STUDIES to Slurm; each gets its store in FOLDER."""
    for study in studies:
        store = folder / f"{study.stem}.h5"
        seconds = launch.price(study, 1)["rank_seconds"]
        elements = min(MOST, math.ceil(seconds / (REQUEST.tasks * HOUR)))
        submission = prepare(study, store, replace(REQUEST, elements=max(1, elements)), RunOptions.read())
        click.echo(f"{study}: {submission.about()}")
        if dry_run:
            click.echo(text(submission))
        else:
            submit(submission, "slurm")


if __name__ == "__main__":
    main()
