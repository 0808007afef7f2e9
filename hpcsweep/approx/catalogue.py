"""All names that a study may use. On top of `approx`: it looks at targets, models and optimizers alike.

The order of imports is targets < plugins < models < supnorm < training < catalogue. `hpcsweep.study.parsing` needs
only the methods of this class (a protocol), so that reading a study needs no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpcsweep.approx import models, plugins
from hpcsweep.approx.targets import REGISTRY
from hpcsweep.approx.training import optimizers
from hpcsweep.approx.training.batched.general import check_compatible
from hpcsweep.approx.training.settings import WARM_UP, settings_from
from hpcsweep.approx.training.strategies import objectives

LONGEST_ABOUT = 200  # letters


class Catalogue:
    """What a study is validated against before anything runs; a wrong name raises PluginError."""

    def __init__(self, folder: str | Path = ".") -> None:
        """`folder`: what the paths of plugins are relative to, usually that of the study file."""
        self.folder = Path(folder)

    def target(self, choice: Mapping[str, Any]) -> dict[str, Any]:
        """Return a target choice completed with its default parameters, in canonical form."""
        return plugins.complete(choice, self.folder)

    def target_dimension(
        self, choice: Mapping[str, Any], dimension: int
    ) -> tuple[float, tuple[tuple[float, float], ...], str]:
        """Make the target in `dimension` variables once, so that its mistakes show before anything runs.

        Returns its smoothness, its domain, and the first line of its docstring: what is known of it beside its values.
        """
        target = plugins.target(choice, dimension, self.folder)
        return float(target.smoothness), tuple((float(low), float(high)) for low, high in target.domain), _about(target)

    def model(self, choice: Mapping[str, Any]) -> dict[str, Any]:
        """Return a model choice completed with its defaults, in canonical form."""
        return models.resolve(choice, self.folder)

    def parameters(self, model: Mapping[str, Any], dimension: int) -> int:
        """Return the number of trainable parameters of a model in `dimension` variables."""
        return models.count_parameters(model, dimension, self.folder)

    def sized(self, model: Mapping[str, Any], dimension: int, samples: int) -> dict[str, Any]:
        """Return a resolved model for so many samples. PluginError where there is none."""
        return models.sized(model, dimension, samples)

    def check_compatible(self, model: Mapping[str, Any], dimension: int, optimizer: str) -> None:
        """Raise StudyError if an optimizer, or one of a chain, asks for what a `sized` model cannot give."""
        network = {field: value for field, value in model.items() if field != "stages"}
        check_compatible(models.make(network, dimension, [(-1.0, 1.0)] * dimension, self.folder), optimizer)

    def optimizer(self, name: str) -> list[dict[str, Any]]:
        """Return the parts of a chain: their names and the fields that they use, with their own defaults.

        None stands for the default of all optimizers; "steps" is there where a part has a number of steps of its own,
        as a warm-up before another. Raises PluginError for a name that does not exist.
        """
        names = name.split("+")
        parts = [{"name": part, **optimizers.defaults(part)} for part in names]
        for part in parts:
            if optimizers.needs(part["name"]).rate:
                part |= {"learning_rate": None, "final_learning_rate": None, "schedule": None}
        warm, steps = WARM_UP
        for part in parts[:-1]:
            part |= {"steps": steps} if part["name"] == warm else {}
        return parts

    def training(self, choice: Mapping[str, Any]) -> None:
        """Raise StudyError or PluginError if a resolved choice of a training method cannot be."""
        settings_from(choice, objectives.NAMES)
        objectives.objective_from(choice)

    def objective(
        self,
        method: Mapping[str, Any],
        target: Mapping[str, Any],
        model: Mapping[str, Any],
        dimension: int,
        samples: int,
    ) -> None:
        """Raise StudyError if a target or a model does not suit an objective; see `objectives.check_compatible`."""
        wanted = plugins.target(target, dimension, self.folder)
        made = models.make(model, dimension, wanted.domain, self.folder)
        settings = settings_from(method, objectives.NAMES)
        objectives.check_compatible(objectives.objective_from(method), settings, made, wanted, samples)

    @property
    def targets(self) -> tuple[str, ...]:
        """The names of our targets."""
        return tuple(REGISTRY)

    @property
    def models(self) -> tuple[str, ...]:
        """The names of the model families."""
        return tuple(models.FAMILIES)

    @property
    def activations(self) -> tuple[str, ...]:
        """The names of the activations."""
        return tuple(models.ACTIVATIONS)

    @property
    def optimizers(self) -> tuple[str, ...]:
        """The names of the optimizers."""
        return (*optimizers.NAMES, optimizers.DIRECT)


def _about(target: object) -> str:
    """Return the first line of the docstring of a target's own class."""
    line = (type(target).__doc__ or "").strip().partition("\n")[0]
    if line.startswith(f"{type(target).__name__}("):  # what a dataclass says where nobody has said anything
        return ""
    return line if len(line) <= LONGEST_ABOUT else f"{line[:LONGEST_ABOUT]} …"
