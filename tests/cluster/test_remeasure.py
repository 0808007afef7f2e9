"""The command `measure`: stores tightened, networks by name, on any number of ranks, stopped and gone on with."""

from __future__ import annotations

import contextlib
import json
import math
import shutil
from collections.abc import Collection
from pathlib import Path

import h5py
import numpy as np
import pytest

from hpcsweep.errors import StoreError
from hpcsweep.findings import dataset
from hpcsweep.store import layout, remeasured, weights
from hpcsweep.store.keyed_rows import KeyedRows
from hpcsweep.store.lease import Lease
from hpcsweep.store.reading import opened, read_cells
from tests.cluster.conftest import MEASURED
from tests.cluster.launches import start, stop
from tests.conftest import Run, finished, mpiexec
from tests.forks import Forks

MORE = ("--points", 4096, "--uniform", "2^10", "--progress", "none")


def columns(path: Path) -> dict[str, np.ndarray]:
    with opened(path) as file:
        return {name: file[name][:] for name in layout.RESULTS}


def copied(store: Path, name: str) -> Path:
    """Return a copy of a store and its weights."""
    copy = Path(shutil.copy(store, store.with_name(name)))
    shutil.copy(weights.path_of(store), weights.path_of(copy))
    return copy


def assert_alike(first: Path, second: Path, names: Collection[str] = frozenset(layout.RESULTS) - {"message"}) -> None:
    """Compare columns of two stores to the bit."""
    ours, theirs = columns(first), columns(second)
    assert [name for name in names if ours[name].tobytes() != theirs[name].tobytes()] == []


@pytest.mark.mpi
def test_brackets_are_tightened_by_any_number_of_ranks_to_the_same_bits(hpcsweep: Run, store: Path) -> None:
    before = columns(store)
    assert np.isinf(before["sup_upper"]).all() and (before["certificate"] == 0).all()
    two = copied(store, "two.h5")
    assert hpcsweep("measure", store, *MORE).returncode == 0
    assert hpcsweep("measure", two, *MORE, ranks=2).returncode == 0
    assert_alike(store, two)
    after = columns(store)
    assert (after["sup_lower"] >= before["sup_lower"]).all() and (after["sup_lower"] > before["sup_lower"]).any()
    assert (after["sup_upper"] <= 1.0101 * after["sup_lower"]).all() and (after["certificate"] == 1).all()
    assert (after["sup_upper"] >= before["sup_lower"]).all()
    assert (after["points"] > before["points"] + 4096).all() and np.isfinite(after["sup_uniform"]).all()
    assert not list(store.parent.glob(".*measure*"))
    # Measuring again with less takes nothing back.
    assert hpcsweep("measure", store, "--points", 256, "--certificate", "off", "--uniform", 0).returncode == 0
    kept = ("sup_lower", "sup_upper", "sup_where", "certificate", "l2_error", "sup_uniform", "quantile_error")
    assert_alike(store, two, kept)


def test_one_cell_alone_is_measured_again(hpcsweep: Run, store: Path) -> None:
    with opened(store) as file:
        key = file["key"][2].decode()
    assert hpcsweep("measure", store, "--cell", key, *MORE).returncode == 0
    assert np.isfinite(columns(store)["sup_upper"]).tolist() == [False, False, True, False]


FOUND = {
    "sup_lower": 0.0,
    "sup_upper": np.inf,
    "sup_where": (0.0,),
    "certificate": 0,
    "boxes": 3,
    "points": 10,
    "averaged": 10,
    "nonfinite": 0,
    "sup_screened": 0.0,
    "sup_uniform": np.nan,
    "uniform_volume": np.nan,
    "l2_error": 7.0,
    "l1_error": 7.0,
    "quantile_error": (1.0, 2.0, 3.0, 4.0),
    "boundary": 0,
    "sample_distance": 0.5,
}


def test_contradicting_measurements_are_refused(store: Path) -> None:
    key = read_cells(store).cell(0).key
    with contextlib.closing(KeyedRows(store)) as rows, pytest.raises(StoreError, match="contradict"):
        remeasured.combined(rows, {key: FOUND | {"sup_upper": 1e-9}})


def tighten(store: Path, measured: dict[str, object]) -> None:
    """Combine what the store says of its first cell with a measurement."""
    with Lease(store) as held, contextlib.closing(KeyedRows(store)) as rows:
        remeasured.write(store, remeasured.combined(rows, {read_cells(store).cell(0).key: measured}), held, rows)


def test_a_proof_at_the_old_place_replaces_what_was_evaluated(store: Path) -> None:
    before = columns(store)
    tighten(store, FOUND | {"sup_lower": 1e-9, "sup_upper": 2e-9, "sup_where": (0.25,), "proved": True})
    after = columns(store)
    assert (after["sup_lower"][0], after["sup_upper"][0], after["sup_where"][0, 0]) == (1e-9, 2e-9, 0.25)
    assert after["sup_lower"][1:].tolist() == before["sup_lower"][1:].tolist()


