"""The command `doctor`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from hpcsweep.cluster.options import RunOptions
from hpcsweep.commands.parameters import Duration, Output, on_devices

EPILOG = """
\b
Exit codes: 0 no errors (only ✓ and !), 1 at least one error (✗).
"""


@click.command(epilog=EPILOG)
@click.option(
    "-o",
    "--output",
    type=Output(file_okay=False),
    default=Path("results"),
    show_default=True,
    help="The folder in which stores will be written.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--limit", type=Duration(), default=9.5, show_default=True, help="Time limit in seconds.")
@on_devices
def doctor(output: Path, as_json: bool, limit: float, options: RunOptions) -> int:
    """Diagnose this installation in ten seconds, alone or under mpiexec or srun.

    Start it in the same way as a run. Every line without ✓ says what to do.

    \b
      python -m hpcsweep doctor -o /scratch/me
      srun -N2 -n8 --gpus-per-task=1 --mpi=pmi2 python -m hpcsweep doctor
    """
    from dataclasses import asdict

    from hpcsweep.cluster.doctor import command as examination

    examined = examination.examine(output, limit, options)
    if examined is None:  # rank 0 reports
        return 0
    findings, ranks = examined
    bad = any(finding.state == "bad" for finding in findings)
    shown = {"ok": not bad, "findings": [asdict(finding) for finding in findings], "ranks": ranks}
    click.echo(json.dumps(shown) if as_json else "\n".join(finding.line() for finding in findings))
    return 1 if bad else 0
