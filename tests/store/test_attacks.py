"""Power cuts, damaged bits and pages, faults of system calls: few of each; `scripts/attack_store.py` tries many."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import sys
from collections import Counter
from pathlib import Path

import h5py
import numpy as np
import pytest

from hpcsweep.errors import StoreError
from hpcsweep.findings import dataset
from hpcsweep.store import journal, lease, remeasured, rewriting, verifying, weights
from hpcsweep.store.lease import Lease
from hpcsweep.store.merging import merge
from hpcsweep.store.row_writer import Datasets
from hpcsweep.store.store import Store
from scripts import attack_store
from scripts.store_attacks import calls, model
from tests.conftest import finished

ACTIONS = ("create", "resume", "extend", "merge", "measure", "repair")


def outcomes(groups: dict[str, list[attack_store.Task]], place: Path) -> dict[str, Counter[str]]:
    """Attack; return how often each outcome was, by group. Outcomes that begin with ! must not be."""
    counts = {name: counted for name, counted, _ in attack_store.together(groups, place)}
    assert not any(map(attack_store.forbidden, counts.values())), counts
    return counts


def test_power_cuts_mark_nothing_wrong_done_and_lose_nothing(tmp_path: Path) -> None:
    counts = outcomes(attack_store.power_cuts(tmp_path / "place", 4), tmp_path / "place")
    assert counts == {name: {"survived": 4} for name in ACTIONS}


def test_power_cuts_do_harm_where_nothing_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are then marked that are not on the disk, and the same cuts have to find that."""
    monkeypatch.setattr(Datasets, "sync", lambda _: None)
    cuts = attack_store.power_cuts(tmp_path / "place", 8)
    chosen = {name: cuts[name] for name in ("create", "measure")}
    counts = {name: counted for name, counted, _ in attack_store.together(chosen, tmp_path / "place")}
    assert sum(map(attack_store.forbidden, counts.values())) > 0, counts


def test_damages_are_noticed_or_harmless(tmp_path: Path) -> None:
    counts = outcomes(attack_store.damages(tmp_path / "place", 40, 12), tmp_path / "place")
    assert counts["flip"]["noticed"] > 20 and counts["page"]["noticed"] > 6 and counts["cut"]["noticed"] > 8
    assert [counts[kind].total() for kind in ("flip", "page", "cut")] == [40, 12, 12]


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc, to build the library by which system calls fail")
def test_faults_of_system_calls_lose_nothing(tmp_path: Path) -> None:
    script = Path(attack_store.__file__)
    done = finished([sys.executable, script, "--quick", "--only", "calls", "--folder", tmp_path], tmp_path)
    _, *lines = map(json.loads, done.stdout.splitlines())
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(line["on"] for line in lines) == sorted(f"{name}, {kind}" for name in ACTIONS for kind in calls.KINDS)
    assert all(line["outcomes"] == {"survived": line["tried"]} and line["tried"] for line in lines)


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """A finished store."""
    study, cells = model.study_of()
    model.work(tmp_path / "s.h5", study, cells)
    return tmp_path / "s.h5"


def spoil(path: Path, column: str, row: int) -> str:
    """Change a value of a row as a bad disk would; return its key."""
    with h5py.File(path, "r+", locking=False) as file:
        data = file[column]
        data[row] = data[row] + 1
        return file["key"][row].decode()


@pytest.mark.parametrize("column", ["sup_lower", "steps", "attempts", "finished", "kills"])
def test_a_damaged_row_is_named_refused_and_repaired_alone(whole: Path, column: str) -> None:
    before = values(whole)
    key = spoil(whole, column, 5)
    assert verifying.verify(whole).rows == [key]
    study, cells = model.study_of()
    with pytest.raises(StoreError, match=f"is damaged.*{key}.*--repair"):
        model.work(whole, study, cells)
    with pytest.raises(StoreError, match=f"is damaged.*{key}"):
        dataset.read(whole)
    with contextlib.closing(Store.open(whole, study, cells, model.run_of(), repair=True)) as store:
        assert store.keys(store.pending().tolist()) == (key,)
    model.work(whole, study, cells)
    assert not verifying.verify(whole) and values(whole) == before


