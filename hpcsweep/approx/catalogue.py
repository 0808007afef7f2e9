"""All names that a study may use. On top of `approx`: it looks at targets, models and optimizers alike.

The order of imports is targets < plugins < models < supnorm < training < catalogue. `hpcsweep.study.parsing` needs
only the methods of this class (a protocol), so that reading a study needs no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpcsweep.approx import models, plugins
from hpcsweep.approx.targets.data import Data
from hpcsweep.approx.training import optimizers
from hpcsweep.approx.training.batched.general import check_compatible
from hpcsweep.approx.training.settings import check
from hpcsweep.approx.training.strategies import objectives
from hpcsweep.config import RATES, ModelConfig, OptimizerConfig, TargetConfig
from hpcsweep.config.methods import WARM_UP
from hpcsweep.errors import PluginError

LONGEST_ABOUT = 200  # letters


class Catalogue:
    """What a study is validated against before anything runs; a wrong name raises PluginError."""

    def __init__(self, folder: str | Path = ".") -> None:
        """`folder`: what the paths of plugins are relative to, usually that of the study file."""
        self.folder = Path(folder)

    def target(self, given: Mapping[str, Any]) -> TargetConfig:
        """Return a target, completed with its default parameters."""
        return plugins.complete(given, self.folder)

    def target_dimension(
        self, target: TargetConfig, dimension: int, precision: str = "float64", searched: bool = False
    ) -> tuple[float, tuple[tuple[float, float], ...], str]:
        """Make the target in `dimension` variables once, so that its mistakes show before anything runs.

        Returns its smoothness, its domain, and the first line of its docstring: what is known of it beside its values.
        `searched`: whether the largest error is searched for along gradients.
        """
        function = plugins.target(target, dimension, self.folder, precision)
        verdict = plugins.examined(target, dimension, self.folder, precision)
        if searched and verdict is not None and verdict.slopes:
            raise PluginError(
                f"target {target['name']!r} cannot be differentiated, as the search for the largest error asks for: "
                f"{verdict.slopes}. Write it in operations of torch, or set starts = 0 and kinks = 0 in [sup_norm]."
            )
        domain = tuple((float(low), float(high)) for low, high in function.domain)
        about = function.about if isinstance(function, Data) else _about(plugins.find(target["name"], self.folder))
        return float(function.smoothness), domain, about

    def model(self, given: Mapping[str, Any]) -> ModelConfig:
        """Return a model, completed with its defaults."""
        return models.resolve(given, self.folder)

    def parameters(self, model: ModelConfig, dimension: int) -> int:
        """Return the number of trainable parameters of a model in `dimension` variables."""
        return models.count_parameters(model, dimension, self.folder)

    def sized(self, model: ModelConfig, dimension: int, samples: int) -> ModelConfig:
        """Return a model for so many samples. PluginError where there is none."""
        return models.sized(model, dimension, samples)

    def check_compatible(self, model: ModelConfig, dimension: int, optimizer: str) -> None:
        """Raise StudyError if an optimizer, or one of a chain, asks for what a `sized` model cannot give."""
        check_compatible(models.make(model.network, dimension, [(-1.0, 1.0)] * dimension, self.folder), optimizer)

    def optimizer(self, name: str) -> list[dict[str, Any]]:
        """Return the parts of a chain: their names and the fields that they use, with their own defaults.

        None stands for the default of all optimizers; "steps" is there where a part has a number of steps of its own,
        as a warm-up before another. Raises PluginError for a name that does not exist.
        """
        names = name.split("+")
        parts = [{"name": part, **optimizers.defaults(part)} for part in names]
        for part in parts:
            if optimizers.needs(part["name"]).rate:
                part |= dict.fromkeys(RATES)
        warm, steps = WARM_UP
        for part in parts[:-1]:
            part |= {"steps": steps} if part["name"] == warm else {}
        return parts

    def training(self, method: OptimizerConfig) -> None:
        """Raise StudyError or PluginError if a training method cannot be."""
        check(method)

    def objective(
        self, method: OptimizerConfig, target: TargetConfig, model: ModelConfig, dimension: int, samples: int
    ) -> None:
        """Raise StudyError if a target or a model does not suit an objective; see `objectives.check_compatible`."""
        function = plugins.unchecked(target, dimension, self.folder)
        network = models.make(model, dimension, function.domain, self.folder)
        objectives.check_compatible(method, network, function, samples)
        verdict = plugins.examined(target, dimension, self.folder)
        if method.objective.equation != "none" and verdict is not None and verdict.curvature:
            raise PluginError(
                f"target {target['name']!r} has no second derivatives, which training.equation asks for: "
                f"{verdict.curvature}. Write it in operations of torch."
            )

    @property
    def options(self) -> Mapping[str, Any]:
        """The options of all optimizers, by their names, with their types."""
        return optimizers.options()


def _about(kind: type) -> str:
    """Return the first line of the docstring of a target's class."""
    line = (kind.__doc__ or "").strip().partition("\n")[0]
    if line.startswith(f"{kind.__name__}("):  # what a dataclass says where nobody has said anything
        return ""
    return line if len(line) <= LONGEST_ABOUT else f"{line[:LONGEST_ABOUT]} …"
