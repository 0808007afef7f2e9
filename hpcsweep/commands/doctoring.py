"""The command `doctor`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from hpcsweep.commands.parameters import Duration, on_devices

EPILOG = """
\b
Exit codes: 0 nothing is wrong (✓, !), 1 something is (✗).
"""


@click.command(epilog=EPILOG)
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("results"),
    show_default=True,
    help="The folder that stores are to be written in.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--limit", type=Duration(), default=9.5, show_default=True, help="Seconds that it may take.")
@on_devices
def doctor(output: Path, as_json: bool, limit: float) -> int:
    """Say what is wrong with this installation, in ten seconds: alone, under mpiexec or under srun.

    Start it as you would start a run; each line that is not ✓ says what to do.

    \b
      python -m hpcsweep doctor -o /scratch/me
      srun -N2 -n8 --gpus-per-task=1 --mpi=pmi2 python -m hpcsweep doctor
    """
    from dataclasses import asdict

    from hpcsweep.cluster.doctor import command as examination

    examined = examination.examine(output, limit)
    if examined is None:  # rank 0 speaks
        return 0
    findings, ranks = examined
    bad = any(one.state == "bad" for one in findings)
    shown = {"ok": not bad, "findings": [asdict(one) for one in findings], "ranks": ranks}
    click.echo(json.dumps(shown) if as_json else "\n".join(one.line() for one in findings))
    return 1 if bad else 0
