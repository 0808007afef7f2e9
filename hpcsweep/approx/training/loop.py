"""Training: cells of one shape in, trained parameters, outcomes and histories out."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hpcsweep.approx.models import MLP, Model, equivalent_widths
from hpcsweep.approx.training.batched.general import check_compatible
from hpcsweep.approx.training.batched.monitor import Monitor
from hpcsweep.approx.training.batched.pack import BatchedTraining
from hpcsweep.approx.training.batched.samples import TrainingSet
from hpcsweep.approx.training.batched.workspace import Task
from hpcsweep.approx.training.costs import costs
from hpcsweep.approx.training.finalize import batched_losses, finalize
from hpcsweep.approx.training.record import TrainingRecord
from hpcsweep.approx.training.settings import Trained, check, method_of, shared
from hpcsweep.approx.training.single import network_training
from hpcsweep.approx.training.single.supervisor import Supervisor
from hpcsweep.config import OptimizerConfig


def never() -> bool:
    """Return False: nobody asks to stop."""
    return False


@torch.no_grad()
def train(
    model: Model | Sequence[Model],
    parameters: Tensor,
    samples: Tensor,
    values: Tensor,
    settings: Sequence[OptimizerConfig],
    seeds: Sequence[int],
    stop: Callable[[], bool] = never,
    report: Callable[[float], None] | None = None,
    *,
    checkpoint: Callable[[dict[str, Any]], None] | None = None,
    checkpoint_seconds: float = 60.0,
    resume: Mapping[str, Any] | None = None,
    batched: bool = False,
) -> Trained:
    """Train cells of one shape, each as if it were alone, whatever becomes of the others.

    On a processor each network that the kernels know trains by itself, as many at once as torch has threads, with bits
    that depend on its own arguments only. On devices, and of models given as torch code, networks are batched programs:
    those of a pack share operations and the sum of their seconds, and go through one part of a chain before the next;
    on one CPU thread their bits, too, depend on their own arguments only.

    Parameters
    ----------
    model : one for all cells, or one per cell of equal shape, where the map of the inputs depends on the domain
    parameters : (cells, parameters), initial; their dtype and device are those of the computation
    samples : (cells, samples, dimension)
    values : (cells, samples)
    settings : one per cell, equal in all but learning rates and tolerances (see `pack_key`)
    seeds : of the minibatch streams, one per cell
    stop : asked about every 25 ms of work; once it says True, all cells end as "interrupted"
    report : told the share of the work done, 0 to 1, a few times a second at most
    checkpoint : given a state every `checkpoint_seconds` and before an interruption; may keep or pickle it
    resume : such a state, from a call with the same other arguments: goes on there, to the same bits. Seconds of a
        budget begin anew
    batched : let networks share operations, as on devices, also where each could train alone

    Returns
    -------
    Trained : a cell is "diverged" at the first step with a loss that is not finite (also if only the final one, on all
        samples, is not); "done" after all steps, or at the first step whose loss on all samples is within its tolerance
        (with minibatches this is looked at once per samples / batch steps), or where its optimizer gets no further;
        "out of budget" when its seconds are used up

    Raises
    ------
    ValueError : for shapes or settings that do not fit together
    StudyError : for an optimizer that asks for what the model cannot give (see `general.check_compatible`)
    """
    models = [model] * len(parameters) if isinstance(model, Model) else list(model)
    _validate(models, parameters, samples, values, settings, seeds)
    shape = None if batched or parameters.device.type != "cpu" else network_training.shape_of(models[0])
    for part in settings[0].chain if shape else ():
        method_of(part).prepare(parameters[:0].numpy().dtype)
    if resume is not None and ("networks" in resume) != (shape is not None):
        resume = None  # saved by another kind of device: begins anew
    pairs = zip(models, samples.to(parameters), strict=True)
    inputs = torch.stack([one.standardised(points) for one, points in pairs])
    cells = TrainingSet(parameters, inputs, values.to(parameters), settings, seeds)
    saving = checkpoint, checkpoint_seconds
    if shape is not None:
        supervisor = Supervisor(len(parameters), stop, report, *saving)
        record, evaluate = network_training.train(shape, cells, supervisor, torch.get_num_threads(), resume)
    else:
        tasks, record = _train_batched(models[0], cells, Monitor(stop, report, *saving), resume)
        evaluate = partial(batched_losses, tasks[-1], record)
    last = settings[0].chain[-1]
    batched = last.minibatch(values.shape[1]) is not None
    threads = 1 if shape is not None else torch.get_num_threads()
    return finalize(last, batched, record, evaluate, threads)


def _train_batched(
    model: Model, cells: TrainingSet, monitor: Monitor, resume: Mapping[str, Any] | None
) -> tuple[list[Task], TrainingRecord]:
    """Train cells as batched programs: on devices, and models that the kernels do not know."""
    tasks = [Task(model, cells, part) for part in range(len(cells.settings[0].chain))]
    record = TrainingRecord.blank(cells.parameters) if resume is None else TrainingRecord.restored(resume["record"])
    count_seconds = _clock(record)
    for task in tasks[resume["part"] if resume else 0 :]:
        resumed = resume if resume is not None and resume["part"] == task.part else None
        _run_part(task, record, monitor, len(tasks), resumed, count_seconds)
    count_seconds()
    return tasks, record


def _clock(record: TrainingRecord) -> Callable[[], None]:
    """Return what brings the seconds of a record up to date, from now on: all its cells share them."""
    begun, before = time.perf_counter(), record.seconds.copy()

    def count() -> None:
        record.seconds[:] = before + (time.perf_counter() - begun) / len(before)

    return count


def _run_part(
    task: Task,
    record: TrainingRecord,
    monitor: Monitor,
    parts: int,
    resume: Mapping[str, Any] | None,
    count_seconds: Callable[[], None],
) -> None:
    """Let all cells that have no outcome go through one part of their chains."""
    total = len(record.outcome)
    slots, packs = _packs(task, record) if resume is None else (resume["slots"], resume["packs"])
    first = 0 if resume is None else resume["pack"]
    for number, rows in list(enumerate(packs))[first:]:
        if monitor.stopped:
            _dismiss(task, record, rows)
            continue
        progress = {"part": task.part, "pack": number, "packs": packs, "slots": slots}
        budget = None if task.common.seconds is None else task.common.seconds * len(rows)
        done = (task.part + sum(map(len, packs[:number])) / total) / parts
        saved = resume["state"] if resume is not None and number == first else None

        def saved_with(progress: dict[str, Any] = progress) -> dict[str, Any]:
            count_seconds()
            return {**progress, "record": record.state()}

        monitor.begin(budget, done, len(rows) / total / parts, saved_with)
        BatchedTraining(task, slots, record, rows, saved).run(monitor)


def _dismiss(task: Task, record: TrainingRecord, rows: Sequence[int]) -> None:
    """Let cells go that have not begun when somebody asks to stop."""
    total = sum(part.steps for part in task.cells.settings[0].chain)
    for cell in rows:
        step = int(record.steps[cell])
        record.leave(cell, step, float("nan"))
        record.finish(cell, "interrupted", f"Stopped at step {step} of {total}.")


def _packs(task: Task, record: TrainingRecord) -> tuple[int, list[list[int]]]:
    """Return the slots of a pack, and the cells of each."""
    rows = np.flatnonzero(record.active).tolist()
    kind, precision = record.last.device.type, str(record.last.dtype).removeprefix("torch.")
    model, samples = task.model, task.cells.values.shape[1]
    hidden = equivalent_widths(model.config, model.dimension, model.parameters)
    alike = costs.Perceptron((model.dimension, *hidden, 1), general=not isinstance(model, MLP))
    most = costs.slots(alike.slot_bytes(samples, task.common, precision), kind)
    if not rows:
        return 2, []
    cut = costs.packs(len(rows), most, kind)
    slots = costs.used_slots(max(stop - start for start, stop in cut), most, kind)
    return slots, [rows[start:stop] for start, stop in cut]


def _validate(
    models: Sequence[Model],
    parameters: Tensor,
    samples: Tensor,
    values: Tensor,
    settings: Sequence[OptimizerConfig],
    seeds: Sequence[int],
) -> None:
    cells = len(parameters)
    if not 0 < cells == len(models) == len(samples) == len(values) == len(settings) == len(seeds):
        raise ValueError("train needs at least one cell, and one model, set of samples, settings and seed per cell")
    if any(_shape(one) != _shape(models[0]) for one in models):
        raise ValueError("the models of one training must have equal shapes and activations")
    if parameters.shape != (cells, models[0].parameters):
        raise ValueError(f"parameters must be ({cells}, {models[0].parameters}), not {tuple(parameters.shape)}")
    if values.ndim != 2 or samples.shape != (*values.shape, models[0].dimension) or values.shape[1] == 0:
        raise ValueError(f"samples {tuple(samples.shape)} and values {tuple(values.shape)} do not fit the model")
    for one in settings:
        check(one)
    common = shared(settings[0], values.shape[1])
    if any(shared(one, values.shape[1]) != common for one in settings):
        raise ValueError("the settings of one training may differ in learning rates and tolerances only")
    check_compatible(models[0], settings[0].name)


def _shape(model: Model) -> tuple[Hashable, ...]:
    """Return what must be equal for networks that are one program: all that `evaluate` depends on."""
    if isinstance(model, MLP):
        return MLP, model.widths, model.activation
    config = {field: value for field, value in model.config.items() if field not in ("initialisation", "scale")}
    return type(model), model.parameters, json.dumps({**config, "standardise": None}, sort_keys=True)
