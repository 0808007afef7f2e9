"""Training on processors: every network by itself, some at once where there are several cores.

A network's numbers are made by compiled loops that see nothing else, so that its bits depend on nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from hpcsweep.approx.kernels import activations, iteration
from hpcsweep.approx.kernels.objective import objective
from hpcsweep.approx.kernels.problem import Problem, Shape, aligned, padded
from hpcsweep.approx.models import MLP, Model, Residual
from hpcsweep.approx.models.operators import SecondOrder
from hpcsweep.approx.training import streams
from hpcsweep.approx.training.batched.samples import TrainingSet
from hpcsweep.approx.training.finalize import Evaluate
from hpcsweep.approx.training.record import TrainingRecord, checkpoints, judged, patience
from hpcsweep.approx.training.settings import method_of, rates_of
from hpcsweep.approx.training.single import methods
from hpcsweep.approx.training.single.supervisor import Supervisor
from hpcsweep.config import OptimizerConfig

_PAUSE, _MOST = 0.025, 1 << 20  # seconds of work between two looks, about; evaluations, at most


def _number(activation: str) -> int:
    """Return by which number compiled code knows an activation."""
    return list(activations.ACTIVATIONS).index(activation)


def shape_of(model: Model) -> Shape | None:
    """Return the shape of a network as the kernels know it; None of a model that they do not."""
    if isinstance(model, SecondOrder):
        network = model.network
        return Shape(network.widths, _number(network.activation), equation=True)
    if isinstance(model, MLP | Residual):
        return Shape(model.widths, _number(model.activation), skip=isinstance(model, Residual))
    return None


class NetworkTraining:
    """The training of one network, through all parts of its chain; what became of it is its `record`, of one row."""

    def __init__(self, shape: Shape, cells: TrainingSet, cell: int, supervisor: Supervisor) -> None:
        self.record = TrainingRecord.blank(cells.parameters[cell : cell + 1])
        self._shape, self._cell, self._supervisor = shape, cell, supervisor
        self._chain, self._seed = cells.settings[cell].chain, cells.seeds[cell]
        self._inputs, self._values = cells.inputs[cell].numpy(), cells.values[cell].numpy()
        self._total = sum(part.steps for part in self._chain)
        self._marks = checkpoints(self._total)
        self._part, self._before, self._slope = 0, 0, float("nan")
        self._method: methods.Method | None = None
        self._problem: Problem | None = None
        self._every: Problem | None = None
        self._spent = 0.0  # seconds of this part

    def problem(self, settings: OptimizerConfig, every: bool = False) -> Problem:
        """Return what a part of the chain is to minimise; with `every` sample at once."""
        samples = len(self._values)
        return Problem.of(
            self._shape,
            self._inputs,
            self._values,
            settings.power,
            None if every else settings.minibatch(samples),
            int(streams.keys([self._seed])[0]),
            method_of(settings).block(self._shape.parameters, samples),
        )

    def run(self) -> None:
        """Train until there is an outcome."""
        if not self.record.outcome[0] and self._supervisor.verdict(0.0, None):  # others were stopped
            if self._method is None:
                self.record.finish(0, "interrupted", f"Stopped at step 0 of {self._total}.")
            else:  # taken up again, and not gone on
                self._end("Stopped at step {step} of {total}.", outcome="interrupted")
            return
        self._supervisor.begin(self._cell)
        while not self.record.outcome[0]:
            self._run_part(self._chain[self._part])
        self._method = self._problem = self._every = None  # their memory is for the next one
        if self.record.outcome[0] != "interrupted":
            self._supervisor.end(self._cell, {"record": self.record.state()})

    def _run_part(self, settings: OptimizerConfig) -> None:
        """Go through one part of the chain, from where it stands."""
        if self._method is None:
            self._begin(settings)
        begun, evaluations, before = time.perf_counter(), 4, float(self.record.seconds[0])
        left = False
        while not left:
            started, evaluated = time.perf_counter(), self.state.evaluations
            status = self._advance(settings, evaluations)
            now, evaluated = time.perf_counter(), max(1, self.state.evaluations - evaluated)
            evaluations = max(1, min(_MOST, int(evaluated * _PAUSE / max(now - started, 1e-6)), 4 * evaluations))
            self._spent, self.record.seconds[0] = now - begun, before + now - begun
            left = self._look(settings, status)

    def _begin(self, settings: OptimizerConfig) -> None:
        samples = len(self._values)
        self._problem = self.problem(settings)
        start = methods.Start(self._shape, self._problem, rates_of(settings), self.record.last[0].numpy())
        self._method = method_of(settings).alone(start)
        batch = settings.minibatch(samples)
        self._every = self.problem(settings, every=True) if batch else None
        self._epoch = -(-samples // batch) if batch else 1
        self._judged = judged(settings.steps, batch, samples) if batch and settings.keep == "best" else None
        self._slope = float("nan")
        self._due = 0
        first = self._before + (self._part > 0)  # the end of one part is the start of the next
        here = (self._marks >= first) & (self._marks <= self._before + settings.steps)
        self._noted = self._marks[here] - self._before
        numbers = self._method.state.numbers
        numbers[iteration.SCORE] = self.record.score[0] if self._judged is None else -np.inf

    @property
    def state(self) -> methods.State:
        """Where the method stands."""
        assert self._method is not None
        return self._method.state

    def _advance(self, settings: OptimizerConfig, evaluations: int) -> int:
        assert self._method is not None
        tolerance = settings.loss_tolerance if settings.loss_tolerance > 0 and self._epoch == 1 else -1.0
        most = max(1, min(evaluations, patience(settings.steps) - self.state.evaluations))
        return self._method.advance(self._noted, self._before, self._due, tolerance, most)

    def _look(self, settings: OptimizerConfig, status: int) -> bool:
        """See what has come about; return whether this part is over."""
        state, each = self.state, patience(settings.steps)
        if status == iteration.DIVERGED:
            step, loss = self._before + state.steps, state.loss
            self._leave(step, loss)
            self.record.last = self.record.best.clone()
            self.record.finish(0, "diverged", f"The loss was {loss} at step {step}.")
            return True
        if status == iteration.DUE and self._is_over(settings):
            return True
        if status == iteration.WITHIN:
            return self._end("Within the loss tolerance at step {step}.")
        if status == iteration.SETTLED:
            return self._end("No further progress was possible after step {step} of {total}.")
        if state.evaluations >= each:
            return self._end(f"Given up after {each} evaluations, at step {{step}} of {{total}}.")
        return self._heed(settings)

    def _is_over(self, settings: OptimizerConfig) -> bool:
        """Look at a step that was due; return whether it was the last one."""
        step, whole = self.state.steps, self.state.loss
        if self._every is not None:
            at_epoch = settings.loss_tolerance > 0 and step % self._epoch == 0
            counts = self._judged is not None and step in self._judged
            whole = self.loss_of(self._every, self._iterate()) if at_epoch or counts else float("nan")
            if counts and self.record.improves(0, whole):
                self.record.best[0] = torch.from_numpy(self._iterate())
        if settings.loss_tolerance > 0 and step % self._epoch == 0 and whole <= settings.loss_tolerance:
            return self._end("Within the loss tolerance at step {step}.", whole)
        if settings.gradient_tolerance > 0 and self._is_flat(settings, step):
            return self._end("Within the gradient tolerance at step {step}.")
        if step >= settings.steps:
            return self._end("")
        self._due = self._next_due(settings, step)
        return False

    def _is_flat(self, settings: OptimizerConfig, step: int) -> bool:
        assert self._method is not None
        slope = self._method.slope
        if step == 0:
            self._slope = slope
        return slope <= settings.gradient_tolerance * self._slope

    def _next_due(self, settings: OptimizerConfig, step: int) -> int:
        """Return the next step of this part that is to be looked at."""
        events = [settings.steps]
        if settings.gradient_tolerance > 0:
            events += self._noted[np.searchsorted(self._noted, step, side="right") :][:1].tolist()
        if settings.loss_tolerance > 0 and self._epoch > 1:
            events.append((step // self._epoch + 1) * self._epoch)
        if self._judged is not None:
            events += self._judged[np.searchsorted(self._judged, step, side="right") :][:1].tolist()
        return int(min(event for event in events if event > step or event == settings.steps))

    def _iterate(self) -> np.ndarray:
        assert self._method is not None
        return self._method.iterate[: self._shape.parameters]

    def loss_of(self, problem: Problem, point: np.ndarray) -> float:
        """Return the loss of a problem at parameters (parameters,)."""
        whole = aligned(padded(len(point), point.dtype), point.dtype)
        whole[: len(point)] = point
        return float(objective[point.dtype](whole, whole[:0], *problem.arrays, 0))

    def _leave(self, step: int, loss: float) -> None:
        """Write down what was noted in this part, and where it ended."""
        numbers, record = self.state.numbers, self.record
        for mark, noted in zip(self._noted[: int(numbers[iteration.NOTED])], self.state.losses, strict=False):
            record.note(0, int(self._before + mark), float(noted))
        if self._judged is None and numbers[iteration.SCORE] < record.score[0]:
            record.improves(0, float(numbers[iteration.SCORE]))
            record.best[0] = torch.from_numpy(self.state.best[: self._shape.parameters])
        self.record.last[0] = torch.from_numpy(self._iterate())
        self.record.leave(0, step, loss)

    def _end(self, message: str, loss: float | None = None, outcome: str = "done") -> bool:
        """End this part, and the whole chain where it is the last or the outcome says so; return True."""
        step = self._before + self.state.steps
        self._leave(step, self.state.loss if loss is None else loss)
        if self._part == len(self._chain) - 1 or outcome == "interrupted":
            self.record.finish(0, outcome, message.format(step=step, total=self._total))
        self._part, self._before, self._method, self._spent = self._part + 1, step, None, 0.0
        return True

    def _heed(self, settings: OptimizerConfig) -> bool:
        """Save now and then, and stop where it is time to; return whether it is."""
        verdict = self._supervisor.verdict(self._spent, settings.seconds)
        share = (self._before + self.state.steps) / max(self._total, 1)
        self._supervisor.look(self._cell, share, verdict, self.saved)
        return bool(verdict) and self._end("Stopped at step {step} of {total}.", outcome=verdict)

    def saved(self) -> dict[str, Any]:
        """Return all that `restore` needs, in plain values and arrays."""
        progress = {"part": self._part, "before": self._before, "due": self._due, "slope": self._slope}
        return {**progress, "record": self.record.state(), "state": self.state.copy()}

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Go on where `saved` was taken, to the same bits; seconds of a budget begin anew."""
        self.record = TrainingRecord.restored(saved["record"])
        if "state" in saved:
            self._part, self._before = saved["part"], saved["before"]
            self._begin(self._chain[self._part])
            self.state.restore(saved["state"])
            self._due, self._slope = saved["due"], saved["slope"]


def train(
    shape: Shape,
    cells: TrainingSet,
    supervisor: Supervisor,
    threads: int,
    resume: Mapping[str, Any] | None = None,
) -> tuple[TrainingRecord, Evaluate]:
    """Train networks of one shape, so many at once.

    Returns
    -------
    record : one row for each
    evaluate : the losses at the last parameters of the record, see `finalize`
    """
    networks = [NetworkTraining(shape, cells, cell, supervisor) for cell in range(len(cells.parameters))]
    for cell, saved in (resume["networks"] if resume else {}).items():
        networks[cell].restore(saved)
        supervisor.keep(cell, saved)
    supervisor.run([network.run for network in networks], threads)
    record = TrainingRecord.joined([network.record for network in networks])

    def loss(cell: int, power: int) -> float:
        settings = replace(cells.settings[cell].chain[-1], loss="mse" if power == 2 else {"p": power})
        problem = networks[cell].problem(settings, every=True)
        return networks[cell].loss_of(problem, record.last[cell].numpy())

    return record, lambda rows, power: np.array([loss(row, power) for row in rows])
