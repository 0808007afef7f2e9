"""Passes over strips of the samples: the same gradients, of the same bits whatever the companions."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from hpcsweep.approx import models
from hpcsweep.approx.training import losses
from hpcsweep.approx.training.engine import Engine, Layout
from hpcsweep.approx.training.signals import strips

DOUBLE = torch.float64
CUT = [((2, 200, 130, 1), 300), ((1, 90, 1), 701), ((3, 5, 1), 1603)]  # layers, samples


def evaluated(widths: tuple[int, ...], rows: Tensor, data: Tensor, *, power: int = 2, whole: bool = False):
    """Return losses (slots,), those without a gradient, and gradients (slots, parameters).

    `data` is (slots, inputs + 2, samples): points, values, importance; `whole`: not cut into strips.
    """
    layout = Layout(widths, len(rows))
    engine = Engine(layout, "tanh", data.shape[2], rows.new_empty(rows.numel()), losses.make(power))
    if whole:
        engine._parts, engine._strips = [], []
    layout.fill(engine.weights, rows)
    engine.feed(data[:, :-2].mT, data[:, -2])
    engine.importance = data[:, -1:].clone()
    found = torch.empty((2, len(rows)), dtype=rows.dtype)
    engine.descend(found[0])
    engine.loss(found[1])
    return found[0], found[1], layout.rows(engine.gradient)


def cells(widths: tuple[int, ...], samples: int, count: int, dtype: torch.dtype = DOUBLE) -> tuple[Tensor, Tensor]:
    """Return parameters (count, parameters) and data (count, inputs + 2, samples)."""
    generator = torch.Generator().manual_seed(samples)
    rows = 0.3 * torch.randn(count, Layout(widths, 1).parameters, generator=generator, dtype=dtype)
    data = torch.randn(count, widths[0] + 2, samples, generator=generator, dtype=dtype)
    data[:, -1].abs_()
    return rows, data


@given(widths=st.lists(st.integers(1, 400), max_size=3), samples=st.integers(1, 30_000))
def test_strips_cover_the_samples_once(widths: list[int], samples: int) -> None:
    found = strips((2, *widths, 1), samples)
    if found:
        assert found[0].start == 0 and found[-1].stop == samples
        assert all(one.stop == following.start for one, following in pairwise(found))
        lengths = [one.stop - one.start for one in found]
        assert len(set(lengths[:-1])) == 1 and 0 < lengths[-1] <= lengths[0] <= 1024
        assert lengths[0] % 8 == 0


def test_small_shapes_stay_whole() -> None:
    assert not strips((2, 16, 16, 1), 1000) and not strips((2, 256, 256, 1), 200) and not strips((2, 1), 1400)
    assert len(strips((2, 256, 256, 1), 1000)) == 6


@pytest.mark.parametrize(("widths", "samples"), CUT)
def test_strips_give_the_gradient_of_autograd(widths: tuple[int, ...], samples: int) -> None:
    assert strips(widths, samples)
    rows, data = cells(widths, samples, 2)
    loss, again, gradients = evaluated(widths, rows, data)
    assert torch.equal(loss, again)
    model = models.MLP({"hidden": list(widths[1:-1])}, widths[0], [(-1.0, 1.0)] * widths[0])
    for slot, (row, one) in enumerate(zip(rows, data, strict=True)):
        leaf = row.clone().requires_grad_()
        expected = ((model.apply(leaf, one[:-2].T) - one[-2]).square() * one[-1]).mean()
        [slope] = torch.autograd.grad(expected, leaf)
        assert abs(loss[slot] - expected) <= 1e-12 * expected
        assert (gradients[slot] - slope).abs().max() <= 1e-12 * slope.abs().max()


@pytest.mark.parametrize("dtype", [DOUBLE, torch.float32])
@pytest.mark.parametrize(("widths", "samples"), CUT)
def test_bits_do_not_depend_on_companions(widths: tuple[int, ...], samples: int, dtype: torch.dtype) -> None:
    rows, data = cells(widths, samples, 5, dtype)
    everything = evaluated(widths, rows, data)
    order = [3, 1]
    for few, all_of_them in zip(evaluated(widths, rows[order], data[order]), everything, strict=True):
        assert torch.equal(few, all_of_them[order])
    data[2] = torch.nan
    others = [0, 1, 3, 4]
    for spoilt, clean in zip(evaluated(widths, rows, data), everything, strict=True):
        assert torch.equal(spoilt[others], clean[others])


@pytest.mark.parametrize(("widths", "samples"), CUT)
def test_strips_and_the_whole_agree(widths: tuple[int, ...], samples: int) -> None:
    rows, data = cells(widths, samples, 2)
    for cut, whole in zip(evaluated(widths, rows, data), evaluated(widths, rows, data, whole=True), strict=True):
        torch.testing.assert_close(cut, whole, rtol=1e-12, atol=1e-14)


def test_a_loss_that_couples_samples_is_not_cut() -> None:
    rows, data = cells((1, 90, 1), 701, 2)
    for one, whole in zip(
        evaluated((1, 90, 1), rows, data, power=8), evaluated((1, 90, 1), rows, data, power=8, whole=True), strict=True
    ):
        assert torch.equal(one, whole)
