"""Runs that are stopped or killed on the way: what was saved goes on to the same bits; what kills is found out."""

from __future__ import annotations

import itertools
import os
import pickle
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from hpcsweep.api import running
from hpcsweep.approx import states
from hpcsweep.approx.catalogue import Catalogue
from hpcsweep.cluster import worker
from hpcsweep.cluster.checkpoints import CheckpointDir, Saver
from hpcsweep.cluster.pricing import Pricer
from hpcsweep.cluster.stopping import StopRequest
from hpcsweep.config import Cell
from hpcsweep.store import layout
from hpcsweep.store.reading import opened
from hpcsweep.study.expansion import expand
from hpcsweep.study.parsing import parse
from tests.cluster.launches import assert_same, kill, start, stop, wait_until
from tests.conftest import Run, command, runner
from tests.forks import Forks

LONG = """
title = "longer than its runs"
[[grid]]
target = ["exp_cos"]
dimension = [1]
width = [12]
samples = [40]
replicate = 4
optimizer = ["adam+ssbroyden"]
[training.adam]
steps = 100_000
[training.ssbroyden]
steps = 600
[sup_norm]
count = 2000
uniform = 0
starts = 16
kinks = 16
"""


@pytest.fixture(scope="module")
def whole(forks: Forks, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of a run of LONG that nothing has stopped."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "long.toml").write_text(LONG)
    assert runner(folder, forks)("run", "long.toml", "-o", "whole.h5").returncode == 0
    return folder / "whole.h5"


@pytest.mark.mpi
def test_a_stopped_run_goes_on_where_it_was_to_the_same_bits(
    hpcsweep: Run, tmp_path: Path, whole: Path, forks: Forks
) -> None:
    """Stopped after a time, then by signals in its training, whichever part of the chain, once on two ranks."""
    (tmp_path / "long.toml").write_text(LONG)
    checkpoints = CheckpointDir.beside(tmp_path / "s.h5")
    assert hpcsweep("run", "long.toml", "-o", "s.h5", "--stop-after", "0.2s").returncode == 75
    for ranks in (0, 2):
        begun = time.time()
        line = command("run", "long.toml", "-o", "s.h5", ranks=ranks, python=forks.python)
        run = start(line, tmp_path, HPCSWEEP_CHECKPOINT_SECONDS="0.2")
        wait_until(lambda begun=begun: checkpoints.packs(begun), run)
        code, output = stop(run)
        assert code in (75, -signal.SIGTERM, 128 + signal.SIGTERM) and checkpoints.packs(), (code, output)
    assert hpcsweep("run", "long.toml", "-o", "s.h5").returncode == 0
    with opened(whole) as file:
        assert (file["status"][:] == layout.DONE).all() and (file["steps"][:] == 100_600).all()  # of both parts
    assert_same(tmp_path / "s.h5", whole)
    assert not checkpoints.folder.exists()


def test_a_killed_run_goes_on_from_its_last_checkpoint(hpcsweep: Run, tmp_path: Path, whole: Path) -> None:
    """And what had got on when it was killed is no suspect."""
    (tmp_path / "long.toml").write_text(LONG)
    run = start(command("run", "long.toml", "-o", "s.h5"), tmp_path, HPCSWEEP_CHECKPOINT_SECONDS="0.2")
    checkpoints = CheckpointDir.beside(tmp_path / "s.h5")
    wait_until(checkpoints.packs, run)
    kill(run)
    assert checkpoints.packs() and hpcsweep("run", "long.toml", "-o", "s.h5").returncode == 0
    assert_same(tmp_path / "s.h5", whole)
    with opened(tmp_path / "s.h5") as file:
        assert (file["attempts"][:] == 2).any() and (file["kills"][:] == 0).all()


PARTS = """
title = "trainings of several parts"
[[grid]]
target = ["exp_cos"]
dimension = [1]
width = [12]
stages = [2]
samples = [40]
replicate = 2
optimizer = ["adam"]
[[grid]]
target = ["exp_cos"]
dimension = [1]
hidden = [[12, 12]]
samples = [60]
replicate = 2
optimizer = [
    { name = "adam", layerwise = 20000, label = "layers" },
    { name = "adam", resample = 2, label = "rounds" },
]
[training]
steps = 60000
[sup_norm]
count = 500
uniform = 0
starts = 8
kinks = 0
certificate = "off"
"""


def test_trainings_of_several_parts_go_on_after_a_signal(hpcsweep: Run, tmp_path: Path, forks: Forks) -> None:
    """Told to stop as soon as something new is saved, then as soon as a first part is done, then no more."""
    (tmp_path / "parts.toml").write_text(PARTS)
    assert hpcsweep("run", "parts.toml", "-o", "whole.h5").returncode == 0
    checkpoints = CheckpointDir.beside(tmp_path / "s.h5")

    def parts_done() -> int:
        states = [Saver(checkpoints.path(keys), keys).load() for keys in checkpoints.packs()]
        return sum(len(state["done"]) for state in states if isinstance(state, dict))

    for saved in (checkpoints.packs, parts_done):
        line = command("run", "parts.toml", "-o", "s.h5", python=forks.python)
        run = start(line, tmp_path, HPCSWEEP_CHECKPOINT_SECONDS="0.05")
        wait_until(saved, run)
        code, output = stop(run)
        assert code == 75 and saved(), output
    assert hpcsweep("run", "parts.toml", "-o", "s.h5").returncode == 0
    assert_same(tmp_path / "s.h5", tmp_path / "whole.h5")


def test_a_training_of_several_parts_takes_up_its_own_state_only(tmp_path: Path) -> None:
    study = parse(PARTS.replace("000\n", "\n").replace("20000", "20"), Catalogue(tmp_path))
    table = expand(study, Catalogue(tmp_path))
    cells, measurement = [table.cell(row) for row in range(len(table))], Pricer(study).measurement
    assert len(cells) == 6

    def pack(cell: Cell, path: str, stop: StopRequest) -> worker.Trained | worker.Finished:
        saver = Saver(tmp_path / path, (cell.key,))
        return worker.train_pack([cell], measurement(cell), tmp_path, True, saver, stop)

    for number, cell in enumerate(cells):
        stop, looks = StopRequest(), itertools.count()
        stop.also_when(lambda looks=looks: next(looks) > 0)
        assert pack(cell, str(number), stop).records == [] and (tmp_path / str(number)).exists()
    for number, cell in enumerate(cells):
        fresh = pack(cell, "none", StopRequest()).records[0].parameters
        own = Saver(tmp_path / str(number), (cell.key,)).load()
        assert set(own) == {"done", "inner"}
        other = str((number + 1) % len(cells))
        assert Saver(tmp_path / other, (cell.key,)).load() is None
        assert np.array_equal(pack(cell, str(number), StopRequest()).records[0].parameters, fresh)
        assert np.array_equal(pack(cell, other, StopRequest()).records[0].parameters, fresh)


KILLER = """
import os, signal, torch
from hpcsweep.approx.targets import Target

class Deadly(Target):
    smoothness = 1

    def __call__(self, points):
        if len(points) == 77:  # as many as one cell has samples
            os.kill(os.getpid(), signal.SIGKILL)
        return points[:, 0]
"""
DEADLY = """
title = "one cell kills its process"
[[grid]]
target = ["killer.py:Deadly"]
dimension = [1]
width = [4]
samples = [20, 30, 77]
replicate = 2
[training]
steps = 20
[sup_norm]
count = 300
uniform = 0
starts = 8
kinks = 0
"""


def test_a_cell_that_kills_its_process_three_times_has_failed(hpcsweep: Run, tmp_path: Path) -> None:
    (tmp_path / "killer.py").write_text(KILLER)
    (tmp_path / "deadly.toml").write_text(DEADLY)
    codes = []
    while len(codes) < 12 and (not codes or codes[-1] not in (0, 1)):
        codes.append(hpcsweep("run", "deadly.toml", "-o", "s.h5").returncode)
    assert codes[-1] == 1 and -signal.SIGKILL in codes and len(codes) <= 8, codes
    with opened(tmp_path / "s.h5") as file:
        failed = file["status"][:] == layout.FAILED
        assert (file["samples"][:][failed] == 77).all() and failed.sum() == 2
        assert (file["status"][:][~failed] == layout.DONE).all()
        assert all(b"killed 3 times" in message for message in file["message"][:][failed])
        assert (file["kills"][:][failed] == 3).all()
    (tmp_path / "killer.py").write_text(KILLER.replace("os.kill(os.getpid(), signal.SIGKILL)", "pass"))
    assert hpcsweep("run", "deadly.toml", "-o", "s.h5", "--retry-failed").returncode in (0, 2)  # the source is new


def test_a_checkpoint_that_cannot_be_read_is_no_obstacle(tmp_path: Path) -> None:
    checkpoints = CheckpointDir.beside(tmp_path / "s.h5")
    saver = checkpoints.saver(("a", "b"))
    assert saver.load() is None and checkpoints.packs() == []
    saver.save({"step": 3})
    assert saver.load() == {"step": 3} and checkpoints.packs() == [("a", "b")]
    assert checkpoints.packs(since=time.time() + 60) == []
    assert Saver(saver.path, ("a", "c")).load() is None
    (saver.path.parent / ".half.123.new").write_bytes(b"half")
    (saver.path.parent / "broken").write_bytes(b"nonsense")
    assert checkpoints.packs() == [("a", "b")]
    for finished in ([], [b"a"], [b"b", b"c"]):
        checkpoints.sweep(np.array(finished, "S32"))
        assert saver.load() == {"step": 3}
    assert not list(checkpoints.folder.rglob("*.new"))
    content = saver.path.read_bytes()
    for damaged in (content[:-5], content.replace(b"step", b"stop", 1), b"nonsense"):
        saver.path.write_bytes(damaged)
        assert saver.load() is None
    (saver.path.parent / "broken").unlink()
    saver.save({"step": 4})
    checkpoints.sweep(np.array([b"c", b"b", b"a"], "S32"))
    assert not checkpoints.folder.exists(), "of finished cells alone"


def test_a_launch_opens_each_checkpoint_once(tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert running.run(tiny, tmp_path / "s.h5").done == 18
    checkpoints, opened_files = CheckpointDir.beside(tmp_path / "s.h5"), []
    for number in range(30):
        checkpoints.saver((f"{number:032}",)).keep({"step": number})
    about = states.about
    monkeypatch.setattr(states, "about", lambda path: opened_files.append(path) or about(path))
    assert running.run(tiny, tmp_path / "s.h5").done == 18
    assert len(opened_files) == len(set(opened_files)) == 30 and not checkpoints.packs()


class Planted:
    """A pickle that makes a folder when it is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.mark),)


def test_a_planted_checkpoint_executes_nothing(tmp_path: Path, hpcsweep: Run, tiny: Path) -> None:
    checkpoints, mark = CheckpointDir.beside(tmp_path / "s.h5"), tmp_path / "mark"
    path = checkpoints.path(("a",))
    path.parent.mkdir(parents=True, mode=0o700)
    checkpoints.folder.chmod(0o700)
    for place in (path, checkpoints.folder / "planted", path.with_name("planted")):
        place.write_bytes(pickle.dumps(Planted(mark)))
        place.chmod(0o600)
    assert Saver(path, ("a",)).load() is None and checkpoints.packs() == []
    assert hpcsweep("run", tiny, "-o", "s.h5").returncode == 0 and not mark.exists()


@pytest.mark.parametrize("mode", [0o777, 0o720, 0o702])
def test_what_others_may_have_written_is_not_taken_up(
    tmp_path: Path, mode: int, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoints = CheckpointDir.beside(tmp_path / "s.h5")
    saver = checkpoints.saver(("a",))
    saver.save({"step": 3})
    assert checkpoints.packs() == [("a",)] and saver.path.stat().st_mode & 0o777 == 0o600
    checkpoints.folder.chmod(mode)
    assert checkpoints.packs() == [] and "is not used: others than this user" in capsys.readouterr().err
    checkpoints.folder.chmod(0o700)
    saver.path.chmod(mode & 0o666)
    assert checkpoints.packs() == [] and saver.load() is None
    saver.path.chmod(0o600)
    saver.path.rename(tmp_path / "elsewhere")
    saver.path.symlink_to(tmp_path / "elsewhere")
    assert saver.load() is None


def test_a_full_disk_costs_the_checkpoint_and_not_the_pack(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    Saver(tmp_path / "file" / "x", ("a",)).save({})  # no exception
