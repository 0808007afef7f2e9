"""Data files of all formats: the same numbers are the same rows; what cannot be read is one sentence."""

from __future__ import annotations

import gc
import os
import re
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray
from scipy.io import netcdf_file

from hpcsweep.approx import data_files
from hpcsweep.errors import PluginChanged, PluginError

CHANCE = np.random.default_rng(3)
X, Y = CHANCE.normal(size=50) * 1e3, CHANCE.normal(size=50) / 7
U = np.sin(X) + Y
TABLE = {"x": X, "y": Y, "u": U}


def text(separator: str, head: str = "", decimal: str = ".", table: dict[str, np.ndarray] = TABLE) -> str:
    lines = [
        separator.join(table),
        *(separator.join(map(repr, row)) for row in np.stack([*table.values()], 1).tolist()),
    ]
    return head + "\n".join([lines[0], *(line.replace(".", decimal) for line in lines[1:])]) + "\n"


def csv(content: str, encoding: str = "utf-8") -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (path := folder / "data.csv").write_text(content, encoding)
        return path

    return write


def npz(folder: Path, **arrays: object) -> Path:
    np.savez(path := folder / "data.npz", **(arrays or TABLE))  # type: ignore[arg-type]
    return path


def hdf5(folder: Path, **arrays: object) -> Path:
    with h5py.File(path := folder / "data.h5", "w") as file:
        for name, array in (arrays or TABLE).items():
            file[name] = array
    return path


def netcdf(folder: Path) -> Path:
    xarray.Dataset({name: ("row", column) for name, column in TABLE.items()}).to_netcdf(path := folder / "data.nc")
    return path


def classic(folder: Path) -> Path:
    with netcdf_file(path := folder / "data.nc", "w") as file:
        file.createDimension("row", len(X))
        for name, column in TABLE.items():
            file.createVariable(name, "f8", ("row",))[:] = column
    return path


def savetxt(folder: Path) -> Path:
    np.savetxt(path := folder / "data.csv", np.stack([X, Y, U], 1), "%.17g", ",", header="x,y,u")
    return path


FORMATS = {
    "commas": csv(text(",")),
    "commas and blanks": csv(text(", ")),
    "byte order mark": csv(text(","), "utf-8-sig"),
    "line ends of Windows": csv(text(",").replace("\n", "\r\n")),
    "semicolons": csv(text(";")),
    "decimal commas": csv(text(";", decimal=",")),
    "tabs": csv(text("\t")),
    "decimal commas and tabs": csv(text("\t", decimal=",")),
    "blanks": csv(text("  ")),
    "quoted names": csv(text(",").replace("x,y,u", '"x","y","u"')),
    "numpy.savetxt": savetxt,
    "npz": npz,
    "hdf5": hdf5,
    "netcdf": netcdf,
    "netcdf of version 3": classic,
    "npz of columns": lambda folder: npz(folder, x=X[:, None], y=Y[:, None], u=U[:, None]),
    "other columns": csv(text(",", table={"name": np.arange(50.0), **TABLE})),
    "another order": csv(text(",", table={name: column[::-1] for name, column in TABLE.items()})),
}


def read(path: Path, inputs: tuple[str, ...] = ("x", "y"), output: str = "u") -> data_files.Rows:
    return data_files.read(path, inputs, output)


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_gives_the_rows_and_their_digest_to_the_bit(name: str, tmp_path: Path) -> None:
    rows, order = read(FORMATS[name](tmp_path)), np.argsort(X)
    assert np.array_equal(rows.places, np.stack([X, Y], 1)[order]) and np.array_equal(rows.values, U[order])
    assert rows.digest == read(npz(tmp_path)).digest


