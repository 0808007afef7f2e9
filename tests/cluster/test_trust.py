"""What a store names is executed only for a study of the user that names it too, or if the user trusts it."""

from __future__ import annotations

from pathlib import Path

import pytest

import hpcsweep as package
from hpcsweep.store.reading import read_cells
from tests.conftest import Run

STUDY = """
title = "a store from somebody"
[[grid]]
target = ["NAME"]
dimension = [1]
width = [4]
samples = [20]
[training]
steps = 20
[sup_norm]
count = 500
certificate = "off"
"""
PLUGIN = """
import os
from pathlib import Path
open(Path(__file__).with_name("executed"), "a").write("x")
from hpcsweep import Target

class Mine(Target):
    smoothness = 0
    def __call__(self, points):
        return points[:, 0]
"""


def foreign(hpcsweep: Run, folder: Path, name: str = "mine.py:Mine") -> str:
    """Make a store whose plugin says when it is executed; return the key of its cell."""
    (folder / "study.toml").write_text(STUDY.replace("NAME", name))
    (folder / "mine.py").write_text(PLUGIN)
    assert hpcsweep("run", "study.toml", "-o", "s.h5").returncode == 0
    (folder / "executed").unlink()
    return read_cells(folder / "s.h5").cell(0).key


@pytest.mark.mpi
@pytest.mark.parametrize("ranks", [0, 2])
def test_a_stores_plugin_is_not_executed_unasked(hpcsweep: Run, tmp_path: Path, ranks: int) -> None:
    key = foreign(hpcsweep, tmp_path)
    lines = [("replay", "s.h5", key)] if not ranks else []
    for line in [("measure", "s.h5", "--points", 1000), *lines]:
        refused = hpcsweep(*line, ranks=ranks)
        assert refused.returncode == 2 and not (tmp_path / "executed").exists(), refused.stderr
        assert refused.stderr.count("\n") == 1 and str(tmp_path / "mine.py") in refused.stderr
        assert "--trust-plugins" in refused.stderr and "--study" in refused.stderr
        for allowed in (["--trust-plugins"], ["--study", "study.toml"]):
            done = hpcsweep(*line, *allowed, ranks=ranks)
            assert done.returncode in (0, 1) and "Traceback" not in done.stderr, done.stderr
            assert (tmp_path / "executed").exists(), done.stderr
            assert f"executing '{tmp_path / 'mine.py'}'" in done.stderr
            (tmp_path / "executed").unlink()


def test_a_module_that_a_store_names_is_not_imported(hpcsweep: Run, tmp_path: Path) -> None:
    key = foreign(hpcsweep, tmp_path, "mine:Mine")
    for line in (("measure", "s.h5"), ("replay", "s.h5", key)):
        refused = hpcsweep(*line)
        assert refused.returncode == 2 and str(tmp_path / "mine.py") in refused.stderr
    assert not (tmp_path / "executed").exists()


def test_a_study_vouches_for_what_it_names_with_the_same_content(hpcsweep: Run, tmp_path: Path) -> None:
    key = foreign(hpcsweep, tmp_path)
    (tmp_path / "other.toml").write_text(STUDY.replace("NAME", "sine"))
    refused = hpcsweep("replay", "s.h5", key, "--study", "other.toml")
    assert refused.returncode == 2 and "this study does not name" in refused.stderr
    assert not (tmp_path / "executed").exists()
    (tmp_path / "mine.py").write_text(PLUGIN + "# other content\n")
    refused = hpcsweep("replay", "s.h5", key, "--study", "study.toml")
    assert refused.returncode == 2 and "not with this content" in refused.stderr
    changed = hpcsweep("replay", "s.h5", key, "--trust-plugins")
    assert changed.returncode == 2 and "has changed since the study was read" in changed.stderr
    again = hpcsweep("run", "study.toml", "-o", "s.h5")
    assert again.returncode == 2 and "files of the plugin 'mine.py:Mine' have changed since" in again.stderr
    assert "another file with -o" in again.stderr


def test_a_plugin_that_is_not_there_is_not_said_to_be_executed(hpcsweep: Run, tmp_path: Path) -> None:
    key = foreign(hpcsweep, tmp_path)
    (tmp_path / "mine.py").unlink()
    for line in (("measure", "s.h5"), ("replay", "s.h5", key)):
        for allowed in ([], ["--trust-plugins"]):
            refused = hpcsweep(*line, *allowed)
            assert refused.returncode == 2 and "executing" not in refused.stderr
            assert f"There is no file '{tmp_path / 'mine.py'}'" in refused.stderr and "--folder" in refused.stderr


def test_the_python_interface_asks_too(hpcsweep: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    key = foreign(hpcsweep, tmp_path)
    with pytest.raises(package.UserError, match="trust_plugins=True"):
        package.network(tmp_path / "s.h5", key, tmp_path)
    assert not (tmp_path / "executed").exists()
    study = tmp_path / "study.toml"
    for allowed in (
        {"study": study},
        {"study": package.Study.load(study)},
        {"folder": tmp_path, "trust_plugins": True},
    ):
        capfd.readouterr()
        assert package.network(tmp_path / "s.h5", key, **allowed).key == key
        assert str(tmp_path / "mine.py") in capfd.readouterr().err
