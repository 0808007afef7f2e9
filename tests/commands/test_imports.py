"""What the commands import: those that read need neither torch nor MPI, and help next to nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import finished

LIGHT = ["--help", "run --help", "status {store}", "report {store} -o {folder}", "merge {store} {shard}"]


@pytest.mark.parametrize("arguments", LIGHT)
def test_reading_needs_neither_torch_nor_mpi(arguments: str, finished_store: Path, tmp_path: Path) -> None:
    filled = arguments.format(
        store=finished_store, folder=tmp_path / "report", shard=finished_store.with_name("copy.h5")
    )
    code = (
        "import sys, runpy\n"
        f"sys.argv = ['hpcsweep', *{filled.split()!r}]\n"
        "try:\n    runpy.run_module('hpcsweep', run_name='__main__')\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
        "heavy = {'torch', 'mpi4py', 'submitit', 'matplotlib.pyplot'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = finished([sys.executable, "-c", code], tmp_path)
    assert done.returncode == 0, done.stderr


def test_help_imports_next_to_nothing() -> None:
    """The reason for `--help` in well under half a second, told by what is imported rather than by a clock."""
    code = (
        "import sys\nimport hpcsweep.__main__\n"
        "heavy = {'numpy', 'h5py', 'pydantic', 'rich', 'torch', 'mpi4py', 'scipy', 'xarray', 'matplotlib', 'psutil',"
        " 'jinja2'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