def test_a_digest_is_that_of_the_numbers_read(tmp_path: Path) -> None:
    known = read(npz(tmp_path)).digest
    moved = np.nextafter(U, np.inf)
    assert read(npz(tmp_path, x=X, y=Y, u=np.where(X.max() == X, moved, U))).digest != known
    assert read(npz(tmp_path), ("y", "x")).digest != known
    assert read(npz(tmp_path, x=X, y=Y, u=U, v=U)).digest == known
    whole = np.arange(50)
    integers, floats = npz(tmp_path, x=whole, u=whole**2), hdf5(tmp_path, x=whole * 1.0, u=np.float32(whole**2))
    assert read(integers, ("x",)).digest == read(floats, ("x",)).digest


def test_hdf5_groups_and_matrices(tmp_path: Path) -> None:
    path = hdf5(tmp_path, **{"run/places": np.stack([X, Y], 1), "run/u": U})
    assert read(path, ("run/places",), "run/u").digest == read(npz(tmp_path)).digest


def test_a_grid_of_netcdf_has_a_row_for_each_point(tmp_path: Path) -> None:
    axes = {"x": np.linspace(0, 1, 4), "t": np.arange(3)}
    values = CHANCE.normal(size=(3, 4))
    xarray.Dataset({"u": (("t", "x"), values)}, axes).to_netcdf(path := tmp_path / "grid.nc")
    rows = read(path, ("x", "t"))
    assert rows.places.tolist() == [[x, t] for x in axes["x"].tolist() for t in (0.0, 1.0, 2.0)]
    assert np.array_equal(rows.values, values.T.ravel())


def test_a_file_is_read_once_and_again_when_it_was_written(tmp_path: Path) -> None:
    rows = read(path := npz(tmp_path, x=X, y=Y, u=U - 1))
    assert read(path) is rows
    assert data_files.read(tmp_path / "elsewhere.npz", ("x", "y"), "u", rows.digest) is rows  # it is there already
    npz(tmp_path, x=X, y=Y, u=U + 1)
    changed = read(path)
    assert changed is not rows
    digest = rows.digest
    del rows
    gc.collect()  # nobody has the old rows any more
    with pytest.raises(PluginChanged, match=re.escape(f"was {digest[:16]}… and is {changed.digest[:16]}… now")):
        data_files.read(path, ("x", "y"), "u", digest)
    path.unlink()
    with pytest.raises(PluginChanged, match=r"cannot be read on .*No such file.*every rank must be able"):
        data_files.read(path, ("x", "y"), "u", digest)


def without(name: str) -> dict[str, np.ndarray]:
    return {other: column for other, column in TABLE.items() if other != name}


