"""A cell: one point of the grid of a study, its configurations, and the random streams that follow from them.

Random streams come from parts of the key, so that comparisons are paired: the samples depend on (seed, target,
dimension, replicate) and are nested, the initial weights on (seed, model but for its stages, dimension, replicate), the
minibatches on the whole cell. Nothing depends on pack, rank or order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

from hpcsweep.config.base import Config, stream
from hpcsweep.config.methods import OptimizerConfig

DATA = "data"  # the target that consists of rows of a file
WHERE = ("file", "inputs", "output")  # where these rows are read, which their digest makes no part of keys


@dataclass(frozen=True, eq=False)
class TargetConfig(Config):
    """A target: its parameters are the `options`.

    Attributes
    ----------
    code : digest of the source of a user's class, or of the rows of data
    """

    FIELDS: ClassVar = ("code",)

    code: str = ""

    @property
    def keyed(self) -> Mapping[str, Any]:
        """All fields, but of data their digest instead of where they are."""
        where = WHERE if self.name == DATA else ()
        return {name: value for name, value in self.plain.items() if name not in where}


@dataclass(frozen=True, eq=False)
class ModelConfig(Config):
    """A family of approximants at a fixed size; what belongs to one family alone is among the `options`.

    Attributes
    ----------
    hidden : hidden widths
    scale : standard deviation of the initialisation "normal"
    standardise : whether inputs are mapped to mean 0 and variance 1
    stages : networks added up, each trained on what the others left
    code : digest of the source of a user's class
    """

    FIELDS: ClassVar = ("hidden", "activation", "initialisation", "scale", "standardise", "stages", "code")

    name: str = "mlp"
    hidden: tuple[int, ...] = ()
    activation: str = "tanh"
    initialisation: str = "torch"
    scale: float | None = None
    standardise: bool = False
    stages: int = 1
    code: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "hidden", tuple(self.hidden))

    @cached_property
    def network(self) -> ModelConfig:
        """One of the networks that are added up."""
        return replace(self, stages=1)


@dataclass(frozen=True)
class Cell:
    """One point of the grid of a study, with everything that a worker needs to know about it; picklable."""

    key: str  # 32 hexadecimal digits
    target: TargetConfig
    dimension: int
    model: ModelConfig
    samples: int
    optimizer: OptimizerConfig
    replicate: int
    precision: str  # "float64" or "float32"
    parameters: int  # trainable ones
    seed: int  # of the study

    @property
    def data_seed(self) -> int:
        """Stream of the samples: the first 100 of 1000 are the 100-sample data set."""
        return data_seed(self.seed, self.target, self.dimension, self.replicate)

    @property
    def weight_seed(self) -> int:
        """Stream of the initial weights: the first stage of several begins like the network alone."""
        return stream(self.seed, "weights", self.model.network, self.dimension, self.replicate)

    @property
    def batch_seed(self) -> int:
        """Stream of the minibatches."""
        return stream(self.seed, "batches", self.key)


def data_seed(seed: int, target: Mapping[str, Any], dimension: int, replicate: int) -> int:
    """Return the stream of the samples of a cell: whatever its model and its method."""
    return stream(seed, "data", TargetConfig.of(target).keyed, dimension, replicate)
