"""The store against what machines and people do to it: races, full disks, links, merges in any order."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from hpcsweep.errors import StoreError
from hpcsweep.store import journal, layout, lease, remeasured, rewriting, weights
from hpcsweep.store.merging import merge
from hpcsweep.store.reading import opened, read_cells, read_runs
from hpcsweep.store.row_writer import Datasets
from hpcsweep.store.store import Record
from tests.conftest import TINY, fill, open_store, record_of
from tests.store.test_store import contents


def _try_to_take(path: Path, barrier: object, held: object) -> None:
    barrier.wait()  # type: ignore[attr-defined]
    with contextlib.suppress(StoreError):
        lease.Lease(path)
        with held.get_lock():  # type: ignore[attr-defined]
            held.value += 1  # type: ignore[attr-defined]
        barrier.wait()  # type: ignore[attr-defined]  # nobody leaves before all have tried
        os._exit(0)
    barrier.wait()  # type: ignore[attr-defined]


@pytest.mark.parametrize("stale", [False, True])
def test_of_several_who_start_at_once_exactly_one_holds_the_lease(tmp_path: Path, stale: bool) -> None:
    context = multiprocessing.get_context("fork")
    for attempt in range(8):
        path = tmp_path / f"{attempt}.h5"
        if stale:
            claim = {"processes": lease._processes(), "process": 1, "birth": "long ago"}
            lease.lease_path(path).write_text(json.dumps(claim))
        barrier, held = context.Barrier(4), context.Value("i", 0)
        rivals = [context.Process(target=_try_to_take, args=(path, barrier, held)) for _ in range(4)]
        for rival in rivals:
            rival.start()
        for rival in rivals:
            rival.join(30)
        assert held.value == 1
        assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")], "something was left behind"


def test_who_lost_the_lease_does_not_write_any_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "HEARTBEAT", 0.01)
    store = open_store(tmp_path / "s.h5", TINY)
    before, limit = os.stat(lease.lease_path(tmp_path / "s.h5")).st_mtime_ns, time.monotonic() + 10
    while os.stat(lease.lease_path(tmp_path / "s.h5")).st_mtime_ns == before:
        assert time.monotonic() < limit, "the lease is not renewed: its heart does not beat"
        time.sleep(0.001)
    lease.lease_path(tmp_path / "s.h5").write_text('{"host": "elsewhere", "process": 1}')
    store._lease._thread.join(10)
    with pytest.raises(StoreError, match="taken over"):
        store.put([0], [record_of(store.cells.cell(0))])
    with pytest.raises(StoreError, match="taken over"):
        store.close()
    assert lease.holder(tmp_path / "s.h5") == "process 1 on elsewhere"


def test_who_may_still_write_writes_into_an_old_file_also_after_a_command_that_was_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lease was taken over from a process elsewhere by a command that then found another study, and ended."""
    path = fill(tmp_path / "s.h5", TINY, slice(0, 4))
    monkeypatch.setattr(lease, "STALE", 0.1)
    lease.lease_path(path).write_text('{"host": "elsewhere", "process": 1, "number": 9}')
    with pytest.raises(StoreError, match="another study"):
        open_store(path, TINY.replace("title =", "title = 'another'\n#"))
    before = path.stat().st_ino, weights.path_of(path).stat().st_ino
    for _ in range(2):
        open_store(path, TINY).close()
        after = path.stat().st_ino, weights.path_of(path).stat().st_ino
        assert before[0] != after[0] and before[1] != after[1] and not lease.lease_path(path).exists()
    open_store(path, TINY).close()
    assert after == (path.stat().st_ino, weights.path_of(path).stat().st_ino), "one new file is enough"


def test_stores_of_different_names_have_different_weights(tmp_path: Path) -> None:
    names = ["run", "run.1", "run.2", "run.h5", "run.2.h5"]
    assert len({weights.path_of(tmp_path / name) for name in names}) == len(names)
    assert weights.path_of("results.h5") == Path("results.weights.h5")


def test_a_link_leads_to_its_store(tmp_path: Path) -> None:
    real, link = fill(tmp_path / "real.h5", TINY, slice(0, 4)), tmp_path / "link.h5"
    link.symlink_to(real)
    with contextlib.closing(open_store(link, TINY)), pytest.raises(StoreError, match="being written"):
        open_store(real, TINY)
    assert link.is_symlink() and len(read_runs(real)) == 2


