"""What stands at the end of a training: which parameters are returned, and their losses on all samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from hpcsweep.approx.training.batched.general import layout_of, passes_of
from hpcsweep.approx.training.batched.workspace import Task
from hpcsweep.approx.training.operations import losses
from hpcsweep.approx.training.operations.engine import full_loss
from hpcsweep.approx.training.record import TrainingRecord
from hpcsweep.approx.training.settings import Trained
from hpcsweep.config import OptimizerConfig

_SLOTS, _BLOCK = 32, 256  # networks and samples at a time


# From the rows of some cells and the power of the residuals to their losses (rows,) on all samples at the last
# parameters of the record.
Evaluate = Callable[[Sequence[int], int], np.ndarray]


def finalize(
    common: OptimizerConfig, batched: bool, record: TrainingRecord, evaluate: Evaluate, threads: int
) -> Trained:
    """Return the result of a training whose last part had these settings, and minibatches (`batched`) or not.

    A cell that diverged gets its best parameters, others as `OptimizerConfig.keep` says.
    """
    everyone = range(len(record.outcome))
    if batched:
        record.loss = evaluate(everyone, common.power)
        _find_diverged(record)
    diverged = np.array([outcome == "diverged" for outcome in record.outcome])
    best = diverged | (record.score < record.loss) if common.keep == "best" else diverged
    record.choose(best)
    if batched and best.any():
        chosen = np.flatnonzero(best)
        record.loss[chosen] = evaluate(chosen.tolist(), common.power)
    return Trained(
        parameters=record.last,
        outcome=record.outcome,
        message=record.message,
        steps=record.steps,
        loss=record.loss,
        mean_square=record.loss.copy() if common.power == 2 else evaluate(everyone, 2),
        history_step=record.history_step,
        history_loss=record.history_loss,
        seconds=record.seconds,
        threads=threads,
    )


def _find_diverged(record: TrainingRecord) -> None:
    """Give the outcome "diverged" to cells whose loss on all samples is not finite: no minibatch has seen it."""
    for cell in np.flatnonzero(~np.isfinite(record.loss)).tolist():
        if record.outcome[cell] != "diverged":
            message = f"The loss on all samples was {record.loss[cell]} at step {record.steps[cell]}."
            record.finish(cell, "diverged", message)


def batched_losses(task: Task, record: TrainingRecord, rows: Sequence[int], power: int) -> np.ndarray:
    """Return the losses (rows,) of some cells at `record.last` on all their samples, float64, many at once."""
    cells, count, loss = task.cells, task.cells.values.shape[1], losses.make(power)
    slots = max(2, min(_SLOTS, len(rows)))
    layout = layout_of(task.model, slots)
    weights = record.last.new_zeros(slots * layout.parameters)
    engine = passes_of(task.model, layout, min(count, max(task.batch or count, _BLOCK)), weights, loss)
    losses_of_cells = []
    for start in range(0, len(rows), slots):
        part = [rows[min(start + slot, len(rows) - 1)] for slot in range(slots)]  # the last one fills up
        index = torch.tensor(part, device=weights.device)
        layout.fill(weights, record.last[index])
        losses_of_cells.append(full_loss(engine, cells.inputs[index], cells.values[index])[: len(rows) - start])
    return torch.cat(losses_of_cells).double().cpu().numpy()
