"""What the commands say about stores: keys, brackets, what remains, and outputs that cannot be."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import time
from pathlib import Path

import h5py
import pytest

from tests.conftest import TINY, Run, command, environment, fill, open_store

ONE_CELL = (
    'title = "one"\n[[grid]]\ntarget = ["sine"]\ndimension = [1]\nwidth = [4]\nsamples = [20]\n'
    '[training]\nsteps = 40\n[sup_norm]\npoints = ["sobol"]\ncount = 300\nstarts = 0\nkinks = 0\ncertificate = "off"\n'
)


def key(path: Path) -> str:
    with h5py.File(path) as file:
        return str(file["key"][0].decode())


def test_measure_takes_beginnings_of_keys_and_says_the_old_and_the_new_bracket(hpcsweep: Run, tmp_path: Path) -> None:
    (tmp_path / "one.toml").write_text(ONE_CELL)
    assert hpcsweep("run", "one.toml", "-o", "F.h5").returncode == 0
    wrong = hpcsweep("measure", "F.h5", "--cell", "zzzz")
    assert wrong.returncode == 2 and "F.h5 has no cell 'zzzz'; its keys are" in wrong.stderr
    assert key(tmp_path / "F.h5") in wrong.stderr and wrong.stderr.count("\n") == 1
    done = hpcsweep("measure", "F.h5", "--cell", key(tmp_path / "F.h5")[:5], "--points", 4096, "--progress", "none")
    line = re.fullmatch(r"(\w{8})  \[(\S+), inf\] -> \[(\S+), (\S+)\]\n", done.stdout)
    assert done.returncode == 0 and line is not None, done.stdout + done.stderr
    with h5py.File(tmp_path / "F.h5") as file:
        bracket = [float(file[name][0]) for name in ("sup_lower", "sup_upper")]
    assert [float(line[3]), float(line[4])] == pytest.approx(bracket, rel=1e-6) and float(line[2]) <= float(line[3])
    again = hpcsweep("measure", "F.h5", "--points", 256, "--certificate", "off", "--progress", "none")
    assert "unchanged" in again.stdout


def test_an_ambiguous_beginning_is_told_with_its_keys(hpcsweep: Run, finished_store: Path) -> None:
    with h5py.File(finished_store) as file:
        keys = file["key"][:].astype(str).tolist()
    first = next(letter for letter in "0123456789abcdef" if sum(k.startswith(letter) for k in keys) > 1)
    done = hpcsweep("measure", finished_store, "--cell", first)
    assert done.returncode == 2 and f"have keys that begin with {first!r}" in done.stderr
    assert next(k for k in keys if k.startswith(first)) in done.stderr


def test_plan_says_what_remains_of_a_store(hpcsweep: Run, tiny: Path, tmp_path: Path) -> None:
    fill(tmp_path / "s.h5", TINY, slice(0, 12))
    priced = json.loads(hpcsweep("plan", tiny, "-o", "s.h5", "--json").stdout)
    assert priced["cells"] == 18 and priced["remaining"]["cells"] == 6
    assert 0 < priced["remaining"]["seconds"] < priced["seconds"]
    assert "remains  6 cells, " in hpcsweep("plan", tiny, "-o", "s.h5").stdout
    assert "there is no store new.h5 yet" in hpcsweep("plan", tiny, "-o", "new.h5").stdout
    other = hpcsweep("plan", tiny, "--set", "title=other", "-o", "s.h5")
    assert other.returncode == 2 and "contains another study ('tiny')" in other.stderr
    assert not (tmp_path / "new.h5").exists()


def test_cells_that_are_equal_to_others_are_told(hpcsweep: Run, tiny: Path) -> None:
    tiny.write_text(TINY.replace("width = [4, 8]", "width = [4, 8, 4]"))
    assert "cells    18 (8 more are equal to one of these and count once)" in hpcsweep("plan", tiny).stdout
    ran = hpcsweep("run", tiny, "-o", "s.h5", "--set", "training.steps=1", "--set", "grid.0.target=[sine]")
    assert ran.returncode == 2 and "is not a TOML value" in ran.stderr
    ran = hpcsweep("run", tiny, "-o", "s.h5", "--set", "training.steps=1")
    assert "8 of 26 cells are equal to earlier ones and run once" in ran.stderr, ran.stderr


def test_ten_million_cells_are_told_before_they_are_listed(tmp_path: Path) -> None:
    grid = 'target = ["sine"]\ndimension = [1]\nsamples = [10, 20, 30, 40]\nwidth = [4]\nreplicate = 2500000\n'
    (tmp_path / "large.toml").write_text(f'title = "large"\n[[grid]]\n{grid}')
    line = command("plan", "large.toml")
    with subprocess.Popen(line, cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True) as planning:
        assert planning.stderr is not None
        told = planning.stderr.readline()
        planning.kill()
    assert told == "10,000,000 cells: listing them takes about 170 s\n"


@pytest.mark.parametrize(
    ("output", "said"),
    [("results", "results is a folder; choose a file in it"), ("/nodir/deep/x.h5", "neither /nodir/deep nor /nodir")],
)
@pytest.mark.parametrize("name", ["run", "submit"])
def test_outputs_that_cannot_be_are_a_sentence(
    hpcsweep: Run, tiny: Path, tmp_path: Path, name: str, output: str, said: str
) -> None:
    (tmp_path / "results").mkdir()
    done = hpcsweep(name, tiny, "-o", output)
    assert done.returncode == 2 and said in done.stderr and done.stderr.count("\n") == 1
    assert not Path("/nodir").exists()


def test_elements_without_cells_are_not_counted(hpcsweep: Run, tmp_path: Path) -> None:
    (tmp_path / "one.toml").write_text(ONE_CELL)
    done = hpcsweep("submit", "one.toml", "-o", "F.h5", "--array", "2", "--cluster", "local", "--dry-run")
    assert "1 of 2 elements with something to do" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("line", ["status s.h5 --keys", "status s.h5", "plan tiny.toml", "--help"])
def test_pipes_that_close_early_are_quiet(tiny: Path, tmp_path: Path, line: str) -> None:
    fill(tmp_path / "s.h5", TINY)
    script = " ".join(command(*line.split())) + " | head -c 1 > /dev/null; echo ${PIPESTATUS[0]}"
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=environment(), capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_a_watched_store_is_redrawn_in_place_with_a_clock(tmp_path: Path) -> None:
    store = open_store(tmp_path / "s.h5", TINY)
    screen, terminal = pty.openpty()
    line, wide = command("status", "s.h5", "--watch"), {**environment(), "COLUMNS": "200"}
    watching = subprocess.Popen(line, cwd=tmp_path, env=wide, stdout=terminal, stderr=terminal)
    os.close(terminal)
    shown, until = b"", time.monotonic() + 200
    while shown.count(b"again every 5 s") < 2 and time.monotonic() < until:
        shown += os.read(screen, 4096)
    store.close()  # type: ignore[attr-defined]
    text = shown.decode()
    assert re.search(r"at \d\d:\d\d:\d\d, again every 5 s", text)
    before, after = text.split("again every 5 s")[:2]
    rows = before.count("\n") + 1
    assert f"\x1b[{rows}F\x1b[J" in after, text
    assert watching.wait(60) == 0
    os.close(screen)
