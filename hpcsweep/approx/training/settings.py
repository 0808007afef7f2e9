"""What is chosen of a training, what comes out of it, and which trainings may share a pack."""

from __future__ import annotations

import json
from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from torch import Tensor

from hpcsweep.approx.training import optimizers
from hpcsweep.approx.training.single.methods import Schedule
from hpcsweep.errors import PluginError, StudyError, unknown

SCHEDULES = ("constant", "exponential", "cosine")
KEEP = ("best", "last")
WARM_UP = ("adam", 300)  # the optimizer whose steps are so many by default where another follows it

# Choices that may differ between the cells of one pack; all others are one number for the pack.
_OF_A_CELL = ("learning_rate", "final_learning_rate", "loss_tolerance", "gradient_tolerance")


@dataclass(frozen=True)
class Settings:
    """The training choices of one cell.

    Attributes
    ----------
    optimizer : a name, or several joined by plus signs, a chain: each part begins where the one before it ended
    steps : iterations that the optimizer completes; a line search may need several evaluations for one
    batch : samples per step, drawn with replacement; None or at least the number of samples: all of them
    final_learning_rate : reached after `steps` steps; needed by "exponential", 0 by default in "cosine"
    beta1 ... refresh : of the optimizer, as its class says; None is its own default
    loss_tolerance : stop when the loss on all samples is at most this; 0 never stops
    gradient_tolerance : stop at the first checkpoint (64 logarithmically spaced steps) where no component of the
        gradient is larger than this times the largest at the start; 0 never stops
    seconds : training time per cell; cells that train as one batched program share the sum of theirs
    keep : "best" returns the parameters with the least loss on all samples among the checkpoints and the last ones;
        "last" the last ones, as most published experiments do
    loss : "mse", or {"p": 8} for the squared L_8 norm of the residuals (see `losses`), any even number
    parts : the settings of a chain, one for each name; by default these same settings, but 300 steps for "adam" where
        it is not the last. `seconds` and tolerances of a part end that part only; the chain goes on with the next.
        Once made, the parts stand for themselves: `dataclasses.replace` of another field does not reach them

    Raises
    ------
    PluginError : for an unknown optimizer, schedule, keep or loss
    StudyError : for settings that the optimizer or the schedule cannot use
    """

    optimizer: str = "adam"
    steps: int = 2000
    batch: int | None = None
    learning_rate: float = 1e-3
    final_learning_rate: float | None = None
    schedule: str = "constant"
    beta1: float | None = None
    beta2: float | None = None
    epsilon: float | None = None
    momentum: float | None = None
    nesterov: bool | None = None
    weight_decay: float | None = None
    memory: int | None = None
    refresh: int | None = None
    feature_scale: float | None = None
    loss_tolerance: float = 0.0
    gradient_tolerance: float = 0.0
    seconds: float | None = None
    keep: str = "best"
    loss: str | Mapping[str, int] = "mse"
    parts: tuple[Settings, ...] = ()

    def __post_init__(self) -> None:
        names = self.optimizer.split("+")
        if len(names) == 1:
            self._complete()
        elif not self.parts:
            made = (self._part(name, place < len(names) - 1) for place, name in enumerate(names))
            object.__setattr__(self, "parts", tuple(made))
        if self.parts and [part.optimizer for part in self.parts] != names:
            raise StudyError(f"The parts of {self.optimizer!r} must have the settings of {', '.join(names)}, in order.")

    def _part(self, name: str, followed: bool) -> Settings:
        warm, steps = WARM_UP
        return replace(self, optimizer=name, steps=steps if followed and name == warm else self.steps)

    def _complete(self) -> None:
        """Validate the settings of one optimizer, and fill in its own defaults."""
        for field, default in optimizers.defaults(self.optimizer).items():
            if getattr(self, field) is None:
                object.__setattr__(self, field, default)
        for field, allowed in (("schedule", SCHEDULES), ("keep", KEEP)):
            if getattr(self, field) not in allowed:
                raise PluginError(unknown(f"training.{field}", getattr(self, field), allowed))
        final = self.final_learning_rate
        if self.schedule == "exponential" and (final is None or final <= 0):
            raise StudyError('training.schedule "exponential" needs a positive training.final_learning_rate.')
        if self.schedule == "constant" and final not in (None, self.learning_rate):
            raise StudyError('training.final_learning_rate needs the schedule "exponential" or "cosine".')
        self._check_compatible(optimizers.needs(self.optimizer))

    def _check_compatible(self, needs: optimizers.Needs) -> None:
        if needs.all_samples and self.batch is not None:
            raise StudyError(
                f"{self.optimizer} needs all samples in every step, not {self.batch}. Set this where it is named: "
                f'optimizer = [{{ name = "{self.optimizer}", batch = "full" }}]. This overrides all other places.'
            )
        if self.power != 2 and needs.squares:
            raise StudyError(f'{self.optimizer} minimises only sums of squares; it needs training.loss = "mse".')
        if self.gradient_tolerance > 0 and self.batch is not None:
            raise StudyError('training.gradient_tolerance needs all samples in every step; set batch = "full".')

    @property
    def chain(self) -> tuple[Settings, ...]:
        """The parts, or these settings alone where there is only one."""
        return self.parts or (self,)

    @property
    def method(self) -> optimizers.Optimizer:
        """The optimizer with these settings; only of settings that are no chain."""
        return optimizers.make(self.optimizer, vars(self))

    @property
    def rates(self) -> Schedule:
        """The learning rates, as compiled code takes them."""
        kind = SCHEDULES.index(self.schedule)
        return Schedule(self.learning_rate, self.final_learning_rate or 0.0, kind, self.steps)

    @property
    def power(self) -> int:
        """The power of the residuals in the loss: 2 for the mean square."""
        if self.loss == "mse":
            return 2
        power = self.loss.get("p") if isinstance(self.loss, Mapping) and len(self.loss) == 1 else None
        if not isinstance(power, int) or isinstance(power, bool) or power < 2 or power % 2:
            raise StudyError(f'training.loss must be "mse" or {{ p = an even number }}, not {self.loss!r}.')
        return power

    def minibatch(self, samples: int) -> int | None:
        """Return the batch size when it is smaller than the number of samples, else None: all samples each step."""
        return self.batch if self.batch is not None and self.batch < samples else None

    def shared(self, samples: int) -> dict[str, Any]:
        """Return the choices that the cells of one pack must have in common."""
        if self.parts:
            return {str(place): tuple(part.shared(samples).items()) for place, part in enumerate(self.parts)}
        common = {field: value for field, value in vars(self).items() if field not in _OF_A_CELL}
        return {**common, "batch": self.minibatch(samples), "loss": self.power}


