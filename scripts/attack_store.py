#!/usr/bin/env python
"""What a store survives: power cuts, flipped bits and zeroed pages, and a fault at every system call of what writes it.

Prints one JSON line per figure; every one whose floor is 0 counts what must never happen. --quick takes less of each.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from hpcsweep.store import journal, verifying, weights
from scripts.json_lines import show
from scripts.store_attacks import calls, damage, model, power

BETTER = 2.0  # what the later measurement adds


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="40 power cuts, 100 damages, every 12th system call")
    quick = parser.parse_args().quick
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for what, counts in (
            ("power cuts", power_cuts(folder / "power", 40 if quick else 400)),
            ("damages", damages(folder / "damage", 100 if quick else 1200)),
            *((f"{name}, {kind}", found) for name, kind, found in faults(folder / "calls", 12 if quick else 1)),
        ):
            for name, count in sorted(counts.items()):
                show(f"{what}: {name}", count, "", 0 if name.startswith("!") else None)


def power_cuts(folder: Path, count: int) -> Counter[str]:
    """Return what `count` power cuts do during a run and during a measurement; what begins with ! must not happen."""
    folder.mkdir()
    study, cells = model.study_of(replicates=8)
    path = folder / "s.h5"
    files, found = [path, weights.path_of(path)], Counter[str]()
    model.work(path, study, cells, 0)
    for phase, better, action in (
        ("run", (0.0,), lambda: model.work(path, study, cells)),
        ("measure", (0.0, BETTER), lambda: model.measure(path, BETTER)),
    ):
        before = {file: file.read_bytes() for file in files}
        events: list[power.Event] = []
        with power.recorded(events, files):
            action()
        after = {file: file.read_bytes() for file in files}
        for number, (_, image) in enumerate(power.images(before, events, count // 2, seed=1)):
            for file, content in image.items():
                file.write_bytes(content)
            found[f"{phase}, images"] += 1
            if phase == "run":
                _, mistakes = model.wrong(path, better)
                found["! run, wrong rows marked done"] += len(mistakes)
            bad = verifying.verify(path).rows
            found[f"{'! ' * (phase == 'run')}{phase}, damaged rows, which every reader refuses"] += len(bad)
            if number % 8 == 0:
                model.work(path, study, cells, repair=bool(bad))
                finished, mistakes = model.wrong(path, better)
                found[f"! {phase}, wrong after going on"] += len(mistakes) + len(cells) - len(finished)
        for file, content in after.items():
            file.write_bytes(content)
    return found


def damages(folder: Path, count: int) -> Counter[str]:
    """Return what becomes of damaged stores and weights."""
    folder.mkdir()
    study, cells = model.study_of()
    path = folder / "s.h5"
    model.work(path, study, cells)
    content = {file: file.read_bytes() for file in (path, weights.path_of(path))}
    keys = [key.decode() for key in cells.columns["key"].tolist()]
    good, found = damage.everything(path, keys), Counter[str]()
    for kind, share in (("flip", 10), ("page", 2), ("cut", 1)):
        for damaged in damage.attacks(content, kind, count * share // 13, seed=2):
            for file, spoiled in damaged.items():
                file.write_bytes(spoiled)
            result = damage.verdict(path, keys, good)
            found[f"{'! ' * (result == 'silent')}{kind}: {result}"] += 1
    return found


def faults(folder: Path, step: int) -> list[tuple[str, str, Counter[str]]]:
    """Return what a fault at every `step`th system call does, by what was being done and by the kind of the fault."""
    folder.mkdir()
    study, cells = model.study_of(samples="10", replicates=2)
    larger = model.study_of(samples="[10, 20]", replicates=2)
    path = folder / "s.h5"

    def fresh(finished: int | None) -> None:
        for left in folder.iterdir():
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        if finished != 0:
            model.work(path, study, cells, finished)

    def spoil() -> None:
        fresh(None)
        content = bytearray(path.read_bytes())
        place = content.index(b"of " + cells.columns["key"][0])
        content[place + 4] ^= 1
        path.write_bytes(content)

    def shards() -> None:
        fresh(0)
        model.shards(path, study, cells)

    files = [folder / f"s.{number}-of-3.h5" for number in (1, 2, 3)]
    actions: dict[str, tuple[Callable[[], object], Callable[[], object], int]] = {
        "create": (lambda: fresh(0), lambda: model.work(path, study, cells), len(cells)),
        "resume": (lambda: fresh(4), lambda: model.work(path, study, cells), len(cells)),
        "extend": (lambda: fresh(None), lambda: model.work(path, *larger), len(larger[1])),
        "merge": (shards, model.merging(path, files), len(cells)),
        "measure": (lambda: fresh(None), lambda: model.measure(path, BETTER), len(cells)),
        "repair": (spoil, lambda: model.work(path, study, cells, repair=True), len(cells)),
    }
    return _tried(path, actions, step)


def _tried(
    path: Path, actions: dict[str, tuple[Callable[[], object], Callable[[], object], int]], step: int
) -> list[tuple[str, str, Counter[str]]]:
    found = []
    for name, (prepare, action, expected) in actions.items():
        prepare()
        _, total = calls.attempt(action)
        for kind in calls.KINDS:
            counts = Counter[str]({"system calls": total})
            for number in range(1, total + 1, step):
                prepare()
                counts[_outcome(path, action, kind, number, expected, (0.0, BETTER))] += 1
            found.append((name, kind, counts))
    return found


def _outcome(
    path: Path, action: Callable[[], object], kind: str, number: int, expected: int, better: tuple[float, ...]
) -> str:
    """Return what a fault did; what begins with ! must not happen."""
    before = _finished(path, better)
    code, _ = calls.attempt(action, kind, number)
    if code in (calls.TRACEBACK, calls.STUCK) or code < 0:
        return f"! ended with {code}"
    if before - _finished(path, better):
        return "! finished rows lost"
    if calls.attempt(action)[0] != 0:
        return "! the same command does not go on"
    finished, mistakes = model.wrong(path, better)
    if mistakes or verifying.verify(path):
        return "! wrong rows marked done"
    if len(finished) != expected:
        return "! not all done by the same command"
    left = [
        file for file in path.parent.iterdir() if file.name.startswith(".") or file.suffix in (".lease", ".journal")
    ]
    return "! files left behind" if left else "survived"


def _finished(path: Path, better: tuple[float, ...]) -> set[str]:
    """Return the keys of the finished cells that are right; none where there is no store."""
    if not path.exists():
        return set()
    finished, mistakes = model.wrong(path, better)
    if journal.path_of(path).exists():  # rows that are torn are whole again after the next command
        return finished
    return finished - set(verifying.verify(path).rows) - set(mistakes)


if __name__ == "__main__":
    main()
