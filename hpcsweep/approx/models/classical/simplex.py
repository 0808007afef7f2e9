"""Piecewise-linear interpolation on simplices."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from hpcsweep.approx.models.classical.direct import Direct, Unsolvable, distinct
from hpcsweep.approx.models.classical.pieces import are_numbers, chosen
from hpcsweep.approx.models.model import Domain
from hpcsweep.config import ModelConfig

_AT_ONCE = 8192  # points: a tile of the meter
_KEPT = 4  # triangulations of a process: those of a pack are held by their models


@final
class Simplex(Direct):
    """Linear on each simplex of the Delaunay triangulation of the samples, through all of them; in 1-D between samples.

    Outside the convex hull of the samples it has the value of the nearest one, so that it jumps there from two
    dimensions on. Its flat vector is the places of the samples, (nodes, dimension) in row-major order, and after them
    their values: nodes (dimension + 1) degrees of freedom, as Michaud, Liu and Tegmark count them ("Precision machine
    learning", Entropy 25:175, 2023). The triangulation is made of the places again, on every machine the same.
    """

    def __init__(self, config: ModelConfig, dimension: int, domain: Domain) -> None:
        """`config`: with how many `nodes` it has, one for each sample."""
        self.config, self.dimension = config, dimension
        self._nodes: int = config["nodes"]
        self.parameters = self._nodes * (dimension + 1)
        self._held: tuple[Tensor, int, Triangulation] | None = None

    def solve(self, places: np.ndarray, values: np.ndarray) -> Tensor:
        """Return places and values (parameters,), in one dimension in ascending order."""
        distinct(places)
        if self.dimension == 1:
            order = places[:, 0].argsort(kind="stable")
            places, values = places[order], values[order]
        else:
            triangulated(np.ascontiguousarray(places).tobytes(), self.dimension)
        return torch.from_numpy(np.concatenate([places.ravel(), values]))

    def apply(self, parameters: Tensor, points: Tensor) -> Tensor:
        """Return the values (points,) at points (points, dimension), a block at a time."""
        places, values = parameters.split([self._nodes * self.dimension, self._nodes])
        if self.dimension == 1:
            return _between(places, values, points[:, 0])
        mesh = self._mesh(parameters, places)
        return torch.cat([mesh.interpolated(values, part) for part in points.split(_AT_ONCE)])

    def _mesh(self, parameters: Tensor, places: Tensor) -> Triangulation:
        """Return the triangulation; for the same tensor as before the same one, without looking at its numbers."""
        held = self._held
        if held is None or held[0] is not parameters or held[1] != parameters._version:
            mesh = triangulated(places.detach().cpu().double().numpy().tobytes(), self.dimension)
            self._held = held = parameters, parameters._version, mesh
        return held[2]


def _between(nodes: Tensor, values: Tensor, places: Tensor) -> Tensor:
    """Return values (places,) on the lines between neighbouring nodes, in ascending order; outside the nearest."""
    inside, last = places.clamp(nodes[0], nodes[-1]), len(nodes) - 1
    if are_numbers(places):
        return _on_lines(nodes, values, inside, torch.searchsorted(nodes, inside.detach(), right=True).clamp(1, last))
    return chosen(lambda pieces: _on_lines(nodes, values, inside[:, None], pieces + 1), inside[:, None], nodes[1:-1])


def _on_lines(nodes: Tensor, values: Tensor, inside: Tensor, right: Tensor) -> Tensor:
    """Return values at places, each on the line that ends with a node, by number."""
    low, high = nodes[right - 1], nodes[right]
    share = (inside - low) / (high - low)
    return (1 - share) * values[right - 1] + share * values[right]


@dataclass(frozen=True, eq=False)
class Triangulation:
    """A Delaunay triangulation of nodes, ready to be asked.

    Attributes
    ----------
    mesh, tree : of scipy: the simplices, and the nodes by distance
    corners : (simplices, dimension + 1) int64
    maps : (simplices, dimension + 1, dimension): x -> the barycentric coordinates M (x - r), and in the last row r
    """

    mesh: Any
    tree: Any
    corners: Tensor
    maps: Tensor

    def interpolated(self, values: Tensor, points: Tensor) -> Tensor:
        """Return the values (points,) at points (points, dimension) for values (nodes,) at the nodes."""
        where = points.detach().cpu().double().numpy()
        containing = self._simplices(where)
        result = values[torch.from_numpy(self._nearest(where, containing < 0)).to(values.device)]
        inside = torch.from_numpy(containing >= 0).to(points.device)
        simplex = torch.from_numpy(containing[containing >= 0])
        maps = self.maps[simplex].to(points)  # (inside, dimension + 1, dimension)
        shares = (maps[:, :-1] @ (points[inside] - maps[:, -1]).unsqueeze(2)).squeeze(2)  # (inside, dimension)
        corners = values[self.corners[simplex].to(values.device)]  # (inside, dimension + 1)
        linear = (shares * corners[:, :-1]).sum(1) + (1 - shares.sum(1)) * corners[:, -1]
        return result.masked_scatter(inside, linear)

    def _simplices(self, places: np.ndarray) -> np.ndarray:
        """Return the simplex of each place (places, dimension), -1 outside.

        Places are asked for cell by cell of a grid: each walk begins where the one before it ended, which is then near
        (16 times faster for many nodes).
        """
        side = max(2, round(len(places) ** (1 / places.shape[1])))
        low, high = self.mesh.min_bound, self.mesh.max_bound
        order = np.lexsort(np.floor((places - low) * (side / (high - low))).T)
        containing = np.empty(len(places), dtype=np.int64)
        containing[order] = self.mesh.find_simplex(places[order])
        return containing

    def _nearest(self, places: np.ndarray, asked: np.ndarray) -> np.ndarray:
        """Return the node nearest to each place that is asked for, any one to the others."""
        nearest = np.zeros(len(places), dtype=np.int64)
        if asked.any():
            nearest[asked] = self.tree.query(places[asked])[1]
        return nearest


@functools.lru_cache(maxsize=_KEPT)
def triangulated(nodes: bytes, dimension: int) -> Triangulation:
    """Return the triangulation of nodes, given by the bytes of (nodes, dimension) float64.

    Raises
    ------
    Unsolvable : where they have none, as on a plane
    """
    from scipy.spatial import Delaunay, QhullError, cKDTree  # here: it takes half a second, and most runs need none

    places = np.frombuffer(nodes).reshape(-1, dimension)
    try:
        mesh = Delaunay(places)
    except (QhullError, ValueError) as error:
        first = next(iter(str(error).strip().splitlines()), "")
        raise Unsolvable(f"The samples have no Delaunay triangulation: {first}") from error
    corners = torch.from_numpy(mesh.simplices.astype(np.int64))
    return Triangulation(mesh, cKDTree(places), corners, torch.from_numpy(mesh.transform))
