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
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import h5py
import numpy as np

from hpcsweep.config import canonical
from hpcsweep.errors import StoreError
from hpcsweep.store import copying, integrity, layout, links, write_errors
from hpcsweep.store.reading import Run, opened
from hpcsweep.study.cells import Cells
from hpcsweep.study.keys import KeyIndex, among


@dataclass(frozen=True)
class Take:
    """What a store has of the cells of a new file: its rows, and their rows there (ascending).

    Rows `origin` of finished cells become rows `target`; rows `known` are those of the cells `cells`, whose counters
    are to count.
    """

    path: Path
    origin: np.ndarray
    target: np.ndarray
    known: np.ndarray
    cells: np.ndarray


def assign(cells: Cells, sources: Sequence[Path], lost: Collection[bytes] = ()) -> list[Take]:
    """Decide once, for results and weights alike, from which store each finished cell is copied.

    The first store that has it finished; but one that has failed yields to a store where it has not. Rows with the
    keys `lost` count as if they were not there. The stores must be sound (`verifying.require`) but for these.
    """
    index, seen = KeyIndex(cells.columns["key"]), []
    for path in sources:
        with opened(path) as file:  # which may be growing
            keys, status = file["key"][:], file["status"][:]
        rows = index.rows(keys)
        if lost:
            rows[among(keys, lost)] = -1
        seen.append((rows, status))
    chosen, origins = np.full(len(cells), -1), np.zeros(len(cells), np.int64)
    for codes in (tuple(code for code in layout.FINISHED if code != layout.FAILED), (layout.FAILED,)):
        for number, (rows, status) in enumerate(seen):
            origin = np.flatnonzero((rows >= 0) & np.isin(status, codes))
            origin = origin[chosen[rows[origin]] < 0]
            chosen[rows[origin]], origins[rows[origin]] = number, origin
    takes = []
    for number, (path, (rows, _)) in enumerate(zip(sources, seen, strict=True)):
        target, known = np.flatnonzero(chosen == number), np.flatnonzero(rows >= 0)
        takes.append(Take(path, origins[target], target, known, rows[known]))
    return takes


@contextlib.contextmanager
def replacing(path: Path, like: Path | None = None, check: Callable[[], None] | None = None) -> Iterator[Path]:
    """Give the path of a new, empty file; when the block ends well, it is on disk and takes the place of `path`.

    It is to the users of this machine what the file was that it replaces or, where there is none, what the file `like`
    is: owner, group, permissions, access control lists. A link is replaced itself, and not followed; give
    `links.followed(path)` to replace the file to which it leads. `check` is called last, and raises if `path` must not
    be replaced any more. A kill inside the block leaves the temporary file; the next run sweeps it up (`sweep`). Raises
    `OSError`, also if `path` is there and is read-only or no ordinary file.
    """
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
        if check is not None:
            check()
        os.replace(temporary, path)
        _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


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
    path = links.followed(path)
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
    killed: Collection[bytes],
    lease: int,
) -> None:
    """Write the store of `cells` to `path`, with the finished rows of `takes`, and the attempts that these know.

    The cells with the keys `killed` were killed once more than these know. `lease` is the number of the writer's lease.
    """
    with write_errors.deferred(path) as file:
        _lay_out(file, cells, len(runs) + max(len(runs), layout.SPARE_RUNS))
        file["lease"][0] = lease
        for field in fields(Run):
            values = [getattr(run, field.name) for run in runs]
            file[f"run_{field.name}"][: len(runs)] = [v.encode() if isinstance(v, str) else v for v in values]
        described = {name: file[name][: len(runs)] for name in layout.RUNS}
        file["run_checksum"][: len(runs)] = integrity.run_sums(described, True)
        file["run_checksum"][len(runs) - 1] = integrity.run_sums(described, False)[-1]
        file.attrs["coordinates"] = " ".join([*layout.NAMED, *cells.extra])
        file.attrs.update(format=layout.FORMAT, title=title, study=text, precision=cells.precision, seed=cells.seed)
        file.attrs["cells"] = cells.whole
        _copy(file, takes, among(cells.columns["key"], killed))
        status = file["status"][:]
        sums = integrity.sums(file, {"status": status})
        _require_unchanged(file, takes, sums)
        file["checksum"][:] = np.where(np.isin(status, layout.FINISHED), sums, np.uint64(0))
    integrity.seal(path, integrity.CHANGING)


def _copy(file: h5py.File, takes: Sequence[Take], killed: np.ndarray) -> None:
    """Copy what other stores know: finished rows, and the largest counters of each cell."""
    counters = {name: file[name][:] for name in layout.COUNTERS}
    for group, stores in in_groups(takes):
        for name in layout.RESULTS:
            if name not in (*layout.COUNTERS, "checksum"):
                _copy_column(
                    file[name], [(old[name], take) for take, old in zip(group, stores, strict=True) if name in old]
                )
        for name, counts in counters.items():
            for take, old in zip(group, stores, strict=True):
                counts[take.cells] = np.maximum(counts[take.cells], old[name][:][take.known])
    counters["kills"] += killed
    for name, counts in counters.items():
        file[name][:] = counts


def _copy_column(new: h5py.Dataset, sources: Sequence[tuple[h5py.Dataset, Take]]) -> None:
    copying.copy(new, [(old, take.origin, take.target) for old, take in sources])


def in_groups(takes: Sequence[Take]) -> Iterator[tuple[Sequence[Take], list[h5py.File]]]:
    """Yield takes with their stores, open, a limited number at a time."""
    for start in range(0, len(takes), copying.AT_ONCE):
        with contextlib.ExitStack() as stack:
            group = takes[start : start + copying.AT_ONCE]
            yield group, [stack.enter_context(opened(take.path)) for take in group]


def _require_unchanged(new: h5py.File, takes: Sequence[Take], sums: np.ndarray) -> None:
    """Raise `StoreError` if the copied rows, with these checksums in the new file, are not those of the old ones."""
    rows = integrity.Rows(lambda name: new[name][:], sums)
    for group, stores in in_groups(takes):
        for take, old in zip(group, stores, strict=True):
            if "checksum" in old and not rows.same(take.target, old, old["checksum"][:], take.origin).all():
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
    described = zip(*((canonical(config.plain), config.label) for config in cells.configs), strict=True)
    for (name, column), texts in zip(layout.CHOICES.items(), (*described, cells.abouts()), strict=True):
        encoded = np.array([text.encode() for text in texts])
        layout.make(file, name, column, encoded.shape, encoded.dtype.itemsize)[:] = encoded
