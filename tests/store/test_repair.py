"""What a repair trains again, and that nothing which is whole gets lost: weights by their own checksums, counters."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from hpcsweep.cluster import scheduling
from hpcsweep.errors import StoreError
from hpcsweep.store import verifying, weights
from hpcsweep.store.merging import merge
from hpcsweep.store.reading import Run
from hpcsweep.store.store import Store
from scripts.store_attacks import model


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """A finished store."""
    model.work(tmp_path / "s.h5", *model.study_of())
    return tmp_path / "s.h5"


def unseal(path: Path, spoil: Callable[[h5py.File], object] = lambda _: None) -> bytes:
    """Let somebody write a note into the weights of a store; return what is in the file then."""
    with h5py.File(weights.path_of(path), "r+", locking=False) as file:
        file.attrs["note"] = "mine"
        spoil(file)
    return weights.path_of(path).read_bytes()


def repaired(path: Path, text: str = "") -> Store:
    """A store, opened to be repaired."""
    study, cells = model.study_of() if not text else model.study_of(text=text)
    return Store.open(path, study, cells, Run("host", "", 1, "cpu", "versions", time.time()), repair=True)


def keys_of(path: Path, count: int | None = None) -> list[str]:
    with h5py.File(path, "r", locking=False) as file:
        return [key.decode() for key in file["key"][:count]]


def test_weights_that_somebody_has_edited_are_never_replaced_unasked(whole: Path) -> None:
    left, before = unseal(whole), whole.read_bytes()
    with pytest.raises(StoreError, match=r"weights.h5 is damaged outside the weights of its cells.*--repair"):
        model.work(whole, *model.study_of())
    with pytest.raises(StoreError, match="damaged outside the weights"):
        merge(whole.with_name("main.h5"), [whole])
    assert weights.path_of(whole).read_bytes() == left and whole.read_bytes()[:100] == before[:100]
    assert not whole.with_name("main.h5").exists()


def test_a_repair_keeps_what_is_whole_of_edited_weights_and_the_file_too(whole: Path) -> None:
    def spoil(file: h5py.File) -> None:
        file["offset"][2] += 1
        file["count"][3] = 2**62
        file["raster"][int(np.flatnonzero(file["kept"][:] == 3)[-1])] = 10**9
        file["parameters"][int(file["offset"][5])] += 1

    left, damage = unseal(whole, spoil), verifying.verify(whole)
    lost = {*keys_of(whole)[2:4], keys_of(whole)[5]}
    assert lost < set(damage.weights) and len(damage.weights) == 4 and damage.elsewhere and not damage.missing
    with contextlib.closing(repaired(whole)) as store:
        assert set(store.keys(store.pending().tolist())) == set(damage.weights)
    assert whole.with_name("s.weights.h5.damaged").read_bytes() == left
    model.work(whole, *model.study_of())
    finished, mistakes = model.wrong(whole)
    assert not verifying.verify(whole) and finished.keys() == set(keys_of(whole)) and not mistakes


def test_a_repair_gives_no_damaged_file_away(whole: Path) -> None:
    whole.with_name("s.weights.h5.damaged").write_text("precious")
    left = unseal(whole)
    with pytest.raises(StoreError, match=r"damaged is in the way"):
        repaired(whole)
    assert weights.path_of(whole).read_bytes() == left and not verifying.verify(whole).missing


@pytest.mark.parametrize("state", ["deleted", "emptied"])
def test_a_repair_trains_all_that_has_no_weights_as_verify_says(whole: Path, state: str) -> None:
    weights.path_of(whole).unlink()
    if state == "emptied":
        model.work(whole, *model.study_of())
    damage = verifying.verify(whole)
    assert sorted(damage.missing) == sorted(keys_of(whole)) and "trains these cells again" in damage.lines()[-1]
    for _ in range(2):
        with contextlib.closing(repaired(whole)) as store:
            assert sorted(store.keys(store.pending().tolist())) == sorted(damage.missing)


def test_a_study_without_weights_trains_nothing_for_them(whole: Path) -> None:
    """Somebody has moved the weights away, and says so."""
    weights.path_of(whole).unlink()
    with h5py.File(whole, "r+", locking=False) as file:
        file["sup_lower"][2] += 1
    with contextlib.closing(repaired(whole, model.TEXT + "[store]\nweights = false\n")) as store:
        assert list(store.keys(store.pending().tolist())) == keys_of(whole)[2:3]


def test_a_row_that_was_damaged_has_been_killed_by_nothing(whole: Path) -> None:
    with h5py.File(whole, "r+", locking=False) as file:
        file["kills"][5] ^= 1 << 4
    with contextlib.closing(repaired(whole)) as store:
        scheduling.give_up(store)
        assert store.pending().tolist() == [5] and store.kills[5] == 0


def test_pictures_that_one_bit_hides_are_told(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with h5py.File(weights.path_of(whole), "r+", locking=False) as file:
        row = int(np.flatnonzero(file["kept"][:] == 3)[0])
        file["kept"][row] ^= 2
    key = keys_of(whole)[row]
    assert verifying.verify(whole).weights == [key]
    assert weights.pictures(whole, key).slice is None and f"pictures of {key}" in capsys.readouterr().err


def test_a_network_without_pictures_is_no_damage_when_an_earlier_attempt_had_some(whole: Path) -> None:
    key = keys_of(whole, 1)
    with h5py.File(whole, "r+", locking=False) as file:
        file["sup_lower"][0] += 1
    with contextlib.closing(repaired(whole)) as store:
        record = model.record(store.cells.cell(0))
        store.start([0])
        store.put([0], [type(record)(record.status, record.values, record.parameters)])
    assert not verifying.verify(whole) and weights.pictures(whole, key[0]) == weights.Pictures()


@pytest.mark.parametrize("edited", [False, True])
def test_what_is_set_aside_has_its_weights_when_these_are_a_link(whole: Path, edited: bool) -> None:
    elsewhere = whole.with_name("big") / "w.h5"
    elsewhere.parent.mkdir()
    os.rename(weights.path_of(whole), elsewhere)
    weights.path_of(whole).symlink_to(elsewhere)
    left = unseal(whole) if edited else elsewhere.read_bytes()
    study, cells = model.study_of("[10]")
    row = int(np.flatnonzero(~np.isin(keys_of(whole), cells.columns["key"].astype(str)))[0])
    with h5py.File(whole, "r+", locking=False) as file:
        file["sup_lower"][row] += 1
    key, aside = keys_of(whole)[row], whole.with_name("s.h5.damaged")
    elsewhere.with_name("w.h5.s.h5.damaged").write_text("precious")
    with pytest.raises(StoreError, match=r"w.h5.s.h5.damaged is in the way"):
        model.work(whole, study, cells, repair=True)
    assert not aside.exists() and elsewhere.read_bytes() == left
    elsewhere.with_name("w.h5.s.h5.damaged").unlink()
    model.work(whole, study, cells, repair=True)
    assert key not in keys_of(whole) and weights.path_of(aside).read_bytes() == left
    assert weights.parameters(aside, [key])[0] is not None and weights.path_of(whole).is_symlink()
    assert elsewhere.with_name("w.h5.damaged").exists() == edited and not verifying.verify(whole)