def test_means_are_those_of_the_larger_measurement(store: Path) -> None:
    """Of each by itself, whatever the others add up to."""
    before = columns(store)
    for count, value in ((200, 7.0), (299, 8.0), (10**6, 9.0), (5000, 10.0)):
        found = FOUND | {"points": count, "averaged": count, "l2_error": value}
        tighten(store, found)
    after = columns(store)
    assert after["l2_error"][0] == 9.0 and after["averaged"][0] == 10**6 and np.isnan(after["sup_uniform"][0])
    assert after["points"][0] == before["points"][0] + 200 + 299 + 10**6 + 5000
    assert after["sup_lower"][0] == before["sup_lower"][0] and after["boxes"][0] == 12
    tighten(store, FOUND | {"sup_uniform": 0.25, "uniform_volume": 0.1})
    tighten(store, FOUND | {"sup_uniform": 0.125, "uniform_volume": 0.2})
    tighten(store, FOUND)
    assert columns(store)["sup_uniform"][0] == 0.25


@pytest.mark.mpi
def test_the_central_box_is_measured_by_any_number_of_ranks_to_the_same_bits(hpcsweep: Run, store: Path) -> None:
    assert np.isnan(columns(store)["central_share"]).all()
    two, more = copied(store, "two.h5"), (*MORE, "--certificate", "off", "--central", 0.8)
    assert hpcsweep("measure", store, *more).returncode == 0
    assert hpcsweep("measure", two, *more, ranks=2).returncode == 0
    assert_alike(store, two)
    after = columns(store)
    assert (after["central_share"] == 0.8).all()
    assert (after["central_l2_error"] < after["central_sup_lower"]).all()
    assert (after["central_sup_lower"] <= after["sup_lower"]).all()


def test_central_boxes_are_combined_only_with_their_like(store: Path) -> None:
    def add(share: float, mean: float, lower: float, averaged: int = 10**6) -> tuple[float, ...]:
        central = {"central_share": share, "central_l2_error": mean, "central_sup_lower": lower}
        tighten(store, FOUND | central | {"averaged": averaged})
        return tuple(float(columns(store)[name][0]) for name in central)

    assert add(0.8, 3.0, 5.0) == (0.8, 3.0, 5.0)
    assert add(np.nan, np.nan, np.nan) == (0.8, 3.0, 5.0)
    assert add(0.8, 4.0, 4.5) == (0.8, 3.0, 5.0)
    assert add(0.8, 4.0, 6.0, averaged=10**7) == (0.8, 4.0, 6.0)
    assert add(0.5, 1.0, 2.0, averaged=3) == (0.5, 1.0, 2.0)
    assert np.isnan(add(0.5, np.nan, np.nan)[2]) and np.isnan(add(0.5, 1.0, 2.0)[2])


def test_a_store_without_columns_for_the_central_box_stays_usable(hpcsweep: Run, store: Path) -> None:
    with h5py.File(store, "r+") as file:
        for name in (
            "central_share",
            "central_l2_error",
            "central_sup_lower",
            "checksum",
            "run_checksum",
            *layout.FILE,
        ):
            del file[name]
    before = dataset.read(store)
    assert "central_share" not in before and np.isfinite(before["sup_lower"].values).all()
    assert hpcsweep("measure", store, *MORE, "--certificate", "off").returncode == 0
    refused = hpcsweep("measure", store, *MORE, "--central", 0.8)
    assert refused.returncode == 2 and f"merge {store} {store}" in refused.stderr
    assert hpcsweep("merge", store, store).returncode == 0
    after = dataset.read(store)
    assert np.isnan(after["central_share"].values).all() and (after["sup_lower"] >= before["sup_lower"]).all()
    assert hpcsweep("measure", store, *MORE, "--central", 0.8, "--certificate", "off").returncode == 0
    assert (dataset.read(store)["central_share"].values == 0.8).all()


def test_an_error_that_is_no_number_takes_every_bound_away(store: Path) -> None:
    tighten(store, FOUND | {"sup_upper": 5.0, "certificate": 1})
    nan = FOUND | {"sup_lower": np.nan, "nonfinite": 1}
    for _ in range(2):
        tighten(store, nan)
        after = columns(store)
        assert np.isnan(after["sup_lower"][0]) and np.isinf(after["sup_upper"][0]) and after["certificate"][0] == 0
    tighten(store, FOUND | {"sup_screened": np.nan})
    tighten(store, FOUND)
    assert np.isnan(columns(store)["sup_screened"][0])


def test_a_store_that_a_live_run_holds_is_left_alone(hpcsweep: Run, store: Path) -> None:
    lease = Lease(store)
    try:
        done = hpcsweep("measure", store, *MORE)
        assert done.returncode == 2 and "parts" not in done.stderr
    finally:
        lease.release()


