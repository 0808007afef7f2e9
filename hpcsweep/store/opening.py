"""How a launch begins with a store: with a new file, or in the old one, whose finished rows are kept in any case."""

from __future__ import annotations

import contextlib
import glob
import os
import sys
import textwrap
import tomllib
from collections.abc import Callable, Collection, Iterator
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hpcsweep.config import DATA, canonical
from hpcsweep.errors import StoreError
from hpcsweep.store import (
    integrity,
    journal,
    layout,
    links,
    rewriting,
    verifying,
    weights,
    weights_building,
    write_errors,
)
from hpcsweep.store.lease import Lease
from hpcsweep.store.reading import Run, launches, named, opened, read_cells, read_runs
from hpcsweep.store.row_writer import Datasets
from hpcsweep.study.cells import Cells
from hpcsweep.study.keys import KeyIndex, among

if TYPE_CHECKING:  # merging stores needs no pydantic
    from hpcsweep.study.parsing import Study


def last_lease(path: Path) -> int:
    """Return the number of the last lease under which a store was written, as far as it can be read."""
    if path.exists():
        with contextlib.suppress(StoreError, KeyError), opened(path) as file:
            return int(file["lease"][0])
    return 0


@contextlib.contextmanager
def leased(path: Path) -> Iterator[Lease]:
    """Give the lease of a finished store whose rows are to be changed, after what killed processes left to be done.

    Raises `StoreError` if somebody else holds it, or the store is damaged, or cannot be written.
    """
    with Lease(path, last_lease(path)) as lease:
        with write_errors.explained(f"The store {path} cannot be read or written", KeyError):
            sweep(path)
            journal.replay(path)
            verifying.require(path)
            if lease.unsure:  # whoever held the lease may still write: into the old file, unseen
                renew(path, lease)
        yield lease


def sweep(path: Path) -> None:
    """Remove what killed processes left of unfinished files of a store; only for the holder of its lease."""
    for written in (path, weights.path_of(path), journal.path_of(path)):
        rewriting.sweep(written)
    for left in path.parent.glob(f"..{glob.escape(path.name)}.measure-*.new"):
        left.unlink(missing_ok=True)


def prepare(
    path: Path, study: Study, cells: Cells, run: Run, lease: Lease, spared: Collection[str], repair: bool
) -> Cells:
    """Make the file of a store ready for a launch, which holds its lease; return its rows.

    See `Store.open`. Raises `StoreError` for a store that is damaged, unless it is to be repaired.
    """
    if not path.exists():
        journal.path_of(path).unlink(missing_ok=True)  # of a file that was deleted
        return replace(path, cells, study.title, study.text, [run], [], study.weights, lease)
    journal.replay(path)
    if not repair:
        verifying.require(path)
    damage = verifying.verify(path) if repair else verifying.Damage()
    with verifying.readable(path):
        old = read_cells(path)
        refuse_another(path, study, cells, old)
    _complete(path, study.weights)
    weightless = {key.encode() for key in (*damage.weights, *damage.missing)} if study.weights else set()
    lost = {key.encode() for key in damage.rows} | weightless & set(cells.columns["key"].tolist())
    with opened(path) as file:
        keys, status = file["key"][:], file["status"][:]
        space = launches(file["run_started"][:]) < len(file["run_started"]) and set(integrity.CHANGING) <= set(file)
        sealed = not damage.elsewhere or integrity.is_sealed(file, integrity.CHANGING)
    finished = np.isin(status, layout.FINISHED)
    unknown = finished & (among(keys, lost) | (not sealed)) & ~among(keys, cells.columns["key"].tolist())
    if unknown.any():
        _set_aside(path, keys[unknown])
    finished &= ~unknown & ~among(keys, lost)
    rows = cells if np.array_equal(keys, cells.columns["key"]) else cells.union(old.take(np.flatnonzero(finished)))
    killed = set(keys[status == layout.RUNNING].tolist()) - {key.encode() for key in spared}
    # After a writer that may still live elsewhere, a new file: what that one writes goes into the old one, unseen.
    if space and not damage and not lease.unsure and _is_laid_out(path, study, rows, old):
        _continue(path, rows, run, lease, killed)
        return rows
    runs = [*read_runs(path), run]
    return replace(path, rows, study.title, study.text, runs, [path], study.weights, lease, killed, lost, repair)


