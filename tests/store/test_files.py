"""Files keep what people gave them: owner, group, permissions, links; and files that are not ours stay."""

from __future__ import annotations

import multiprocessing
import os
import stat
from pathlib import Path

import numpy as np
import pytest

from hpcsweep.cluster import remeasure
from hpcsweep.cluster.checkpoints import CheckpointDir, Saver
from hpcsweep.cluster.options import RunOptions
from hpcsweep.cluster.trust import Trust
from hpcsweep.errors import StoreError
from hpcsweep.findings import dataset, export
from hpcsweep.findings.report import report
from hpcsweep.store import journal, merging, remeasured, rewriting, shards, weights
from hpcsweep.store.lease import Lease
from hpcsweep.study.schema import SupNormSection
from tests.conftest import TINY, fill

EXTENDED = TINY.replace("samples = [15]", "samples = [15, 16]")
root_only = pytest.mark.skipif(os.getuid() != 0, reason="only root gives files to other users and groups")


def access(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664])
def test_permissions_outlive_extending_and_merging_whatever_the_umask(tmp_path: Path, mode: int) -> None:
    store = fill(tmp_path / "s.h5", TINY)
    for path in (store, weights.path_of(store)):
        path.chmod(mode)
        if os.getuid() == 0:
            os.chown(path, 1234, 2345)
    before, umask = access(store), os.umask(0o027)
    try:
        fill(store, EXTENDED)
        merging.merge(store, [fill(tmp_path / "other.h5", EXTENDED)])
    finally:
        os.umask(umask)
    assert access(store) == access(weights.path_of(store)) == before


def test_weights_of_a_private_store_are_private(tmp_path: Path) -> None:
    store = fill(tmp_path / "s.h5", TINY)
    store.chmod(0o600)
    weights.path_of(store).unlink()
    fill(store, EXTENDED)
    assert access(weights.path_of(store))[0] == 0o600


def test_extended_attributes_outlive_extending(tmp_path: Path) -> None:
    store = fill(tmp_path / "s.h5", TINY)
    try:
        os.setxattr(store, "user.note", b"ours")
    except OSError:
        pytest.skip("this file system has no extended attributes")
    fill(store, EXTENDED)
    assert os.getxattr(store, "user.note") == b"ours"


@root_only
def test_who_is_not_in_the_group_of_a_file_gives_his_own_group_no_rights(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(folder.stat().st_mode | 0o011)
    path = tmp_path / "table.csv"
    path.write_text("old")
    os.chown(path, 1234, 2345)
    path.chmod(0o660)

    def replace() -> None:
        os.setgroups([])
        os.setgid(1234)
        os.setuid(1234)
        with rewriting.replacing(path) as temporary:
            temporary.write_text("new")

    process = multiprocessing.get_context("fork").Process(target=replace)
    process.start()
    process.join()
    assert process.exitcode == 0 and path.read_text() == "new" and access(path) == (0o600, 1234, 1234)


@root_only
def test_a_read_only_store_is_a_sentence_for_those_who_may_not_write_it(tmp_path: Path) -> None:
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(folder.stat().st_mode | 0o011)
    store = fill(tmp_path / "s.h5", TINY)
    os.chown(tmp_path, 1234, 1234)
    before = store.read_bytes()

    def extend() -> None:
        os.setgid(1234)
        os.setuid(1234)
        with pytest.raises(StoreError, match="read-only for this user"):
            fill(store, EXTENDED)

    process = multiprocessing.get_context("fork").Process(target=extend)
    process.start()
    process.join()
    assert process.exitcode == 0 and store.read_bytes() == before


def test_links_to_store_weights_and_tables_stay_and_their_targets_are_written(tmp_path: Path) -> None:
    store = fill(tmp_path / "s.h5", TINY)
    (tmp_path / "big").mkdir()
    beside, real = weights.path_of(store), tmp_path / "big" / "w.h5"
    beside.rename(real)
    beside.symlink_to(real)
    link = tmp_path / "big" / "link.h5"
    link.symlink_to(store)
    before = real.stat().st_ino
    fill(link, EXTENDED)
    assert link.is_symlink() and beside.is_symlink() and real.stat().st_ino != before
    assert len(dataset.read(store)["cell"]) == 20
    table, shown = tmp_path / "real.csv", tmp_path / "table.csv"
    shown.symlink_to(table)
    assert export.export(store, shown) == 20 and shown.is_symlink() and table.stat().st_size


@root_only
def test_a_link_that_somebody_else_has_planted_is_not_followed(tmp_path: Path) -> None:
    victim, table = tmp_path / "victim", tmp_path / "table.csv"
    victim.write_text("precious")
    table.symlink_to(victim)
    os.lchown(table, 1234, 1234)
    export.export(fill(tmp_path / "s.h5", TINY), table)
    assert victim.read_text() == "precious" and not table.is_symlink()


def test_another_name_of_a_file_keeps_the_old_content(tmp_path: Path) -> None:
    store = fill(tmp_path / "s.h5", TINY)
    os.link(store, tmp_path / "backup.h5")
    fill(store, EXTENDED)
    assert len(dataset.read(tmp_path / "backup.h5")["cell"]) == 18 and len(dataset.read(store)["cell"]) == 20


def test_a_file_of_weights_of_another_programme_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "s.weights.h5").write_bytes(b"precious")
    with pytest.raises(StoreError, match=r"s.weights.h5 was not written by hpcsweep"):
        fill(tmp_path / "s.h5", TINY)
    assert (tmp_path / "s.weights.h5").read_bytes() == b"precious"


