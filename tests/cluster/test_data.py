"""The study of docs/data.md, from its file to its page, and what the other commands say of data."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import hpcsweep as package
from scripts.fault_matrix.stored import by_key
from tests.cluster.launches import assert_same
from tests.conftest import Run

PAGE = (Path(__file__).parents[2] / "docs" / "data.md").read_text()
[STUDY] = re.findall(r"```toml\n(title.*?)```", PAGE, re.DOTALL)
[WRITER] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
MIXED = """
[[grid]]
target = ["exp_cos"]
dimension = [1]
width = 4
samples = [10]
"""
FAST = "\n[sup_norm]\ncount = 1024\nuniform = 0\nstarts = 8\nkinks = 8\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the study of the page and its data."""
    monkeypatch.chdir(tmp_path)
    exec(compile(WRITER, "docs/data.md", "exec"), {})
    (tmp_path / "study.toml").write_text(STUDY)
    assert (tmp_path / "measurements.csv").read_text().startswith("x,y,u\n")
    return tmp_path


@pytest.mark.mpi
def test_a_study_of_data_from_its_file_to_its_page(hpcsweep: Run, folder: Path) -> None:
    for ranks in (0, 2):
        done = hpcsweep("run", "study.toml", "-o", f"{ranks}.h5", ranks=ranks)
        assert done.returncode == 0 and "0 failed" not in done.stdout, done.stderr
    assert_same(folder / "0.h5", folder / "2.h5")
    cells = package.read(folder / "0.h5")
    assert (cells["status_name"] == "done").all() and np.isinf(cells["sup_upper"]).all()
    assert set(cells["message"].values) == {
        "The error is the maximum over 80 held-out rows of the data, not over the domain."
    }
    many, few = (cells["sup_lower"].values[cells["samples"] == count] for count in (320, 20))
    assert np.median(many) < 0.3 * np.median(few)
    key = str(cells["key"].values[0])
    replayed = hpcsweep("replay", "0.h5", key)
    assert replayed.returncode == 0 and "differs" not in replayed.stdout, replayed.stdout + replayed.stderr
    network = package.network("0.h5", key)
    places = network.target.rows.places  # type: ignore[attr-defined]
    assert network.domain == tuple(zip(places.min(0).tolist(), places.max(0).tolist(), strict=True))
    assert hpcsweep("report", "0.h5", "-o", "page").returncode == 0
    page = (folder / "page" / "index.html").read_text()
    assert "“u of measurements.csv” is known only at the rows of a data file" in page
    assert "smallest maximum over held-out rows" in page
    assert "80 of 400 rows held out" in page and "drawn from the rows of the data that are not held out" in page
    assert "How sure" not in page and "gap between" not in page and "proved to the requested gap" not in page


def test_data_and_functions_in_one_study(hpcsweep: Run, folder: Path) -> None:
    small = STUDY.replace("[20, 80, 320]", "[20]").replace("replicate = 3", "replicate = 1")
    grid, sections = small.split("[training]")
    (folder / "both.toml").write_text(f"{grid}{MIXED}[training]{sections}{FAST}")
    assert hpcsweep("run", "both.toml", "-o", "both.h5").returncode == 0
    before = by_key(folder / "both.h5")
    known = package.read("both.h5")
    data = (known["target"] == "u of measurements.csv").values
    assert 0 < data.sum() < len(data) and np.isfinite(known["sup_upper"].values[~data]).all()
    keys = known["key"].values.astype(str)
    again = hpcsweep("measure", "both.h5", "--points", "2^12")
    assert again.returncode == 0 and f"{data.sum()} cell(s) of" in again.stderr, again.stderr
    after = by_key(folder / "both.h5")
    assert all((before[key] == after[key]) == of_data for key, of_data in zip(keys, data, strict=True))
    alone = hpcsweep("verify", "both.h5", keys[data][0])
    assert alone.returncode == 0 and "no function to prove anything against" in alone.stdout, alone.stdout
    assert hpcsweep("report", "both.h5", "-o", "page").returncode == 0
    page = (folder / "page" / "index.html").read_text()
    assert "How sure." in page and "Held-out data." in page


def test_a_changed_file_is_refused_with_both_digests_and_a_moved_one_is_not(hpcsweep: Run, folder: Path) -> None:
    small = STUDY.replace("[20, 80, 320]", "[20]").replace("replicate = 3", "replicate = 1")
    (folder / "study.toml").write_text(small)
    assert hpcsweep("run", "study.toml", "-o", "s.h5").returncode == 0
    key = str(package.read("s.h5")["key"].values[0])
    data = folder / "measurements.csv"
    original = data.read_text()
    head, first, *rows = original.splitlines()
    data.write_text("\n".join([head, *rows, first]))  # other text, the same rows
    again = hpcsweep("run", "study.toml", "-o", "s.h5")
    assert again.returncode == 0 and "2 done" in again.stdout, again.stderr
    data.write_text("\n".join([head, *rows]))
    digests = (
        r"SHA-256 digest of (its rows|the rows of measurements\.csv) was ([0-9a-f]{16})… and is ([0-9a-f]{16})… now"
    )
    for command in (("run", "study.toml", "-o", "s.h5"), ("replay", "s.h5", key)):
        refused = hpcsweep(*command)
        assert refused.returncode == 2 and re.search(digests, refused.stderr), refused.stderr
        assert len(refused.stderr.strip().splitlines()) == 1
    data.unlink()
    for command in (("run", "study.toml", "-o", "s.h5"), ("replay", "s.h5", key), ("plan", "study.toml")):
        refused = hpcsweep(*command)
        assert refused.returncode == 2 and "cannot be read on" in refused.stderr
        assert len(refused.stderr.strip().splitlines()) == 1
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere" / "m.csv").write_text(original)
    (folder / "study.toml").write_text(small.replace('"measurements.csv"', '"elsewhere/m.csv", label = "u of m"'))
    moved = hpcsweep("run", "study.toml", "-o", "s.h5")
    assert moved.returncode == 0 and "2 done" in moved.stdout, moved.stderr
    assert hpcsweep("replay", "s.h5", key).returncode == 0  # the store knows where the file is now
    refused = hpcsweep("measure", "s.h5")
    assert refused.returncode == 2 and "2 cell(s) of" in refused.stderr and "held-out rows already" in refused.stderr
