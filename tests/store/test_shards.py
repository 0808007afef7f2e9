"""Shards: names, sharing out, and that nothing is deleted which is not merged to the bit."""

from __future__ import annotations

import shutil
from fractions import Fraction
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcsweep.errors import LaunchError, StoreError
from hpcsweep.findings.report import summary
from hpcsweep.store import journal, layout, shards, status, weights
from hpcsweep.store.lease import Lease
from hpcsweep.store.merging import merge
from hpcsweep.store.proving import Merged
from hpcsweep.store.reading import opened
from hpcsweep.store.shards import Shard
from hpcsweep.study import plan
from hpcsweep.study.plan import Pack
from tests.conftest import TINY, fill

COSTS = st.lists(st.integers(0, 10**6).map(lambda ticks: ticks / 1024), max_size=40)


@given(COSTS, st.integers(1, 12))
def test_packs_are_shared_out_whole_once_and_evenly(costs: list[float], count: int) -> None:
    packs = [Pack((number,), seconds, 1, 1.0) for number, seconds in enumerate(costs)]
    dealt = plan.share(packs, count)
    assert len(dealt) == count
    assert sorted((pack for share in dealt for pack in share), key=lambda pack: pack.rows) == packs
    loads = [sum(Fraction(pack.seconds) for pack in share) for share in dealt]
    assert max(loads) - min(loads) <= max(map(Fraction, costs), default=0)
    assert plan.share(packs[::-1], count) == dealt, "the order in which packs come decides nothing"


@given(st.integers(1, 10**4), st.integers(1, 10**4), st.sampled_from(["r.h5", "r", "a.b.h5", "1-of-2.h5"]))
def test_a_name_tells_its_shard(number: int, more: int, name: str) -> None:
    shard = Shard(number + more, number)
    assert shards.parse(str(shard)) == shard
    path = shard.path(Path("somewhere") / name)
    assert shards.of(path) == shard
    assert path.name.replace(f".{number}-of-{number + more}", "") == name


@pytest.mark.parametrize("text", ["", "1", "0/3", "4/3", "-1/3", "1/0", "a/b", "1/2/3", "1.0/2", " 1/2"])
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(LaunchError, match="k/K"):
        shards.parse(text)


def test_the_shards_of_a_store_are_found_by_number_and_nothing_else_is(tmp_path: Path) -> None:
    for name in ("r.h5", "r.10-of-12.h5", "r.9-of-12.h5", "r.9-of-12.weights.h5", "q.1-of-2.h5", "r.1-of-2", "r.x.h5"):
        (tmp_path / name).touch()
    (tmp_path / "r.9-of-12.h5.checkpoints").mkdir()
    assert [path.name for path in shards.beside(tmp_path / "r.h5")] == ["r.9-of-12.h5", "r.10-of-12.h5"]
    assert shards.beside(tmp_path / "nowhere" / "r.h5") == []
    assert Shard(1, 1).path(tmp_path / "r.h5") == tmp_path / "r.h5"


@pytest.fixture
def merged(tmp_path: Path) -> tuple[Path, Path]:
    """A main file with ten cells of its own, and a shard with eighteen others, merged into it."""
    others = TINY.replace("[10, 20]", "[30]").replace("[15]", "[16]")
    main, shard = fill(tmp_path / "r.h5", others), fill(tmp_path / "r.1-of-2.h5", TINY)
    merge(main, [shard])
    return main, shard


def test_merged_shards_are_deleted_with_all_that_is_theirs(merged: tuple[Path, Path]) -> None:
    main, shard = merged
    (shard.parent / "r.1-of-2.h5.checkpoints").mkdir()
    shutil.copy(shard, shard.with_name("kept"))
    shutil.copy(weights.path_of(shard), weights.path_of(shard.with_name("kept")))
    shards.delete(main, [shard])
    left = {path.name for path in main.parent.iterdir()}
    assert left == {"r.h5", "r.weights.h5", "kept", "kept.weights"}
    assert Merged(main).lacks(shard.with_name("kept")) == []


@pytest.mark.parametrize(
    ("name", "index", "value"),
    [
        ("sup_lower", 17, "its next"),
        ("history_loss", (27, -1), 0.0),
        ("parameters", -1, "its next"),
        ("weights", None, "lost"),
        ("status", 13, layout.PENDING),
        ("kept", 13, 0),
    ],
)
def test_a_shard_is_kept_if_one_bit_of_it_is_not_in_the_main_file(
    merged: tuple[Path, Path], name: str, index: object, value: object
) -> None:
    main, shard = merged
    before = {path: path.read_bytes() for path in (shard, weights.path_of(shard))}
    if value == "lost":
        weights.path_of(main).unlink()
    else:
        with h5py.File(weights.path_of(main) if name in ("parameters", "kept") else main, "r+") as file:
            file[name][index] = np.nextafter(file[name][index], np.inf) if value == "its next" else value
    with pytest.raises(StoreError, match=r"not in .* with the same bits .* It is kept"):
        shards.delete(main, [shard])
    assert {path: path.read_bytes() for path in before} == before
    assert len(Merged(main).lacks(shard)) in (1, 18)


