"""Multi-stage fits: the sum as a model, when a stage is accepted, outcomes, histories, bits."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from hpcsweep.approx import models
from hpcsweep.approx.training import Trained, train
from hpcsweep.approx.training.strategies import stages
from hpcsweep.approx.training.strategies.stages import Data
from hpcsweep.config import OptimizerConfig
from hpcsweep.errors import PluginError
from tests.approx.packs import equal

DOUBLE = torch.float64
Function = Callable[[torch.Tensor], torch.Tensor]


def make(stages: int, hidden: tuple[int, ...] = (8,), dimension: int = 1, **choice: object) -> models.Sum:
    model = models.make({"hidden": hidden, "stages": stages, **choice}, dimension, [(-1.0, 1.0)] * dimension)
    assert isinstance(model, models.Sum)
    return model


def wave(places: torch.Tensor) -> torch.Tensor:
    """A target (..., dimension) -> (...,)."""
    return torch.sin(math.pi * places).sum(-1)


class Fits:
    """Some cells with 2 or more stages: places of samples and of held-out points, values of a target at both."""

    def __init__(
        self, model: models.Sum, cells: int = 4, samples: int = 30, target: Function = wave, judged: Function = wave
    ) -> None:
        self.model = model
        generator = torch.Generator().manual_seed(5)
        draw = partial(torch.rand, generator=generator, dtype=DOUBLE)
        places = draw(cells, samples, model.dimension) * 2 - 1
        held = draw(cells, 400, model.dimension) * 2 - 1
        self.samples, self.held_out = Data(places, target(places)), Data(held, judged(held))
        self.parameters = model.init(range(cells), DOUBLE)

    def train(self, settings: OptimizerConfig, rows: list[int] | None = None, **other: object) -> Trained:
        rows = list(range(len(self.parameters))) if rows is None else rows
        data = [Data(one.places[rows], one.values[rows]) for one in (self.samples, self.held_out)]
        seeds = [7 * row for row in rows]
        chosen = [settings] * len(rows)
        return stages.train([self.model] * len(rows), self.parameters[rows], *data, chosen, seeds, rows, **other)

    def first(self, settings: OptimizerConfig) -> Trained:
        """Train the first stage as the network that it is."""
        parameters = self.parameters[:, : self.model.network.parameters]
        data = self.samples.places, self.samples.values
        cells = len(parameters)
        return train(self.model.network, parameters, *data, [settings] * cells, [7 * row for row in range(cells)])

    def maximum(self, model: models.Model, parameters: torch.Tensor, cell: int) -> float:
        """Return the largest error of a network of `cell` at its held-out points."""
        return float((model.apply(parameters, self.held_out.places[cell]) - self.held_out.values[cell]).abs().max())


QUICK = OptimizerConfig(steps=300, learning_rate=1e-2, schedule="cosine", keep="last")


def test_one_stage_is_the_plain_network_and_the_same_choice() -> None:
    plain = {"hidden": [4, 3]}
    assert models.resolve({**plain, "stages": 1}) == models.resolve(plain)
    assert isinstance(models.make({**plain, "stages": 1}, 2, [(0.0, 1.0)] * 2), models.MLP)
    assert models.resolve({**plain, "stages": 3})["stages"] == 3
    for wrong in (0, -1, 1.0, True, "2", None):
        with pytest.raises(PluginError, match=r"model\.stages"):
            models.resolve({**plain, "stages": wrong})


@pytest.mark.parametrize("choice", [{}, {"activation": "sin", "standardise": True}])
def test_the_sum_is_the_naive_sum_of_its_networks(choice: dict) -> None:
    model = make(3, (5, 4), 2, **choice)
    assert model.parameters == 3 * (5 * 3 + 4 * 6 + 5) + 2 == models.count_parameters(model.config, 2)
    generator = torch.Generator().manual_seed(0)
    blocks = [torch.randn(44, generator=generator, dtype=DOUBLE) for _ in range(3)]
    amplitudes = torch.tensor([1e-3, -2e-7], dtype=DOUBLE)
    parameters = torch.cat([*blocks, amplitudes])
    points = torch.rand(50, 2, generator=generator, dtype=DOUBLE)
    plain = models.make({"hidden": [5, 4], **choice}, 2, [(-1.0, 1.0)] * 2)
    first, second, third = (plain.apply(block, points) for block in blocks)
    torch.testing.assert_close(
        model.apply(parameters, points), first + 1e-3 * second - 2e-7 * third, rtol=1e-15, atol=0
    )
    assert torch.equal(model.networks(parameters), torch.stack(blocks))
    assert torch.equal(model.amplitudes(parameters), amplitudes)


def test_a_sum_begins_as_its_first_network_and_a_rejected_stage_leaves_its_bits() -> None:
    model, plain = make(3), models.make({"hidden": [8]}, 1, [(-1.0, 1.0)])
    initial, alone = model.init([3, 4], DOUBLE), plain.init([3, 4], DOUBLE)
    assert torch.equal(initial[:, : plain.parameters], alone) and not initial[:, plain.parameters :].any()
    points = torch.linspace(-1, 1, 101, dtype=DOUBLE)[:, None]
    assert torch.equal(model.apply(initial[0], points), plain.apply(alone[0], points))


def test_stages_lower_the_held_out_maximum_and_the_loss() -> None:
    fits = Fits(make(3))
    grown, first = fits.train(QUICK), fits.first(QUICK)
    assert grown.outcome == ["done"] * 4
    accepted = 0
    for cell in range(4):
        before = fits.maximum(fits.model.network, first.parameters[cell], cell)
        amplitudes = fits.model.amplitudes(grown.parameters[cell])
        accepted += int((amplitudes != 0).sum())
        after = fits.maximum(fits.model, grown.parameters[cell], cell)
        assert after < before if amplitudes.any() else after == before
        assert torch.equal(fits.model.networks(grown.parameters[cell])[0], first.parameters[cell])
        errors = fits.samples.values[cell] - fits.model.apply(grown.parameters[cell], fits.samples.places[cell])
        assert math.isclose(grown.mean_square[cell], float(errors.square().mean()), rel_tol=1e-12)
        assert grown.message[cell].count("rejected") == int((amplitudes == 0).sum())
        assert grown.steps[cell] == 300 * (1 + int((amplitudes != 0).sum()))
    assert accepted >= 4
    assert (grown.loss <= first.loss).all() and (grown.loss < first.loss / 10).any()


def test_a_stage_that_hurts_between_the_samples_is_rejected() -> None:
    # At the held-out points the first stage is right to the bit; whatever the samples teach can only spoil that.
    fits = Fits(make(3))
    first = fits.first(QUICK)
    network = fits.model.network
    exact = [network.apply(*pair) for pair in zip(first.parameters, fits.held_out.places, strict=True)]
    fits.held_out = Data(fits.held_out.places, torch.stack(exact))
    grown = fits.train(QUICK)
    for field in ("steps", "loss", "history_step", "history_loss"):
        assert np.array_equal(getattr(grown, field), getattr(first, field), equal_nan=True)
    assert torch.equal(grown.parameters[:, : network.parameters], first.parameters)
    assert not grown.parameters[:, network.parameters :].any()
    assert grown.outcome == first.outcome
    assert all("Stage 2 was rejected: the held-out maximum would" in message for message in grown.message)
    # the same training where the held-out points agree with the samples: there the stages do go in
    assert Fits(make(3)).train(QUICK).parameters[:, -2:].any()


def test_a_candidate_that_is_not_finite_is_rejected() -> None:
    fits = Fits(make(2))
    fits.held_out.values[1, 7] = math.inf
    grown = fits.train(QUICK)
    assert not grown.parameters[1, -1] and grown.parameters[[0, 2, 3], -1].any()
    assert torch.isfinite(grown.parameters).all()


@pytest.mark.parametrize(
    "chosen",
    [
        OptimizerConfig(steps=60, learning_rate=1e-2),
        OptimizerConfig(steps=60, learning_rate=1e-2, batch=10),
        OptimizerConfig("adam+ssbroyden", steps=15, learning_rate=1e-2),
    ],
)
def test_bits_do_not_depend_on_the_companions(chosen: OptimizerConfig) -> None:
    fits = Fits(make(2, (5, 4)), cells=9)
    everyone = fits.train(chosen)
    assert everyone.parameters[:, -1].any()
    for rows in ([4], [8, 0, 4], [3, 2]):
        assert equal(everyone, fits.train(chosen, rows), rows)


def test_a_diverged_first_stage_has_no_second_and_leaves_the_others_alone() -> None:
    fits = Fits(make(2))
    clean = fits.train(QUICK)
    fits.samples.values[2, 3] = math.nan
    spoilt = fits.train(QUICK)
    assert spoilt.outcome == ["done", "done", "diverged", "done"]
    assert not spoilt.parameters[2, -1]
    assert equal(clean, spoilt, [0, 1, 3], [0, 1, 3])


def test_a_stop_in_a_later_stage_interrupts(monkeypatch: pytest.MonkeyPatch) -> None:
    fits = Fits(make(3), cells=2)
    calls = []
    monkeypatch.setattr(stages.loop, "train", lambda *given, **saved: calls.append(0) or train(*given, **saved))
    grown = fits.train(QUICK, stop=lambda: len(calls) == 2)
    assert len(calls) == 2 and grown.outcome == ["interrupted"] * 2
    assert grown.message == ["Stopped in stage 2 of 3."] * 2
    assert not grown.parameters[:, -2:].any()
    assert fits.train(QUICK, stop=lambda: True).outcome == ["interrupted"] * 2 and len(calls) == 3


def test_seconds_are_shared_by_the_stages() -> None:
    fits = Fits(make(2), cells=2)
    grown = fits.train(OptimizerConfig(steps=10**7, learning_rate=1e-3, seconds=0.5))
    assert grown.outcome == ["out of budget"] * 2
    assert 0.9 < grown.seconds.sum() < 1.7  # 2 cells with 0.5 s each


@pytest.mark.parametrize("optimizer", ["adam", "adam+ssbroyden"])
def test_the_loss_tolerance_is_that_of_the_sum(optimizer: str) -> None:
    def small(places: torch.Tensor) -> torch.Tensor:
        return 0.01 * wave(places)

    fits = Fits(make(2), target=small, judged=small)
    chosen = replace(QUICK, name=optimizer)
    tolerance = float(fits.first(chosen).loss.min()) / 5
    grown = fits.train(replace(QUICK, name=optimizer, loss_tolerance=tolerance))
    reached = grown.loss <= tolerance * (1 + 1e-9)
    most = 2 * sum(part.steps for part in chosen.chain)
    assert reached.any() and (grown.steps[reached] < most).all() and (grown.loss[reached] > tolerance / 10).all()


def test_later_stages_begin_from_streams_of_their_own() -> None:
    def constant(places: torch.Tensor) -> torch.Tensor:
        return torch.full_like(places[..., 0], 5.0)

    fits = Fits(make(3), cells=6, target=constant, judged=constant)
    grown = fits.train(
        OptimizerConfig(steps=1, learning_rate=1e-300)
    )  # the residual has one sign: no frequency to begin at
    network = fits.model.network
    for cell, parameters in enumerate(grown.parameters):
        for stage, block in enumerate(fits.model.networks(parameters)):
            numbers = range(3 * stage - 2, 3 * stage + 1) if stage else range(1)
            starts = network.init([cell + (number << 64) for number in numbers], DOUBLE)
            assert not block.any() or (starts == block).all(dim=1).any()
    assert (grown.parameters[:, -2:] != 0).sum() > 6


def test_the_history_is_that_of_the_sum() -> None:
    fits = Fits(make(2), cells=2)
    grown = fits.train(QUICK)
    cell = int(np.argmax(grown.steps))
    assert grown.steps[cell] == 600
    used = grown.history_step[cell] >= 0
    steps, losses = grown.history_step[cell][used], grown.history_loss[cell][used]
    assert steps[0] == 0 and steps[-1] == 600 and (np.diff(steps) > 0).all() and len(steps) == 64
    assert math.isclose(losses[-1], grown.loss[cell], rel_tol=1e-9)
    assert math.isclose(losses[0], fits.first(QUICK).history_loss[cell][0], rel_tol=1e-12)


@pytest.mark.parametrize(("wanted", "dimension"), [(9.0, 1), (25.0, 1), (6.0, 2), (6.0, 3)])
def test_the_frequency_of_a_wave_is_found(wanted: float, dimension: int) -> None:
    generator = torch.Generator().manual_seed(1)
    places = torch.rand(400 if dimension == 1 else 6000, dimension, generator=generator, dtype=DOUBLE) * 2 - 1
    direction = torch.tensor([1.0, 2.0, -2.0], dtype=DOUBLE)[:dimension]
    values = torch.sin(wanted * (places @ (direction / direction.norm())) + 0.3)
    assert math.isclose(stages.frequency(places, values), wanted, rel_tol=0.15)


def test_a_residual_without_a_sign_has_no_frequency() -> None:
    places = torch.rand(20, 2, dtype=DOUBLE, generator=torch.Generator().manual_seed(1))
    assert stages.frequency(places, torch.ones(20, dtype=DOUBLE)) == 0.0
    assert stages.frequency(places[:1], torch.ones(1, dtype=DOUBLE)) == 0.0
    assert stages.frequency(places[:1, :1], torch.ones(1, dtype=DOUBLE)) == 0.0
