"""Greedy layer-wise training: one hidden layer after the other, each on what the frozen ones below it say.

Bengio, Lamblin, Popovici and Larochelle, "Greedy layer-wise training of deep networks" (NIPS 2006), in its supervised
form (their section 4): a layer is trained as the hidden layer of a shallow network with an output layer of its own,
which is thrown away when the next one is put on top. Then the whole network is trained. Nothing has to be frozen in an
optimizer: the shallow network sees the outputs of the layers below as its samples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from hpcsweep.approx.models import ACTIVATE, MLP
from hpcsweep.approx.training import loop
from hpcsweep.approx.training.record import TrainingRecord, joined
from hpcsweep.approx.training.settings import Trained
from hpcsweep.approx.training.strategies.journal import UNSAVED, Checkpoints, Journal
from hpcsweep.config import OptimizerConfig


@torch.no_grad()
def train(
    models: Sequence[MLP],
    parameters: Tensor,
    samples: Tensor,
    values: Tensor,
    settings: Sequence[OptimizerConfig],
    layer_steps: int,
    seeds: Sequence[int],
    weight_seeds: Sequence[int],
    stop: Callable[[], bool] = loop.never,
    checkpoints: Checkpoints = UNSAVED,
) -> Trained:
    """Train each hidden layer for `layer_steps` steps, then the whole networks for the rest of their steps.

    Each cell as if it were alone. Hidden layers begin as in the whole network, so does the last output layer; those
    before it come from `weight_seeds`. A layer has its schedule to itself.

    Parameters
    ----------
    models : perceptrons, one for each cell, of equal shape
    parameters : (cells, parameters), initial; their dtype and device are those of the training
    samples, values : (cells, samples, dimension) and (cells, samples)
    settings : one for each cell, no chains; their steps and seconds are those of all together, the seconds shared in
        proportion to the steps
    layer_steps : fewer than the steps divided by the hidden layers
    seeds : of the minibatches; layers count on from them
    weight_seeds : from which output layers that are thrown away come (streams of their own, beyond 64 bits)
    stop : asked now and then; once it says True, all cells end as "interrupted"
    checkpoints : how to save; the states of a `Journal`, to go on from with the same other arguments

    Returns
    -------
    Trained : of the whole networks; steps and history go on counting through the layers. A cell that diverges or is
        interrupted in a layer ends there, with the layers that it has
    """
    journal = Journal(stop, checkpoints)
    ladder = _Ladder(models, parameters, samples.to(parameters), settings)
    for layer in range(len(models[0].widths) - 2):
        ladder.climb(layer, layer_steps, values, seeds, weight_seeds, journal)
    cells, rest = ladder.active, settings[0].steps - (len(models[0].widths) - 2) * layer_steps
    if cells:
        trained = journal.train(
            [models[cell] for cell in cells],
            ladder.parameters[cells],
            samples[cells],
            values[cells],
            ladder.shares(cells, rest),
            [seeds[cell] for cell in cells],
        )
        ladder.parameters[cells] = trained.parameters
        ladder.note(cells, trained, "", final=True)
    return replace(ladder.trained, parameters=ladder.parameters)


class _Ladder:
    """Networks while their layers are trained, `parameters` (cells, parameters), and what is known of them so far."""

    def __init__(
        self, models: Sequence[MLP], parameters: Tensor, samples: Tensor, settings: Sequence[OptimizerConfig]
    ) -> None:
        self.models, self.parameters, self._settings = models, parameters.clone(), settings
        # What the next layer sees, for each cell: (samples, inputs).
        self._inputs = [model.standardised(points) for model, points in zip(models, samples, strict=True)]
        blank = TrainingRecord.blank(parameters)
        self.trained = Trained(
            parameters=self.parameters,
            outcome=blank.outcome,
            message=blank.message,
            steps=blank.steps,
            loss=blank.loss,
            mean_square=blank.loss.copy(),
            history_step=blank.history_step,
            history_loss=blank.history_loss,
            seconds=blank.seconds,
        )

    @property
    def active(self) -> list[int]:
        """The cells that go on."""
        return [cell for cell, outcome in enumerate(self.trained.outcome) if not outcome]

    def shares(self, cells: Sequence[int], steps: int) -> list[OptimizerConfig]:
        """Return the settings of some cells for so many of their steps."""
        chosen = [self._settings[cell] for cell in cells]
        return [
            replace(one, steps=steps, seconds=None if one.seconds is None else one.seconds * steps / one.steps)
            for one in chosen
        ]

    def climb(
        self,
        layer: int,
        steps: int,
        values: Tensor,
        seeds: Sequence[int],
        weight_seeds: Sequence[int],
        journal: Journal,
    ) -> None:
        """Train a hidden layer, 0 the first, on the outputs of those below it."""
        cells = self.active
        if not cells:
            return
        shallow = self._shallow(layer)
        number = layer + 1
        trained = journal.train(
            shallow,
            torch.stack([self._start(shallow, layer, cell, weight_seeds[cell] + (number << 64)) for cell in cells]),
            torch.stack([self._inputs[cell] for cell in cells]),
            values[cells],
            self.shares(cells, steps),
            [seeds[cell] + number for cell in cells],
        )
        for cell, row in zip(cells, trained.parameters, strict=True):
            hidden, output = shallow.layers(row)
            own = self.models[cell].layers(self.parameters[cell])
            own[layer].copy_(hidden)
            if number == len(own) - 1:
                own[-1].copy_(output)
            self._inputs[cell] = self._behind(hidden, self._inputs[cell])
        self.note(cells, trained, f"In hidden layer {number} alone: ", final=False)

    def _shallow(self, layer: int) -> MLP:
        """Return the network of one hidden layer; its inputs are standardised already, where anything is."""
        inputs, width = self.models[0].widths[layer : layer + 2]
        config = replace(self.models[0].config, hidden=(width,), standardise=False)
        return MLP(config, inputs, [(-1.0, 1.0)] * inputs)

    def _start(self, shallow: MLP, layer: int, cell: int, seed: int) -> Tensor:
        """Return the initial parameters of a shallow network: the layer's own, and an output layer."""
        own = self.models[cell].layers(self.parameters[cell])
        start = shallow.init([seed], self.parameters.dtype)[0].to(self.parameters.device)
        hidden, output = shallow.layers(start)
        hidden.copy_(own[layer])
        if layer == len(own) - 2:
            output.copy_(own[-1])
        return start

    def _behind(self, hidden: Tensor, inputs: Tensor) -> Tensor:
        """Return the outputs of a hidden layer (width, inputs + 1), (samples, width)."""
        return ACTIVATE[self.models[0].activation](torch.addmm(hidden[:, -1:], hidden[:, :-1], inputs.T)).T

    def note(self, cells: Sequence[int], trained: Trained, where: str, final: bool) -> None:
        """Take down what became of some cells; before the end only the worst outcomes are final."""
        own = self.trained
        for row, cell in enumerate(cells):
            outcome = trained.outcome[row]
            if final or outcome in ("diverged", "interrupted"):
                own.outcome[cell], own.message[cell] = outcome, where + trained.message[row]
            done = int(own.steps[cell])
            new = trained.history_step[row], trained.history_loss[row]
            if done:
                new = joined((own.history_step[cell], own.history_loss[cell]), new, done)
            own.history_step[cell], own.history_loss[cell] = new
            own.steps[cell] = done + trained.steps[row]
            own.seconds[cell] += trained.seconds[row]
            own.loss[cell], own.mean_square[cell] = trained.loss[row], trained.mean_square[row]