def values(path: Path) -> dict[str, float]:
    read = dataset.read(path)
    return dict(zip(read["key"].values.tolist(), read["sup_lower"].values.tolist(), strict=True))


def test_damaged_and_missing_weights_are_named_and_trained_again(whole: Path) -> None:
    with h5py.File(weights.path_of(whole), "r+", locking=False) as file:
        first, second, third = (key.decode() for key in file["key"][:3])
        file["parameters"][int(file["offset"][0])] += 1
        file["kept"][1] = 0
        file["slice_model"][2, 7] += 1
    found = verifying.verify(whole)
    assert sorted(found.weights) == sorted([first, third]) and found.missing == [second]
    with pytest.raises(StoreError, match=f"parameters of {first} are damaged"):
        weights.parameters(whole, [first])
    assert weights.pictures(whole, third).slice is None
    study, cells = model.study_of()
    model.work(whole, study, cells, repair=True)
    assert not verifying.verify(whole) and model.wrong(whole) == (dict.fromkeys(values(whole), 0), [])


def test_damage_outside_of_the_rows_is_a_sentence_and_is_repaired(whole: Path) -> None:
    with h5py.File(whole, "r+", locking=False) as file:
        file["width"][3] += 1
    with pytest.raises(StoreError, match="outside the results of its cells"):
        dataset.read(whole)
    study, cells = model.study_of()
    model.work(whole, study, cells, repair=True)
    assert not verifying.verify(whole) and model.wrong(whole)[1] == []


def test_rows_that_were_complete_when_a_process_was_killed_are_not_lost(tmp_path: Path) -> None:
    study, cells = model.study_of()
    path = tmp_path / "s.h5"
    store = Store.open(path, study, cells, model.run_of())
    store._due = np.inf  # nothing is marked from now on
    rows = store.pending()[:5].tolist()
    store.start(rows)
    store.put(rows, [model.record(store.cells.cell(row)) for row in rows])
    assert not model.wrong(path)[0]
    lease.lease_path(path).unlink()  # as if this process were gone
    with contextlib.closing(Store.open(path, study, cells, model.run_of())) as again:
        assert len(again.pending()) == len(cells) - 5 and not again.kills.any()
    assert model.wrong(path) == (dict.fromkeys(store.keys(rows), 0), [])


def test_launches_that_change_no_layout_write_no_new_file(whole: Path) -> None:
    study, cells = model.study_of()
    before = whole.stat().st_ino, weights.path_of(whole).stat().st_ino
    for _ in range(3):
        model.work(whole, study, cells)
    assert (whole.stat().st_ino, weights.path_of(whole).stat().st_ino) == before
    assert len(dataset.read(whole)["run"]) == 4 and not verifying.verify(whole)


def test_a_writer_that_lost_its_lease_changes_nothing(whole: Path) -> None:
    """Another run takes over and extends the study, which moves the rows; what the first one goes on to write."""
    key = next(iter(values(whole)))
    with Lease(whole) as first:
        lease.lease_path(whole).unlink()
        model.work(whole, *model.study_of("[10, 20, 30]"))
        content = whole.read_bytes()
        with Lease(whole), pytest.raises(StoreError, match="taken over"):
            remeasured.write(whole, {key: {"sup_lower": 9.0}}, first)
    assert whole.read_bytes() == content
    with Lease(whole), pytest.raises(StoreError, match="has not finished"):
        journal.change(whole, {"0" * 32: {"sup_lower": 9.0}})
    assert whole.read_bytes() == content


