"""What a file of another origin may contain, and a store of ours never does.

HDF5 follows links and external storage to other files, whose content would then be taken for that of the store, and
believes in any shape that a file declares.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import h5py

from hpcsweep.errors import StoreError

_DENSEST = 1100  # times that compression can make zeros smaller, at most


def refuse(file: h5py.File, rows: Sequence[str] = ()) -> None:
    """Raise `StoreError` if a file refers to other files, or declares more than it holds.

    rows: the datasets of which all that are there must have as many rows as the first.
    """
    size = os.stat(file.filename).st_size
    for name in file:
        if not isinstance(file.get(name, getlink=True), h5py.HardLink):
            raise _refused(file, f"{name!r} is a link to another place")
        dataset = file[name]
        if isinstance(dataset, h5py.Dataset):
            _refuse_dataset(file, name, dataset, size)
    lengths = {name: file[name].shape[0] for name in rows if name in file and file[name].shape}
    if len(set(lengths.values())) > 1:
        raise _refused(
            file, f"its columns are of different lengths ({', '.join(map(str, sorted(set(lengths.values()))))})"
        )


def _refuse_dataset(file: h5py.File, name: str, dataset: h5py.Dataset, size: int) -> None:
    settings = dataset.id.get_create_plist()
    if settings.get_layout() == h5py.h5d.VIRTUAL or settings.get_external_count():
        raise _refused(file, f"{name!r} is stored in another file")
    if dataset.dtype.hasobject and dataset.dtype.kind == "O" and h5py.check_ref_dtype(dataset.dtype):
        raise _refused(file, f"{name!r} holds references")
    most = size if settings.get_layout() == h5py.h5d.CONTIGUOUS else _DENSEST * size
    if dataset.nbytes > most:
        raise _refused(file, f"{name!r} declares {dataset.nbytes:,} bytes, more than the file can hold")


def _refused(file: h5py.File, why: str) -> StoreError:
    return StoreError(f"{file.filename} was not written by hpcsweep: {why}. It is not read.")
