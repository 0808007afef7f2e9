"""Places where a target is sampled: random points or grids, inside a box and on its boundary. Pure functions of a seed,
so that they need not be stored."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Domain = Sequence[Sequence[float]] | np.ndarray


def samples(seed: int, count: int, domain: Domain) -> np.ndarray:
    """Return independent uniform points of a box, (count, dimension) float64.

    Nested: the first 100 of 1000 are the 100 points of the same seed.
    """
    low, high = np.array(domain, dtype=np.float64).T
    unit = np.random.Generator(np.random.Philox(key=seed)).random((count, len(low)))
    return low + (high - low) * unit


def places(seed: int, count: int, domain: Domain, sampling: str) -> np.ndarray:
    """Return where a target is sampled, (count, dimension) float64: "uniform" as `samples`, or a "grid"."""
    return grid(count, domain) if sampling == "grid" else samples(seed, count, domain)


def noise(seed: int, count: int) -> np.ndarray:
    """Return independent standard normal numbers, (count,) float64; nested as `samples` are."""
    return np.random.Generator(np.random.Philox(key=seed)).standard_normal(count)


def grid(count: int, domain: Domain) -> np.ndarray:
    """Return the midpoints of m^d equal boxes, (count, dimension) float64: all inside, the last axis the fastest.

    Means over them are the midpoint rule. Raises ValueError where `count` is no m^d.
    """
    edge = side(count, len(domain))
    if edge is None:
        raise ValueError(f"{count} points do not form a grid in {len(domain)} dimensions")
    shares = (np.arange(edge) + 0.5) / edge
    axes = [low + (high - low) * shares for low, high in domain]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(count, len(domain))


def boundary(seed: int, count: int, domain: Domain, regular: bool) -> np.ndarray:
    """Return points on the faces of a box in turn, (count, dimension) float64.

    Independent uniform ones of each face, or with `regular` the grid of each, for which `count` must be 2 d m^(d - 1).
    Face f is the lower end of axis f // 2 for even f, its upper end for odd ones.
    """
    dimension, faces = len(domain), 2 * len(domain)
    points = samples(seed, count, domain)
    for face in range(faces):
        own = points[face::faces]  # (points of this face, dimension), a view
        axis, end = divmod(face, 2)
        if regular and dimension > 1:
            others = [place for place in range(dimension) if place != axis]
            own[:, others] = grid(len(own), [domain[place] for place in others])
        own[:, axis] = domain[axis][end]
    return points


def side(count: int, dimension: int) -> int | None:
    """Return m where count = m^dimension, else None; in no dimension there is one point."""
    if dimension == 0:
        return 1 if count == 1 else None
    edge = round(count ** (1 / dimension))
    return edge if edge**dimension == count else None


def nearest_grids(count: int, dimension: int) -> tuple[int, ...]:
    """Return the counts m^dimension next to `count`: one below, if there is one, and one above."""
    if dimension == 0:
        return (1,)
    edge = next(m for m in range(int(count ** (1 / dimension)) + 1, -1, -1) if m**dimension <= count)
    return tuple(m**dimension for m in (edge, edge + 1) if m > 0)
