"""Where to look besides the worst points of a screen: on the boundary, and far from every training sample.

The largest error of a trained network mostly lies on the boundary of its domain, where points in the open box never
are, or in a gap between the samples. All of it is a function of the arguments only.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from hpcsweep.approx.kernels.distances import nearest as compiled_nearest
from hpcsweep.approx.supnorm.points import make
from hpcsweep.approx.supnorm.points.counter import random_bits
from hpcsweep.approx.supnorm.points.inflation import BLOCK, FACTORS
from hpcsweep.approx.supnorm.points.pointset import Domain

# The hash of points uses indices from 0 on, and a few below; these begin further down.
_CORNERS, _FACES = -(1 << 32), -(2 << 32)
_POOL = 8  # points that compete for one place far from the samples
_PAIRS = 1 << 14  # but no more distances than this for one place, unless the samples alone are more
_FEW = 1 << 14  # points that are remembered, 16 times
_TILE = 1 << 22  # distances at a time, 32 MiB


def boundary(domain: Domain, count: int, seed: int, device: torch.device | str = "cpu") -> Tensor:
    """Return at most a quarter corners, the centres of the faces if a quarter is enough, and random points on faces.

    Returns
    -------
    Tensor: (count, dimension) float64.
    """
    quarter = count // 4
    centres = face_centres(domain)
    points = torch.cat([corners(domain, quarter, seed), centres if len(centres) <= quarter else centres[:0]])
    return torch.cat([points, on_faces(domain, count - len(points), seed)]).to(device)


def corners(domain: Domain, count: int, seed: int) -> Tensor:
    """Return all 2**dimension corners, (corners, dimension), or `count` random ones where that is fewer."""
    low, high = torch.tensor(domain, dtype=torch.float64).T
    axes = torch.arange(len(domain))
    if len(domain) < 40 and 2 ** len(domain) <= count:
        upper = (torch.arange(2 ** len(domain))[:, None] >> axes) & 1
    else:
        upper = random_bits(seed, _CORNERS - torch.arange(count), len(domain)) & 1
    return torch.where(upper == 1, high, low)


def face_centres(domain: Domain) -> Tensor:
    """Return the centres of the 2 * dimension faces, (2 * dimension, dimension)."""
    low, high = torch.tensor(domain, dtype=torch.float64).T
    middle = (low / 2 + high / 2).expand(len(domain), -1)
    own = torch.eye(len(domain), dtype=torch.bool)
    return torch.cat([torch.where(own, low, middle), torch.where(own, high, middle)])


def on_faces(domain: Domain, count: int, seed: int) -> Tensor:
    """Return random points with at least one coordinate at a bound, (count, dimension).

    How many coordinates are at a bound is uniform on 1 ... dimension, so that edges get as many as facets.
    """
    dimension = len(domain)
    low, high = torch.tensor(domain, dtype=torch.float64).T
    bits = random_bits(seed, _FACES - torch.arange(count), 2 * dimension + 1)  # (count, 2 dimension + 1)
    unit = bits.to(torch.float64) * 2.0**-53
    order = unit[:, :dimension].argsort(dim=1).argsort(dim=1)  # a random permutation of the axes
    bound = order <= (unit[:, -1:] * dimension).floor()
    within = torch.minimum(low + (high - low) * unit[:, dimension:-1], high)
    upper = bits[:, :dimension] & 1 == 1
    return torch.where(bound, torch.where(upper, high, low), within)


def spread(domain: Domain, count: int, seed: int) -> Tensor:
    """Return Sobol points, (count, dimension), in as many by each factor of inflation, one factor after the other."""
    sides = tuple((low, high) for low, high in domain)
    return (_remembered if count <= _FEW else _spread)(sides, count, seed).clone()


def _spread(domain: Domain, count: int, seed: int) -> Tensor:
    share = -(-count // len(FACTORS))
    base, factor = torch.arange(share), torch.arange(len(FACTORS))[:, None]
    indices = base // BLOCK * (BLOCK * len(FACTORS)) + factor * BLOCK + base % BLOCK  # (factors, share)
    return make("inflated", len(domain), max(1, count), seed, domain).at(indices.flatten()[:count]).contiguous()


_remembered = lru_cache(16)(_spread)  # all networks of a study begin with the same points


def gaps(samples: Tensor, domain: Domain, count: int, seed: int) -> Tensor:
    """Return at most `count` places far from every sample, (places, dimension), the farthest first.

    In one dimension the middles between neighbours, and the ends of the domain; in several the best of a pool of
    points (`spread`), by the distance to the nearest sample in half sides of the domain.
    """
    if samples.device.type != "cpu" or count > _FEW:
        return _gaps(samples, domain, count, seed)
    return _remembered_gaps(samples.numpy().tobytes(), domain, count, seed).clone()


def _gaps(samples: Tensor, domain: Domain, count: int, seed: int) -> Tensor:
    if len(domain) == 1:
        return _gaps_on_a_line(samples, domain, count)
    low, high = torch.tensor(domain, dtype=torch.float64).to(samples.device).T
    size = max(count, min(_POOL * count, count * _PAIRS // max(1, len(samples))))
    pool = spread(domain, size, seed).to(samples.device)
    places, points = pool / (high / 2 - low / 2), samples / (high / 2 - low / 2)
    distances = _nearest(places, points) if pool.device.type == "cpu" else nearest(places, points)
    return pool[torch.sort(distances, descending=True, stable=True).indices[:count]]


@lru_cache(64)
def _remembered_gaps(samples: bytes, domain: Domain, count: int, seed: int) -> Tensor:
    """Return the gaps of samples given as bytes: networks of several widths and methods are trained on the same."""
    return _gaps(torch.from_numpy(np.frombuffer(samples).reshape(-1, len(domain)).copy()), domain, count, seed)


def _nearest(places: Tensor, samples: Tensor) -> Tensor:
    """Return the same as `nearest`, compiled."""
    out = np.empty(len(places))
    axes, points = places.T.contiguous().numpy().reshape(-1), samples.contiguous().numpy().reshape(-1)
    compiled_nearest[np.float64](places.shape[1], len(places), len(samples), axes, points, out)
    return torch.from_numpy(out)


def nearest(places: Tensor, samples: Tensor) -> Tensor:
    """Return the Euclidean distance of each place (places, dimension) to the nearest of the samples: (places,).

    Infinite where there is no sample. In tiles: never more than some 32 MiB of distances at once.
    """
    distances = places.new_full((len(places),), torch.inf)
    if not len(samples):
        return distances
    rows = max(1, _TILE // max(1, len(samples)))
    columns = _TILE // rows
    for part, closest in zip(places.split(rows), distances.split(rows), strict=True):
        for block in samples.split(columns):
            exact = torch.cdist(part, block, compute_mode="donot_use_mm_for_euclid_dist")
            torch.minimum(closest, exact.amin(1), out=closest)
    return distances


def _gaps_on_a_line(samples: Tensor, domain: Domain, count: int) -> Tensor:
    """Return the middles between neighbours among the samples (samples, 1), and the ends; the widest gap first."""
    ends = samples.new_tensor(domain[0])
    line = samples[:, 0].sort().values.clamp(*domain[0])
    if not len(line):
        return ends[:count, None]
    middles = line[:-1] / 2 + line[1:] / 2
    places = torch.cat([middles, ends])
    distances = torch.cat([line.diff() / 2, (ends - line[[0, -1]]).abs()])
    return places[torch.sort(distances, descending=True, stable=True).indices[:count], None]
