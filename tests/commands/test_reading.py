"""An installation for reading alone: without torch, MPI and pydantic, stores are read, and all else is a sentence."""

from __future__ import annotations

import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest
import xarray

import hpcsweep
from hpcsweep.__main__ import RUN_EXTRA, commands
from hpcsweep.findings.report import report
from hpcsweep.store import status
from tests.conftest import TINY, environment, fill

ROOT = Path(__file__).parents[2]
HOOK = """
import runpy, sys
class Forbidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {forbidden!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Forbidden())
sys.argv = {arguments!r}
runpy.run_{kind}(sys.argv[0], run_name="__main__")
"""
READING = {
    "status": ["status s.h5", "status s.h5 --keys", "status s.h5 --verify", "status s.h5 --check --json"],
    "report": ["report s.h5 -o page", "report s.h5 --export t.csv"],
    "merge": ["merge new.h5 s.h5", "merge s.h5 copy.h5"],
}
ASKING = {
    "run": "tiny.toml",
    "plan": "tiny.toml --set training.steps=3",
    "submit": "tiny.toml",
    "measure": "s.h5",
    "replay": "s.h5 a",
    "verify": "s.h5",
    "check": "sine",
    "targets": "",
    "methods": "",
    "activations": "",
}


def light(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command, or a script, where nothing can be imported that the extra `run` installs."""
    kind = "path" if arguments[0].endswith(".py") else "module"
    words = list(arguments) if kind == "path" else ["hpcsweep", *arguments]
    code = HOOK.format(forbidden={*RUN_EXTRA, "flint", "cloudpickle"}, arguments=words, kind=kind)
    line = [sys.executable, "-c", code]
    return subprocess.run(line, cwd=folder, env=environment(), capture_output=True, text=True, timeout=240)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("light")
    (folder / "tiny.toml").write_text(TINY)
    for name in ("s.h5", "copy.h5"):
        fill(folder / name, TINY)
    return folder


@pytest.mark.parametrize("line", [line for lines in READING.values() for line in lines])
def test_stores_are_read(folder: Path, line: str) -> None:
    done = light(folder, *line.split())
    assert done.returncode == 0 and done.stdout and "Traceback" not in done.stderr, done.stderr


@pytest.mark.parametrize("name", ["glitches", "medians", "optimizer_race", "scaling_laws"])
def test_scripts_of_analysis_work(folder: Path, name: str) -> None:
    done = light(folder, str(ROOT / "analysis" / f"{name}.py"), "s.h5")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ASKING)
def test_other_commands_say_what_to_install(folder: Path, name: str) -> None:
    done = light(folder, name, *ASKING[name].split())
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stdout + done.stderr
    assert f"`{name}` requires " in done.stderr and "pip install 'hpcsweep[run]'" in done.stderr


def test_every_command_reads_or_says_so() -> None:
    assert set(commands.commands) == {*READING, *ASKING, "doctor"}


def test_what_is_forbidden_here_is_what_the_extra_installs() -> None:
    settings = ConfigParser()
    settings.read(ROOT / "setup.cfg")

    def packages(text: str) -> set[str]:
        return {line.partition(">")[0] for line in text.split("\n") if line and not line.startswith("#")}

    assert packages(settings["options.extras_require"]["run"]) <= set(RUN_EXTRA)
    assert not packages(settings["options"]["install_requires"]) & set(RUN_EXTRA)


def test_xarray_and_hpcsweep_read_one_file_in_one_process(folder: Path, tmp_path: Path) -> None:
    """HDF5 refuses to open a file twice with and without locking."""
    with xarray.open_dataset(folder / "s.h5") as opened:
        assert hpcsweep.read(folder / "s.h5").sizes["cell"] == opened.sizes["cell"] == 18
        assert status.summary(folder / "s.h5")["done"] == 18
        report.write(folder / "s.h5", tmp_path / "report")
    read = hpcsweep.read(folder / "s.h5")
    with xarray.open_dataset(folder / "s.h5") as opened:
        assert (read["sup_lower"].values == opened["sup_lower"].values).all()
