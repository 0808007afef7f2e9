"""The tutorial: all of its files and commands, in a smaller version, print what the page says, numbers aside."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import hpcsweep
from tests.conftest import environment, mpiexec

PAGE = Path(__file__).parents[2] / "docs" / "tutorial.md"
SMALLER = {  # what the page says, and what the test makes of it
    "width = [8, 16, 32]": "width = [2, 3, 4]",
    "samples = [1000]": "samples = [40]",
    "samples = [125, 250, 500, 1000, 2000]": "samples = [10, 20, 40]",
    "replicate = 3": "replicate = 2",
    "replicate = 5": "replicate = 2",
    "steps = 1000": "steps = 20",
    "below=0.01": "below=10.0",
}
SUP_NORM = "\n[sup_norm]\ncount = 512\nuniform = 0\nstarts = 8\nkinks = 16\ncertificate = 0.5\nboxes = 64\n"


def blocks() -> list[tuple[str, str]]:
    """Return language and text of the blocks of code, made smaller."""
    text = PAGE.read_text()
    for shown, smaller in SMALLER.items():
        assert text.count(shown), shown
        text = text.replace(shown, smaller)
    return re.findall(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def write(text: str, folder: Path) -> None:
    """Write the file that a block names in its first line; or change the lines that it shows, in the study."""
    study = folder / "ridge.toml"
    if text.startswith("# "):
        path = folder / text.partition("\n")[0].removeprefix("# ")
        path.write_text(text + SUP_NORM * (path == study))
        return
    for line in text.splitlines():
        changed, count = re.subn(rf"^{line.partition(' = ')[0]} = .*$", line, study.read_text(), flags=re.MULTILINE)
        assert count == 1, line
        study.write_text(changed)


def printed(commands: str, folder: Path) -> str:
    """Return what commands print, on both streams."""
    output = ""
    for line in commands.splitlines():
        words = shlex.split(line)
        if words[0] == "mpiexec":
            words[:3] = mpiexec(2)
        words = [sys.executable if word == "python" else word for word in words]
        done = subprocess.run(words, cwd=folder, env=environment(), capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, (line, done.stderr)
        output += f"{done.stdout}\n{done.stderr}\n"
    return output


def shapes(text: str) -> list[str]:
    """Return the lines of a text without its numbers, the name of this machine, and blanks."""
    text = re.sub(r"\bon \S+ with", "on HOST with", text)
    return [" ".join(re.sub(r"[-+]?\d[\d,.]*(e[-+]?\d+)?", "#", line).split()) for line in text.splitlines()]


@pytest.mark.mpi
@pytest.mark.timeout(900)  # a minute of work, in eleven processes one after the other
def test_every_block_of_the_tutorial_runs_and_prints_what_is_shown(tmp_path: Path) -> None:
    output, kinds = "", []
    for kind, text in blocks():
        kinds.append(kind)
        if kind in ("python", "toml"):
            write(text, tmp_path)
        elif kind == "sh":
            output = printed(text, tmp_path)
        else:
            assert kind == "text"
            assert not set(shapes(text)) - {"..."} - set(shapes(output)) - _table(text), (text, output)
    assert [kinds.count(kind) for kind in ("python", "toml", "sh", "text")] == [4, 2, 10, 9]
    cells = hpcsweep.read(tmp_path / "ridge.h5")
    assert (cells["status_name"] == "done").all() and cells.sizes["cell"] == 3 * 3 * 2 * 2
    assert (tmp_path / "figure.pdf").read_bytes().startswith(b"%PDF")
    assert (tmp_path / "report" / "scaling_samples.png").exists()


def _table(text: str) -> set[str]:
    """Return the shapes of lines of numbers alone, whose count depends on the study."""
    return {line for line in shapes(text) if re.fullmatch(r"(samples )?(# ?)+", line)}
