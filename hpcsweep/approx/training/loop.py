"""Training: cells of one shape in, trained parameters, outcomes and histories out."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from hpcsweep.approx.models import MLP
from hpcsweep.approx.training import costs
from hpcsweep.approx.training.pack import Cells, Pack
from hpcsweep.approx.training.settings import Settings, Trained
from hpcsweep.approx.training.watch import Watch


def never() -> bool:
    """Return False: nobody asks to stop."""
    return False


@torch.no_grad()
def train(
    model: MLP | Sequence[MLP],
    parameters: Tensor,
    samples: Tensor,
    values: Tensor,
    settings: Sequence[Settings],
    seeds: Sequence[int],
    stop: Callable[[], bool] = never,
    report: Callable[[float], None] | None = None,
) -> Trained:
    """Train cells of one shape, each as if it were alone, whatever becomes of the others.

    Minimises the mean squared error. More cells than `costs.slots` allows are trained in packs, one after another: a
    pack must fit into the cache. On one CPU thread the bits of a cell's result depend on its own arguments only.

    Parameters
    ----------
    model : one for all cells, or one per cell of equal shape, where the map of the inputs depends on the domain
    parameters : (cells, parameters), initial; their dtype and device are those of the computation
    samples : (cells, samples, dimension)
    values : (cells, samples)
    settings : one per cell, equal in all but learning rates and loss tolerance (see `pack_key`)
    seeds : of the minibatch streams, one per cell
    stop : asked about every 25 ms of work; once it says True, all cells end as "interrupted"
    report : told the share of the work done, 0 to 1, a few times a second at most

    Returns
    -------
    Trained : a cell is "diverged" at the first step with a loss that is not finite (also if only the final one, on all
        samples, is not); "done" after all steps, or at the
        first step whose loss on all samples is within its tolerance (with minibatches this is looked at once per
        samples / batch steps); "out of budget" when the seconds of its pack are used up

    Raises
    ------
    ValueError : for shapes or settings that do not fit together
    """
    begun = time.perf_counter()
    models = [model] * len(parameters) if isinstance(model, MLP) else list(model)
    _validate(models, parameters, samples, values, settings, seeds)
    pairs = zip(models, samples.to(parameters), strict=True)
    inputs = torch.stack([one.standardised(points) for one, points in pairs])
    cells = Cells(parameters, inputs, values.to(parameters), settings, seeds)
    batch = settings[0].minibatch(samples.shape[1]) or samples.shape[1]
    kind, precision = parameters.device.type, str(parameters.dtype).removeprefix("torch.")
    slots = costs.slots(models[0].widths[1:-1], models[0].dimension, batch, precision, kind)
    watch = Watch(stop, report)
    parts = []
    for start, end in costs.packs(len(parameters), slots, kind):
        budget = settings[start].seconds
        total = None if budget is None else budget * (end - start)
        watch.begin(total, start / len(parameters), (end - start) / len(parameters))
        used = costs.used_slots(end - start, slots, kind)
        parts.append(Pack(models[0].widths, models[0].activation, cells.part(start, end), used).run(watch))
    return _joined(parts, time.perf_counter() - begun)


def _validate(
    models: Sequence[MLP],
    parameters: Tensor,
    samples: Tensor,
    values: Tensor,
    settings: Sequence[Settings],
    seeds: Sequence[int],
) -> None:
    cells = len(parameters)
    if not 0 < cells == len(models) == len(samples) == len(values) == len(settings) == len(seeds):
        raise ValueError("train needs at least one cell, and one model, set of samples, settings and seed per cell")
    if any((one.widths, one.activation) != (models[0].widths, models[0].activation) for one in models):
        raise ValueError("the models of one training must have equal shapes and activations")
    if parameters.shape != (cells, models[0].parameters):
        raise ValueError(f"parameters must be ({cells}, {models[0].parameters}), not {tuple(parameters.shape)}")
    if values.ndim != 2 or samples.shape != (*values.shape, models[0].dimension) or values.shape[1] == 0:
        raise ValueError(f"samples {tuple(samples.shape)} and values {tuple(values.shape)} do not fit the model")
    common = settings[0].shared(values.shape[1])
    if any(one.shared(values.shape[1]) != common for one in settings):
        raise ValueError("the settings of one training may differ in learning rates and loss tolerance only")


def _joined(parts: Sequence[Trained], seconds: float) -> Trained:
    """Put the results of packs behind each other."""
    return Trained(
        parameters=torch.cat([part.parameters for part in parts]),
        outcome=[outcome for part in parts for outcome in part.outcome],
        message=[message for part in parts for message in part.message],
        steps=np.concatenate([part.steps for part in parts]),
        loss=np.concatenate([part.loss for part in parts]),
        history_step=np.concatenate([part.history_step for part in parts]),
        history_loss=np.concatenate([part.history_loss for part in parts]),
        seconds=seconds,
    )
