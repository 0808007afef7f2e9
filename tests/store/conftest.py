"""What the tests of the store share."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import pytest

from hpcsweep.store import layout, weights

Rows = dict[str, dict[str, Any]]  # values by key and name


@pytest.fixture
def small_disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A file system of as many MiB as the parameter says; skips where the test may not mount one."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={request.param}m", "none", folder]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs the right to mount a tmpfs (root)")
    yield folder
    subprocess.run(["umount", folder], check=True)


def rows_of(path: Path) -> Rows:
    """Return what a store and its weights say of every cell, as bytes; status and counters as numbers."""
    rows: Rows = {}
    with h5py.File(path, "r", locking=False) as file:
        columns = {name: file[name][:] for name in ("key", *layout.RESULTS)}
    numbers = ("status", *layout.COUNTERS)
    for row, key in enumerate(columns.pop("key").tolist()):
        rows[key.decode()] = {
            name: int(values[row]) if name in numbers else values[row].tobytes()
            for name, values in columns.items()
            if name != "checksum"
        }
    if weights.path_of(path).exists():
        with h5py.File(weights.path_of(path), "r", locking=False) as file:
            columns = {name: file[name][:] for name in layout.WEIGHTS}
        for row, key in enumerate(columns["key"].tolist()):
            kept = int(columns["kept"][row])
            if not kept or rows[key.decode()]["status"] not in layout.FINISHED:
                continue
            start, count, picture = (int(columns[name][row]) for name in ("offset", "count", "raster"))
            rows[key.decode()] |= {"kept": kept, "parameters": columns["parameters"][start : start + count].tobytes()}
            if kept >= 2:
                rows[key.decode()] |= {name: columns[name][row].tobytes() for name in weights.PICTURES}
            if kept == 3:
                rows[key.decode()]["raster_error"] = columns["raster_error"][picture].tobytes()
    return rows
