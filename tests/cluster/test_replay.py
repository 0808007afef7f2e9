"""A cell of a store trained again gives the bits that are stored."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from hpcsweep.cluster.replay import replay
from hpcsweep.cluster.trust import Trust
from hpcsweep.errors import StoreError
from hpcsweep.store import integrity, layout, weights
from hpcsweep.store.reading import read_cells
from tests.conftest import runner
from tests.forks import Forks

STUDY = """
title = "To be replayed"
[[grid]]
target = ["sine"]
dimension = [2]
width = [4]
samples = [30]
optimizer = ["adam", "adam+ssbroyden"]
replicate = 3
[[grid]]
target = ["mine.py:Odd"]
dimension = [1]
width = [4]
samples = [31]
[training]
steps = 40
[sup_norm]
count = 4096
uniform = 1024
"""
ODD = """
import torch
from hpcsweep.approx.targets import Target
class Odd(Target):
    smoothness = 0
    lipschitz = None
    def __call__(self, points):
        return points[:, 0] / (0 if len(points) == 31 else 1)
"""


@pytest.fixture(scope="module")
def store(forks: Forks, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished store; its last cell has failed."""
    folder = tmp_path_factory.mktemp("replay")
    (folder / "study.toml").write_text(STUDY)
    (folder / "mine.py").write_text(ODD)
    assert runner(folder, forks)("run", "study.toml", "-o", "s.h5").returncode == 1
    return folder / "s.h5"


def keys(store: Path) -> list[str]:
    return [key.decode() for key in read_cells(store).columns["key"]]


def test_a_cell_is_the_same_to_the_bit_by_any_beginning_of_its_key(forks: Forks, store: Path) -> None:
    key = keys(store)[4]
    done = runner(store.parent, forks)("replay", "s.h5", key[:12], "-o", "net.npy")
    assert done.returncode == 0 and "differs" not in done.stdout, done.stdout + done.stderr
    assert key in done.stdout and re.search(r"sup_lower .* the same", done.stdout)
    [kept] = weights.parameters(store, [key])
    assert kept is not None and np.load(store.parent / "net.npy").tobytes() == kept.tobytes()


def test_a_failed_cell_says_why_again(store: Path) -> None:
    found = replay(store, keys(store)[-1], store.parent, trust=Trust(everything=True))
    assert "not finite" in found.message and found.quantities[0].replayed == layout.FAILED
    assert all(quantity.same for quantity in found.quantities)


@pytest.mark.parametrize("name", ["train_rmse", "sup_upper", "sup_where", "steps"])
def test_what_differs_is_said(store: Path, name: str) -> None:
    changed = Path(shutil.copy(store, store.with_name("changed.h5")))
    shutil.copy(weights.path_of(store), weights.path_of(changed))
    with h5py.File(changed, "r+") as file:
        value = np.atleast_1d(file[name][0])
        value[0] = np.nextafter(value[0], 10) if value.dtype.kind == "f" else value[0] + 1
        file[name][0] = value if file[name].ndim > 1 else value[0]
    found = replay(changed, keys(store)[0], store.parent)
    assert [quantity.name for quantity in found.quantities if not quantity.same] == [name]
    assert len(found.quantities) == 10 and "hpcsweep" in " ".join(found.versions)


def test_keys_that_are_none_or_several(store: Path) -> None:
    for key in ("nothing", ""):
        with pytest.raises(StoreError, match="no cell"):
            replay(store, key, store.parent)
    changed = Path(shutil.copy(store, store.with_name("alike.h5")))
    with h5py.File(changed, "r+") as file:
        file["key"][:2] = [b"ab" + b"0" * 30, b"ab" + b"1" * 30]
    integrity.seal(changed, integrity.CHANGING)
    with pytest.raises(StoreError, match=r"2 cells .* add characters"):
        replay(changed, "ab", store.parent)