def test_a_page_that_is_no_report_is_not_overwritten(tmp_path: Path) -> None:
    store = fill(tmp_path / "s.h5", TINY, slice(0))
    (tmp_path / "index.html").write_text("my page")
    with pytest.raises(StoreError, match="was not written by hpcsweep"):
        report.write(store, tmp_path)
    assert (tmp_path / "index.html").read_text() == "my page"
    assert report.write(store, tmp_path / "report") == report.write(store, tmp_path / "report")


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_what_is_no_file_is_a_sentence(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "s.h5" if kind == "pipe" else Path("/dev/full")
    if kind == "pipe":
        os.mkfifo(path)
    with pytest.raises(StoreError, match="a folder or a device"):
        fill(path, TINY)
    with pytest.raises(OSError, match="Invalid argument"), rewriting.replacing(path):
        pass


@pytest.mark.parametrize("name", ["a b.h5", "-x.h5", "[1].h5", "*.h5", "ü.h5", os.fsdecode(b"caf\xe9.h5"), "$(id).h5"])
def test_odd_names_are_names(tmp_path: Path, name: str) -> None:
    store = fill(fill(tmp_path / name, TINY), EXTENDED)
    assert sorted(os.listdir(tmp_path)) == sorted([name, weights.path_of(store).name])


def test_checkpoints_are_not_saved_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "victim").mkdir(mode=0o755)
    (tmp_path / "s.h5.checkpoints").symlink_to(tmp_path / "victim")
    left = tmp_path / "victim" / "aa"
    left.mkdir()
    (left / ".mine.new").write_text("mine")
    checkpoints = CheckpointDir.beside(tmp_path / "s.h5")
    checkpoints.saver(("k" * 32,)).save({"a": np.ones(3)})
    checkpoints.sweep(np.empty(0, "S32"))
    assert (left / ".mine.new").exists() and len(list((tmp_path / "victim").rglob("*"))) == 2
    assert access(tmp_path / "victim")[0] == 0o755


def test_a_launch_removes_what_a_killed_one_left_of_its_checkpoints(tmp_path: Path) -> None:
    checkpoints = CheckpointDir.beside(tmp_path / "s.h5")
    finished, going, gone = ("1" * 32,), ("2" * 32,), ("3" * 32,)
    for keys in (finished, going, gone):
        checkpoints.saver(keys).save({"a": np.ones(3)})
    checkpoints.path(gone).rename(checkpoints.path(gone).with_name(".unfinished.new"))
    checkpoints.sweep(np.array(finished, "S32"))
    kept = checkpoints.path(going)
    assert sorted(checkpoints.folder.rglob("*")) == [kept.parent, kept]
    kept.unlink()  # killed, or refused, before the empty folders were removed
    checkpoints.sweep(np.empty(0, "S32"))
    assert not checkpoints.folder.exists()


@root_only
@pytest.mark.parametrize("chain", [False, True], ids=["planted", "behind an own link"])
@pytest.mark.parametrize("there", [False, True], ids=["leads nowhere", "leads to a store"])
def test_no_store_is_written_through_a_link_of_somebody_else(tmp_path: Path, chain: bool, there: bool) -> None:
    (tmp_path / "home").mkdir()
    real, link = tmp_path / "home" / "real.h5", tmp_path / "s.h5"
    shard = fill(tmp_path / "shard.h5", TINY)
    before = fill(real, TINY, slice(4)).read_bytes() if there else None
    link.symlink_to(real)
    os.lchown(link, 1234, 1234)
    if chain:
        (tmp_path / "own.h5").symlink_to(link)
    named = tmp_path / "own.h5" if chain else link
    for write in (lambda: fill(named, TINY), lambda: merging.merge(named, [shard]), lambda: _measure(named)):
        with pytest.raises(StoreError, match="is a link of another user"):
            write()
    assert (real.read_bytes() if real.exists() else None) == before and link.is_symlink()


def _measure(path: Path) -> int:
    return remeasure.stored(path, SupNormSection(), (), "off", None, RunOptions(), Trust())


@root_only
def test_rows_of_weights_are_not_written_through_a_link_of_somebody_else(tmp_path: Path) -> None:
    store = fill(tmp_path / "s.h5", TINY, slice(4))
    beside, real = weights.path_of(store), tmp_path / "w.h5"
    beside.rename(real)
    beside.symlink_to(real)
    os.lchown(beside, 1234, 1234)
    before = real.read_bytes()
    with pytest.raises(StoreError, match="cannot be written"):
        fill(store, TINY)
    assert real.read_bytes() == before


def test_journals_and_checkpoints_replace_any_link(tmp_path: Path) -> None:
    store, victim = fill(tmp_path / "s.h5", TINY), tmp_path / "victim"
    victim.write_text("precious")
    [key, *_] = dataset.read(store)["key"].values.tolist()
    journal.path_of(store).symlink_to(victim)
    with Lease(store) as held:
        remeasured.write(store, {key: {"points": 9}}, held)
    saver = Saver(tmp_path / ".s.h5.measure-x", ("x",))
    saver.path.symlink_to(victim)
    saver.save({"a": 1})
    assert victim.read_text() == "precious" and saver.load() == {"a": 1}


def test_the_lease_of_a_link_is_that_of_its_file(tmp_path: Path) -> None:
    store, link = fill(tmp_path / "s.h5", TINY), tmp_path / "link.h5"
    link.symlink_to(store)
    with Lease(store), pytest.raises(StoreError, match="is being written"):
        shards.delete(link, [store])
