"""Losses: against torch.autograd, on any scale, and with the bits of a slot whatever its companions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hpcsweep.approx.training.operations import losses

DOUBLE = torch.float64


def evaluated(power: int, residuals: Tensor) -> tuple[Tensor, Tensor]:
    """Return the losses (slots,) and their derivatives (slots, 1, samples) by the residuals."""
    loss, slopes = losses.make(power), residuals.clone()
    out = residuals.new_empty(len(residuals))
    loss.value(slopes, out)
    assert torch.equal(slopes, residuals) or residuals.isnan().any()
    loss.pull(slopes)
    return out, slopes


@pytest.mark.parametrize("power", [2, 4, 6, 8, 30])
def test_value_and_slope_are_those_of_autograd(power: int) -> None:
    generator = torch.Generator().manual_seed(power)
    leaf = torch.randn(4, 1, 33, generator=generator, dtype=DOUBLE).requires_grad_()
    expected = (leaf.abs() ** power).mean(dim=(1, 2)) ** (2 / power)
    slopes = torch.autograd.grad(expected.sum(), leaf)[0]
    found, made = evaluated(power, leaf.detach())
    torch.testing.assert_close(found, expected.detach(), rtol=1e-13, atol=0)
    torch.testing.assert_close(made, slopes, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("size", [1e-140, 1e-60, 1e60, 1e140])
def test_high_powers_neither_over_nor_underflow(size: float) -> None:
    residuals = torch.linspace(-1, 2, 40, dtype=DOUBLE).view(2, 1, 20)
    plain, slopes = evaluated(100, residuals)
    found, scaled = evaluated(100, residuals * size)
    torch.testing.assert_close(found / size**2, plain, rtol=1e-12, atol=0)
    torch.testing.assert_close(scaled / size, slopes, rtol=1e-11, atol=1e-30)


def test_where_all_residuals_vanish_so_does_the_slope() -> None:
    for power in (2, 8):
        found, slopes = evaluated(power, torch.zeros(2, 1, 5, dtype=DOUBLE))
        assert not found.any() and not slopes.any()


@pytest.mark.parametrize("poison", [torch.nan, torch.inf, 1e300])
@pytest.mark.parametrize("power", [2, 8])
def test_bits_do_not_depend_on_companions(power: int, poison: float) -> None:
    generator = torch.Generator().manual_seed(1)
    residuals = torch.randn(17, 1, 29, generator=generator, dtype=DOUBLE)
    found, slopes = evaluated(power, residuals)
    order = torch.randperm(17, generator=generator)
    turned = residuals[order].clone()
    turned[3] = poison
    permuted, permuted_slopes = evaluated(power, turned)
    others = [slot for slot in range(17) if slot != 3]
    assert torch.equal(permuted[others], found[order][others])
    assert torch.equal(permuted_slopes[others], slopes[order][others])
    assert not torch.isfinite(permuted[3])
    assert torch.equal(evaluated(power, residuals[5:7])[0], found[5:7])