@pytest.mark.parametrize("name", [".", "x" * 300 + ".h5", "é" * 120 + ".h5"])
def test_odd_names_are_a_sentence(tmp_path: Path, name: str) -> None:
    with pytest.raises(StoreError, match=r"folder|longer than 150 bytes"):
        open_store(tmp_path / name, TINY)


def test_what_a_killed_run_left_is_swept_up(tmp_path: Path) -> None:
    left, others = 16 * "a", [".other.h5.aaaaaaaaaaaaaaaa.new", ".s.h5.mine.new"]
    for name in (f".s.h5.{left}.new", f".s.weights.h5.{left}.new", *others):
        (tmp_path / name).write_text("half")
    open_store(tmp_path / "s.h5", TINY).close()
    assert sorted(path.name for path in tmp_path.glob(".*.new")) == others


def _record(value: float, parameters: int, status: str = "done") -> Record:
    kept = np.full(parameters, value) if status == "done" else None
    return Record(status, {"sup_lower": value}, kept, np.full((3, layout.SLICE), value) if status == "done" else None)


def _put(path: Path, value: float, status: str = "done", text: str = TINY) -> Path:
    """A store in which the first cell has this value and status."""
    with contextlib.closing(open_store(path, text)) as store:
        store.put([0], [_record(value, int(store.cells.columns["parameters"][0]), status)])
    return path


def _first(path: Path) -> tuple[int, float, float | None]:
    """Status, value and first parameter of the first cell."""
    with opened(path) as file:
        status, value = int(file["status"][0]), float(file["sup_lower"][0])
    [kept] = weights.parameters(path, [read_cells(path).cell(0).key])
    return status, value, None if kept is None else float(kept[0])


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        ("done", "done", (layout.DONE, 1.0, 1.0)),  # never the results of one run with the weights of another
        ("failed", "done", (layout.DONE, 2.0, 2.0)),
        ("done", "failed", (layout.DONE, 1.0, 1.0)),
    ],
)
def test_merging_takes_the_first_that_is_done(
    tmp_path: Path, ours: str, theirs: str, expected: tuple[int, float, float]
) -> None:
    main, shard = _put(tmp_path / "main.h5", 1.0, ours), _put(tmp_path / "shard.h5", 2.0, theirs)
    assert merge(main, [shard])[0] == (ours == "failed")
    assert _first(main) == expected


def test_merging_twice_adds_no_launch_and_another_study_is_refused(tmp_path: Path) -> None:
    main, shard = _put(tmp_path / "main.h5", 1.0), _put(tmp_path / "shard.h5", 2.0)
    for _ in range(3):
        merge(main, [shard])
        assert len(read_runs(main)) == 2
    for change in (('title = "tiny"', 'title = "other"'), ("seed = 7", "seed = 8")):
        with pytest.raises(StoreError, match="another study"):
            merge(main, [_put(tmp_path / f"{change[1][:4]}.h5", 3.0, text=TINY.replace(*change))])


def test_weights_that_were_never_kept_are_none_and_not_zeros(tmp_path: Path) -> None:
    path = _put(tmp_path / "s.h5", 1.0, text=TINY + "[store]\nweights = false\n")
    assert _first(path) == (layout.DONE, 1.0, None)
    open_store(path, TINY).close()  # turned on afterwards
    assert _first(path) == (layout.DONE, 1.0, None)
    failed = _put(tmp_path / "f.h5", 1.0, "failed")
    assert _first(failed)[2] is None


FILLER = """
import sys
from pathlib import Path
from tests.conftest import TINY, open_store, record_of
from hpcsweep.errors import StoreError
text = TINY.replace("depth = 1", "depth = 3").replace("[4, 8]", "[40]").replace("replicate = 2", "replicate = 12")
store = open_store(Path(sys.argv[1]), text)
Path(sys.argv[2]).write_bytes(bytes(int(sys.argv[3])))  # somebody else fills the disk
for row in store.pending().tolist():
    store.start([row])
    store.put([row], [record_of(store.cells.cell(row))])
"""


