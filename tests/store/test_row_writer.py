"""Rows overwritten in place, against HDF5 itself."""

from __future__ import annotations

import contextlib
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcsweep.errors import StoreError
from hpcsweep.store import layout
from hpcsweep.store.row_writer import Datasets

COLUMNS = {
    "numbers": (layout.Column("f8", "", fill=np.nan), (20,)),
    "flags": (layout.Column("i1", "", fill=-1), (20,)),
    "lines": (layout.Column("f8", ""), (20, 3)),
    "words": (layout.Column("S7", "", fill=b""), (20,)),
}


def example(path: Path) -> Path:
    """A file with a dataset of every kind, the attributes and the names of a store."""
    with h5py.File(path, "w") as file:
        layout.make_dimension(file, "cell", 20)
        layout.make_dimension(file, "axis", 3)
        for name, (column, shape) in COLUMNS.items():
            column = layout.Column(column.dtype, "about", ("cell", "axis")[: len(shape)], column.fill)
            layout.make(file, name, column, shape)
    return path


def values_of(name: str, rows: list[int], seed: int) -> np.ndarray:
    """Random values of a dataset."""
    column, shape = COLUMNS[name]
    return np.random.default_rng(seed).integers(0, 100, (len(rows), *shape[1:])).astype(column.dtype)


@given(puts=st.lists(st.sets(st.integers(0, 19)).map(sorted), min_size=1, max_size=4), name=st.sampled_from([*COLUMNS]))
def test_rows_are_what_hdf5_would_have_written(
    tmp_path_factory: pytest.TempPathFactory, puts: list[list[int]], name: str
) -> None:
    folder = tmp_path_factory.mktemp("inplace")
    path, twin = example(folder / "a.h5"), example(folder / "b.h5")
    with contextlib.closing(Datasets(path, COLUMNS)) as data, h5py.File(twin, "r+") as file:
        for seed, rows in enumerate(puts):
            data.write(rows, {name: values_of(name, rows, seed)})
            for row, value in zip(rows, values_of(name, rows, seed), strict=True):
                file[name][row] = value
        assert data[name].tobytes() == file[name][:].tobytes()
    with h5py.File(path) as ours, h5py.File(twin) as theirs:
        for other in COLUMNS:
            assert ours[other][:].tobytes() == theirs[other][:].tobytes()


def test_what_does_not_fit_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    path = example(tmp_path / "a.h5")
    before = path.read_bytes()
    with contextlib.closing(Datasets(path, COLUMNS)) as data:
        for name, row, values in (
            ("numbers", 19, np.ones(2)),
            ("numbers", -1, np.ones(1)),
            ("lines", 0, np.ones((1, 2))),
            ("lines", 0, np.ones(3)),
        ):
            with pytest.raises(ValueError, match=f"do not fit into {name}"):
                data.put(name, row, values)
    with pytest.raises(ValueError, match="closed"):
        data.put("numbers", 0, np.ones(1))
    data.close()
    assert path.read_bytes() == before


def test_a_file_that_another_program_has_rewritten_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("numbers", data=np.ones(4), chunks=(2,))
    with pytest.raises(StoreError, match="no longer contiguous"):
        Datasets(tmp_path / "a.h5", ["numbers"])
