"""Zooms and rasters: the twins evaluate one point at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from hpcsweep.approx.supnorm.approximations import ErrorFunction
from hpcsweep.approx.supnorm.slice import REACH, raster_of, slice_of, zoom_of

BOX = ((-1.0, 3.0), (0.5, 1.0))


def target(points: Tensor) -> Tensor:
    return torch.sin(points[:, 0]) * points[:, -1]


def bumpy(middle: float, width: float, height: float = 0.25) -> ErrorFunction:
    """A pair whose error is a bump at `middle` of the first coordinate, half as high at `width` from there."""

    def network(points: Tensor) -> Tensor:
        return target(points) - height * torch.exp(-math.log(2) * ((points[:, 0] - middle) / width) ** 2)

    return ErrorFunction(target, network, BOX)


@given(st.floats(-0.9, 2.9), st.floats(-5.5, -1.5))
def test_a_zoom_is_as_wide_as_its_glitch(middle: float, exponent: float) -> None:
    width = 10**exponent
    zoom = zoom_of(bumpy(middle, width), (middle, 0.75), 129)
    assert zoom is not None and zoom.shape == (3, 129)
    x, f, network = zoom
    assert x[0] <= middle <= x[-1] and BOX[0][0] <= x[0] and x[-1] <= BOX[0][1]
    ends = (max(BOX[0][0], middle - REACH * width), min(BOX[0][1], middle + REACH * width))
    assert x[0] == pytest.approx(ends[0], abs=0.15 * REACH * width)
    assert x[-1] == pytest.approx(ends[1], abs=0.15 * REACH * width)
    for i in (0, 64, 128):
        point = torch.tensor([[x[i], 0.75]], dtype=torch.float64)
        assert f[i] == target(point).item() and network[i] == pytest.approx(bumpy(middle, width).approximant(point))


def test_a_slice_runs_through_the_point_from_end_to_end() -> None:
    functions = bumpy(0.0, 0.5)
    positions, values, outputs = slice_of(functions, (0.05, 0.75), 11)
    assert (positions[0], positions[-1], len(positions)) == (*BOX[0], 11)
    points = torch.tensor([[position, 0.75] for position in positions], dtype=torch.float64)
    np.testing.assert_array_equal(values, target(points).numpy())
    np.testing.assert_array_equal(outputs, functions.approximant(points).numpy())
    assert {positions.dtype, values.dtype, outputs.dtype} == {np.dtype("float64")}


def test_a_zoom_at_the_edge_or_without_an_end_stays_in_the_domain() -> None:
    zoom = zoom_of(bumpy(3.0, 0.01), (3.0, 0.75), 65)
    assert zoom is not None and zoom[0, -1] == 3.0 and 2.9 < zoom[0, 0] < 3.0
    flat = ErrorFunction(target, lambda points: target(points) + 1, BOX)
    zoom = zoom_of(flat, (0.0, 0.75), 65)
    assert zoom is not None and (zoom[0, 0], zoom[0, -1]) == BOX[0]
    assert zoom_of(flat, (), 65) is None and zoom_of(flat, (math.nan, 0.0), 65) is None
    assert slice_of(flat, (math.inf, 0.0), 65) is None


def test_a_raster_has_the_first_coordinate_along_its_rows() -> None:
    raster = raster_of(bumpy(0.0, 0.5), 5)
    assert raster is not None and raster.dtype == np.float32
    for i, first in enumerate(np.linspace(*BOX[0], 5)):
        for j, second in enumerate(np.linspace(*BOX[1], 5)):
            point = torch.tensor([[first, second]], dtype=torch.float64)
            assert raster[i, j] == np.float32(bumpy(0.0, 0.5)(point).item())
    lopsided = raster_of(ErrorFunction(target, lambda points: 0 * points[:, 0], BOX), 5)
    assert lopsided is not None and not np.array_equal(lopsided, lopsided.T)
    assert (
        raster_of(ErrorFunction(target, target, BOX[:1]), 5) is None
        and raster_of(ErrorFunction(target, target, BOX * 2), 5) is None
    )
