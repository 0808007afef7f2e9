#!/usr/bin/env python
"""What a store survives: power cuts, flipped bits and zeroed pages, and a fault at every system call of what writes it.

Prints a JSON line about itself, and one for each group of attacks as soon as it is finished: how many attacks had which
outcome. Outcomes that begin with ! must not be; the exit code is 1 if there was any. Needs gcc.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from scripts.store_attacks import actions, calls, damage, folder, power
from scripts.store_attacks.actions import STORE, Action

Outcomes = Counter[str]
Task = Callable[[Path], Outcomes]  # its argument: a folder of its own
PARTS = 4  # of each group, for several processes
_tasks: list[Task] = []  # what forks inherit: functions cannot be sent to them


def main() -> int:
    """Attack; return 1 if anything was lost, or wrong and not noticed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer of each: less than a minute")
    parser.add_argument(
        "--only", default="", metavar="KIND", help='"power", "damage", "calls" or "calls, measure, KILL"'
    )
    parser.add_argument("--step", type=int, help="a fault at every so many system calls; 1 unless --quick")
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)), help="one per core")
    parser.add_argument("--folder", type=Path, help="work there; with a file system in memory it goes faster")
    asked = parser.parse_args()
    if not calls.is_loaded():
        return calls.start_again()
    cuts, flips, pages, step = (5, 50, 10, 251) if asked.quick else (50, 600, 120, 1)
    step = asked.step or step
    about = {"command": " ".join(map(os.path.basename, sys.argv)), "date": time.strftime("%Y-%m-%d"), "on": _machine()}
    print(json.dumps(about), flush=True)
    lost = 0
    with tempfile.TemporaryDirectory(dir=asked.folder) as temporary:
        place = Path(temporary) / "place"
        kinds: dict[str, Callable[[], dict[str, list[Task]]]] = {
            "power": lambda: power_cuts(place, cuts),
            "damage": lambda: damages(place, flips, pages),
            "calls": lambda: faults(place, step),
        }
        for kind in [kind for kind in kinds if asked.only.startswith(kind) or not asked.only]:
            groups = {name: tasks for name, tasks in kinds[kind]().items() if f"{kind}, {name}".startswith(asked.only)}
            for name, outcomes, seconds in together(groups, place, asked.processes):
                line = {"attack": kind, "on": name, "tried": outcomes.total(), "seconds": round(seconds, 1)}
                print(json.dumps({**line, "outcomes": dict(sorted(outcomes.items()))}), flush=True)
                lost += forbidden(outcomes)
    return 1 if lost else 0


def _machine() -> str:
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return f"{models[0].partition(': ')[2] if models else platform.machine()}, Linux {platform.release()}"


def forbidden(outcomes: Outcomes) -> int:
    """Return how many attacks had an outcome that must not be."""
    return sum(count for outcome, count in outcomes.items() if outcome.startswith("!"))


def power_cuts(place: Path, many: int) -> dict[str, list[Task]]:
    """Return so many power cuts of each action."""
    tasks = {}
    for action in actions.all_of(place):
        folder.put(place, action.before)
        with power.recorded(place) as moments:
            action.act(place / STORE)
        shares = (many // PARTS + (part < many % PARTS) for part in range(PARTS))
        tasks[action.name] = [partial(_cut_power, action, moments, share, part) for part, share in enumerate(shares)]
    return tasks


def _cut_power(action: Action, moments: list[power.Moment], many: int, seed: int, place: Path) -> Outcomes:
    outcomes = Outcomes()
    for image in power.images(moments, many, seed):
        folder.put(place, image)
        outcomes[_outcome(calls.attempt(partial(actions.outcome, action, place / STORE), place))] += 1
    return outcomes


def damages(place: Path, flips: int, pages: int) -> dict[str, list[Task]]:
    """Return so many flipped bits, and so many zeroed pages and files cut short, of everything beside a store."""
    whole, cut_off = damage.sound(place)
    good = []
    for files in (whole, cut_off):
        folder.put(place, files)
        good.append(calls.attempt(partial(damage.completed, place / STORE), place).result)
    return {
        kind: [partial(_damage, part, tuple(good)) for part in _dealt(damage.attacks(whole, cut_off, kind, many))]
        for kind, many in {"flip": flips, "page": pages, "cut": pages}.items()
    }


def _dealt(attacked: Iterator[power.Files]) -> list[list[power.Files]]:
    everything = list(attacked)
    return [everything[part::PARTS] for part in range(PARTS)]


def _damage(attacked: Sequence[power.Files], good: tuple[str, ...], place: Path) -> Outcomes:
    outcomes = Outcomes()
    for files in attacked:
        folder.put(place, files)
        outcomes[_outcome(calls.attempt(partial(damage.verdict, place / STORE, good), place))] += 1
    return outcomes


def faults(place: Path, step: int) -> dict[str, list[Task]]:
    """Return faults at every `step`th system call of each action that changes something.

    Writes of half of the bytes, which are mere interruptions, are tried at every third of these, and calls that change
    nothing, of which there are very many, at every twentieth.
    """
    tasks = {}
    for action in actions.all_of(place):
        for number, kind in enumerate(calls.KINDS):
            folder.put(place, action.before)
            many = calls.attempt(partial(action.act, place / STORE), place, kind).calls
            every = {"READ": 20 * step, "SHORT": 3 * step}.get(kind, step)
            points = range(1 + number * every // len(calls.KINDS) % many, many + 1, every)
            parts = (points[part::PARTS] for part in range(PARTS))
            tasks[f"{action.name}, {kind}"] = [partial(_fail, action, kind, part) for part in parts]
    return tasks


def _fail(action: Action, kind: str, points: Sequence[int], place: Path) -> Outcomes:
    outcomes, known = Outcomes(), dict[bytes, str]()  # by what is left: most errors leave things as they were
    for point in points:
        folder.put(place, action.before)
        ended = calls.attempt(partial(action.act, place / STORE), place, kind, point)
        if ended.code in (0, 2, -signal.SIGKILL):
            left = folder.digest(place)
            if left not in known:
                known[left] = _outcome(calls.attempt(partial(actions.outcome, action, place / STORE), place))
            outcomes[known[left]] += 1
        else:
            outcomes[_outcome(ended)] += 1
    return outcomes


def _outcome(attempt: calls.Attempt) -> str:
    """Return what came of an attack."""
    return attempt.result if attempt.code == 0 else f"! ended with {attempt.code}"


def together(groups: dict[str, list[Task]], place: Path, processes: int = 1) -> Iterator[tuple[str, Outcomes, float]]:
    """Do groups of tasks in so many forks; yield what came of each group, and its seconds, as soon as it is done."""
    _tasks[:] = [task for tasks in groups.values() for task in tasks]
    names = [name for name, tasks in groups.items() for _ in tasks]
    outcomes, left, begun = {name: Outcomes() for name in groups}, Counter(names), time.monotonic()
    with ProcessPoolExecutor(processes, multiprocessing.get_context("fork")) as pool:
        going: dict[Future[Outcomes], str] = {pool.submit(_in_own, place, n): name for n, name in enumerate(names)}
        for future in as_completed(going):
            name = going[future]
            outcomes[name] += future.result()
            left[name] -= 1
            if not left[name]:
                yield name, outcomes[name], time.monotonic() - begun


def _in_own(place: Path, number: int) -> Outcomes:
    return _tasks[number](place.with_name(f"{place.name}-{os.getpid()}"))


if __name__ == "__main__":
    sys.exit(main())
