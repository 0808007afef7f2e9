"""The command line. Each command imports its requirements when called: login nodes lack MPI, and --help is fast."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hpcsweep.cluster import abort
from hpcsweep.cluster.options import RunOptions
from hpcsweep.commands import streams
from hpcsweep.commands.doctoring import doctor
from hpcsweep.commands.measuring import measure
from hpcsweep.commands.parameters import STYLES, Duration, Output, Smoothness, on_devices, on_study
from hpcsweep.commands.planning import plan, submit
from hpcsweep.commands.referring import activations, methods, targets
from hpcsweep.commands.replaying import replay
from hpcsweep.commands.storing import merge, status
from hpcsweep.commands.verifying import verify
from hpcsweep.errors import UserError
from hpcsweep.texts import visible
from hpcsweep.version import __version__

if TYPE_CHECKING:
    from hpcsweep.study.changing import Changed

EXIT_CODES = """
\b
Exit codes: 0 every cell is finished and none failed; 1 some cells failed (they are listed); 2 the
request is invalid; 75 the run stopped early: run the same command again to continue.
"""


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="hpcsweep")
def commands() -> None:
    """Measure how accurately neural networks approximate functions at every point (in the sup-norm).

    A study is one TOML file (see jobs/studies for examples). Predict its cost, run it on MPI ranks, read the results:

    \b
      python -m hpcsweep plan study.toml --ranks 64
      srun python -m hpcsweep run study.toml -o results.h5
      python -m hpcsweep status results.h5
      python -m hpcsweep report results.h5 -o report

    The commands targets, methods and activations list what a study can name.
    """


@commands.command(epilog=EXIT_CODES)
@on_study
@click.option("-o", "--output", type=Output(dir_okay=False), help="File of the store. Default: results/STUDY.h5")
@click.option("--retry-failed", is_flag=True, help="Retry cells that failed before.")
@click.option(
    "--repair", is_flag=True, help="Train again cells that are damaged, or whose weights are: see status --verify."
)
@click.option(
    "--progress", type=STYLES, default="auto", show_default=True, help="auto: a bar on a terminal, lines otherwise."
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    default=1,
    envvar="HPCSWEEP_THREADS",
    help="Number of networks that each rank trains at once, on one core each; results do not change. Default: 1",
)
@click.option(
    "--stop-after",
    type=Duration(),
    help="Stop early after this time, such as 90m or 2:30:00; in any case before the end of Slurm's walltime.",
)
@click.option("--requeue", is_flag=True, help="Under Slurm, requeue the job if it stops early.")
@click.option("--shard", metavar="k/K", default="1/1", help="Run the share of element k of K: see jobs/array.sbatch.")
@on_devices
def run(
    study: Changed,
    output: Path | None,
    retry_failed: bool,
    repair: bool,
    progress: Any,
    threads: int,
    stop_after: float | None,
    requeue: bool,
    shard: str,
    options: RunOptions,
) -> int:
    """Run STUDY, alone or under mpiexec or srun. The same command resumes or extends it.

    Finished cells are kept; only the others are run. To extend a study, add values to a grid and run it again.

    \b
      python -m hpcsweep run study.toml
      python -m hpcsweep run study.toml --set training.steps=100 --set 'grid.0.width=[8, 16]' -o short.h5
      mpiexec -n 4 python -m hpcsweep run study.toml
      srun -n 256 python -m hpcsweep run study.toml -o results.h5
    """
    abort.listen()  # from here on, a failure ends all ranks
    from hpcsweep.cluster import launch
    from hpcsweep.store.shards import parse

    store = output or Path("results") / f"{study.path.stem}.h5"
    options = dataclasses.replace(options, threads=threads)
    part = parse(shard)
    return launch.run(study, store, progress, retry_failed, stop_after, requeue, part, options=options, repair=repair)


@commands.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("-o", "--output", type=Output(file_okay=False), help="Output folder. Default: FILE-report")
@click.option("--export", type=Output(dir_okay=False), help="Write only a table, to a .csv or .parquet file.")
@click.option(
    "--smoothness",
    type=Smoothness(),
    multiple=True,
    help="Smoothness of a target, for theoretical rates: the derivatives up to order N are bounded. Repeatable.",
)
def report(file: Path, output: Path | None, export: Path | None, smoothness: tuple[tuple[str, float], ...]) -> int:
    """Write the figures of the store FILE and an HTML page that shows them. Requires neither torch nor MPI.

    Shards next to FILE are read too. With --export, a table with one row per cell is written instead of the report.
    """
    if export is not None:
        from hpcsweep.findings import dataset
        from hpcsweep.findings.export import export as write

        click.echo(f"{visible(str(export))}: {write(dataset.files(file), export):,} cells")
        return 0
    from hpcsweep.findings.report import report as reporting

    folder = output or file.with_name(f"{file.stem}-report")
    for path in reporting.write(file, folder, dict(smoothness)):
        click.echo(visible(str(path)))
    return 0


@commands.command(epilog="Exit codes: 0 all rules are satisfied; 1 some are violated; 2 the request is invalid.")
@click.argument("plugin")
@click.option("--dimension", "-d", type=click.IntRange(min=1), default=1, show_default=True, help="Input dimension.")
@click.option("--precision", type=click.Choice(["float64", "float32"]), default="float64", show_default=True)
def check(plugin: str, dimension: int, precision: str) -> int:
    """Check a target (a name, module:Class or path.py:Class) against the rules that the built-in targets satisfy.

    Prints one line for each violated rule. Of a target of your own it then tells the seconds that a point takes,
    whether gradients follow its values and which call stops them, and which operation prevents a proof. A call that
    takes longer than HPCSWEEP_CHECK_SECONDS (60) is ended and reported.
    """
    from hpcsweep.approx import own_targets, plugins
    from hpcsweep.approx.targets import check as rules

    given = {"name": plugin}
    if problem := own_targets.unimportable(given):
        click.echo(visible(problem))
        return 1
    verdict = plugins.examined(given, dimension, precision=precision)
    if verdict is None:
        broken = rules(plugins.unchecked(given, dimension))
    else:
        broken = [*verdict.broken, *([f"its gradients cannot be computed: {verdict.slopes}"] if verdict.slopes else [])]
    if not broken and verdict is not None:
        plugins.unchecked(given, dimension)  # one that cannot be made says so
    click.echo(
        "\n".join(map(visible, broken)) if broken else f"{plugin} in dimension {dimension}: all rules are satisfied"
    )
    if known := own_targets.about(given, dimension, precision=precision):
        click.echo("\n".join(map(visible, own_targets.lines(known))))
    return 1 if broken else 0


commands.add_command(activations)
commands.add_command(doctor)
commands.add_command(measure)
commands.add_command(merge)
commands.add_command(methods)
commands.add_command(plan)
commands.add_command(replay)
commands.add_command(status)
commands.add_command(submit)
commands.add_command(targets)
commands.add_command(verify)
COMPUTE = ("run", "submit")  # commands whose results are not what they print
RUN_EXTRA = ("torch", "numba", "llvmlite", "mpi4py", "submitit", "pydantic", "pydantic_core", "rich")
UNUSABLE = (errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ENOTDIR, errno.ELOOP, errno.EROFS)  # of a path
WITHOUT_MPI = sorted(commands.commands.keys() - {"run", "measure"})  # or, as doctor, not on all ranks at once


def main() -> None:
    """Run a command. A user error is reported in one sentence, with exit code 2."""
    streams.prepare()
    with abort.guarded():
        code = _run()
    abort.insist(code)
    sys.exit(code)


def _run() -> int:
    try:
        code = commands(standalone_mode=False)
    except UserError as error:
        return _refuse(f"hpcsweep: {error}")
    except click.ClickException as error:
        return _refuse(_sentence(error))
    except (click.Abort, KeyboardInterrupt):
        return 130
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in RUN_EXTRA:
            raise
        return _refuse(
            f"hpcsweep: `{_command()}` requires {missing}, which is not installed: this installation is for reading "
            "(status, report, merge). Install the rest: pip install 'hpcsweep[run]'."
        )
    except OSError as error:
        if error.errno not in UNUSABLE or not error.filename:
            raise
        return _refuse(f"hpcsweep: {os.fsdecode(error.filename)} cannot be used: {error.strerror}.")
    return streams.finish(code if isinstance(code, int) else 0, computes=_command() in COMPUTE)


def _sentence(error: click.ClickException) -> str:
    """Return a mistake on the command line in one line, with how to get help; the help itself if nothing is given."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    if isinstance(error, click.exceptions.NoArgsIsHelpError) or context is None:
        return error.format_message()
    return f"hpcsweep: {error.format_message()} See {context.command_path} --help."


def _command() -> str:
    return next((word for word in sys.argv[1:] if not word.startswith("-")), "")


def _refuse(mistake: str) -> int:
    """Report a user error and return its exit code; ranks without an error wait for this one when MPI starts."""
    from hpcsweep.cluster import launchers

    mistake = visible(mistake, kept="\n")
    if launchers.launched() and _command() not in WITHOUT_MPI and "mpi4py.MPI" not in sys.modules:
        with contextlib.suppress(ImportError, RuntimeError):  # no MPI here: each rank reports for itself
            abort.agree(mistake)
    click.echo(mistake, err=True)
    return 2


if __name__ == "__main__":
    main()