def settings_from(choice: Mapping[str, Any], ignored: Collection[str] = ()) -> Settings:
    """Return the settings of a resolved choice of a study: {"name": "adam", "steps": 500, ...}, perhaps with "parts".

    Fields that are neither settings nor `ignored` are an error; `batch` is a number or None.
    """
    given = {field: value for field, value in choice.items() if field not in ("name", "parts", *ignored)}
    if "parts" in choice:
        parts = tuple(settings_from(part) for part in choice["parts"])
        return Settings(optimizer=choice["name"], steps=sum(part.steps for part in parts), parts=parts)
    return Settings(optimizer=choice["name"], **given)


FIELDS: tuple[str, ...] = tuple(field.name for field in fields(Settings) if field.name not in ("optimizer", "parts"))


def pack_key(
    model: Mapping[str, Any],
    dimension: int,
    samples: int,
    settings: Settings,
    precision: str,
    objective: Hashable = None,
) -> tuple[Hashable, ...]:
    """Return a key that is equal for cells that may train in one pack.

    `model` is a resolved model choice, `precision` "float64" or "float32", `objective` what is learned. Learning rates,
    tolerances, seeds, data and initial parameters may differ within a pack; the shape, the steps and the rest of the
    settings may not.
    """
    shape = {field: value for field, value in model.items() if field not in ("initialisation", "scale")}
    shared = settings.shared(samples).values()
    return json.dumps(shape, sort_keys=True), dimension, samples, precision, objective, *shared


@dataclass
class Trained:
    """What came out of training some cells.

    Attributes
    ----------
    parameters : (cells, parameters), on the device and in the dtype of the initial ones: the last or the best ones, as
        `Settings.keep` says; of a cell that diverged on the way the best at a checkpoint of its history, by the loss
        recorded there (the initial ones if there was no finite loss)
    outcome : "done", "diverged", "out of budget" or "interrupted", one per cell
    message : one sentence per cell, empty if there is nothing to say
    steps : (cells,) int64, steps that led to the last loss of the history
    loss : (cells,) float64, the loss on all samples at the returned parameters
    mean_square : (cells,) float64, mean squared error on all samples there: `loss`, unless another was minimised
    history_step, history_loss : (cells, 64) int64 and float64: the loss after so many steps, in logarithmic spacing
        with the first and the last; of the samples that step used (a minibatch if there are any). -1 and NaN unused
    seconds : (cells,) float64, time of training since its beginning, interruptions left out: a cell's own where it
        trains alone, its share of the time of all where they share operations
    threads : processor cores that worked on each network
    """

    parameters: Tensor
    outcome: list[str]
    message: list[str]
    steps: np.ndarray
    loss: np.ndarray
    mean_square: np.ndarray
    history_step: np.ndarray
    history_loss: np.ndarray
    seconds: np.ndarray
    threads: int = 1
