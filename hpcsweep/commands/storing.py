"""The commands `status` and `merge`, which require neither torch nor MPI."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from hpcsweep.commands import streams
from hpcsweep.commands.parameters import STORE
from hpcsweep.texts import visible

MERGE_EPILOG = """
\b
Exit codes: 0 merged; 2 the request is invalid; 75 merged, but cells are missing
(their shards are listed): run the missing elements, then the same command again.
"""


PERIOD = 5  # seconds between two looks at a store that is watched
STATUS_EPILOG = """
\b
Exit codes: 0; with --verify 1 if something is damaged; with --check 75 if cells
are pending or missing, and 1 if cells failed; 2 the request is invalid.
A shard, such as results.2-of-8.h5, is checked for the cells of its element alone.
"""


@click.command(epilog=STATUS_EPILOG)
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--keys", is_flag=True, help="List the cells: key, status, bracket and coordinates, one line each.")
@click.option("--watch", is_flag=True, help="Show it anew every few seconds until nothing is running.")
@click.option("--jobs", "ask", is_flag=True, help="Also show the states of the Slurm jobs, obtained by a single query.")
@click.option("--check", is_flag=True, help="Exit with 0 only if all cells are done, for scripts and afterok.")
@click.option("--verify", is_flag=True, help="Compare every row and all weights with their checksums.")
def status(file: Path, as_json: bool, keys: bool, watch: bool, ask: bool, check: bool, verify: bool) -> int:
    """Show the progress of the store FILE and its shards, during and after a run. Requires neither torch nor MPI.

    With --watch and --jobs, the queue is queried every 30 seconds. With --verify, whatever is damaged is named. The
    keys that --keys lists, or their beginnings, are what `replay`, `verify` and `measure --cell` take.

    \b
      python -m hpcsweep status results.h5 --watch
      python -m hpcsweep status results.h5 --keys | grep exp_cos
    """
    from hpcsweep.store import listing
    from hpcsweep.store import status as reading

    if keys:
        if as_json or watch or ask or check or verify:
            raise click.UsageError("--keys stands alone.")
        for line in listing.lines(file):
            click.echo(line)
            if streams.broken():
                break
        return 0
    if verify:
        damaged = _verify(file, as_json)
        if not check:
            return damaged
        summary = reading.everything(file)
        if not as_json:
            click.echo("\n".join(reading.lines(summary)))
        return damaged or _verdict(summary)
    summary = _show(file, as_json, watch, ask)
    return _verdict(summary) if check else 0


def _show(file: Path, as_json: bool, watch: bool, ask: bool) -> dict[str, Any]:
    """Show the progress of a store, again and again if it is watched; return the last summary."""
    import time

    from hpcsweep.cluster.slurm import Queue, job_lines, jobs_of
    from hpcsweep.store import status as reading

    queue, screen = Queue(), streams.Screen()
    while True:
        summary = reading.everything(file)
        jobs = jobs_of(summary, queue) if ask else []
        over = not watch or streams.broken() or not (reading.is_live(summary) or jobs)
        if as_json:
            click.echo(json.dumps({**summary, "jobs": [asdict(job) for job in jobs]} if ask else summary))
        else:
            clock = [f"at {time.strftime('%H:%M:%S')}, again every {PERIOD} s; Ctrl-C ends this, not the run"]
            lines = job_lines(jobs, queue.problem) if ask else []
            screen.show([*reading.lines(summary), *lines, *([] if over else clock)])
        if over:
            return summary
        time.sleep(PERIOD)


def _verdict(summary: dict[str, Any]) -> int:
    counts = summary.get("together", summary)
    if counts["pending"] or counts["running"] or summary["missing"]:
        return 75
    return 1 if counts["failed"] else 0


def _verify(file: Path, as_json: bool) -> int:
    from hpcsweep.store import shards, verifying

    parts = shards.beside(file)
    damages = {path: verifying.verify(path) for path in ([file] if file.exists() or not parts else []) + parts}
    if as_json:
        main, *rest = (
            {"file": str(path), **asdict(damages[path])} if path in damages else {} for path in (file, *parts)
        )
        click.echo(json.dumps({**main, "shards": rest}))
    else:
        lines = [f"{path}: {line}" if parts else line for path, damage in damages.items() for line in damage.lines()]
        click.echo("\n".join(map(visible, lines)))
    return int(any(damages.values()))


@click.command(epilog=MERGE_EPILOG)
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.argument("shards", type=STORE, nargs=-1)
@click.option("--delete-shards", is_flag=True, help="Afterwards, delete shards whose finished cells are all in FILE.")
def merge(file: Path, shards: tuple[Path, ...], delete_shards: bool) -> int:
    """Copy the finished cells of SHARDS into the store FILE. Merging twice is harmless.

    By default, SHARDS are the stores that the elements of a job array have written next to FILE.
    """
    from hpcsweep.errors import StoreError
    from hpcsweep.store import shards as parts
    from hpcsweep.store.merging import merge as merge_stores

    sources = [shard for shard in shards or parts.beside(file) if shard.resolve() != file.resolve()]
    if not sources and not shards:
        raise StoreError(f"There are no shards next to {file}; name the stores to merge into it.")
    new, finished = merge_stores(file, sources or shards)
    click.echo(f"{visible(str(file))}: {new} new cells, {finished} finished in all")
    lacking = parts.missing(file, sources)
    if lacking:
        click.echo("\n".join(map(visible, lacking)))
    if delete_shards:
        whole = [shard for shard in sources if not parts.unfinished(shard)]
        parts.delete(file, whole)
        click.echo(f"{len(whole)} shards deleted, {len(sources) - len(whole)} kept")
    return 75 if lacking else 0
