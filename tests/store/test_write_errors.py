"""HDF5 files on disks that take no more: an error in one sentence, never a crash, never a damaged store."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from hpcsweep.errors import StoreError
from hpcsweep.store import remeasured, write_errors
from hpcsweep.store.lease import Lease
from hpcsweep.store.reading import read_cells
from tests.conftest import environment


def _fill(file: h5py.File) -> None:
    for number in range(20):
        rows = file.create_dataset(f"rows{number}", data=np.arange(1000.0) + number)
        rows.attrs["about"] = "a number"
        rows[10:20] = rows[30:40] * 2
        file.flush()


def _contents(path: Path) -> dict[str, tuple[bytes, dict[str, object]]]:
    with h5py.File(path, "r", locking=False) as file:
        return {name: (dataset[:].tobytes(), dict(dataset.attrs)) for name, dataset in file.items()}


def test_a_file_has_what_hdf5_writes_by_itself(tmp_path: Path) -> None:
    plain, ours = tmp_path / "plain.h5", tmp_path / "ours.h5"
    with h5py.File(plain, "w", locking=False) as file:
        _fill(file)
    with write_errors.deferred(ours) as file:
        _fill(file)
    assert _contents(ours) == _contents(plain)


def test_a_full_disk_is_an_error_at_the_end_and_hdf5_goes_on(tmp_path: Path) -> None:
    for _ in range(3):
        with (
            pytest.raises(StoreError, match=r"s\.h5 cannot be written: No space left .*; free space on the disk"),
            write_errors.explained("s.h5 cannot be written"),
            write_errors.deferred(Path("/dev/full")) as file,
        ):
            _fill(file)
    with write_errors.deferred(tmp_path / "good.h5") as file:
        _fill(file)
    with h5py.File(tmp_path / "good.h5", "r") as file:
        assert file["rows19"][15] == 2 * (35.0 + 19)


def test_other_errors_are_raised_as_they_are(tmp_path: Path) -> None:
    with pytest.raises(KeyError), write_errors.deferred(tmp_path / "s.h5") as file:
        file["nothing"][:] = 1.0
    with pytest.raises(FileNotFoundError), write_errors.deferred(tmp_path / "no" / "s.h5"):
        pass


# In a process of its own: HDF5 left to itself ends it with a segmentation fault.
LIMITED = """
import resource, sys
from pathlib import Path
from hpcsweep.errors import StoreError
from hpcsweep.store.merging import merge
from tests.conftest import TINY, fill, open_store

folder, text = Path(sys.argv[1]), TINY.replace("replicate = 2", "replicate = 40")
path, shard = fill(folder / "s.h5", TINY), fill(folder / "shard.h5", text)
before = {file.name: file.read_bytes() for file in folder.iterdir()}
endless = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
for size in (1, 30, 60, 100, 150, 220, 400, 800):  # KiB: none is enough, whether for the store or its weights
    for deed in (lambda: open_store(path, text), lambda: open_store(folder / "new.h5", text),
                 lambda: merge(path, [shard])):
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**10 * size, endless))
        try:
            deed()
            print("written:", size)
        except StoreError as error:
            print(error)
        resource.setrlimit(resource.RLIMIT_FSIZE, (endless, endless))
        assert {file.name: file.read_bytes() for file in folder.iterdir()} == before, size
open_store(path, text).close()
"""


def test_a_limit_on_the_size_of_files_is_a_sentence_and_leaves_the_store_as_it_was(tmp_path: Path) -> None:
    line = [sys.executable, "-c", LIMITED, str(tmp_path)]
    done = subprocess.run(
        line, env=environment(), cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    sentences = done.stdout.splitlines()
    assert len(sentences) == 24 and sum(".weights.h5" in sentence for sentence in sentences) >= 2
    assert all("File too large; raise the limit" in line and ".h5" in line for line in sentences), sentences


def test_a_measurement_that_cannot_be_written_is_a_sentence(finished_store: Path) -> None:
    key = read_cells(finished_store).cell(0).key
    finished_store.with_name("full.h5").symlink_to("/dev/full")
    with Lease(full := finished_store.with_name("full.h5")) as lease, pytest.raises(StoreError):
        remeasured.write(full, {key: {"sup_lower": 1.0}}, lease)
    with Lease(finished_store) as lease:
        remeasured.write(finished_store, {key: {"sup_lower": 0.75}}, lease)
    with h5py.File(finished_store, "r", locking=False) as file:
        assert file["sup_lower"][0] == 0.75