def cut_off(path: Path, key: str, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """A change of a row that a kill cuts off after its first column; return the journal that it leaves."""

    def write(data: object, place: int, row: dict[str, np.ndarray]) -> None:
        data.put("sup_lower", place, row["sup_lower"])  # type: ignore[attr-defined]
        raise KeyboardInterrupt

    with monkeypatch.context() as killed, pytest.raises(KeyboardInterrupt):
        killed.setattr(journal, "_write", write)
        journal.change(path, {key: {"sup_lower": 9.0, "points": 5}})
    return journal.path_of(path).read_bytes()


def test_a_change_that_was_cut_off_is_made_by_whoever_comes_next(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = next(iter(values(whole)))
    cut_off(whole, key, monkeypatch)
    with pytest.raises(StoreError, match=r"a measurement was cut off.*completes this"):
        dataset.read(whole)
    model.work(whole, *model.study_of())
    assert values(whole)[key] == 9.0 and not verifying.verify(whole) and not journal.path_of(whole).exists()


def test_a_damaged_journal_is_a_sentence(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The header of its first part says how it is compressed; a flipped bit there is refused by many means."""
    key, refused = next(iter(values(whole))), 0
    left = cut_off(whole, key, monkeypatch)
    for place in [*range(30), *range(len(left) - 22, len(left))]:
        journal.path_of(whole).write_bytes(left[:place] + bytes([left[place] ^ 8]) + left[place + 1 :])
        with Lease(whole), contextlib.suppress(StoreError):
            refused += 1
            journal.replay(whole)
            refused -= 1
    assert refused > 15


def test_a_journal_of_another_file_changes_nothing(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = next(iter(values(whole)))
    left = cut_off(whole, key, monkeypatch)
    whole.unlink()
    study, cells = model.study_of()
    model.work(whole, study, cells)
    assert not journal.path_of(whole).exists(), "of a file that was deleted"
    journal.path_of(whole).write_bytes(left)
    before = values(whole)
    model.work(whole, study, cells)
    assert values(whole) == before and not verifying.verify(whole) and not journal.path_of(whole).exists()


def test_a_damaged_row_is_not_made_good_by_a_measurement(whole: Path) -> None:
    key = spoil(whole, "history_loss", 5)
    with Lease(whole), pytest.raises(StoreError, match=f"{key} is damaged; nothing was changed"):
        journal.change(whole, {key: {"points": 9}})
    assert verifying.verify(whole).rows == [key]


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives links to other users")
def test_a_planted_link_is_replaced_and_not_followed(whole: Path, tmp_path: Path) -> None:
    victim, key = tmp_path / "victim", next(iter(values(whole)))
    victim.write_text("precious")
    journal.path_of(whole).symlink_to(victim)
    os.lchown(journal.path_of(whole), 1234, 1234)
    with Lease(whole) as held:
        remeasured.write(whole, {key: {"points": 9}}, held)
    assert victim.read_text() == "precious"


def test_after_a_write_that_failed_nothing_is_marked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux reports a failed write-back once, and then takes the pages for clean: a second sync says nothing."""
    study, cells = model.study_of()
    store = Store.open(tmp_path / "s.h5", study, cells, model.run_of())
    store._due = np.inf
    store.put([0], [model.record(store.cells.cell(0))])

    def fails() -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(store._data, "sync", fails)
        with pytest.raises(OSError, match="Input/output"):
            store.settle()
    store.close()
    assert not model.wrong(tmp_path / "s.h5")[0]


def test_a_shard_that_changes_while_it_is_merged_is_not_mixed(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key, copy = next(iter(values(whole))), rewriting._copy_column

    def interrupted(old: h5py.Dataset, new: h5py.Dataset, *rows: np.ndarray) -> None:
        copy(old, new, *rows)
        if old.name == "/sup_lower":
            journal.change(whole, {key: {"sup_lower": 9.0, "points": 5}})

    monkeypatch.setattr(rewriting, "_copy_column", interrupted)
    with pytest.raises(StoreError, match="was changed while it was copied"):
        merge(whole.with_name("main.h5"), [whole])
