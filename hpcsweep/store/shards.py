"""Shards: what the elements of a job array write, each its own store beside the main file.

Element k of K writes ``results.k-of-K.h5`` beside ``results.h5``: a store like any other, with its own lease, weights
and checkpoints. `store.merge` copies what is finished into the main file; a shard may be deleted once every
finished row of it is there with the same bits, which `delete` looks at itself.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpcsweep.errors import LaunchError, StoreError
from hpcsweep.store import journal, layout, lease, weights
from hpcsweep.store.lease import Lease
from hpcsweep.store.proving import Merged
from hpcsweep.store.reading import opened
from hpcsweep.study.keys import KeyIndex

BETTER = np.array([0, 1, 3, 3, 3, 2])  # by status: of two rows of one cell, the larger counts
_NAME = re.compile(r"(?P<stem>.+)\.(?P<number>[1-9]\d*)-of-(?P<count>[1-9]\d*)(?P<suffix>\.h5|)")


@dataclass(frozen=True, order=True)
class Shard:
    """Element `number` (from 1) of `count`."""

    count: int
    number: int

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def path(self, store: Path) -> Path:
        """Return where this element writes; the only one writes the main file itself."""
        if self.count == 1:
            return store
        stem, suffix = (store.name.removesuffix(".h5"), ".h5") if store.suffix == ".h5" else (store.name, "")
        return store.with_name(f"{stem}.{self.number}-of-{self.count}{suffix}")


WHOLE = Shard(1, 1)


def parse(text: str) -> Shard:
    """Return the shard "k/K". Raises `LaunchError` for what is none."""
    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise LaunchError(f"{text!r} is not a shard; write k/K with k from 1 to K, such as 2/8.")
    return Shard(int(count), int(number))


def of(path: Path) -> Shard | None:
    """Return which shard a file is by its name; None for one that is no shard."""
    name = _NAME.fullmatch(path.name)
    return Shard(int(name["count"]), int(name["number"])) if name else None


def beside(store: Path) -> list[Path]:
    """Return the existing shards of a store, by number."""
    folder = store.parent
    named = [(of(path), path) for path in folder.iterdir()] if folder.is_dir() else []
    return [path for shard, path in sorted((s, p) for s, p in named if s is not None) if shard.path(store) == path]


def missing(store: Path, files: Sequence[Path]) -> list[str]:
    """Say what keeps a store, into which these shards were merged, from having all cells of its study, finished.

    Where no file knows how many these are, the names of the shards decide which of them are missing.
    """
    count, whole = extent([store] * store.exists())
    if count >= whole > 0 and not unfinished(store):  # whatever has become of the shards
        return []
    reasons = [f"{path}: was never started" for path in files if not path.exists()]
    reasons += [
        f"{path}: {left} cells are not finished"
        for path in (*files, *[store] * (whole > 0))
        if path.exists() and (left := unfinished(path))
    ]
    return reasons + [f"{whole - count} of {whole} cells of the study are missing"] * (count < whole) + absent(files)


def extent(files: Sequence[Path]) -> tuple[int, int]:
    """Return how many cells some stores have together, and how many their study has, 0 if that is not known."""
    keys, whole = [np.empty(0, "S32")], 0
    for path in files:
        with opened(path) as file:
            keys.append(file["key"][:])
            whole = max(whole, int(file.attrs.get("cells", 0)))  # not in older stores
    first = KeyIndex(np.concatenate(keys)).first()
    return int((first == np.arange(len(first))).sum()), whole


def absent(files: Sequence[Path]) -> list[str]:
    """Say which shards these files, by their names, lack."""
    names = [(path.parent, name) for path in files if (name := _NAME.fullmatch(path.name)) is not None]
    reasons: list[str] = []
    present: dict[tuple[Path, int], set[int]] = {}  # numbers by path without number, and count
    for folder, name in names:
        present.setdefault((folder / name["stem"], int(name["count"])), set()).add(int(name["number"]))
    for (stem, count), numbers in sorted(present.items()):
        lacking = sorted(set(range(1, count + 1)) - numbers)
        reasons += [f"{stem}: shard {Shard(count, number)} is missing" for number in lacking]
    return reasons


def unfinished(path: Path) -> int:
    """Return how many cells of a store are not finished."""
    with opened(path) as file:
        return int((~np.isin(file["status"][:], layout.FINISHED)).sum())


def counting(keys: np.ndarray, status: np.ndarray) -> np.ndarray:
    """Return the row of each cell that counts, of the rows of several stores, in the order in which cells appear first.

    That is the first one of the best status.
    """
    first, rows = KeyIndex(keys).first(), np.arange(len(keys))
    order = np.lexsort((rows, -BETTER[status], first))
    return order[np.append(True, np.diff(first[order]) != 0)[: len(order)]]


def failures(store: Path) -> int:
    """Return how many cells of a store have failed."""
    with opened(store) as file:
        return int((file["status"][:] == layout.FAILED).sum())


def delete(store: Path, files: Sequence[Path]) -> None:
    """Delete shards with their weights, each after a look that the main file has all that is finished in it.

    Raises `StoreError`, and deletes no further one, if a run holds the main file or a shard, a shard has cells left to
    do, or a finished row of it is not in the main file with the same bits.
    """
    if not files:
        return
    with Lease(store) as held:
        merged = Merged(store)
        for path in files:
            if path.resolve() == store.resolve():
                raise StoreError(f"{path} is the main file, not a shard of it.")
            with Lease(path) as own:
                journal.replay(path)
                _refuse_loss(merged, path)
                held.check()
                own.check()
                shutil.rmtree(path.with_name(path.name + layout.SAVED), ignore_errors=True)
                weights.path_of(path).unlink(missing_ok=True)
                path.unlink()


def _refuse_loss(merged: Merged, path: Path) -> None:
    if left := unfinished(path):
        raise StoreError(f"{path}: {left} cells are not finished, so it is kept; finish them, or delete it yourself.")
    if lost := merged.lacks(path):
        raise StoreError(
            f"{len(lost)} finished cells of {path} are not in {merged.path} with the same bits (the first: {lost[0]}): "
            "they come from elsewhere, or were measured again. It is kept."
        )


def holder(files: Sequence[Path]) -> str | None:
    """Return who holds one of these files, in words, or None."""
    return next((f"{path} by {held}" for path in files if (held := lease.holder(path)) is not None), None)