IN_PIECES = """
import sys
from hpcsweep.__main__ import main
from hpcsweep.cluster import measurements
measurements.PIECE = 2**20  # many parts of what is small
sys.argv[0] = "hpcsweep"
main()
"""
LARGE = ("--points", "2^22", "--certificate", "off", "--uniform", 0)


def in_pieces(forks: Forks, store: Path, ranks: int = 0) -> list[str]:
    """Return the command that measures a store on many points, in many parts."""
    script = store.with_name("in_pieces.py")
    script.write_text(IN_PIECES)
    return [*mpiexec(ranks), *forks.python, *map(str, (script, "measure", store, *LARGE))]


def stop_on_the_way(forks: Forks, store: Path) -> None:
    """Begin to measure, and ask to stop as soon as the first of two stages is done."""
    run = start(in_pieces(forks, store), store.parent)
    for line in run.stdout or ():
        if "parts" in line and not line.startswith("0 "):
            break
    assert stop(run)[0] == 75


def test_what_was_saved_of_another_network_is_not_taken_up(hpcsweep: Run, forks: Forks, store: Path) -> None:
    """Stopped, then the study run again from another seed: nothing of the first networks may be said of the others."""
    stop_on_the_way(forks, store)
    for path in (store, weights.path_of(store)):
        path.unlink()
    (store.parent / "study.toml").write_text("seed = 3\n" + MEASURED)
    assert hpcsweep("run", "study.toml", "-o", "s.h5").returncode == 0
    assert hpcsweep("measure", store, "--points", 500, "--certificate", "off", "--uniform", 0).returncode == 0
    before = columns(store)
    assert finished(in_pieces(forks, store), store.parent).returncode == 0
    assert (columns(store)["sup_lower"] < 1.5 * before["sup_lower"]).all()


@pytest.mark.mpi
def test_a_stopped_measurement_goes_on_where_it_was(forks: Forks, store: Path) -> None:
    """Begun by one process, stopped, finished by two ranks: equal to an uninterrupted one."""
    whole = copied(store, "whole.h5")
    stop_on_the_way(forks, store)
    [saved] = store.parent.glob(".*measure*")
    assert finished(in_pieces(forks, store, ranks=2), store.parent).returncode == 0
    assert not saved.exists()
    assert finished(in_pieces(forks, whole), store.parent).returncode == 0
    assert_alike(store, whole, ("sup_lower", "sup_where", "l2_error", "quantile_error", "points"))


def test_a_network_by_name(hpcsweep: Run, tmp_path: Path) -> None:
    """|x| - 0.25 by two neurons against x^2: the error is largest at 0 (0.25) and at 1/2 in between (0.5 in all)."""
    np.savez(
        tmp_path / "net.npz", W0=np.array([[1.0], [-1.0]]), b0=np.zeros(2), W1=np.ones((1, 2)), b1=np.array([0.25])
    )
    (tmp_path / "own.py").write_text("def square(x):\n    return x[:, 0] * x[:, 0]\n")
    names = ("--network", "net.npz", "--target", "own.py:square", "--domain", "-1,1", "--progress", "none")
    done = hpcsweep("measure", *names, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["sup_lower"] <= 0.5 <= found["sup_upper"] <= 0.5 * (1 + 2e-6)
    assert abs(abs(found["where"][0]) - 0.5) < 1e-6 and found["certificate"] == "closed"
    assert {"points", "seconds"} <= found.keys()
    plain = hpcsweep("measure", *names, "--certificate", "off")
    assert "sup_upper    inf" in plain.stdout
    assert json.loads(hpcsweep("measure", *names, "--json", "--certificate", "off").stdout)["sup_upper"] is None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "Give a store FILE, or --network and --target"),
        (("--network", "a.npz"), "Give a store FILE, or --network and --target"),
        (("--network", "a.npz", "--target", "exp_cos"), "a.npz cannot be read"),
        (("--network", "net", "--target", "exp_cos"), "path/file.py:name or module:name"),
        (("--network", "math:sqrt", "--target", "exp_cso", "-d", "1"), "Did you mean 'exp_cos'"),
        (("--network", "math:sqrt", "--target", "math:cos", "-d", "1"), "give --domain"),
        (("--network", "math:sqt", "--target", "exp_cos", "-d", "1"), "Did you mean 'sqrt'"),
        (("--points", "many"), "not an integer; write 1000000, 1e6 or 2^20"),
        (("--kind", "sobl"), "Did you mean 'sobol'"),
    ],
)
def test_mistakes_are_told_in_one_sentence(hpcsweep: Run, arguments: tuple[str, ...], said: str) -> None:
    done = hpcsweep("measure", *arguments)
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr


def test_a_wrong_key_is_told(hpcsweep: Run, store: Path) -> None:
    done = hpcsweep("measure", store, "--cell", "nobody")
    assert done.returncode == 2 and "no cell 'nobody'" in done.stderr
    assert math.isinf(columns(store)["sup_upper"][0])
