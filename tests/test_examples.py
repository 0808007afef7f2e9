"""The examples, run as a reader runs them: what they print and write is what they say."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest

import hpcsweep
from tests.conftest import finished

EXAMPLES = Path(__file__).parents[1] / "examples"
TESTED = ("figure", "measure_network", "own_model", "own_target", "study")


def printed(name: str, folder: Path) -> str:
    """What an example prints, run from another folder than its own."""
    done = finished([sys.executable, "-W", "error::FutureWarning", EXAMPLES / f"{name}.py", folder], folder)
    assert done.returncode == 0 and not done.stderr, done.stderr
    return done.stdout


def numbers(text: str, pattern: str) -> list[float]:
    return [float(found) for found in re.findall(pattern, text)]


def test_every_example_is_short_and_tested() -> None:
    texts = {path.stem: path.read_text() for path in EXAMPLES.glob("*.py")}
    assert sorted(texts) == sorted(TESTED)
    assert max(text.count("\n") for text in texts.values()) <= 60


@pytest.mark.parametrize("name", TESTED)
def test_an_example_uses_nothing_but_the_public_names(name: str) -> None:
    text = (EXAMPLES / f"{name}.py").read_text()
    assert not re.search(r"(from|import) hpcsweep\.|from hpcsweep import", text)
    assert set(re.findall(r"hpcsweep\.(\w+)", text)) <= set(hpcsweep.__all__)


def test_own_target(tmp_path: Path) -> None:
    narrow, wide = numbers(printed("own_target", tmp_path), r"at least ([\d.]+)")
    assert 0 < wide < narrow < 1
    assert hpcsweep.read(tmp_path / "bump.h5")["target"].values.tolist() == ["own_target.py:Bump"] * 2


def test_own_model(tmp_path: Path) -> None:
    text = printed("own_model", tmp_path)
    assert "own_model.py:Waves" in text and "mlp" in text
    stored = hpcsweep.read(tmp_path / "waves.h5")
    medians = [float(np.median(stored["sup_lower"].values[stored["model"].values == model])) for model in _models(text)]
    assert numbers(text, r"at least (\S+),") == pytest.approx(medians, rel=0.01)
    waves = stored["key"].values[stored["model"].values == "own_model.py:Waves"]
    network = hpcsweep.network(tmp_path / "waves.h5", str(waves[0]), EXAMPLES, trust_plugins=True)
    assert len(network.vector) == 16 * 3


def _models(text: str) -> list[str]:
    return re.findall(r"^(\S+): sup-norm", text, re.MULTILINE)


def test_measure_network(tmp_path: Path) -> None:
    text = printed("measure_network", tmp_path)
    [seen], [lower], [upper] = (numbers(text, rf"{word} ([\d.]+)") for word in ("points:", "between", "and"))
    assert 0 < seen <= lower <= upper <= 1.06 * lower
    assert "certificate: closed" in text


def test_study(tmp_path: Path) -> None:
    text = printed("study", tmp_path)
    assert text.startswith("12 networks") and "12 of 12 cells done" in text
    [seen], [bound] = numbers(text, r"error ([\d.]+) at"), numbers(text, r"at most ([\d.]+)")
    assert seen <= bound == pytest.approx(float(hpcsweep.read(tmp_path / "study.h5")["sup_upper"].min()), abs=1e-4)


def test_figure(tmp_path: Path) -> None:
    assert printed("figure", tmp_path).split() == [str(tmp_path / "error.pdf"), str(tmp_path / "error.png")]
    assert (tmp_path / "error.pdf").read_bytes().startswith(b"%PDF")
    from matplotlib import image

    pixels = image.imread(tmp_path / "error.png")
    assert pixels.shape[:2] == (780, 1020)  # 2.6 and 3.4 inches
    colours = np.rint(pixels[::3, ::3, :3].reshape(-1, 3) * 10).astype(int).tolist()
    assert [1, 5, 7] in colours and [10, 5, 1] in colours  # both methods are drawn
