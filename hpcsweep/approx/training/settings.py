"""What an optimizer makes of its configuration, which trainings may share a pack, and what comes out of one."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import get_args

import numpy as np
from torch import Tensor

from hpcsweep.approx.training import optimizers
from hpcsweep.approx.training.single.methods import Schedule
from hpcsweep.config import DIRECT, ModelConfig, OptimizerConfig, canonical
from hpcsweep.config import methods as kinds
from hpcsweep.errors import PluginError, StudyError, unknown

SCHEDULES = get_args(kinds.Schedule)


def check(config: OptimizerConfig) -> None:
    """Raise if there is no such training.

    Raises
    ------
    PluginError : for an unknown optimizer, option, schedule, or value of `keep`
    StudyError : for settings that the optimizer or the schedule cannot use
    """
    if config.parts:
        for part in config.parts:
            check(part)
        return
    own = optimizers.defaults(config.name)
    for option in config.options:
        if option not in own:
            raise PluginError(unknown(f"training.{config.name}", option, own))
    for field, allowed in (("schedule", SCHEDULES), ("keep", get_args(kinds.Keep))):
        if getattr(config, field) not in allowed:
            raise PluginError(unknown(f"training.{field}", getattr(config, field), allowed))
    final = config.final_learning_rate
    if config.schedule == "exponential" and (final is None or final <= 0):
        raise StudyError('training.schedule "exponential" needs a positive training.final_learning_rate.')
    if config.schedule == "constant" and final not in (None, config.learning_rate):
        raise StudyError('training.final_learning_rate needs the schedule "exponential" or "cosine".')
    needs = optimizers.needs(config.name)
    if needs.all_samples and config.batch is not None:
        raise StudyError(
            f"{config.name} needs all samples in every step, not {config.batch}. Set this where it is named: "
            f'optimizer = [{{ name = "{config.name}", batch = "full" }}]. This overrides all other places.'
        )
    if config.power != 2 and needs.squares:
        raise StudyError(f'{config.name} minimises only sums of squares; it needs training.loss = "mse".')
    if config.gradient_tolerance > 0 and config.batch is not None:
        raise StudyError('training.gradient_tolerance needs all samples in every step; set batch = "full".')


def method_of(config: OptimizerConfig) -> optimizers.Optimizer:
    """Return the optimizer with its settings; only of what is no chain."""
    return optimizers.make(config.name, config.options)


def rates_of(config: OptimizerConfig) -> Schedule:
    """Return the learning rates, as compiled code takes them."""
    kind = SCHEDULES.index(config.schedule)
    return Schedule(config.learning_rate, config.final_learning_rate or 0.0, kind, config.steps)


def shared(config: OptimizerConfig, samples: int) -> Hashable:
    """Return what the cells of one pack must have in common: all but learning rates and tolerances."""
    if config.parts:
        return config.objective, *(shared(part, samples) for part in config.parts)
    method = None if config.name == DIRECT else method_of(config)
    common = config.name, config.steps, config.minibatch(samples), config.schedule, config.seconds, config.keep
    return *common, config.power, method, config.objective


def pack_key(
    model: ModelConfig, dimension: int, samples: int, config: OptimizerConfig, precision: str
) -> tuple[Hashable, ...]:
    """Return a key that is equal for cells that may train in one pack; `precision` is "float64" or "float32".

    Learning rates, tolerances, seeds, data and initial parameters may differ within a pack; the shape, the steps and
    the rest of the method may not.
    """
    shape = {field: value for field, value in model.items() if field not in ("initialisation", "scale")}
    return canonical(shape), dimension, samples, precision, shared(config, samples)


@dataclass
class Trained:
    """What came out of training some cells.

    Attributes
    ----------
    parameters : (cells, parameters), on the device and in the dtype of the initial ones: the last or the best ones, as
        `OptimizerConfig.keep` says; of a cell that diverged on the way the best at a checkpoint of its history, by the
        loss recorded there (the initial ones if there was no finite loss)
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
