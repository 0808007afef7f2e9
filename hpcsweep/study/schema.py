"""The tables of a study file: their keys, types, limits and defaults. `hpcsweep.study.parsing` puts them together.

The defaults of models and of training are those of `hpcsweep.config`; the others stand here.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, create_model, model_validator

from hpcsweep.config import ModelConfig, Objective, OptimizerConfig
from hpcsweep.config.limits import Count, ListedInt, NotNegative, PositiveFloat, PositiveInt
from hpcsweep.config.methods import Equation, Keep, Sampling, Schedule


class Section(BaseModel):
    """A table of the study file: unknown keys are refused, numbers are not made from strings."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


def _batch(value: object) -> object:
    """Accept a number of samples, "full", or a share of the samples."""
    share = value.get("per_sample") if isinstance(value, dict) and set(value) == {"per_sample"} else None
    if isinstance(share, int | float) and not isinstance(share, bool) and 0 < share <= 1:
        return value
    if value == "full" or (isinstance(value, int) and not isinstance(value, bool) and value > 0):
        return value
    raise ValueError('must be a number of samples, "full", or { per_sample = a fraction in (0, 1] }')


def _loss(value: object) -> object:
    """Accept "mse", or an even power of the residuals."""
    power = value.get("p") if isinstance(value, dict) and set(value) == {"p"} else None
    if isinstance(power, int) and not isinstance(power, bool) and power >= 2 and power % 2 == 0:
        return "mse" if power == 2 else value
    if value == "mse":
        return value
    raise ValueError('must be "mse" or { p = an even number }')


def _gap(value: object) -> object:
    """Accept "auto", "off", or a relative gap."""
    if value in ("auto", "off") or (isinstance(value, float) and 0 < value < 1e6):
        return value
    raise ValueError('must be "auto", "off", or the gap to be proved such as 0.01 (upper / lower - 1)')


def _removed(message: str, *names: str) -> BeforeValidator:
    """Say in `message` what replaces the values of these names, which studies could have once."""

    def check(value: object) -> object:
        if value in names:
            raise ValueError(message)
        return value

    return BeforeValidator(check)


PointKind = Annotated[
    Literal["sobol", "inflated", "grid", "uniform"],
    _removed('lattice and Kronecker points have been removed; write "sobol"', "lattice", "kronecker"),
]
Ascent = Annotated[
    Literal["lbfgs"], _removed('Newton steps have been removed; leave ascent out, or write "lbfgs"', "newton")
]


class ModelSection(Section):
    """`[model]`: what all networks share; each field may also be an axis of a grid."""

    name: str = ModelConfig.name
    width: PositiveInt = 16
    depth: ListedInt = 2
    hidden: list[PositiveInt] | None = None  # hidden widths, instead of width and depth
    activation: str = ModelConfig.activation
    initialisation: str = ModelConfig.initialisation
    scale: PositiveFloat | None = ModelConfig.scale  # standard deviation of the "normal" initialisation
    standardise: bool | None = None  # of data yes, of functions no
    stages: ListedInt = ModelConfig.stages  # networks added up, each trained on what the others left
    order: PositiveInt | None = None  # of the hyperbolic cross of "legendre"
    degree: PositiveInt | None = None  # of "spline": 1, 3 or 5


class TrainingSection(Section):
    """`[training]`, and `[training.NAME]` for one optimizer; each field may also be an axis of a grid.

    Options that belong to some optimizers are added by `training_section`.
    """

    steps: PositiveInt = OptimizerConfig.steps
    batch: Annotated[Any, AfterValidator(_batch)] = "full"
    learning_rate: PositiveFloat = OptimizerConfig.learning_rate
    final_learning_rate: PositiveFloat | None = OptimizerConfig.final_learning_rate
    schedule: Schedule = OptimizerConfig.schedule
    loss_tolerance: NotNegative = OptimizerConfig.loss_tolerance
    gradient_tolerance: NotNegative = OptimizerConfig.gradient_tolerance
    keep: Keep = OptimizerConfig.keep
    loss: Annotated[Any, AfterValidator(_loss)] = OptimizerConfig.loss
    seconds: PositiveFloat | None = OptimizerConfig.seconds
    # What is learned, of a method as a whole.
    equation: Equation = Objective.equation
    boundary: PositiveInt | None = Objective.boundary  # points there, with an equation; None: as dense as the samples
    boundary_weight: PositiveFloat = Objective.boundary_weight
    sampling: Sampling = Objective.sampling
    layerwise: Count = Objective.layerwise  # steps for each hidden layer alone before all; 0: none
    resample: Count = Objective.resample  # how often samples are added where the error is largest
    noise: NotNegative = Objective.noise  # standard deviation, in the values at the samples


