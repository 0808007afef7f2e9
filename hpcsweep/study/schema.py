"""The tables of a study file: keys, types, limits, defaults and meanings. `hpcsweep.study.parsing` puts them together.

The defaults of models and of training are those of `hpcsweep.config`; the others stand here. The reference page of the
documentation is generated from this file.
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

    name: str = Field(
        default=ModelConfig.name,
        description='family of approximants: mlp for perceptrons, or a class of your own such as "mine.py:Fourier"',
    )
    width: PositiveInt = Field(default=16, description="number of neurons of every hidden layer")
    depth: ListedInt = Field(default=2, description="number of hidden layers")
    hidden: list[PositiveInt] | None = Field(
        default=None, description="the widths of the hidden layers, instead of width and depth"
    )
    activation: str = Field(default=ModelConfig.activation, description="function of the hidden neurons")
    initialisation: str = Field(
        default=ModelConfig.initialisation,
        description="distribution of the initial parameters",
    )
    scale: PositiveFloat | None = Field(
        default=ModelConfig.scale, description="standard deviation of the initialisation normal, which requires it"
    )
    standardise: bool | None = Field(
        default=None,
        description="whether inputs are first mapped to mean 0 and variance 1, for points uniform on the domain; by "
        "default true for data and false for functions",
    )
    stages: ListedInt = Field(
        default=ModelConfig.stages,
        description="number of networks that are added, each fitted to the residual of the previous ones",
    )
    order: PositiveInt | None = Field(default=None, description="of the hyperbolic cross of legendre")
    degree: PositiveInt | None = Field(default=None, description="of spline: 1, 3 or 5")


class TrainingSection(Section):
    """`[training]`, and `[training.NAME]` for one optimizer; each field may also be an axis of a grid.

    Options that belong to some optimizers are added by `training_section`.
    """

    steps: PositiveInt = Field(default=OptimizerConfig.steps, description="number of iterations of the optimizer")
    batch: Annotated[Any, AfterValidator(_batch)] = Field(
        default="full",
        description='samples per step: `"full"`, a number, or `{ per_sample = 0.2 }`, a fraction of the samples',
    )
    learning_rate: PositiveFloat = Field(
        default=OptimizerConfig.learning_rate, description="of the optimizers that have one, at the first step"
    )
    final_learning_rate: PositiveFloat | None = Field(
        default=OptimizerConfig.final_learning_rate,
        description="learning rate at the last step; exponential requires it, cosine ends at 0 without it",
    )
    schedule: Schedule = Field(
        default=OptimizerConfig.schedule, description="how the learning rate changes during the training"
    )
    loss_tolerance: NotNegative = Field(
        default=OptimizerConfig.loss_tolerance,
        description="the training ends when the loss on all samples is at most this; 0: never",
    )
    gradient_tolerance: NotNegative = Field(
        default=OptimizerConfig.gradient_tolerance,
        description="the training ends when the largest component of the gradient is at most this times its value at "
        "the start; 0: never",
    )
    keep: Keep = Field(
        default=OptimizerConfig.keep,
        description="the returned parameters: best (the smallest loss at the steps of the history) or last",
    )
    loss: Annotated[Any, AfterValidator(_loss)] = Field(
        default=OptimizerConfig.loss,
        description='`"mse"`, or `{ p = 8 }`, the squared L_p norm of the residuals for an even p',
    )
    seconds: PositiveFloat | None = Field(
        default=OptimizerConfig.seconds,
        description="largest training time of a cell; with it, results depend on the speed",
    )
    # What is learned, of a method as a whole.
    equation: Equation = Field(
        default=Objective.equation,
        description="poisson: the network is trained to solve Poisson's equation whose solution is the target",
    )
    boundary: PositiveInt | None = Field(
        default=Objective.boundary,
        description="number of points on the boundary, with an equation; by default about as dense as the samples",
    )
    boundary_weight: PositiveFloat = Field(
        default=Objective.boundary_weight, description="factor of the boundary points in the loss, with an equation"
    )
    sampling: Sampling = Field(
        default=Objective.sampling,
        description="uniform: independent random samples; grid: the midpoints of equal boxes",
    )
    layerwise: Count = Field(
        default=Objective.layerwise,
        description="steps for each hidden layer alone before all are trained together; 0: none",
    )
    resample: Count = Field(
        default=Objective.resample, description="how many times samples are added where the error is largest; 0: never"
    )
    noise: NotNegative = Field(
        default=Objective.noise,
        description="standard deviation of Gaussian noise in the values at the samples, in units of the target; 0: "
        "none",
    )


class SupNormSection(Section):
    """`[sup_norm]`: how the error of every network of the study is measured, from below and from above."""

    points: list[PointKind] | None = Field(
        default=None, description="kinds of points for the screening; by default sobol and inflated"
    )
    count: Annotated[int, Field(gt=0, le=2**40)] | None = Field(
        default=None, description="number of points of each kind; the default depends on the dimension"
    )
    tile: Annotated[int, Field(ge=256, le=2**20)] | None = Field(
        default=None, description="number of points that are screened together; by default 8192"
    )
    seed: int = Field(default=0, description="seed of the points")
    uniform: Annotated[int, Field(ge=0, le=2**40)] = Field(
        default=2**20,
        description="number of additional independent uniform points, for comparison with other studies; 0: none",
    )
    starts: Annotated[int, Field(ge=0, le=2**24)] | None = Field(
        default=None, description="number of local ascents; 0: none; the default depends on the dimension"
    )
    kinks: Annotated[int, Field(ge=0, le=2**40)] | None = Field(
        default=None,
        description="number of points on zero sets of neurons; 0: none; the default depends on the dimension",
    )
    certificate: Annotated[Any, AfterValidator(_gap)] = Field(
        default="auto",
        description='the gap to be proved, upper / lower - 1; "auto" depends on the dimension; "off": no proof',
    )
    boxes: PositiveInt | None = Field(
        default=None, description="largest number of boxes in a proof; the default depends on the dimension"
    )
    ascent: Ascent = Field(default="lbfgs", description="the only method of ascent; older studies may name it")
    central: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        default=None, description="also measure on the central part of the domain, this fraction of each side"
    )

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
        `approx.supnorm.measurement`), not beyond, but see `measured`.
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

    def measured(self, dimension: int) -> dict[str, Any]:
        """Return what is `resolved`, and what keys do not know: whether proofs may be tried where that has none."""
        return {**self.resolved(dimension), "auto": self.certificate == "auto"}


class StoreSection(Section):
    """`[store]`: what is kept beside the results."""

    weights: bool = Field(
        default=True, description="whether trained parameters and pictures are kept, in FILE.weights.h5"
    )


class StudyFile(Section):
    """The whole file. Grids and per-optimizer tables have open keys and are checked by hand below."""

    title: Annotated[str, Field(min_length=1, max_length=200)] = Field(description="of the study and its report")
    seed: Annotated[int, Field(ge=0, lt=2**63)] = Field(default=0, description="of all random numbers of the study")
    precision: Literal["float64", "float32"] = Field(
        default="float64", description="of training; errors are measured in float64"
    )
    grid: Annotated[list[dict[str, Any]], Field(min_length=1)] = Field(
        description="one or more tables `[[grid]]`, whose cells are combined"
    )
    model: ModelSection = Field(default=ModelSection(), description="table")
    training: dict[str, Any] = Field(default={}, description="table")
    sup_norm: SupNormSection = Field(default=SupNormSection(), description="table")
    store: StoreSection = Field(default=StoreSection(), description="table")


GRID = {  # the axes that belong to no other table, with their meanings
    "target": 'names of targets, or tables such as `{ name = "logsin", K = 10 }`; required',
    "dimension": "numbers of inputs; required",
    "model": "names of families, or tables with fields of `[model]`; by default that of `[model]`",
    "samples": "numbers of training samples, or `{ per_parameter = 0.5 }`, times the number of parameters; required",
    "optimizer": "names of training methods or chains, or tables with fields of `[training]`; by default adam",
    "replicate": "number of repetitions with other random numbers, or a list of their numbers; by default 1",
}
MODEL_AXES = tuple(ModelSection.model_fields)
OTHER_AXES = (*GRID, *MODEL_AXES[1:])


def training_section(options: Mapping[str, Any]) -> type[TrainingSection]:
    """Return `[training]` with the options of optimizers, by name and type: None is the default of the optimizer.

    One that does not use an option ignores it.
    """
    return _training_section(tuple(options.items()))


@cache
def _training_section(options: tuple[tuple[str, Any], ...]) -> type[TrainingSection]:
    fields: dict[str, Any] = {name: (kind | None, None) for name, kind in options}
    return create_model("TrainingSection", __base__=TrainingSection, **fields)
