"""Where compiled code is kept, and that it is compiled once."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hpcsweep.approx.kernels import cache, iteration, objective, residuals
from hpcsweep.approx.kernels.compiling import Entry
from hpcsweep.approx.kernels.updates import first_order, marquardt
from tests.approx.kernels.cases import Case, choice, iterates

# Prints how often a function was compiled rather than read.
START = """
import numpy as np
from hpcsweep.approx.kernels.updates.first_order import propose_adam
propose_adam[np.float64]
print(sum(propose_adam._compiled.stats.cache_misses.values()))
"""


@pytest.fixture
def _unknown() -> Iterator[None]:
    """Let the folder be looked for anew; but the version is that of the source as it is."""
    cache.version()
    cache.folder.cache_clear()
    yield
    cache.folder.cache_clear()


def blocked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let there be no writable folder beside the package."""
    (tmp_path / "file").touch()
    monkeypatch.setattr(cache, "__file__", str(tmp_path / "file" / "cache.py"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.delenv(cache.VARIABLE, raising=False)


def test_a_package_that_nobody_may_write_to_uses_the_user_s_cache_and_says_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, _unknown: None
) -> None:
    blocked(tmp_path, monkeypatch)
    with (
        pytest.warns(UserWarning, match="cannot be written to: compiled code is kept in .*home/hpcsweep"),
        cache.locked("f"),
    ):
        assert cache.folder().parent == tmp_path / "home" / "hpcsweep"
    with warnings.catch_warnings(), cache.locked("f"):  # what is there already is read without a word
        warnings.simplefilter("error")
        assert cache.folder().name.startswith(f"kernels-{cache.version()}")


def test_without_a_home_it_is_a_folder_of_the_user_s_own_among_temporary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, _unknown: None
) -> None:
    blocked(tmp_path, monkeypatch)
    monkeypatch.setenv("XDG_CACHE_HOME", "~nobody-of-this-name/cache")
    made = cache.folder()
    assert made.parent == tmp_path / f"hpcsweep-{os.getuid()}" and made.parent.stat().st_mode & 0o777 == 0o700
    cache.folder.cache_clear()
    other = os.getuid() + 1
    monkeypatch.setattr(os, "getuid", lambda: other)  # else somebody else's code would be run
    (tmp_path / f"hpcsweep-{os.getuid()}").mkdir()
    with pytest.raises(OSError, match=cache.VARIABLE):
        cache.folder()


def test_a_folder_may_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, _unknown: None) -> None:
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "a" / "b"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cache.folder().parent == tmp_path / "a" / "b"
    (tmp_path / "file").touch()
    cache.folder.cache_clear()
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "file"))
    with pytest.raises(OSError, match=cache.VARIABLE):
        cache.folder()


@pytest.mark.parametrize("edited", ["matrices.py", "updates/soap.py"])
def test_an_edited_source_is_another_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, edited: str) -> None:
    known, copied = cache.version(), tmp_path / "kernels"
    shutil.copytree(Path(cache.__file__).parent, copied, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(cache, "__file__", str(copied / "cache.py"))
    assert cache.version.__wrapped__() == known
    with (copied / edited).open("a") as file:
        file.write("\n")
    assert cache.version.__wrapped__() != known


def test_of_processes_that_start_at_once_one_compiles_and_later_ones_wait_for_nobody(tmp_path: Path) -> None:
    own = os.environ | {cache.VARIABLE: str(tmp_path), "TMPDIR": str(tmp_path)}
    call = [sys.executable, "-c", START]
    both = [subprocess.Popen(call, env=own, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert sum(int(one.communicate(timeout=200)[0]) for one in both) == 1
    [path] = tmp_path.glob("*.lock")
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # somebody compiles something else
        told = subprocess.run(call, env=own, capture_output=True, text=True, timeout=100, check=True)
    assert told.stdout.strip() == "0"


@pytest.mark.parametrize(
    ("name", "functions"),
    [
        ("adam", [objective.objective, iteration.advance, first_order.propose_adam]),
        ("levenberg_marquardt", [residuals.linearise, iteration.write_note, marquardt.propose_marquardt]),
    ],
)
def test_a_call_compiles_nothing(name: str, functions: list[Entry]) -> None:
    for dtype in (np.float64, np.float32):
        iterates(Case.of([3], 1, 5, dtype=dtype).method(choice(name=name)), 3)
    for one in functions:
        assert len(one._compiled.signatures) == 2
