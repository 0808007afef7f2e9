"""A store of earlier code is read, resumed, extended, merged, reported, exported and replayed by the code of today."""

from __future__ import annotations

import csv
import re
from collections import Counter
from importlib.metadata import version
from pathlib import Path

import h5py
import numpy as np
import pytest

from hpcsweep.findings import dataset, export
from hpcsweep.store import layout, status
from hpcsweep.store.reading import launches
from tests.conftest import Run
from tests.golden import old_store
from tests.golden.old_store import FULL, WIDER, copied, kept, lay_out, rows

FINISHED = {"done": 2, "diverged": 3, "failed": 5}  # and their codes in a store
COUNTS = Counter(done=13, diverged=1, failed=1, pending=5)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The recorded store, in the folder of its study."""
    lay_out(tmp_path)
    return copied(tmp_path)


def codes(store: Path) -> dict[str, int]:
    """Return the status of each cell by its key."""
    with h5py.File(store, "r", locking=False) as file:
        return dict(zip(file["key"].asstr()[:], file["status"][:].tolist(), strict=True))


def assert_kept(store: Path) -> None:
    """Assert that each finished cell of the recorded store is in this one, with every byte of it."""
    before, after = rows(old_store.STORE), rows(store)
    weights_before, weights_after = kept(old_store.STORE), kept(store)
    for key, code in codes(old_store.STORE).items():
        if code in FINISHED.values():
            changed = [name for name, value in before[key].items() if after[key].get(name) != value]
            assert not changed, f"{key}: stored columns have other values: {changed}"
            other = [name for name, value in weights_before[key].items() if weights_after[key].get(name) != value]
            assert not other, f"{key}: other weights or pictures: {other}"


def test_it_is_read(old: Path) -> None:
    found = status.summary(old)
    assert Counter({name: found[name] for name in COUNTS}) == COUNTS and found["cells"] == COUNTS.total()
    assert found["title"] == "An old store" and found["live"] is None and found["launch"]["host"] == "elsewhere"
    assert [failure["message"] for failure in found["failures"]] == ["The target is not finite at 31 of 31 samples."]
    read = dataset.read(old, history=True)
    assert Counter(read["status_name"].values.tolist()) == Counter({**COUNTS, "pending": 4, "running": 1})
    done = read.isel(cell=np.flatnonzero(read["status_name"].values == "done"))
    assert (done["sup_lower"] > 0).all() and (done["sup_upper"] >= done["sup_lower"]).all()
    assert (done["history_loss"].notnull().sum("checkpoint") == done["history_step"].notnull().sum("checkpoint")).all()
    with h5py.File(old, "r") as file:
        names = {name for name in file if name not in ("cell",)}
    assert names <= set(read.variables) | {"cell"}, "a stored column is not read any more"


def test_it_is_resumed(hpcsweep: Run, old: Path) -> None:
    done = hpcsweep("run", "study.toml", "-o", old)
    assert done.returncode == 1, done.stderr  # one had failed
    assert_kept(old)
    assert Counter(codes(old).values()) == {2: 18, 3: 1, 5: 1}
    assert codes(old).keys() == codes(old_store.STORE).keys(), "cells have other keys"
    with h5py.File(old, "r") as file:
        assert (
            file["run_host"].asstr()[:2].tolist() == ["somewhere", "elsewhere"]
            and launches(file["run_started"][:]) == 3
        )
        assert file["kills"][:].sum() == 1, "one was running when its run was killed"


def test_it_is_extended(hpcsweep: Run, old: Path) -> None:
    lay_out(old.parent, WIDER)
    assert hpcsweep("run", "study.toml", "-o", old).returncode == 1
    assert_kept(old)
    assert Counter(codes(old).values()) == {2: 26, 3: 1, 5: 1}


def test_it_is_merged(hpcsweep: Run, old: Path) -> None:
    """With what another run has done of what was pending, either way round."""
    lay_out(old.parent, FULL)
    other = copied(old.parent, "other.h5")
    assert hpcsweep("run", "study.toml", "-o", other).returncode == 1
    for main, shard in ((old, other), (other, copied(old.parent, "again.h5"))):
        done = hpcsweep("merge", main, shard)
        assert done.returncode in (0, 75), done.stderr  # 75: the shard has cells that are not finished
        assert_kept(main)
        assert Counter(codes(main).values()) == {2: 18, 3: 1, 5: 1}
    assert rows(old) == rows(other) and kept(old) == kept(other)


def test_it_is_reported(hpcsweep: Run, old: Path) -> None:
    done = hpcsweep("report", old, "-o", "report")
    assert done.returncode == 0, done.stderr
    page = (old.parent / "report" / "index.html").read_text()
    assert "An old store" in page and "not finite at 31 of 31" in page


def test_it_is_exported(hpcsweep: Run, old: Path) -> None:
    """To the table that was recorded, in which codes stood for words, and counts were numbers with a point."""

    def shown(name: str, text: str) -> str:
        if text and name in export.WORDS:
            return export.WORDS[name][int(float(text))]
        return text.removesuffix(".0") if name in counts else text

    counts = {name for name, column in layout.RESULTS.items() if column.dtype == "i8"}
    assert hpcsweep("report", old, "--export", "now.csv").returncode == 0
    with (old.parent / "now.csv").open(newline="") as now, old_store.TABLE.open(newline="") as then:
        after, before = csv.DictReader(now), csv.DictReader(then)
        assert after.fieldnames == before.fieldnames
        for was, found in zip(before, after, strict=True):
            changed = {name: (was[name], found[name]) for name in was if shown(name, was[name]) != found[name]}
            assert not changed, f"{was['key']}: {changed}"


CLOCKS = ("train_seconds", "eval_seconds", "predicted_seconds", "finished", "attempts", "kills")
ENDS = ("sup_lower", "sup_upper")  # of brackets


def numba_of(store: Path) -> str:
    """Return the version of numba that compiled the loops of the first run of a store."""
    with h5py.File(store, "r", locking=False) as file:
        told = re.search(r"numba \S+(?=,)", file["run_versions"].asstr()[0])
    assert told is not None
    return told[0]


def values(store: Path, name: str) -> dict[str, np.ndarray]:
    """Return one column of a store by key."""
    with h5py.File(store, "r", locking=False) as file:
        return dict(zip(file["key"].asstr()[:], file[name][:], strict=True))


def exact(store: Path) -> list[str]:
    """Return the keys of the finished cells whose training must have equal bits on every processor.

    The values of runge are quotients of sums of products, which are rounded alike everywhere, and so are our compiled
    loops wherever there is AVX2 or AVX-512 and one version of numba. Other targets are made by torch's elementary
    functions, whose last bits belong to the type of processor, as do those of LAPACK in direct fits; see
    docs/guarantees.md.
    """
    targets, done = values(store, "target"), values(store, "status")
    return [key for key, target in targets.items() if target == b"runge" and done[key] in FINISHED.values()]


PLACES = ("sup_where", "boundary", "sample_distance", "zoom")  # what depends on where the error is largest


def test_its_cells_trained_anew_come_out_as_they_did(hpcsweep: Run, old: Path) -> None:
    """To the bit, where processor and libraries compute as they did then; elsewhere as far as that can be promised.

    The ends of brackets move by rounding: the lower one was evaluated then and is proved now, the upper one is often a
    multiple of it. Upper ends may have become smaller, by other proofs with other numbers of boxes.
    """
    done = hpcsweep("run", "study.toml", "-o", "new.h5")
    assert done.returncode == 1, done.stderr
    new, codes_then = old.with_name("new.h5"), codes(old)
    finished = [key for key, code in codes_then.items() if code in FINISHED.values()]
    then, now, weights_then, weights_now = rows(old), rows(new), kept(old), kept(new)
    assert {key: codes(new)[key] for key in finished} == {key: codes_then[key] for key in finished}
    if old_store.arithmetic() == old_store.ARITHMETIC and numba_of(new) == numba_of(old):
        for key in finished:
            others = then[key].keys() - {*CLOCKS, *ENDS, "message", "boxes", "certificate"}
            moved = [name for name in sorted(others) if now[key][name] != then[key][name]]
            moved += [name for name, value in weights_then[key].items() if weights_now[key][name] != value]
            if values(old, "sup_lower")[key] < 1e-13:  # rounding errors, largest elsewhere since they are enclosed
                moved = [name for name in moved if not name.startswith(PLACES)]
            assert not moved, f"{then[key]['optimizer']} on {then[key]['target']} ({key}): other bits of {moved}"
            for name in ENDS:
                end, expected = values(new, name)[key], values(old, name)[key]
                same = end == pytest.approx(expected, rel=1e-11, abs=1e-15, nan_ok=True)
                assert same or (name == "sup_upper" and end < expected), (key, name)
            proofs = [layout.CERTIFICATES[int(values(store, "certificate")[key])] for store in (old, new)]
            if proofs[0] == "no rule":  # which there may be today
                continue
            assert proofs[1] in (proofs[0], "closed"), (key, proofs)
            before, after = (values(store, "message")[key] for store in (old, new))
            assert after.startswith(before), (key, after)  # of the lower end more is said
    elif numba_of(new) == numba_of(old):
        for key in exact(old):
            for name in ("steps", "history_step", "history_loss"):
                assert now[key][name] == then[key][name], (key, name)
            assert weights_now[key]["parameters"] == weights_then[key]["parameters"], key
    errors_then, errors_now = values(old, "sup_lower"), values(new, "sup_lower")
    for key in finished:  # the spline is exact but for rounding
        assert errors_now[key] == pytest.approx(errors_then[key], rel=0.1, abs=1e-13, nan_ok=True), key


def test_a_cell_of_it_is_replayed(hpcsweep: Run, old: Path) -> None:
    key = exact(old)[0]
    done = hpcsweep("replay", old, key, "-o", "net.npy")
    assert done.returncode in (0, 1) and key in done.stdout, done.stderr
    now, then = np.load(old.parent / "net.npy"), np.frombuffer(kept(old)[key]["parameters"])
    assert now.shape == then.shape and re.search(r"steps .* the same", done.stdout)
    if f"numba {version('numba')}" == numba_of(old):
        assert now.tobytes() == then.tobytes(), done.stdout
