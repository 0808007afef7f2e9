"""An element's share: of the whole study, the same on every machine, and together the study run by one process."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hpcsweep.approx.catalogue import Catalogue
from hpcsweep.cluster import launch, shares
from hpcsweep.store import status
from hpcsweep.store.shards import Shard, beside
from hpcsweep.study import plan
from hpcsweep.study.cells import Cells
from hpcsweep.study.expansion import expand
from hpcsweep.study.parsing import Study, parse
from scripts.fault_matrix.stored import by_key
from tests.cluster.launches import assert_same
from tests.conftest import TINY, Run


def study_of(width: list[int], samples: list[int], replicate: int) -> tuple[Study, Cells]:
    text = (
        TINY.replace("[4, 8]", str(width))
        .replace("[10, 20]", str(samples))
        .replace("replicate = 2", f"replicate = {replicate}")
    )
    study = parse(text, Catalogue())
    return study, expand(study, Catalogue())


SMALL = st.lists(st.integers(1, 40), min_size=1, max_size=4, unique=True)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(SMALL, SMALL, st.integers(1, 30), st.integers(1, 9))
def test_shares_are_whole_packs_that_cover_the_study_once_and_cost_alike(
    width: list[int], samples: list[int], replicate: int, count: int
) -> None:
    study, cells = study_of(width, samples, replicate)
    dealt = shares.deal(study, cells, count)
    rows = [row for packs in dealt for row in shares.rows_of(packs).tolist()]
    assert sorted(rows) == list(range(len(cells)))
    costs = [sum(pack.seconds for pack in packs) for packs in dealt]
    assert max(costs) - min(costs) <= max(pack.seconds for packs in dealt for pack in packs)
    price = shares.reference(study)
    for pack in (pack for packs in dealt for pack in packs):
        assert len({price(cells.cell(row)).group for row in pack.rows}) == 1
        assert pack.seconds == plan.whole(cells, pack.rows[::-1], price).seconds, "the order of a sum shows in it"
        assert (pack.seconds / shares.TICK).is_integer()


def test_elements_together_give_what_one_process_gives_to_the_bit(hpcsweep: Run, tiny: Path, tmp_path: Path) -> None:
    assert hpcsweep("run", tiny, "-o", "alone.h5", "--shard", "1/1").returncode == 0
    assert by_key(tmp_path / "alone.h5").keys() == set(launch.read(tiny)[1].columns["key"].astype(str).tolist())
    for number in (1, 2, 3):
        done = hpcsweep("run", tiny, "-o", "r.h5", "--shard", f"{number}/3")
        assert done.returncode == 0 and "ready to be merged" in done.stdout, done.stderr
    assert not (tmp_path / "r.h5").exists()
    parts = [by_key(path) for path in beside(tmp_path / "r.h5")]
    assert sum(map(len, parts)) == 18 and len({key for part in parts for key in part}) == 18
    done = hpcsweep("merge", "r.h5", "--delete-shards")
    assert done.returncode == 0 and "18 new cells" in done.stdout and "3 shards deleted" in done.stdout, done.stderr
    assert not beside(tmp_path / "r.h5")
    assert_same(tmp_path / "r.h5", tmp_path / "alone.h5")


def test_what_is_merged_is_not_done_again_and_a_study_may_grow(hpcsweep: Run, tiny: Path, tmp_path: Path) -> None:
    for number in (1, 2):
        assert hpcsweep("run", tiny, "-o", "r.h5", "--shard", f"{number}/2").returncode == 0
    assert hpcsweep("merge", "r.h5", "r.1-of-2.h5").returncode == 75  # the other shard is not given
    assert hpcsweep("merge", "r.h5").returncode == 0
    tiny.write_text(tiny.read_text().replace("samples = [10, 20]", "samples = [10, 20, 30]"))
    for number in (1, 2):
        done = hpcsweep("run", tiny, "-o", "r.h5", "--shard", f"{number}/2")
        assert done.returncode == 0, done.stderr
    shared = [by_key(path) for path in beside(tmp_path / "r.h5")]
    assert sum(map(len, shared)) == 26, "a cell was done twice"
    assert hpcsweep("merge", "r.h5", "--delete-shards").returncode == 0
    assert status.summary(tmp_path / "r.h5")["done"] == 26
    assert hpcsweep("run", tiny, "-o", "alone.h5").returncode == 0
    assert_same(tmp_path / "r.h5", tmp_path / "alone.h5")


def test_an_element_for_which_nothing_is_left_writes_an_empty_shard(hpcsweep: Run, tiny: Path, tmp_path: Path) -> None:
    done = hpcsweep("run", tiny, "-o", "r.h5", "--shard", "40/40")
    assert done.returncode == 0, done.stderr
    path = Shard(40, 40).path(tmp_path / "r.h5")
    assert status.summary(path)["cells"] == 0 and "no cells" in hpcsweep("status", path).stdout
    again = hpcsweep("run", tiny, "-o", "r.h5", "--shard", "40/40")
    assert again.returncode == 0, again.stderr
    assert hpcsweep("merge", "r.h5").returncode == 75


@pytest.mark.parametrize("text", ["0/2", "3/2", "x"])
def test_a_wrong_shard_is_refused_before_anything_is_written(
    hpcsweep: Run, tiny: Path, tmp_path: Path, text: str
) -> None:
    done = hpcsweep("run", tiny, "-o", "r.h5", "--shard", text)
    assert done.returncode == 2 and "k/K" in done.stderr
    assert not list(tmp_path.glob("r*"))