@pytest.mark.parametrize("small_disk", [8], indirect=True)
def test_a_disk_that_fills_up_during_the_run_marks_nothing_done_that_is_not_there(small_disk: Path) -> None:
    path, ballast = small_disk / "s.h5", small_disk / "ballast"
    code = [sys.executable, "-c", FILLER, path, ballast, str(7 * 2**20 + 2**19)]
    ended = subprocess.run(list(map(str, code)), cwd=Path(__file__).parents[2], capture_output=True)
    assert ended.returncode != 0
    ballast.unlink()
    done = [state == layout.DONE for _, state in contents(path).values()]
    assert 0 < sum(done) < len(done)


def _write(path: Path, opened: object) -> None:
    store = open_store(path, TINY.replace("replicate = 2", "replicate = 40"))
    opened.set()
    for row in store.pending().tolist():
        store.start([row])
        store.put([row], [record_of(store.cells.cell(row))])


def test_killed_at_any_moment_the_file_opens_and_done_rows_are_right(tmp_path: Path) -> None:
    path, context = tmp_path / "s.h5", multiprocessing.get_context("fork")
    chance = random.Random(5)
    finished = 0
    for _ in range(10):
        is_open = context.Event()
        writer = context.Process(target=_write, args=(path, is_open))
        writer.start()
        assert is_open.wait(60)
        time.sleep(chance.uniform(0.0, 0.25))
        writer.kill()
        writer.join()
        now = sum(state == layout.DONE for _, state in contents(path).values())
        assert now >= finished
        finished = now
    assert finished > 0


@pytest.mark.parametrize("ends", [True, False], ids=["the other has ended", "the other has the lease"])
def test_a_merge_that_stood_still_replaces_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: bool) -> None:
    """Another run takes the lease over, and finishes cells, while a merge has read and not yet replaced the file."""
    path, shard = fill(tmp_path / "s.h5", TINY, slice(4)), fill(tmp_path / "shard.h5", TINY, slice(8))
    assign, other = rewriting.assign, []

    def stands_still(*arguments: object) -> list[rewriting.Take]:
        takes = assign(*arguments)  # type: ignore[arg-type]
        monkeypatch.setattr(rewriting, "assign", assign)
        lease.lease_path(path).unlink()
        fill(path, TINY)
        other.append(None if ends else lease.Lease(path))
        return takes

    monkeypatch.setattr(rewriting, "assign", stands_still)
    with pytest.raises(StoreError, match="taken over"):
        merge(path, [shard])
    assert all(state == layout.DONE for _, state in contents(path).values())
    assert all(kept is not None for kept in weights.parameters(path, list(contents(path))))
    for held in other:
        if held is not None:
            held.release()


def test_a_store_that_another_has_written_under_the_same_lease_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the lease says: the file is not the one that was read."""
    path, shard = fill(tmp_path / "s.h5", TINY, slice(4)), fill(tmp_path / "shard.h5", TINY, slice(8))
    build = rewriting.build

    def late(*arguments: object) -> None:
        build(*arguments)  # type: ignore[arg-type]
        with contextlib.closing(Datasets(path, ("lease",))) as data:
            data.put("lease", 0, data["lease"] + 1)

    monkeypatch.setattr(rewriting, "build", late)
    before = weights.path_of(path).read_bytes()
    with pytest.raises(StoreError, match="Another process has written"):
        merge(path, [shard])
    assert len([state for _, state in contents(path).values() if state == layout.DONE]) == 4
    assert weights.path_of(path).read_bytes() == before


def test_a_journal_appears_only_under_the_lease(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = fill(tmp_path / "s.h5", TINY)
    before, key = path.read_bytes(), next(iter(contents(path)))
    save = np.savez

    def stands_still(*arguments: object, **arrays: object) -> None:
        save(*arguments, **arrays)  # type: ignore[arg-type]
        lease.lease_path(path).unlink()

    with lease.Lease(path) as held, pytest.raises(StoreError, match="taken over"), monkeypatch.context() as late:
        late.setattr(np, "savez", stands_still)
        remeasured.write(path, {key: {"points": 9}}, held)
    assert path.read_bytes() == before and not journal.path_of(path).exists()
