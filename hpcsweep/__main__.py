"""The commands. Each imports what it needs when it is called: login nodes have no MPI, and --help is instant."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from hpcsweep import __version__
from hpcsweep.errors import UserError

STUDY = click.Path(exists=True, dir_okay=False, path_type=Path)
STORE = click.Path(exists=True, dir_okay=False, path_type=Path)
STYLES = click.Choice(["auto", "bar", "lines", "none"])
EXIT_CODES = """
\b
Exit codes: 0 all cells done, 1 some cells failed (listed), 2 a mistake in what
you asked for, 75 stopped before the end: run the same command again.
"""


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="hpcsweep")
def commands() -> None:
    """Sweeps that measure how accurately neural networks approximate functions at every point (sup-norm).

    A study is one TOML file (see jobs/studies). Ask what it costs, run it on MPI ranks, read the results:

    \b
      python -m hpcsweep plan study.toml --ranks 64
      srun python -m hpcsweep run study.toml -o results.h5
      python -m hpcsweep status results.h5
      python -m hpcsweep report results.h5 -o report
    """


@commands.command(epilog=EXIT_CODES)
@click.argument("study", type=STUDY)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The store. Default: results/STUDY.h5")
@click.option("--retry-failed", is_flag=True, help="Try the cells again that failed before.")
@click.option(
    "--progress", type=STYLES, default="auto", show_default=True, help="auto: a bar on a terminal, else lines."
)
@click.option(
    "--threads", type=click.IntRange(min=1), default=1, envvar="HPCSWEEP_THREADS", help="Cores of a rank. Default: 1"
)
def run(study: Path, output: Path | None, retry_failed: bool, progress: Any, threads: int) -> int:
    """Run STUDY: alone, under mpiexec or under srun; resume or extend it by the same command.

    Finished cells are kept, only the others run. Add values to the study and run it again to extend it.

    \b
      python -m hpcsweep run study.toml
      mpiexec -n 4 python -m hpcsweep run study.toml
      srun -n 256 python -m hpcsweep run study.toml -o results.h5
    """
    import os

    os.environ["HPCSWEEP_THREADS"] = str(threads)
    from hpcsweep.cluster import launch

    return launch.run(study, output or Path("results") / f"{study.stem}.h5", progress, retry_failed)


@commands.command()
@click.argument("study", type=STUDY)
@click.option("--ranks", type=click.IntRange(min=1), default=1, show_default=True, help="MPI ranks to plan for.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def plan(study: Path, ranks: int, as_json: bool) -> int:
    """Say what STUDY would cost: cells, packs, weights, flops, memory, and time on so many ranks.

    Seconds are predicted for devices like the one that this runs on, from a probe of 0.3 s.
    """
    from hpcsweep.cluster import launch

    priced = launch.price(study, ranks)
    click.echo(json.dumps(priced) if as_json else _plan_text(priced))
    return 0


def _plan_text(priced: dict[str, Any]) -> str:
    from hpcsweep.status import duration

    rows = {
        "cells": f"{priced['cells']:,}",
        "packs": f"{priced['packs']:,} (longest {duration(priced['longest_pack_seconds'])})",
        "weights": f"{priced['parameters']:,} trainable parameters in all",
        "flops": f"{priced['flops']:.3g} (training and measuring)",
        "memory": f"{priced['memory_bytes'] / 2**20:,.1f} MiB for the largest pack",
        "store": f"{priced['store_bytes'] / 2**20:,.1f} MiB",
        "time": f"{duration(priced['seconds'])} on {priced['ranks']} rank(s) of {priced['device']}",
    }
    return "\n".join([priced["title"], *(f"  {name:8} {value}" for name, value in rows.items())])


@commands.command()
@click.argument("file", type=STORE)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--watch", is_flag=True, help="Print again every few seconds until nothing runs any more.")
def status(file: Path, as_json: bool, watch: bool) -> int:
    """Say how far the store FILE is, while it runs and after; needs neither torch nor MPI."""
    import time

    from hpcsweep import status as reading

    while True:
        found = reading.summary(file)
        click.echo(json.dumps(found) if as_json else "\n".join(reading.lines(found)))
        if not watch or not found["live"]:
            return 0
        time.sleep(5)


@commands.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("shards", type=STORE, nargs=-1, required=True)
def merge(file: Path, shards: tuple[Path, ...]) -> int:
    """Copy what is finished in SHARDS into the store FILE, cell by cell; harmless twice."""
    from hpcsweep.store import merge as merge_stores

    new, finished = merge_stores(file, shards)
    click.echo(f"{file}: {new} cells new, {finished} finished in all")
    return 0


@commands.command()
@click.argument("file", type=STORE)
@click.option("-o", "--output", type=click.Path(file_okay=False, path_type=Path), help="Folder. Default: FILE-report")
def report(file: Path, output: Path | None) -> int:
    """Draw the figures of the store FILE and write a page that shows them; needs neither torch nor MPI."""
    from hpcsweep.findings import report as reporting

    folder = output or file.with_name(f"{file.stem}-report")
    for path in reporting.write(file, folder):
        click.echo(path)
    return 0


@commands.command()
@click.argument("plugin")
@click.option("--dimension", "-d", type=click.IntRange(min=1), default=1, show_default=True, help="Input dimension.")
def check(plugin: str, dimension: int) -> int:
    """Check that a target (a name, module:Class or path.py:Class) keeps the rules that ours must pass.

    One line for each broken rule, and exit code 1, if it does not.
    """
    from hpcsweep.approx import plugins
    from hpcsweep.approx.targets import check as rules

    broken = rules(plugins.unchecked({"name": plugin}, dimension))
    click.echo("\n".join(broken) if broken else f"{plugin} in dimension {dimension}: all rules kept")
    return 1 if broken else 0


def main() -> None:
    """Run a command; a user's mistake is one sentence and exit code 2."""
    try:
        code = commands(standalone_mode=False)
    except UserError as error:
        click.echo(f"hpcsweep: {error}", err=True)
        sys.exit(2)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
