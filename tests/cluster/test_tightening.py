"""What a measurement writes into a store: once, by key, at a cost that does not grow with the store."""

from __future__ import annotations

import contextlib
import errno
import shutil
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from hpcsweep.approx import states
from hpcsweep.cluster import measurements, remeasure
from hpcsweep.cluster.checkpoints import Saver
from hpcsweep.cluster.tightening import Tightening
from hpcsweep.errors import StoreError
from hpcsweep.store import lease, opening, remeasured, verifying, weights
from hpcsweep.store.lease import Lease
from hpcsweep.store.reading import read_cells
from tests.cluster.test_remeasure import FOUND, columns
from tests.conftest import TINY, fill

WITHOUT = TINY + "[store]\nweights = false\n"
FIRST = FOUND | {"sup_lower": 1.5, "points": 100, "boxes": 1}
SECOND = FOUND | {"sup_lower": 1.25, "points": 3000, "boxes": 20, "averaged": 3000, "l2_error": 0.5}
Found = dict[str, object]


@contextlib.contextmanager
def tightening(store: Path, name: str) -> Iterator[Tightening]:
    with (
        Lease(store, opening.last_lease(store)) as held,
        contextlib.closing(Tightening(store, held, name, store.parent)) as opened,
    ):
        yield opened


def keys_of(store: Path) -> list[str]:
    return [cell.key for cell in read_cells(store)][3:6]


def measure(store: Path, name: str, found: Found) -> None:
    """Do what `measure` does with a group of three cells, whether or not something of it is saved."""
    with tightening(store, name) as opened:
        opened.write(0, {}, lambda: dict.fromkeys(keys_of(store), found))
        opened.forget(0)


def cut_off(store: Path, name: str, found: Found, moment: str) -> None:
    """Begin to do that, and be killed before the rows are written, or after that."""
    with pytest.MonkeyPatch.context() as patch, tightening(store, name) as opened:
        if moment == "before":
            patch.setattr(remeasured, "write", killed)
            with pytest.raises(KeyboardInterrupt):
                opened.write(0, {}, lambda: dict.fromkeys(keys_of(store), found))
        else:
            opened.write(0, {}, lambda: dict.fromkeys(keys_of(store), found))


def killed(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("overtaken", [False, True])
def test_every_measurement_counts_once_in_whatever_order(tmp_path: Path, moment: str, overtaken: bool) -> None:
    store = fill(tmp_path / "s.h5", WITHOUT)
    expected = Path(shutil.copy(store, tmp_path / "expected.h5"))
    measure(expected, "a", FIRST)
    cut_off(store, "a", FIRST, moment)
    if overtaken:
        measure(store, "b", SECOND)
        measure(expected, "b", SECOND)
        assert [path.name for path in tmp_path.glob(".*measure*")] == [".s.h5.measure-a-0"]
    measure(store, "a", FOUND | {"sup_lower": 99.0})  # what is saved counts
    ours, theirs = columns(store), columns(expected)
    assert [name for name in ours if ours[name].tobytes() != theirs[name].tobytes()] == []
    assert (ours["points"] > 0).sum() == 3 and set(ours["points"][3:6]) == {3100 if overtaken else 100}
    assert not list(tmp_path.glob(".*measure*")) and not verifying.verify(store).rows


def test_what_cannot_be_saved_is_not_written(tmp_path: Path) -> None:
    """On a full disk: rows that are there and on no record would count again."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    store = fill(tmp_path / "s.h5", WITHOUT)
    before = store.read_bytes()
    with pytest.MonkeyPatch.context() as patch, tightening(store, "a") as opened:
        patch.setattr(states, "write", full)
        with pytest.raises(StoreError, match="cannot be saved: No space left on device"):
            opened.write(0, {}, lambda: dict.fromkeys(keys_of(store), FIRST))
        with pytest.raises(StoreError, match="cannot be saved: No space left on device"):
            measurements.Measurements([None], tmp_path, opened.saver()).finish(0)
        Saver(tmp_path / "checkpoint", ("a",)).save({})  # of a run: it goes on
    assert columns(store)["points"].tolist() == [-1] * 18 and len(store.read_bytes()) == len(before)
    measure(store, "a", FIRST)
    assert set(columns(store)["points"][3:6]) == {100}


def test_nothing_is_written_into_another_file_or_after_another_writer(tmp_path: Path) -> None:
    store = fill(tmp_path / "s.h5", WITHOUT)
    values = dict.fromkeys(keys_of(store), FIRST)
    for change, said in ((replaced, "taken the place"), (written_later, "has written"), (taken, "taken over")):
        with tightening(store, change.__name__) as opened:
            whole = store.read_bytes()
            change(store)
            before = store.read_bytes()
            with pytest.raises(StoreError, match=said):
                opened.write(0, {}, lambda: values)
            assert store.read_bytes() == before
            store.write_bytes(whole)
        lease.lease_path(store).unlink(missing_ok=True)


def replaced(store: Path) -> None:
    shutil.copy(store, store.with_name("other"))
    store.with_name("other").replace(store)


def written_later(store: Path) -> None:
    with h5py.File(store, "r+", locking=False) as file:
        file["lease"][0] += 1


def taken(store: Path) -> None:
    lease.lease_path(store).write_text('{"host": "elsewhere", "process": 1}')


def test_a_group_costs_the_same_in_a_store_of_any_size(tmp_path: Path) -> None:
    costs = []
    for number in (2, 200):
        store = fill(tmp_path / f"{number}.h5", TINY.replace("replicate = 2", f"replicate = {number}"), slice(0, 20))
        keys = keys_of(store)
        groups = remeasure._groups(store, keys)
        networks = {key: network for known, part in groups for key, network in zip(known, part, strict=True)}
        with tightening(store, "a") as opened:
            for group, point in enumerate((0.5, 0.25)):
                before = _read_so_far()
                values = dict.fromkeys(keys, FIRST | {"sup_lower": 2.0 + group, "sup_where": (point,)})
                opened.write(group, networks, lambda values=values: values)  # type: ignore[misc]
            costs.append(_read_so_far() - before)
        assert weights.pictures(store, keys[0]).zoom is not None
    assert 0 < costs[1] < 1.2 * costs[0] and np.isfinite(columns(store)["sup_lower"][:20]).all()


def _read_so_far() -> int:
    """Bytes that this process has read by system calls."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["rchar"])
