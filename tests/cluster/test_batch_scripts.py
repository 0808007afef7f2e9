"""What a user calls a store or an option can add nothing to a batch script, and the folder of the jobs is safe."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import pytest

from hpcsweep.cluster import slurm
from hpcsweep.cluster.arrays import submit
from hpcsweep.cluster.options import RunOptions
from hpcsweep.errors import LaunchError
from tests.conftest import Run


@pytest.fixture
def script(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    """Return the batch script of a store and some options; submitit looks only whether there is an srun."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "srun").touch(mode=0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")

    def write(store: str, **options: str) -> str:
        request = submit.JobRequest(elements=2, **options)  # type: ignore[arg-type]
        return submit.text(submit.prepare(tiny, tmp_path / store, request, RunOptions()))

    return write


@pytest.mark.parametrize(
    ("store", "options"),
    [
        ("s.h5", {"partition": "x'\ntouch pwned\n'"}),
        ("s.h5", {"account": "a\r"}),
        ("s.h5", {"qos": "a\x00"}),
        ("s.h5", {"mpi": "pmi2\nb"}),
        ("new\nline.h5", {}),
        ("a%j.h5", {}),
        ("a\\b.h5", {}),
    ],
)
def test_lines_and_patterns_are_refused(script: object, store: str, options: dict[str, str]) -> None:
    with pytest.raises(LaunchError, match=r"batch script|Slurm replaces"):
        script(store, **options)  # type: ignore[operator]


def test_all_else_is_quoted(script: object) -> None:
    plain = script("s.h5", partition="p", account="a")  # type: ignore[operator]
    odd = script("a b'$(id)`id`.h5", partition="$(id) 'x", account="`id`")  # type: ignore[operator]
    assert len(odd.splitlines()) == len(plain.splitlines())
    commands = [line for line in odd.splitlines() if line and not line.startswith(("#", "export"))]
    [words] = map(shlex.split, commands)
    assert (
        words[0] == "srun"
        and words[-1].endswith("a b'$(id)`id`.h5.jobs")
        and len(words) == len(shlex.split(plain.splitlines()[-1]))
    )


def test_the_folder_of_jobs_is_this_users_alone(tmp_path: Path) -> None:
    umask = os.umask(0o002)
    try:
        assert slurm.make_folder(tmp_path / "s.h5").stat().st_mode & 0o022 == 0
    finally:
        os.umask(umask)
    (tmp_path / "t.h5.jobs").symlink_to(tmp_path)
    with pytest.raises(LaunchError, match="a link or another user's"):
        slurm.make_folder(tmp_path / "t.h5")


def test_spaces_and_quotes_in_paths_work(hpcsweep: Run, tiny: Path, tmp_path: Path) -> None:
    done = hpcsweep("submit", tiny, "-o", "a b'$(touch pwned).h5", "--cluster", "local", "--array", 2)
    assert done.returncode == 0 and "18 new cells" in done.stdout, done.stderr
    assert not list(tmp_path.rglob("pwned"))
