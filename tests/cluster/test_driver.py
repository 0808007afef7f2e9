"""The driver in one process: tiles shared out against measured whole, halving of packs, the workforce."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from hpcsweep.approx.catalogue import Catalogue
from hpcsweep.approx.supnorm import survey
from hpcsweep.approx.supnorm.tasks import Screening, shares
from hpcsweep.cluster import driver, progress, worker
from hpcsweep.cluster.checkpoints import CheckpointDir
from hpcsweep.cluster.driver import Call, Driver, Job, Step
from hpcsweep.cluster.pricing import Pricer
from hpcsweep.cluster.progress import Display
from hpcsweep.cluster.stopping import StopRequest, Stuck
from hpcsweep.cluster.sweep import Sweep
from hpcsweep.cluster.workforce import Workforce
from hpcsweep.store import layout
from hpcsweep.store.reading import opened
from hpcsweep.study import plan
from hpcsweep.study.parsing import parse
from hpcsweep.study.plan import Pack
from tests.conftest import TINY, open_store

COMPARED = ("status", "sup_lower", "sup_upper", "sup_where", "l2_error", "l1_error", "points", "certificate", "boxes")


def drive(path: Path, text: str, quantum: float) -> dict[str, np.ndarray]:
    """Run a study in this process and return its results."""
    pricer = Pricer(parse(text, Catalogue()))
    workforce = Workforce(None, [("cpu", "")])
    with contextlib.closing(open_store(path, text)) as store:
        packs = plan.make(store.cells, store.pending(), pricer)
        assert Sweep(pricer, store, workforce, Display(), CheckpointDir.beside(path), quantum).run(packs)
    workforce.close()
    with opened(path) as file:
        return {name: file[name][:] for name in COMPARED}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """The results of TINY where each pack is measured by whoever has trained it."""
    return drive(tmp_path_factory.mktemp("whole") / "s.h5", TINY, quantum=1e9)


def assert_same(results: dict[str, np.ndarray], others: dict[str, np.ndarray]) -> None:
    assert [name for name, values in others.items() if results[name].tobytes() != values.tobytes()] == []


def test_tiles_shared_out_give_the_same_bits_as_measured_whole(tmp_path: Path, whole: dict[str, np.ndarray]) -> None:
    for quantum in (1e-3, 1e-9):
        assert_same(drive(tmp_path / f"{quantum}.h5", TINY, quantum), whole)
    assert (whole["status"] == layout.DONE).all() and (whole["points"] > 2000).all()


def test_proofs_that_go_on_in_parts_give_the_same_bits_whoever_does_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a first go of 64 boxes, after which the rest is shared out."""
    monkeypatch.setattr(survey, "FIRST", 64)
    finer = TINY + "certificate = 1e-9\n"
    whole = drive(tmp_path / "whole.h5", finer, 1e9)
    assert_same(drive(tmp_path / "shared.h5", finer, 1e-9), whole)
    assert (whole["certificate"] == layout.CERTIFICATES.index("closed")).all() and (whole["boxes"] > 64).any()


def test_shares_cover_every_tile_once() -> None:
    for tiles, pieces in [(1, 5), (10, 0), (10, 3), (7, 100)]:
        cut = shares(tiles, pieces)
        assert [tile for share in cut for tile in share] == list(range(tiles))