@pytest.mark.parametrize("where", ["the store", "its weights", "weights of the shard"])
def test_nothing_is_deleted_where_a_key_is_damaged(merged: tuple[Path, Path], where: str) -> None:
    main, shard = merged
    damaged = {"the store": main, "its weights": weights.path_of(main)}.get(where, weights.path_of(shard))
    with h5py.File(damaged, "r+") as file:
        file["key"][13] = b"0" * 32
    with pytest.raises(StoreError, match="is damaged outside"):
        shards.delete(main, [shard])
    assert shard.exists() and weights.path_of(shard).exists()


def test_nothing_is_deleted_while_the_main_file_is_written(merged: tuple[Path, Path]) -> None:
    main, shard = merged
    with Lease(main), pytest.raises(StoreError, match="is being written by"):
        shards.delete(main, [shard])
    assert shard.exists()


def test_a_change_that_a_measurement_was_cut_off_in_is_not_deleted(merged: tuple[Path, Path]) -> None:
    main, shard = merged
    with opened(shard) as file:
        key = file["key"][3].decode()
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(journal, "_write", interrupted)
        journal.change(shard, {key: {"sup_lower": 9.0}})
    with pytest.raises(StoreError, match=rf"1 finished cells .* \(the first: {key}\)"):
        shards.delete(main, [shard])
    assert shard.exists() and not journal.path_of(shard).exists()


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def test_shards_that_live_or_are_not_finished_are_kept(tmp_path: Path) -> None:
    main, shard = tmp_path / "r.h5", fill(tmp_path / "r.2-of-2.h5", TINY, slice(0, 5))
    assert merge(main, [shard]) == (5, 5)
    with pytest.raises(StoreError, match="13 cells are not finished"):
        shards.delete(main, [shard])
    fill(shard, TINY)
    merge(main, [shard])
    lease = Lease(shard)
    with pytest.raises(StoreError, match="is being written by"):
        shards.delete(main, [shard])
    lease.release()
    with pytest.raises(StoreError, match="is the main file"):
        shards.delete(main, [main])
    assert main.exists() and shard.exists()
    shards.delete(main, [shard])


def test_what_is_missing_is_told_by_name(tmp_path: Path) -> None:
    main = tmp_path / "r.h5"
    whole, half = fill(tmp_path / "r.1-of-3.h5", TINY), fill(tmp_path / "r.3-of-3.h5", TINY, slice(0, 6))
    never = tmp_path / "r.2-of-3.h5"
    reasons = shards.missing(main, [whole, never, half])
    assert reasons == [f"{never}: was never started", f"{half}: 12 cells are not finished"]
    merge(main, [half])
    reasons = shards.missing(main, [half])
    assert f"{half}: 12 cells are not finished" in reasons and f"{main}: 12 cells are not finished" in reasons
    assert f"{tmp_path / 'r'}: shard 2/3 is missing" in reasons and len(reasons) == 4
    merge(main, [whole])
    assert shards.missing(main, [whole, never, half]) == [], "every cell is there"


def test_where_no_file_knows_how_many_cells_a_study_has_names_decide(tmp_path: Path) -> None:
    """Stores of earlier versions."""
    main, shard = tmp_path / "r.h5", fill(tmp_path / "r.1-of-3.h5", TINY)
    with h5py.File(shard, "r+") as file:
        del file.attrs["cells"], file["digest"]
    assert [sentence for _, sentence in summary.parts([shard])] == [
        "1 of 3 shards are there; the cells of the others are missing."
    ]
    merge(main, [shard])
    assert shards.extent([main, shard]) == (18, 0)
    assert [reason.split(": ")[1] for reason in shards.missing(main, [shard])] == [
        "shard 2/3 is missing",
        "shard 3/3 is missing",
    ]
    assert not list(summary.parts([main, shard])), "merged, and perhaps deleted"
    assert shards.missing(main, [shard.rename(tmp_path / "other.h5")]) == []


def test_the_status_of_shards_counts_every_cell_once(tmp_path: Path) -> None:
    main = fill(tmp_path / "r.h5", TINY, slice(0, 5))
    for number in (1, 2):
        fill(Shard(2, number).path(main), TINY, slice(0, 8))
    progress = status.everything(main)
    assert progress["done"] == 5 and [shard["done"] for shard in progress["shards"]] == [8, 8]
    assert (
        progress["together"]["cells"] == 18
        and progress["together"]["done"] == 8
        and progress["together"]["pending"] == 10
    )
    text = "\n".join(status.lines(progress))
    assert "r.2-of-2.h5: 18 cells: 10 pending, 8 done; not running" in text and "together: 18 cells" in text
    main.unlink()
    assert "not merged yet" in "\n".join(status.lines(status.everything(main)))
    with pytest.raises(StoreError, match="no shard of it"):
        status.everything(tmp_path / "q.h5")
