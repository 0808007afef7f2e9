"""Training methods: optimizers with their settings, chains of them, and what is learned."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Literal, Self, get_args

from hpcsweep.config.base import IMPLIED, Config
from hpcsweep.errors import PluginError, StudyError, unknown

Equation = Literal["none", "poisson"]
Sampling = Literal["uniform", "grid"]
Schedule = Literal["constant", "exponential", "cosine"]
Keep = Literal["best", "last"]
DIRECT = "direct"  # the method that fits at once: it has no steps, and uses none of the fields of training
WARM_UP = ("adam", 300)  # the optimizer that takes so many steps by default where another follows it
COMMON = ("steps", "batch", "loss_tolerance", "gradient_tolerance", "seconds", "keep", "loss")  # of all optimizers
RATES = ("learning_rate", "final_learning_rate", "schedule")  # of those that have a learning rate


@dataclass(frozen=True)
class Objective:
    """What a cell learns from, beside its target.

    Attributes
    ----------
    equation : "none": values at the samples. "poisson": -Laplace u = -Laplace target there, and u = target at points
        of the boundary
    boundary : how many of these; None: as dense as the samples, see `boundary_points`
    boundary_weight : lambda in mean over samples + lambda * mean over boundary points, of squared residuals
    sampling : "uniform", independent points; "grid", the midpoints of equal boxes
    layerwise : steps for each hidden layer on its own before the whole network is trained; 0: none
    resample : how often samples are added where the error is largest; 0: never (see `approx.adaptive_sampling`)
    noise : standard deviation of the Gaussian noise in the values at the samples, in units of the target; 0: none

    Raises
    ------
    PluginError : for an unknown equation or sampling
    """

    equation: Equation = "none"
    boundary: int | None = None
    boundary_weight: float = 1.0
    sampling: Sampling = "uniform"
    layerwise: int = 0
    resample: int = 0
    noise: float = 0.0

    def __post_init__(self) -> None:
        for name, allowed in (("equation", get_args(Equation)), ("sampling", get_args(Sampling))):
            if getattr(self, name) not in allowed:
                raise PluginError(unknown(f"training.{name}", getattr(self, name), allowed))

    @property
    def plain(self) -> dict[str, Any]:
        """What is not the default; what belongs to an equation only with one."""
        without = () if self.equation != "none" else ("boundary", "boundary_weight")
        given = {name: getattr(self, name) for name in OBJECTIVE if name not in without}
        return {name: value for name, value in given.items() if value != IMPLIED.get(name)}

    def boundary_points(self, samples: int, dimension: int) -> int:
        """Return how many points on the boundary go with so many samples, 0 without an equation.

        By default 2 d round(n^((d - 1) / d)): 2 in 1-D, in 2-D four times the root of the samples.
        """
        if self.equation == "none":
            return 0
        return self.boundary or 2 * dimension * round(samples ** ((dimension - 1) / dimension))

    def signals(self, dimension: int) -> int:
        """Return how many numbers of a neuron are propagated at a point: its value, for an equation its derivatives."""
        return 1 if self.equation == "none" else dimension + 2


OBJECTIVE: tuple[str, ...] = tuple(one.name for one in fields(Objective))


@dataclass(frozen=True, eq=False)
class OptimizerConfig(Config):
    """A training method: an optimizer with its settings, or a chain of them.

    `approx.training.settings.check` says whether it can be.

    Attributes
    ----------
    name : of an optimizer, or several joined by plus signs, a chain: each part begins where the one before it ended
    steps : iterations that the optimizer completes; a line search may need several evaluations for one
    batch : samples per step, drawn with replacement; None or at least the number of samples: all of them. Until
        `settled` also "full", or {"per_sample": share of the samples}
    final_learning_rate : reached after `steps` steps; needed by "exponential", 0 by default in "cosine"
    loss_tolerance : stop when the loss on all samples is at most this; 0 never stops
    gradient_tolerance : stop at the first checkpoint (64 logarithmically spaced steps) where no component of the
        gradient is larger than this times the largest at the start; 0 never stops
    seconds : training time per cell; cells that train as one batched program share the sum of theirs
    keep : "best" returns the parameters with the least loss on all samples among the checkpoints and the last ones;
        "last" the last ones, as most published experiments do
    loss : "mse", or {"p": 8} for the squared L_8 norm of the residuals (see `losses`), any even number
    options : of the optimizer itself, as the fields of its class; what is missing or None has the default there
    objective : what is learned; of a chain that of the whole
    parts : the configurations of a chain, one for each name; by default these same settings, but 300 steps for "adam"
        where it is not the last. `seconds` and tolerances of a part end that part only; the chain goes on with the
        next. Once made, the parts stand for themselves: `dataclasses.replace` of another field does not reach them.
        The fields of a chain are those in which all parts agree, None where they do not, and the sum of the steps

    Raises
    ------
    StudyError : for parts that are not those of the name; for options of a chain without parts
    """

    FIELDS: ClassVar = (*COMMON, *RATES)

    name: str = "adam"
    steps: int = 2000
    batch: int | Mapping[str, float] | Literal["full"] | None = None
    learning_rate: float = 1e-3
    final_learning_rate: float | None = None
    schedule: Schedule = "constant"
    loss_tolerance: float = 0.0
    gradient_tolerance: float = 0.0
    seconds: float | None = None
    keep: Keep = "best"
    loss: str | Mapping[str, int] = "mse"
    objective: Objective = field(default_factory=Objective)
    parts: tuple[OptimizerConfig, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        names = self.name.split("+")
        if len(names) > 1 and not self.parts:
            if self.options:
                raise StudyError(
                    f"The options of {self.name!r} belong to one optimizer each; give its parts with them."
                )
            made = (self._part(name, place < len(names) - 1) for place, name in enumerate(names))
            object.__setattr__(self, "parts", tuple(made))
        if self.parts and [part.name for part in self.parts] != names:
            raise StudyError(f"The parts of {self.name!r} must have the settings of {', '.join(names)}, in order.")
        if self.parts:
            shared = self._agreed()
            for name in self.FIELDS:
                object.__setattr__(self, name, shared.get(name))
            object.__setattr__(self, "steps", sum(part.steps for part in self.parts))

    def _part(self, name: str, followed: bool) -> OptimizerConfig:
        warm, steps = WARM_UP
        plain = replace(self, name=name, objective=Objective(), label="")
        return replace(plain, steps=steps) if followed and name == warm else plain

    @classmethod
    def of(cls, given: Mapping[str, Any], label: str = "") -> Self:
        """Return the method that consists of these fields; of a chain, its `parts` say all but the objective."""
        objective = Objective(**{name: given[name] for name in OBJECTIVE if name in given})
        objective = Objective(**objective.plain)  # what belongs to no equation is gone
        if "parts" in given:
            parts = tuple(cls.of(part) for part in given["parts"])
            return cls(given["name"], objective=objective, parts=parts, label=label)
        own = {name: value for name, value in given.items() if name not in OBJECTIVE}
        return replace(super().of(own, label), objective=objective)

    def _fields(self) -> dict[str, Any]:
        """Return the fields with their values; of a chain its parts, and beside them what they have in common."""
        if not self.parts:
            return {**super()._fields(), **self.objective.plain}
        parts = [part.plain for part in self.parts]
        return {**self._agreed(), "steps": self.steps, "name": self.name, **self.objective.plain, "parts": parts}

    def _agreed(self) -> dict[str, Any]:
        """Return the fields that all parts of a chain have, with one value."""
        first, *others = (part.plain for part in self.parts)
        return {
            name: value for name, value in first.items() if all(name in part and part[name] == value for part in others)
        }

    @property
    def chain(self) -> tuple[OptimizerConfig, ...]:
        """The parts, or this one alone where there is only one."""
        return self.parts or (self,)

    @property
    def power(self) -> int:
        """The power of the residuals in the loss: 2 for the mean square. StudyError if it is no even number."""
        if self.loss == "mse":
            return 2
        power = self.loss.get("p") if isinstance(self.loss, Mapping) and len(self.loss) == 1 else None
        if not isinstance(power, int) or isinstance(power, bool) or power < 2 or power % 2:
            raise StudyError(f'training.loss must be "mse" or {{ p = an even number }}, not {self.loss!r}.')
        return power

    def settled(self, samples: int) -> OptimizerConfig:
        """Return the method for so many samples: each batch a count, None for all of them."""
        if self.parts:
            return replace(self, parts=tuple(part.settled(samples) for part in self.parts))
        share = self.batch["per_sample"] if isinstance(self.batch, Mapping) else None
        count = self.batch if share is None else math.ceil(share * samples)
        return replace(self, batch=count if isinstance(count, int) and count < samples else None)

    def minibatch(self, samples: int) -> int | None:
        """Return the batch size when it is smaller than the number of samples, else None: all samples each step."""
        return self.batch if isinstance(self.batch, int) and self.batch < samples else None