def test_a_pack_that_raises_is_halved_until_the_culprit_stands_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when memory runs out: the cell with 20 samples and width 8, replicate 1, always raises."""
    real = worker.train_pack.__wrapped__

    def train(cells: list, *others: object) -> object:
        if any((cell.samples, cell.model["hidden"], cell.replicate) == (20, [8], 1) for cell in cells):
            raise MemoryError("too much")
        return real(cells, *others)

    monkeypatch.setattr(worker, "train_pack", worker.telling(train))
    found = drive(tmp_path / "s.h5", TINY, quantum=1e9)
    assert (found["status"] == layout.FAILED).sum() == 2  # one for each of two targets
    assert (found["status"] == layout.DONE).sum() == 16
    with opened(tmp_path / "s.h5") as file:
        assert set(file["message"][:][found["status"] == layout.FAILED]) == {b"MemoryError: too much"}


def test_a_tile_that_raises_sends_its_pack_back_in_halves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: dict[str, np.ndarray]
) -> None:
    """One tile of every measurement of more than one network raises, while the others are on their way."""
    real = worker.measure.__wrapped__

    def measure(task: object, folder: Path) -> object:
        if isinstance(task, Screening) and len(task.approximations) > 1 and task.tiles.start == 0:
            raise OSError("a bad tile")
        return real(task, folder)

    monkeypatch.setattr(worker, "measure", worker.telling(measure))
    assert_same(drive(tmp_path / "tiles.h5", TINY, quantum=1e-9), whole)


class OneStep(Job):
    """A job of one step that runs `work`; says what becomes of it."""

    def __init__(self, name: str, work: Callable[[], object], said: list[str]) -> None:
        super().__init__(Path("."), 60.0)
        self.name, self.work, self.said = name, work, said

    def others(self) -> list[Step]:
        return [Step(self)]

    def call(self, step: Step) -> Call:
        return self.work, ()

    def take(self, step: Step, result: object) -> list[Step]:
        self.said.append(f"{self.name} gave {result}")
        self.over = True
        return [Step(OneStep(f"after {self.name}", self.work, self.said))] if len(self.said) == 1 else []

    def fail(self, message: str) -> list[Step]:
        raise AssertionError(message)

    def save(self) -> None:
        self.said.append(f"{self.name} is saved")

    def leave(self) -> None:
        self.said.append(f"{self.name} is left")

    def hang(self, steps: Sequence[Step]) -> str:
        return f"{len(steps)} of {self.name}"


def test_what_comes_next_goes_before_other_jobs_and_what_is_over_is_not_begun() -> None:
    said: list[str] = []
    jobs = [OneStep(name, lambda: 1, said) for name in ("a", "b", "c", "d")]
    jobs[1].over = True
    workforce = Workforce(None, [("cpu", "")])
    Driver(workforce).run(jobs)
    workforce.close()
    assert said == ["a gave 1", "c gave 1", "after a gave 1", "d gave 1"]  # c began before the result of a was taken


def test_asked_to_stop_nothing_is_begun_and_what_waits_is_left() -> None:
    said, stop = [], StopRequest()
    workforce = Workforce(None, [("cpu", "")], stop)
    Driver(workforce).run([OneStep("a", stop.ask, said), OneStep("b", stop.ask, said)])
    workforce.close()
    assert said == ["a gave None", "after a is left", "b is left"]


def test_what_hangs_is_told_and_the_others_are_left() -> None:
    said, stop, go = [], StopRequest(), threading.Event()
    stop.before(time.time() + 2)  # of which a quarter is the margin, so that the patience is least
    with ThreadPoolExecutor(1) as others:
        workforce = Workforce(others, [("cpu", "")] * 2, stop)
        try:
            with pytest.raises(Stuck, match="2 of a"):
                Driver(workforce).run(
                    [OneStep("a", go.wait, said), OneStep("b", go.wait, said), OneStep("c", go.wait, said)]
                )
        finally:
            go.set()
        workforce.close()
    assert said == ["c is left"]


class Shown(Display):
    """Keeps what a driver shows."""

    def __init__(self) -> None:
        self.states: list[tuple[int, float | None]] = []  # cells finished, seconds to go

    def show(self, finished: int, total: int, eta: float | None, note: str) -> None:
        self.states.append((finished, eta))

    def close(self) -> None:
        pass


def test_time_to_go_is_corrected_by_what_packs_really_took(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Six cells alone in their packs, each of which is predicted to take a million seconds."""
    monkeypatch.setattr(driver, "STALL", 0.01)  # show nearly every change
    pricer, shown = Pricer(parse(TINY, Catalogue())), Shown()
    workforce = Workforce(None, [("cpu", "")])
    with contextlib.closing(open_store(tmp_path / "s.h5", TINY)) as store:
        begun = time.monotonic()
        store.predict(np.where(np.arange(len(store.status)) < 6, 1e6, np.nan))
        packs = [Pack((row,), 1e6, 0, 0.0) for row in range(6)]
        Sweep(pricer, store, workforce, shown, CheckpointDir.beside(store.path), 1e9).run(packs)
        taken = time.monotonic() - begun
    workforce.close()
    assert {eta for finished, eta in shown.states if finished == 0} <= {6e6}, "all that is known is the prediction"
    later = [(6 - finished, eta) for finished, eta in shown.states if 0 < finished < 6]
    assert len(later) >= 5
    for left, eta in later:  # as long for each as the mean of those that are finished
        assert eta is not None and 1e-5 * taken < eta / left * 6 < 6 * taken
    assert shown.states[-1] == (6, 0.0)


def test_a_workforce_is_busy_until_its_task_is_done() -> None:
    workforce, go = Workforce(None, [("cpu", "")]), threading.Event()
    future = workforce.submit(go.wait)
    assert workforce.free == 0 and workforce.arrivals(0.01) == []
    go.set()
    assert workforce.arrivals(10.0) == [future] and workforce.free == 1
    workforce.close()


def test_others_work_before_rank_0_does() -> None:
    """Three ranks: what is submitted first goes to the two others, and all are counted until they arrive."""
    go = threading.Event()
    with ThreadPoolExecutor(2, thread_name_prefix="other") as others:
        workforce = Workforce(others, [("cpu", "")] * 3)
        where = [workforce.submit(lambda: (go.wait(), threading.current_thread().name)[1]) for _ in range(3)]
        assert workforce.free == 0
        go.set()
        arrived = 0
        while arrived < 3:
            arrived += len(workforce.arrivals(10.0))
            assert workforce.free == arrived
        assert [name.result().split("_")[0] for name in where] == ["other", "other", "own-device"]
        workforce.close()


def test_lines_tell_the_last_state_whenever_it_comes(capsys: pytest.CaptureFixture[str]) -> None:
    shown = progress.display("lines", sys.stdout)
    for finished in (0, 1, 2, 5):
        shown.show(finished, 5, None if finished == 0 else 60.0, "")
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "0 of 5 cells" and printed[-1] == "5 of 5 cells"
