"""The command: which rows, how often, side by side or one by one; the table, and docs/faults.md."""

from __future__ import annotations

import argparse
import contextlib
import platform
import random
import signal
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from scripts.fault_matrix import disks, hosts, plugins, processes, slurm
from scripts.fault_matrix.row import Verdict, repeat
from scripts.fault_matrix.study import CELLS
from scripts.fault_matrix.table import Page, attacked, document
from scripts.fault_matrix.trial import Reference, undisturbed

ROWS = [*processes.ROWS, *hosts.ROWS, *slurm.ROWS, *disks.ROWS, *plugins.ROWS]
PAGE = Path(__file__).parents[2] / "docs" / "faults.md"
_speak = threading.Lock()


def main() -> int:
    """Make the matrix; return 1 if anything was lost."""
    asked = _arguments()
    for number in (signal.SIGINT, signal.SIGTERM):  # also where it was started in the background
        signal.signal(number, signal.default_int_handler)
    rows = [row for row in ROWS if not asked.only or row.name in asked.only]
    repetitions = asked.repeat or (1 if asked.quick else 5)
    say(f"seed {asked.seed}: {len(rows)} rows, {repetitions} repetitions each, of a study of {CELLS} cells")
    verdicts = {row.name: Verdict(row, row.obstacle()) for row in rows}
    for row in rows:
        if verdicts[row.name].skipped:
            say(f"{row.name}: skipped: {verdicts[row.name].skipped}")
    with tempfile.TemporaryDirectory(prefix="faults-") as folder, contextlib.ExitStack() as world:
        if any(row in slurm.ROWS and not verdicts[row.name].skipped for row in rows):
            world.enter_context(slurm.sandbox())
        begun = time.monotonic()
        reference = undisturbed(Path(folder) / "reference", asked.ranks)
        say(f"the undisturbed run took {time.monotonic() - begun:.0f} s; {reference.in_flight} cells may be in flight")
        with ThreadPoolExecutor(1) as alone, ThreadPoolExecutor(asked.at_once) as pool:
            # On the sandbox one after the other: a node that is down is down for all.
            pools = {row.name: alone if row in slurm.ROWS and asked.at_once > 1 else pool for row in rows}
            going = [
                pools[row.name].submit(_repeat, verdicts[row.name], reference, asked, number)
                for number in range(1, repetitions + 1)  # each row once, then again: an interrupt leaves some of each
                for row in rows
                if not verdicts[row.name].skipped
            ]
            try:
                for future in going:
                    future.result()
            except KeyboardInterrupt:  # what goes on ends its repetition, nothing else begins; the page tells so far
                say("stopping")
                for future in going:
                    future.cancel()
    made = _page(list(verdicts.values()), asked, reference.in_flight)
    print(made)
    if asked.output:
        asked.output.write_text(made)
    whole = all(verdict.skipped or len(verdict.repetitions) == repetitions for verdict in verdicts.values())
    return 0 if whole and all(verdict.good for verdict in verdicts.values()) else 1


def _page(verdicts: list[Verdict], asked: argparse.Namespace, in_flight: int) -> str:
    system = f"{platform.system()} {platform.release()}"
    before = asked.output.read_text() if asked.output and asked.output.exists() else ""
    more = attacked(asked.attacks) if asked.attacks else ""
    page = Page([row.what for row in ROWS], before)
    return document(verdicts, asked.seed, system, asked.ranks, in_flight, page, more)


def _repeat(verdict: Verdict, reference: Reference, asked: argparse.Namespace, number: int) -> None:
    """Repeat one row once more. Its moment is drawn from the seed, its name and number, whatever else runs."""
    row, begun = verdict.row, time.monotonic()
    found = repeat(row, reference, random.Random(f"{asked.seed} {row.name} {number}"), asked.ranks)
    verdict.repetitions.append(found)
    how = "ok" if found.good else f"WRONG: {found}"
    left, took = f"{found.done} done, {found.again} again", f"{time.monotonic() - begun:.0f} s"
    say(f"{row.name} {number}: {found.ended}; {left}; {how}, {took}")


def say(line: str) -> None:
    """Tell how far it is, from any thread."""
    with _speak:
        print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/faults", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one repetition of each row")
    parser.add_argument("--repeat", type=int, metavar="N", help="repetitions of each row (5)")
    parser.add_argument("--only", action="append", metavar="NAME", choices=[row.name for row in ROWS], help="this row")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6), help="of the moments")
    parser.add_argument("--ranks", type=int, default=2, metavar="N", help="ranks of each run; 0: without MPI (2)")
    parser.add_argument("--at-once", type=int, default=1, metavar="N", help="rows side by side (1)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the page there: docs/faults.md is made so")
    parser.add_argument("--attacks", type=Path, metavar="FILE", help="what scripts/attack_store.py has printed")
    return parser.parse_args()