def _set_aside(path: Path, keys: np.ndarray) -> None:
    """Keep a copy of a store in which cells are damaged that the study does not contain, and say so.

    They cannot be trained again; and where more than rows is damaged, nothing says any more what they are.
    """
    aside, kept = path.with_name(path.name + ".damaged"), links.followed(weights.path_of(path))
    kept_aside = weights.path_of(aside)
    if kept != weights.path_of(path):  # elsewhere, perhaps on another disk; KEPT.damaged is what a repair of it leaves
        kept_aside = kept.with_name(f"{kept.name}.{aside.name}")
    for file in (aside, weights.path_of(aside), kept_aside):
        if os.path.lexists(file):
            raise StoreError(f"{file} is in the way: move it elsewhere first.")
    os.link(path, aside)
    if kept.exists():
        os.link(kept, kept_aside)
        if kept_aside != weights.path_of(aside):
            weights.path_of(aside).symlink_to(kept_aside)
    print(
        f"hpcsweep: {len(keys)} finished cell(s) are left out of {path}, since they cannot be repaired: the study "
        f"does not contain them ({named([key.decode() for key in keys.tolist()])}). {aside} has the store as it was; "
        "a study that contains these cells repairs it.",
        file=sys.stderr,
    )


def _complete(path: Path, keeps_weights: bool) -> None:
    """Mark rows that are complete, and were not marked when a process was killed; their weights must be so too."""
    with opened(path) as file:
        outcomes, keys = integrity.completed(file), file["key"][:]
    rows = np.flatnonzero(outcomes >= 0)
    if keeps_weights and len(rows):
        measured = np.isin(outcomes[rows], (layout.DONE, layout.OUT_OF_BUDGET))
        lost = weights.missing(path, keys[rows[measured]]) + weights.damaged(path, keys[rows])
        rows = rows[~among(keys[rows], [key.encode() for key in lost])]
    if len(rows):
        with contextlib.closing(Datasets(path, ("status",))) as data:
            data.sync()
            data.write(rows, {"status": outcomes[rows]})


def _is_laid_out(path: Path, study: Study, rows: Cells, old: Cells) -> bool:
    """Return whether the file of a store, and that of its weights, have the layout that a launch would give them."""
    same = np.array_equal(rows.columns["key"], old.columns["key"]) and identity(path) == (study.title, study.text)
    same = (
        same and rows.whole == old.whole and list(rows.configs) == list(old.configs) and rows.abouts() == old.abouts()
    )
    same = same and [config.label for config in rows.configs] == [config.label for config in old.configs]
    return same and (not study.weights or weights_building.is_laid_out(path, rows))


def _continue(path: Path, rows: Cells, run: Run, lease: Lease, killed: Collection[bytes]) -> None:
    """Begin a launch in the file as it is."""
    with contextlib.closing(Datasets(path, integrity.CHANGING)) as data:
        data.put("lease", 0, np.array([lease.number]))
        launch = launches(data["run_started"])
        values = {f"run_{field.name}": getattr(run, field.name) for field in fields(Run)}
        row = {
            name: np.array([value.encode() if isinstance(value, str) else value], layout.RUNS[name].dtype)
            for name, value in values.items()
        }
        for name, value in {**row, "run_checksum": integrity.run_sums(row, False)}.items():
            if name != "run_started":
                data.put(name, launch, value)
        data.sync()
        data.put("run_started", launch, row["run_started"])  # last: now it is there
        if killed:
            hit = np.flatnonzero(among(rows.columns["key"], killed))
            data.write(hit, {"kills": data["kills"][hit] + 1})
        running = np.flatnonzero(data["status"] == layout.RUNNING)
        data.write(running, {"status": np.full(len(running), layout.PENDING)})


def renew(path: Path, lease: Lease) -> None:
    """Put a copy of a store and of its weights in their place."""
    keeps = weights.path_of(path).exists()
    replace(path, read_cells(path), *identity(path), read_runs(path), [path], keeps, lease)