class SupNormSection(Section):
    """`[sup_norm]`: how the error of every network of the study is measured, from below and from above."""

    points: list[PointKind] | None = None  # sobol and inflated
    count: Annotated[int, Field(gt=0, le=2**40)] | None = None  # of each kind
    tile: Annotated[int, Field(ge=256, le=2**20)] | None = None  # points screened at once; 8192
    seed: int = 0
    uniform: Annotated[int, Field(ge=0, le=2**40)] = 2**20  # independent points beside, as most studies use; 0: none
    starts: Annotated[int, Field(ge=0, le=2**24)] | None = None  # of the local ascents; 0: none
    kinks: Annotated[int, Field(ge=0, le=2**40)] | None = None  # points on zero sets of neurons; 0: none
    certificate: Annotated[Any, AfterValidator(_gap)] = "auto"  # upper / lower - 1 to be proved
    boxes: PositiveInt | None = None  # of the proof, at most
    ascent: Ascent = "lbfgs"  # the only one; older studies may name it
    central: Annotated[float, Field(gt=0, lt=1)] | None = None  # share of each side that is measured apart as well

    @model_validator(mode="after")
    def _some_points(self) -> Self:
        if self.points is not None and (not self.points or len(set(self.points)) < len(self.points)):
            raise ValueError("must name at least one kind of points, and each kind once")
        if self.points is not None and self.points[0] == "inflated":
            raise ValueError('must begin with another kind than "inflated": means are taken over the first')
        return self

    def resolved(self, dimension: int) -> dict[str, Any]:
        """Return all of it in so many dimensions: the measured rules fill in what the study leaves open.

        About 2^(14 + d) evaluations screen, three eighths of that climb, an eighth looks at kinks. A certificate is
        tried where it usually closes: to 1e-6 in 1-D, 1 % up to 4-D, 10 % in 5-D and 6-D (of narrow networks, see
        `approx.supnorm.survey`), not beyond.
        """
        budget = 2 ** min(max(14 + dimension, 15), 24)
        kinds = self.points or ["sobol", "inflated"]
        auto = 1e-6 if dimension == 1 else 0.01 if dimension <= 4 else 0.1 if dimension <= 6 else None
        return {
            "kinds": tuple(kinds),
            "count": self.count or budget // 2,
            "tile": self.tile,
            "seed": self.seed,
            "uniform": self.uniform,
            "starts": budget // 256 if self.starts is None else self.starts,
            "kinks": budget // 64 if self.kinks is None else self.kinks,
            "gap": {"auto": auto, "off": None}.get(str(self.certificate), self.certificate),
            "always": self.certificate not in ("auto", "off"),
            "boxes": self.boxes or (2**18 if dimension <= 4 else 2**20),
            # A later choice is left out where it has its default: older keys stay what they were.
            **({"central": self.central} if self.central is not None else {}),
        }


class StoreSection(Section):
    """`[store]`: what is kept beside the results."""

    weights: bool = True  # trained parameters and one-dimensional slices, in FILE.weights.h5


class StudyFile(Section):
    """The whole file. Grids and per-optimizer tables have open keys and are checked by hand below."""

    title: Annotated[str, Field(min_length=1, max_length=200)]
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    precision: Literal["float64", "float32"] = "float64"
    grid: Annotated[list[dict[str, Any]], Field(min_length=1)]
    model: ModelSection = ModelSection()
    training: dict[str, Any] = {}
    sup_norm: SupNormSection = SupNormSection()
    store: StoreSection = StoreSection()


MODEL_AXES = tuple(ModelSection.model_fields)
OTHER_AXES = ("target", "dimension", "model", "samples", "optimizer", "replicate", *MODEL_AXES[1:])


def training_section(options: Mapping[str, Any]) -> type[TrainingSection]:
    """Return `[training]` with the options of optimizers, by name and type: None is the default of the optimizer.

    One that does not use an option ignores it.
    """
    return _training_section(tuple(options.items()))


@cache
def _training_section(options: tuple[tuple[str, Any], ...]) -> type[TrainingSection]:
    fields: dict[str, Any] = {name: (kind | None, None) for name, kind in options}
    return create_model("TrainingSection", __base__=TrainingSection, **fields)
