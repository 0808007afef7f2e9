"""What a file of another origin may contain, and a store of ours never does.

HDF5 follows links and external storage to other files, whose content would then be taken for that of the store, and
believes in any shape that a file declares.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence

import h5py

from hpcsweep.errors import StoreError

_DENSEST = 1100  # times that compression can make zeros smaller, at most


def refuse(file: h5py.File, rows: Sequence[str] = ()) -> None:
    """Raise `StoreError` if a file refers to other files, has groups, or declares more than it holds.

    rows: the datasets of which all that are there must have as many rows as the first.
    """
    size = os.stat(file.filename).st_size
    lengths = {}
    for name in file.id:  # by HDF5's own functions: this happens whenever a store is opened
        if file.id.links.get_info(name).type != h5py.h5l.TYPE_HARD:
            raise _refused(file, f"{name.decode()!r} is a link to another place")
        dataset = h5py.h5o.open(file.id, name)
        if not isinstance(dataset, h5py.h5d.DatasetID):  # a group may hold anything
            raise _refused(file, f"{name.decode()!r} is no dataset")
        shape = dataset.get_space().get_simple_extent_dims() or ()
        lengths[name.decode()] = shape[0] if shape else 0
        if why := _objection(dataset, math.prod(shape), size):
            raise _refused(file, f"{name.decode()!r} {why}")
    different = sorted({lengths[name] for name in rows if name in lengths})
    if len(different) > 1:
        raise _refused(file, f"its columns are of different lengths ({', '.join(map(str, different))})")


def _objection(dataset: h5py.h5d.DatasetID, entries: int, size: int) -> str:
    """Say what is wrong with a dataset of a file of `size` bytes; nothing if all is well."""
    settings, kind = dataset.get_create_plist(), dataset.get_type()
    if settings.get_layout() == h5py.h5d.VIRTUAL or settings.get_external_count():
        return "is stored in another file"
    if kind.detect_class(h5py.h5t.REFERENCE):
        return "holds references"
    declared = entries * kind.get_size()
    if declared > (size if settings.get_layout() == h5py.h5d.CONTIGUOUS else _DENSEST * size):
        return f"declares {declared:,} bytes, more than the file can hold"
    return ""


def _refused(file: h5py.File, why: str) -> StoreError:
    return StoreError(f"{file.filename} was not written by hpcsweep: {why}. It is not read.")
