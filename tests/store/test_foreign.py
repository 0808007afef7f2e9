"""Files that refer to other files, or that declare more than they hold, are refused when they are opened."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from hpcsweep.errors import StoreError
from hpcsweep.store import verifying, weights
from hpcsweep.store.foreign import refuse
from hpcsweep.store.reading import read_cells
from tests.conftest import TINY, fill


def external(file: h5py.File, secret: Path) -> None:
    size = secret.stat().st_size
    file.create_dataset("message", (1,), f"S{size}", external=[(str(secret), 0, size)])


def virtual(file: h5py.File, secret: Path) -> None:
    layout = h5py.VirtualLayout(shape=(4,), dtype="f8")
    layout[:] = h5py.VirtualSource(str(secret), "data", shape=(4,))
    file.create_virtual_dataset("sup_lower", layout)


def soft(file: h5py.File, secret: Path) -> None:
    file["message"] = h5py.SoftLink("/key")


def linked(file: h5py.File, secret: Path) -> None:
    file["message"] = h5py.ExternalLink(str(secret), "/data")


def dangling(file: h5py.File, secret: Path) -> None:
    file["message"] = h5py.ExternalLink("nowhere.h5", "/data")


def chunked_bomb(file: h5py.File, secret: Path) -> None:
    file.create_dataset("bomb", (4 * 10**11,), "S32", chunks=(1024,), compression="gzip")


def late_bomb(file: h5py.File, secret: Path) -> None:
    settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    settings.set_alloc_time(h5py.h5d.ALLOC_TIME_LATE)
    space = h5py.h5s.create_simple((4 * 10**11,))
    h5py.h5d.create(file.id, b"bomb", h5py.h5t.IEEE_F64LE, space, dcpl=settings)


def longer(file: h5py.File, secret: Path) -> None:
    file["status"] = np.zeros(4, np.int8)


def grouped(file: h5py.File, secret: Path) -> None:
    size = secret.stat().st_size
    file.create_group("sub").create_dataset("message", (1,), f"S{size}", external=[(str(secret), 0, size)])


ATTACKS = (grouped, external, virtual, soft, linked, dangling, chunked_bomb, late_bomb, longer)


def prepare(path: Path) -> Path:
    """Write a small file of three rows, and another one beside it, which is returned."""
    secret = path.with_name("secret.h5")
    with h5py.File(secret, "w") as file:
        file["data"] = np.arange(4.0)
    with h5py.File(path, "w") as file:
        file["key"] = np.array([b"a", b"b", b"c"])
        file["loss"] = np.zeros((3, 5))
    return secret


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_what_refers_to_other_files_or_is_a_bomb_is_refused(
    attack: Callable[[h5py.File, Path], None], tmp_path: Path
) -> None:
    path = tmp_path / "s.h5"
    secret = prepare(path)
    with h5py.File(path, "r") as file:
        refuse(file, ("key", "status", "loss", "none"))
    with h5py.File(path, "r+") as file:
        attack(file, secret)
    with h5py.File(path, "r") as file, pytest.raises(StoreError, match=r"was not written by hpcsweep: .* is not read"):
        refuse(file, ("key", "status", "loss"))


def test_a_hard_link_and_a_compressed_copy_are_read(tmp_path: Path) -> None:
    path = tmp_path / "s.h5"
    prepare(path)
    with h5py.File(path, "r+") as file:
        file["again"] = file["key"]
        file.create_dataset("zeros", (3, 10**5), "f8", compression="gzip", data=np.zeros((3, 10**5)))
    os.link(path, tmp_path / "other.h5")
    with h5py.File(tmp_path / "other.h5", "r") as file:
        refuse(file, ("key", "loss"))


def test_a_column_is_no_path(tmp_path: Path) -> None:
    store = fill(tmp_path / "s.h5", TINY, slice(0))
    with h5py.File(store, "r+") as file:
        file.attrs["coordinates"] = f"{file.attrs['coordinates']} ./width"
    with pytest.raises(StoreError, match=r"'./width' is no column of it. It is not read"):
        read_cells(store)


@pytest.mark.parametrize("kept", [False, True], ids=["store", "weights"])
def test_damaged_names_of_datasets_are_told_in_a_sentence(tmp_path: Path, kept: bool) -> None:
    """HDF5 raises errors of many kinds and texts where the heap of the names, or the tree, is damaged."""
    store = fill(tmp_path / "s.h5", TINY)
    path = weights.path_of(store) if kept else store
    sound, refused = path.read_bytes(), 0
    for signature in (b"HEAP", b"TREE", b"SNOD"):
        first = sound.index(signature)
        for place in range(first, first + 40):
            content = bytearray(sound)
            content[place] ^= 1 << place % 8
            path.write_bytes(content)
            try:
                refused += bool(verifying.verify(store))
            except StoreError:
                refused += 1
    assert refused > 60
