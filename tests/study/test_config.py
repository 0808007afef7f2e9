"""Configurations: as attributes and as mappings they say the same; they are equal where their hashes are."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from pathlib import Path

import pytest

from hpcsweep.approx import plugins
from hpcsweep.config import OptimizerConfig, TargetConfig
from hpcsweep.errors import PluginError, StudyError

PART = {"steps": 3, "learning_rate": 0.5, "keep": "last"}


def test_the_attributes_of_a_chain_are_its_fields() -> None:
    chain = OptimizerConfig.of(
        {"name": "adam+sgd", "parts": [{"name": "adam", **PART}, {"name": "sgd", **PART, "keep": "best"}]}
    )
    assert chain.learning_rate == chain["learning_rate"] == 0.5 and chain.steps == chain["steps"] == 6
    assert chain.keep is None and "keep" not in chain
    assert dataclasses.replace(chain, label="other") == chain
    assert OptimizerConfig("adam+lbfgs", learning_rate=0.1).learning_rate == 0.1


def test_a_configuration_becomes_a_dictionary() -> None:
    config = TargetConfig("t", options={"k": [1, 2]})
    plain = dataclasses.asdict(config)
    assert plain["options"] == {"k": [1, 2]} and type(plain["options"]) is dict
    assert copy.deepcopy(config) == config == pickle.loads(pickle.dumps(config))
    with pytest.raises(TypeError):
        config.options["k"] = 3  # type: ignore[index]
    assert dataclasses.asdict(OptimizerConfig("adam+lbfgs"))["parts"][0]["steps"] == 300


def test_equal_configurations_have_equal_hashes() -> None:
    whole, real = TargetConfig("t", options={"k": 1}), TargetConfig("t", options={"k": 1.0})
    assert whole != real and len({whole, real, TargetConfig("t", options={"k": 1})}) == 2
    assert whole == {"name": "t", "k": 1}


def test_options_of_a_chain_need_parts() -> None:
    with pytest.raises(StudyError, match="give its parts"):
        OptimizerConfig("adam+lbfgs", options={"memory": 7})


@pytest.mark.parametrize("name", ["label", "code", "name"])
def test_a_parameter_that_means_something_else_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "mine.py").write_text(
        "from hpcsweep import Target\n"
        f"class Mine(Target):\n    parameters = {{{name!r}: 1}}\n    smoothness = 0\n"
        "    def __call__(self, points):\n        return points[:, 0]\n"
    )
    with pytest.raises(PluginError, match=f"parameter '{name}', which means something else"):
        plugins.complete({"name": "mine.py:Mine"}, tmp_path)
