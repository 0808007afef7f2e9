"""Reading a store: whole, half written, or while another process writes it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import xarray

from hpcsweep.config import Cell
from hpcsweep.findings import dataset
from hpcsweep.store.store import Record
from tests.findings.stores import STUDY, Maker, cells_of, error, record

SMALL = """
title = "Small"
seed = 7
[[grid]]
target = "wave"
dimension = [1, 3]
samples = 10
optimizer = ["adam", "sgd"]
replicate = 2
[training.sgd]
learning_rate = 0.5
"""


def mixed(cell: Cell) -> Record | None:
    """One cell of each kind, by dimension and optimizer."""
    if cell.dimension == 1:
        return None if cell.replicate else record(cell, status="out of budget", message="überlang")
    if cell.optimizer["name"] == "sgd":
        return Record("diverged", {"message": "loss not finite", "steps": 12})
    return record(cell, sup_lower=np.nan, nonfinite=3) if cell.replicate else Record("failed", {})


def test_everything_is_labelled(make_store: Maker) -> None:
    read = dataset.read(make_store(SMALL, mixed))
    _, cells = cells_of(SMALL)
    assert read["target"].values.tolist() == ["wave"] * 8
    assert read["key"].values.tolist() == [cell.key for cell in cells]
    assert read["optimizer"].values.tolist() == [cell.optimizer["name"] for cell in cells]
    names = ["out of budget", "pending", "out of budget", "pending", "failed", "done", "diverged", "diverged"]
    assert read["status_name"].values.tolist() == names
    assert read["status"].dtype.kind == "i" and read["status"].values.tolist() == [4, 0, 4, 0, 5, 2, 3, 3]
    assert read["message"].values.tolist() == ["überlang", "", "überlang", "", "", "", *["loss not finite"] * 2]
    assert read["run_host"].item() == "node017" and "wave" in read["choice_label"].values
    assert {"title": "Small", "seed": 7, "precision": "float64", "format": "hpcsweep 1"}.items() <= read.attrs.items()
    assert read.attrs["study"] == SMALL


def test_what_is_missing_is_nan(make_store: Maker) -> None:
    read = dataset.read(make_store(SMALL, mixed))
    _, cells = cells_of(SMALL)
    expected = [error(cells.cell(0)), np.nan, error(cells.cell(2)), *[np.nan] * 5]
    np.testing.assert_array_equal(read["sup_lower"].values, expected)
    np.testing.assert_array_equal(read["steps"].values, [100, np.nan, 100, np.nan, np.nan, 100, 12, 12])
    np.testing.assert_array_equal(read["sup_where"].values[0], [0.3, np.nan, np.nan])


def test_what_is_measured_and_what_is_left_out(make_store: Maker) -> None:
    read = dataset.read(make_store(SMALL, mixed))
    assert dataset.is_measured(read).tolist() == [True, False] * 2 + [False] * 4
    counts = dataset.left_out(read)
    assert counts == {"pending": 2, "diverged": 2, "failed": 1, "not finite": 1}
    assert dataset.sentence(counts, 8).startswith("6 of 8 cells left out: ")
    assert dataset.sentence(dataset.left_out(read.isel(cell=[0])), 1) == ""


def test_further_axes_are_the_fields_that_vary(make_store: Maker) -> None:
    assert dataset.further_axes(dataset.read(make_store(SMALL))) == ["learning_rate"]
    assert dataset.further_axes(dataset.read(make_store(STUDY, name="other.h5"))) == []


def test_histories_are_read_only_if_asked_for(make_store: Maker) -> None:
    path = make_store(SMALL, lambda cell: record(cell, history_loss=[0.5, 0.25], history_step=[1, 100]))
    assert not {"history_loss", "checkpoint"} & set(dataset.read(path).variables)
    history = dataset.read(path, history=True)
    np.testing.assert_array_equal(history["history_loss"].values[3, :3], [0.5, 0.25, np.nan])
    np.testing.assert_array_equal(history["history_step"].values[3, :3], [1, 100, np.nan])


def test_rows_that_are_being_written_are_not_read(make_store: Maker) -> None:
    path = make_store(SMALL, lambda cell: None)
    with h5py.File(path, "r+") as file:
        file["status"][:3] = 1  # running
        file["sup_lower"][:3], file["message"][:3], file["points"][:3] = 0.5, b"half", 9
    read = dataset.read(path)
    assert np.isnan(read["sup_lower"]).all() and np.isnan(read["points"]).all() and (read["message"] == "").all()


def test_xarray_opens_the_file_itself(full: Path) -> None:
    read = dataset.read(full)  # HDF5 does not open a file twice in one process with different locking
    with xarray.open_dataset(full, engine="h5netcdf") as raw:
        sizes = {
            "cell": 144,
            "checkpoint": 64,
            "quantile": 4,
            "axis": 2,
            "choice": raw.sizes["choice"],
            "file": 1,
            "run": 17,
        }
        assert dict(raw.sizes) == sizes
        assert raw["quantile"].values.tolist() == [0.5, 0.9, 0.99, 0.999]
        assert {"key", "target", "dimension", "width", "samples", "optimizer", "replicate"} <= set(raw.coords)
        np.testing.assert_array_equal(raw["sup_lower"], read["sup_lower"])
        assert raw["train_seconds"].dtype == np.float64  # seconds, and no time delta


WRITER = """
import sys
from pathlib import Path
from hpcsweep.store.store import Store
from tests.findings.stores import RUN, STUDY, cells_of, record

study, cells = cells_of(STUDY)
store = Store.open(Path(sys.argv[1]), study, cells, RUN)
for row in store.pending().tolist():
    if row in (0, len(cells) // 2):
        store.settle()
        print("waiting", flush=True)
        sys.stdin.readline()
    store.start([row])
    store.put([row], [record(cells.cell(row))])
store.settle()
sys.stdin.read()  # keeps the store open until it is killed
"""


def test_reading_while_another_process_writes(tmp_path: Path) -> None:
    path = tmp_path / "results.h5"
    _, cells = cells_of(STUDY)
    expected = np.array([error(cell) for cell in cells])
    done = []
    arguments = [sys.executable, "-c", WRITER, str(path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
    with subprocess.Popen(arguments, cwd=Path(__file__).parents[2], **pipes) as writer:
        for until in (len(cells) // 2, len(cells)):
            assert writer.stdout.readline() == "waiting\n"
            writer.stdin.write("go on\n")
            deadline = time.monotonic() + 30
            while (not done or done[-1] < until) and time.monotonic() < deadline:
                read = dataset.read(path)
                finished = read["status"].values == 2
                np.testing.assert_array_equal(read["sup_lower"].values, np.where(finished, expected, np.nan))
                done.append(int(finished.sum()))
            assert done[-1] == until
        writer.send_signal(signal.SIGKILL)
    assert done == sorted(done)
    np.testing.assert_array_equal(dataset.read(path)["sup_lower"].values, expected)
