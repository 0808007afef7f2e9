"""A user's mistakes at the command line: one sentence, exit code 2, nothing written or lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Run

MISTAKES = {
    "axis": (("width =", "wdith ="), "Did you mean 'width'?"),
    "target": (('"logsin"', '"logsine"'), "Did you mean 'logsin'?"),
    "width": (("width = [4, 8]", "width = [-4]"), "grid[0].width"),
    "memory": (("width = [4, 8]", "width = [300000]"), "lower width or samples"),
}


@pytest.mark.parametrize("name", MISTAKES)
@pytest.mark.parametrize("ranks", [0, pytest.param(2, marks=pytest.mark.mpi)])
def test_a_mistake_in_the_study_is_a_sentence_and_2(hpcsweep: Run, tiny: Path, name: str, ranks: int) -> None:
    change, expected = MISTAKES[name]
    text = tiny.read_text().replace("depth = 1", "depth = 3") if name == "memory" else tiny.read_text()
    tiny.write_text(text.replace(*change))
    done = hpcsweep("run", tiny, "-o", "s.h5", ranks=ranks)
    assert done.returncode == 2
    assert expected in done.stderr and "Traceback" not in done.stderr
    if not ranks:
        assert len(done.stderr.strip().splitlines()) == 1
    assert not list(tiny.parent.glob("s*.h5*")), "something was written"


def test_a_mistake_about_the_output_is_a_sentence_and_2(hpcsweep: Run, tiny: Path, tmp_path: Path) -> None:
    unwritable = hpcsweep("run", tiny, "-o", tiny / "s.h5")
    assert unwritable.returncode == 2 and "cannot be made" in unwritable.stderr
    assert hpcsweep("run", tiny, "-o", "s.h5").returncode == 0
    before = (tmp_path / "s.h5").read_bytes()
    tiny.write_text(tiny.read_text().replace("steps = 40", "steps = 41"))
    another = hpcsweep("run", tiny, "-o", "s.h5")
    assert another.returncode == 2 and "training.steps is 40 there and 41 here" in another.stderr
    assert (tmp_path / "s.h5").read_bytes() == before
    missing = hpcsweep("run", "none.toml")
    assert missing.returncode == 2 and "none.toml" in missing.stderr
