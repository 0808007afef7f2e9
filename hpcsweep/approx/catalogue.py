"""All names that a study may use. On top of `approx`: it looks at targets, models and optimizers alike.

The order of imports is targets < plugins < models < training < meter < catalogue. `hpcsweep.study` needs
only the methods of this class (a protocol), so that reading a study needs no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpcsweep.approx import models, plugins
from hpcsweep.approx.targets import REGISTRY
from hpcsweep.approx.training import optimizers
from hpcsweep.errors import PluginError, unknown


class Catalogue:
    """What a study is validated against before anything runs; a wrong name raises PluginError."""

    def __init__(self, folder: str | Path = ".") -> None:
        """`folder`: what the paths of plugins are relative to, usually that of the study file."""
        self.folder = Path(folder)

    def target(self, choice: Mapping[str, Any]) -> dict[str, Any]:
        """Return a target choice completed with its default parameters, in canonical form."""
        return plugins.complete(choice, self.folder)

    def target_dimension(self, choice: Mapping[str, Any], dimension: int) -> None:
        """Make the target in `dimension` variables once, so that its mistakes show before anything runs."""
        plugins.target(choice, dimension, self.folder)

    def model(self, choice: Mapping[str, Any]) -> dict[str, Any]:
        """Return a model choice completed with its defaults, in canonical form."""
        return models.resolve(choice)

    def parameters(self, model: Mapping[str, Any], dimension: int) -> int:
        """Return the number of trainable parameters of a model in `dimension` variables."""
        return models.count_parameters(model, dimension)

    def optimizer(self, name: str) -> None:
        """Raise PluginError if there is no optimizer `name`."""
        if name not in optimizers.NAMES:
            raise PluginError(unknown("optimizer", name, optimizers.NAMES))

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
    def initialisations(self) -> tuple[str, ...]:
        """The names of the initialisations."""
        return tuple(models.INITIALISATIONS)

    @property
    def optimizers(self) -> tuple[str, ...]:
        """The names of the optimizers."""
        return tuple(optimizers.NAMES)