def replace(
    path: Path,
    rows: Cells,
    title: str,
    text: str,
    runs: list[Run],
    sources: list[Path],
    keep_weights: bool,
    lease: Lease,
    killed: Collection[bytes] = (),
    lost: Collection[bytes] = (),
    repair: bool = False,
) -> Cells:
    """Put a new file, and new weights, in place of the old ones, with what `sources` have finished; return its rows.

    Cells with the keys `lost` begin anew. Raises `StoreError` if somebody else has written the store meanwhile.
    """
    check = _unchanged(path, lease)
    write_errors.require_space(path.parent, rewriting.size_of(rows))
    takes = rewriting.assign(rows, sources, lost)
    with rewriting.replacing(path, check=check) as temporary:
        rewriting.build(temporary, rows, title, text, runs, takes, killed, lease.number)
        if keep_weights:  # first, so that a store never has finished rows that its weights do not know
            weights_building.build(path, rows, takes, check, lease.unsure, repair)
    lease.unsure = False
    return rows


def _unchanged(path: Path, lease: Lease) -> Callable[[], None]:
    """Return what raises `StoreError` if the lease is lost, or the store is not the one that it is now."""
    before = _identity(path)

    def check() -> None:
        lease.check(new=before is None)
        if _identity(path) != before:
            raise StoreError(f"Another process has written {path} meanwhile; run the same command again.")

    return check


def _identity(path: Path) -> tuple[int, int, int] | None:
    """Return what tells a file from every other of its name, and the number of the lease under which it was written."""
    if not path.exists():
        return None
    status = path.stat()
    return status.st_dev, status.st_ino, last_lease(path)


def refuse_another(path: Path, study: Study, cells: Cells, old: Cells) -> None:
    """Raise `StoreError` if a store is of another study: no cell in common, or another title."""
    title, text = identity(path)
    if title == study.title and (changed := _changed_data(cells, old)):
        raise StoreError(f"{path} has results for other data: {changed}. Choose another file with -o, or put it back.")
    if title == study.title and (len(old) == 0 or KeyIndex(old.columns["key"]).holds(cells.columns["key"]).any()):
        return
    plugins = _changed_plugins(cells, old) if title == study.title else ""
    difference = plugins or first_difference(text, study.text) or "the version of hpcsweep has changed since"
    raise StoreError(
        f"{path} contains another study ({title!r}): {difference}. "
        "Choose another file with -o, or undo the change; only the grids of a study may grow."
    )


def _changed_plugins(cells: Cells, old: Cells) -> str:
    """Say which plugins of a study have other files in a store; empty if none has."""
    before, now = ({(c.name, c.get("code")) for c in some.configs if ":" in c.name} for some in (old, cells))
    names = sorted({name for name, _ in now - before} & {name for name, _ in before})
    return f"the files of the plugin {' and '.join(map(repr, names))} have changed since" if names else ""


def _changed_data(cells: Cells, old: Cells) -> str:
    """Say which data file of a study has other rows in a store; empty if none has."""
    before, now = (
        {canonical({**config.plain, "code": ""}): config for config in some.configs if config.name == DATA}
        for some in (old, cells)
    )
    for same in before.keys() & now.keys():
        digests = [config.get("code", "")[:16] for config in (before[same], now[same])]
        if digests[0] != digests[1]:
            file = now[same]["file"]
            return f"the SHA-256 digest of the rows of {file} was {digests[0]}… and is {digests[1]}… now"
    return ""


def identity(path: Path) -> tuple[str, str]:
    """Return title and text of the study of a store."""
    with opened(path) as file:
        return str(file.attrs["title"]), str(file.attrs["study"])


def first_difference(old: str, new: str) -> str:
    """Say in words how two study texts differ, outside their grids where possible; empty if they do not."""
    before, after = (_flatten(tomllib.loads(text)) for text in (old, new))
    differing = sorted(k for k in before.keys() | after.keys() if before.get(k) != after.get(k))
    for key in [k for k in differing if not k.startswith("grid")] or differing:
        there, here = (textwrap.shorten(repr(texts.get(key, "unset")), 80) for texts in (before, after))
        return f"{key} is {there} in the store and {here} in the study"
    return ""


def _flatten(table: dict[str, object], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in table.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
