"""Writing a whole store anew: the only way in which its structure ever changes.

`build` lays out a file for given cells and copies into it, by key, what other stores hold of them. Creating, resuming,
extending and merging are this one function.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import math
import os
import secrets
import stat
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import h5py
import numpy as np

from hpcsweep.errors import StoreError
from hpcsweep.store import checksums, integrity, layout, write_errors
from hpcsweep.store.reading import Run, opened
from hpcsweep.study.cells import Cells

BLOCK = 2**15  # rows copied at a time


@dataclass(frozen=True)
class Take:
    """Finished rows to copy from one store: row `origin[i]` there becomes row `target[i]`."""

    path: Path
    origin: np.ndarray
    target: np.ndarray


def assign(cells: Cells, sources: Sequence[Path], lost: Collection[bytes] = ()) -> list[Take]:
    """Decide once, for results and weights alike, from which store each finished cell is copied.

    The first store that has it finished; but one that has failed yields to a store where it has not. Damaged rows, and
    those with the keys `lost`, do not count as finished.
    """
    seen = []
    for path in sources:
        with opened(path) as file:  # which may be growing
            keys, status = file["key"][:], file["status"][:]
            bad = integrity.damaged(file) | np.isin(keys, np.array(list(lost), dtype="S32"))
            seen.append((keys, np.where(bad, layout.PENDING, status)))
    free = np.ones(len(cells), dtype=bool)
    takes = []
    for failed in (False, True):
        for path, (keys, status) in zip(sources, seen, strict=True):
            _, target, origin = np.intersect1d(cells.columns["key"], keys, return_indices=True)
            chosen = free[target] & np.isin(status[origin], layout.FINISHED)
            chosen &= (status[origin] == layout.FAILED) == failed
            order = np.argsort(target[chosen])
            takes.append(Take(path, origin[chosen][order], target[chosen][order]))
            free[target[chosen]] = False
    return [take for take in takes if len(take.target)]


@contextlib.contextmanager
def replacing(path: Path, like: Path | None = None) -> Iterator[Path]:
    """Give the path of a new, empty file; when the block ends well, it is on disk and takes the place of `path`.

    It is to the users of this machine what the file was that it replaces or, where there is none, what the file `like`
    is: owner, group, permissions, access control lists. A link that this user or root has made stays, and its target is
    replaced; that of somebody else is replaced itself. A kill inside the block leaves the temporary file; the next run
    sweeps it up (`sweep`). Raises `OSError`, also if `path` is there and is read-only or no ordinary file.
    """
    path = followed(path)
    _require_replaceable(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    try:
        with contextlib.closing(os.fdopen(descriptor, "wb")):
            for model in (path, like):
                if model is not None and model.is_file() and not model.is_symlink():
                    _give_access_as(model, descriptor)
                    break
        yield temporary
        _sync(temporary)
        os.replace(temporary, path)
        _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def followed(path: Path) -> Path:
    """Return the file to which a link leads, if this user or root has made the link; else the path itself."""
    with contextlib.suppress(FileNotFoundError):
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode) and status.st_uid in (0, os.getuid()):
            return Path(os.path.realpath(path))
    return path


def _require_replaceable(path: Path) -> None:
    """Raise `OSError` for a folder, a device and the like, and for a file that is read-only for this user."""
    with contextlib.suppress(FileNotFoundError):
        mode = path.lstat().st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISLNK(mode):
            number = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
            raise OSError(number, os.strerror(number), str(path))
        if stat.S_ISREG(mode) and not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))


def _give_access_as(model: Path, descriptor: int) -> None:
    """Give an open file the owner, the group, the permissions and the access control list of another file."""
    old, names = model.stat(), set[str]()
    for owner in (old.st_uid, -1):  # only root gives a file away
        with contextlib.suppress(PermissionError):
            os.chown(descriptor, owner, old.st_gid)
            break
    mode = stat.S_IMODE(old.st_mode)
    if os.fstat(descriptor).st_gid != old.st_gid:  # this user is not in that group: his own gets no rights of it
        os.chmod(descriptor, mode & ~0o070 | (mode & 0o007) << 3)
        return
    os.chmod(descriptor, mode)
    with contextlib.suppress(OSError, AttributeError):  # not every file system has such, nor every system
        names = {name for name in os.listxattr(model) if name.startswith(("user.", "system."))}
        for name in set(os.listxattr(descriptor)) - names:
            if name.startswith("system."):  # which the folder gives to new files
                os.removexattr(descriptor, name)
    for name in names:
        with contextlib.suppress(OSError):
            os.setxattr(descriptor, name, os.getxattr(model, name))


def sweep(path: Path) -> None:
    """Remove what killed runs left of unfinished new files of `path`; only for the holder of its lease."""
    path = followed(path)
    for left in path.parent.glob(f".{glob.escape(path.name)}.{'[0-9a-f]' * 16}.new"):
        left.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Force a file, or the entries of a folder, onto the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def build(
    path: Path,
    cells: Cells,
    title: str,
    text: str,
    runs: list[Run],
    takes: Sequence[Take],
    sources: Sequence[Path],
    killed: Collection[bytes],
    lease: int,
) -> None:
    """Write the store of `cells` to `path`, with the finished rows `takes`, and the attempts known to `sources`.

    The cells with the keys `killed` were killed once more than these know. `lease` is the number of the writer's lease.
    """
    with write_errors.deferred(path, "w") as file:
        _lay_out(file, cells, len(runs) + layout.SPARE_RUNS)
        file["lease"][0] = lease
        for field in fields(Run):
            values = [getattr(run, field.name) for run in runs]
            file[f"run_{field.name}"][: len(runs)] = [v.encode() if isinstance(v, str) else v for v in values]
        described = {name: file[name][: len(runs)] for name in layout.RUNS}
        file["run_checksum"][: len(runs)] = integrity.run_sums(described, True)
        file["run_checksum"][len(runs) - 1] = integrity.run_sums(described, False)[-1]
        file.attrs["coordinates"] = " ".join([*layout.NAMED, *cells.extra])
        file.attrs.update(format=layout.FORMAT, title=title, study=text, precision=cells.precision, seed=cells.seed)
        for source in sources:
            _copy_counters(source, file, cells)
        file["kills"][:] += np.isin(cells.columns["key"], np.array(list(killed), dtype="S32"))
        for take in takes:
            with opened(take.path) as old:
                for name in layout.RESULTS:
                    if name not in (*layout.COUNTERS, "checksum") and name in old:
                        _copy_column(old[name], file[name], take.origin, take.target)
        status = file["status"][:]
        sums = integrity.sums(file, {"status": status})
        for take in takes:
            _require_unchanged(take, file, sums)
        file["checksum"][:] = np.where(np.isin(status, layout.FINISHED), sums, np.uint64(0))
    integrity.seal(path, integrity.CHANGING)


def _require_unchanged(take: Take, new: h5py.File, sums: np.ndarray) -> None:
    """Raise `StoreError` if the copied rows, with these checksums in the new file, are not those of the old one.

    Counters, and the axes of a point, may differ: what they add to the checksums is taken out of both.
    """
    with opened(take.path) as old:
        if "checksum" not in old:
            return
        before, after = old["checksum"][:][take.origin], sums[take.target]
        for name in (*layout.COUNTERS, "sup_where"):
            before = before - checksums.contribution(name, old[name][:][take.origin])
            after = after - checksums.contribution(name, new[name][:][take.target])
        for name in layout.RESULTS:  # columns that an older store lacks
            if name not in old and name != "checksum":
                after = after - checksums.contribution(name, new[name][:][take.target])
    if not np.array_equal(before, after):
        raise StoreError(f"{take.path} was changed while it was copied; run the same command again.")


def size_of(cells: Cells) -> int:
    """Return about how many bytes the store of these cells takes."""
    shape = {
        "cell": 1,
        "axis": int(cells.columns["dimension"].max(initial=1)),
        "checkpoint": layout.CHECKPOINTS,
        "quantile": len(layout.QUANTILES),
    }
    sizes = [np.dtype(c.dtype).itemsize * math.prod(shape[d] for d in c.dimensions) for c in layout.RESULTS.values()]
    coordinates = [values.dtype.itemsize for values in cells.coordinates().values()]
    facts = 8 * (1 + 2 * shape["axis"])
    return len(cells) * (sum(sizes) + sum(coordinates) + facts + 8 * len(cells.extra)) + 2**16


def _lay_out(file: h5py.File, cells: Cells, runs: int) -> None:
    """Create every dataset and write the coordinates."""
    axes = int(cells.columns["dimension"].max(initial=1))
    sizes = {"cell": len(cells), "checkpoint": layout.CHECKPOINTS, "quantile": len(layout.QUANTILES), "axis": axes}
    for name, size in {**sizes, "choice": len(cells.configs), "run": runs, "file": 1}.items():
        layout.make_dimension(file, name, size)
    coordinates = {**cells.coordinates(), **cells.fact_columns()}
    for name, column in {**layout.COORDINATES, **layout.FACTS, **layout.RESULTS, **layout.RUNS, **layout.FILE}.items():
        shape = tuple(len(file[dimension]) for dimension in column.dimensions)
        values = coordinates.get(name)
        layout.make(file, name, column, shape, values.dtype.itemsize if values is not None else 1)
        if values is not None:
            file[name][:] = values
    for name in cells.extra:
        values = cells.columns[name]
        column = layout.Column("S" if values.dtype.kind == "S" else "f8", "further axis of the study")
        layout.make(file, name, column, values.shape, values.dtype.itemsize)[:] = values
    described = zip(*((config.canonical(), config.label) for config in cells.configs), strict=True)
    for (name, column), texts in zip(layout.CHOICES.items(), (*described, cells.abouts()), strict=True):
        encoded = np.array([text.encode() for text in texts])
        layout.make(file, name, column, encoded.shape, encoded.dtype.itemsize)[:] = encoded


def _copy_counters(source: Path, new: h5py.File, cells: Cells) -> None:
    with opened(source) as old:
        _, target, origin = np.intersect1d(cells.columns["key"], old["key"][:], return_indices=True)
        for name in layout.COUNTERS:
            counts = new[name][:]
            counts[target] = np.maximum(counts[target], old[name][:][origin])
            new[name][:] = counts


def _copy_column(old: h5py.Dataset, new: h5py.Dataset, origin: np.ndarray, target: np.ndarray) -> None:
    """Copy rows `origin` of one dataset to rows `target` (ascending) of another, block by block of the new one."""
    width = tuple(slice(0, size) for size in old.shape[1:])  # the new file may have more axes, never fewer
    for start in range(0, len(new), BLOCK):
        first, last = np.searchsorted(target, [start, start + BLOCK])
        if first == last:
            continue
        source = origin[first:last]
        lowest = source.min()
        taken = old[lowest : source.max() + 1][source - lowest]
        block = new[start : start + BLOCK]
        block[(target[first:last] - start, *width)] = taken
        new[start : start + BLOCK] = block