BAD = X.copy()
BAD[[7, 9]] = np.nan, np.inf
MISTAKES: dict[str, tuple[Callable[[Path], Path], list[str]]] = {
    "missing column": (
        csv(text(",").replace("u", "uu", 1)),
        ["data.csv", "'u'", "Did you mean 'uu'?", "x, y", "first"],
    ),
    "missing array": (lambda folder: npz(folder, x=X, y=Y, v=U), ["'u'", "Allowed: v, x, y"]),
    "missing data set": (lambda folder: hdf5(folder, x=X, y=Y, v=U), ["'u'", "Allowed: v, x, y"]),
    "no header": (csv(text(",").partition("\n")[2]), ["unknown name 'x'", "first line of a .csv file"]),
    "text": (csv(text(",").replace(repr(float(U[4])), "n/k")), ["'u'", "row 5", "'n/k'"]),
    "thousands": (csv("x;y;u\n1;2;1.000,5\n2;3;1,5\n"), ["'u'", "row 1", "1.000,5"]),
    "decimal commas between commas": (csv("x,y,u\n1,5,2,5,1,5\n1,0,2,0,3,1\n"), ["damaged, or is no .csv", "Length"]),
    "a row too long": (csv("x,y,u\n1,2,3\n1,2,3,4\n"), ["damaged, or is no .csv", "line 3"]),
    "a row too short": (csv("x,y,u\n1,2,3\n1,2\n"), ["1 of 2 rows", "nothing", "row 2"]),
    "empty": (csv(""), ["damaged, or is no .csv"]),
    "no rows": (csv("x,y,u\n"), ["0 row(s)"]),
    "one row": (csv("x,y,u\n1,2,3\n"), ["1 row(s)", "at least two"]),
    "NaN and infinity": (lambda folder: npz(folder, x=BAD, y=Y, u=U), ["2 of 50 rows", "row 8", "remove"]),
    "duplicates": (csv("x,y,u\n1,2,3\n3,4,5\n1,2,4\n1,2,3\n"), ["2 row(s) whose place", "(1, 2)", "average"]),
    "constant input": (lambda folder: npz(folder, x=X, y=0 * Y + 3, u=U), ["'y'", "is 3 in all rows", "no variable"]),
    "constant output": (lambda folder: npz(folder, x=X, y=Y, u=0 * U), ["'u'", "nothing to learn"]),
    "lengths": (lambda folder: npz(folder, x=X, y=Y[:9], u=U), ["x (50,), y (9,), u (50,)"]),
    "matrix of outputs": (lambda folder: npz(folder, x=X, y=Y, u=np.ones((50, 2))), ["u (50, 2)"]),
    "grid": (lambda folder: npz(folder, x=X, y=Y, u=np.ones((5, 5, 2))), ["'u'", "(5, 5, 2)", "(rows,)"]),
    "number": (lambda folder: npz(folder, x=X, y=Y, u=3.0), ["'u'", "not ()"]),
    "texts": (lambda folder: npz(folder, x=X, y=Y.astype(str), u=U), ["'y'", "texts"]),
    "dates": (lambda folder: npz(folder, x=np.arange(50).astype("M8[D]"), y=Y, u=U), ["'x'", "dates"]),
    "complex": (lambda folder: npz(folder, x=X, y=Y, u=U + 1j), ["'u'", "complex"]),
    "pickled": (lambda folder: npz(folder, x=X, y=Y, u=np.array([None] * 50)), ["no .npz", "pickle"]),
    "records": (lambda folder: hdf5(folder, x=X, y=Y, u=np.zeros(50, "f8,i4")), ["'u'", "records"]),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_file_without_rows_to_learn_is_one_sentence(name: str, tmp_path: Path) -> None:
    write, words = MISTAKES[name]
    with pytest.raises(PluginError) as caught:
        read(write(tmp_path))
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert (
        "\n" not in str(caught.value)
        and str(caught.value).endswith(".")
        and not isinstance(caught.value, PluginChanged)
    )


@pytest.mark.parametrize("name", ["data.csv", "data.npz", "data.h5", "data.nc"])
def test_a_file_of_another_kind_is_one_sentence(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(bytes(range(256)) * 4)
    with pytest.raises(PluginError, match=r"damaged, or is no|is no \.npz file|unknown name 'x'"):
        read(path)


def test_what_cannot_be_opened_says_why(tmp_path: Path) -> None:
    for name, words in {"no.csv": "No such file", ".": "the ending of", "dir.csv": "not an ordinary file"}.items():
        (tmp_path / "dir.csv").mkdir(exist_ok=True)
        with pytest.raises(PluginError, match=words):
            read(tmp_path / name if name != "." else npz(tmp_path).rename(tmp_path / "data.xlsx"))
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(PluginError, match="not an ordinary file"):
        read(tmp_path / "pipe.csv")


def test_variables_over_other_dimensions_make_no_rows(tmp_path: Path) -> None:
    table = {"x": ("row", X), "y": ("station", Y[:5]), "u": ("row", U)}
    xarray.Dataset(table).to_netcdf(path := tmp_path / "data.nc")
    with pytest.raises(PluginError, match=r"'y' of 'data.nc' is over station, .*: it is over row"):
        read(path)


def test_rows_are_held_out_at_random_the_same_for_all_orders() -> None:
    training, held_out = data_files.split(100, 0.2, 5)
    assert len(held_out) == 20 and sorted([*training, *held_out]) == list(range(100))
    again = data_files.split(100, 0.2, 6)[1]
    assert 0 < len(set(held_out.tolist()) & set(again.tolist())) < 12
