"""The code that the how-to pages show runs as it stands there."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import hpcsweep
from hpcsweep.approx.targets import check
from tests.conftest import finished

DOCS = Path(__file__).parents[2] / "docs"


def blocks(page: str, language: str = "python") -> list[str]:
    """Return the blocks of code of a page."""
    return re.findall(rf"^```{language}\n(.*?)^```$", (DOCS / page).read_text(), re.MULTILINE | re.DOTALL)


def test_a_network_is_measured(tmp_path: Path) -> None:
    [script] = blocks("network.md")
    done = finished([sys.executable, "-c", script], tmp_path)
    assert done.returncode == 0 and not done.stderr, done.stderr
    bracket, verdict = done.stdout.splitlines()
    lower, upper = map(float, bracket.split()[:2])
    assert 0 < lower <= upper <= 1.01 * lower and bracket.endswith("closed")
    assert verdict == ("proved" if upper <= 0.5 else "refuted")


def test_a_target_and_a_model_can_be_used(tmp_path: Path) -> None:
    target, data, model = blocks("models.md")
    (tmp_path / "my_targets.py").write_text(target)
    (tmp_path / "mine.py").write_text(model)
    grid = {"target": ["my_targets.py:Bump"], "dimension": [3], "model": ["mine.py:Fourier"], "samples": [20]}
    [cell] = hpcsweep.Study.from_dict({"title": "Own", "grid": [grid]}, tmp_path).cells()
    assert cell.parameters == 16 * 5 and cell.target["sharpness"] == 10.0
    names: dict[str, type[hpcsweep.Target]] = {}
    exec(target, names)
    assert not check(names["Bump"](3))
    compile(data, "models.md", "exec")


def test_results_are_read(finished_store: Path) -> None:
    dataset, network = blocks("results.md")
    (finished_store.parent / "results.h5").symlink_to(finished_store)
    script = dataset.replace("errors = ", "done = done.sel(cell=done['dimension'] == 1)\nerrors = ")
    done = finished([sys.executable, "-c", script], finished_store.parent)
    assert done.returncode == 0 and "replicate" not in done.stdout.partition("\n")[0], done.stderr
    assert "width" in done.stdout and "samples" in done.stdout
    compile(network, "results.md", "exec")
