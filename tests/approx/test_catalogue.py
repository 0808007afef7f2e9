"""The catalogue: every name of a study is answered by the room that knows it."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpcsweep.approx.catalogue import Catalogue
from hpcsweep.approx.training import optimizers
from hpcsweep.errors import PluginError


def test_targets_are_completed_and_refused() -> None:
    catalogue = Catalogue()
    assert catalogue.target({"name": "logsin"}) == {"name": "logsin", "K": 1.0}
    with pytest.raises(PluginError, match="Did you mean 'logsin'"):
        catalogue.target({"name": "logsinn"})


def test_dimensions_are_checked_by_making_the_target(tmp_path: Path) -> None:
    catalogue = Catalogue(tmp_path)
    catalogue.target_dimension({"name": "product"}, 2)
    with pytest.raises(PluginError, match="exists in dimension 2, not in 3"):
        catalogue.target_dimension({"name": "product"}, 3)
    lines = ("from hpcsweep.approx.targets import Target", "class Mine(Target):", "  smoothness = 0",
             "  def __call__(self, points): return points[:, 1]")  # fmt: skip
    (tmp_path / "mine.py").write_text("\n".join(lines))
    catalogue.target_dimension({"name": "mine.py:Mine"}, 2)
    with pytest.raises(PluginError, match="IndexError"):
        catalogue.target_dimension({"name": "mine.py:Mine"}, 1)


def test_models_are_completed_counted_and_refused() -> None:
    catalogue = Catalogue()
    model = catalogue.model({"name": "mlp", "hidden": [3, 3]})
    assert catalogue.model(model) == model
    assert catalogue.parameters(model, 2) == (2 * 3 + 3) + (3 * 3 + 3) + (3 + 1)
    with pytest.raises(PluginError):
        catalogue.model({"name": "mlp", "hidden": [3], "activation": "tanhh"})


def test_optimizers_are_refused_with_the_nearest_name() -> None:
    catalogue = Catalogue()
    for name in (*optimizers.NAMES, optimizers.DIRECT):
        catalogue.optimizer(name)
    with pytest.raises(PluginError, match="Did you mean 'adam'"):
        catalogue.optimizer("adamm")
