"""What each optimizer asks of a machine in one step of one network: a table by name, nothing measured.

Counts follow the algorithms (P parameters, n samples, blocks of (outputs, columns)): BFGS and its relatives keep and
read a P x P matrix, L-BFGS 2 m vectors, Levenberg-Marquardt an n x P Jacobian and three square matrices of the smaller
side, SOAP two pairs of square matrices per layer, Muon five quintic iterations per hidden map.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

MEMORY = 50  # pairs of vectors that L-BFGS keeps, when nothing else is known
REFRESH = 10  # steps between turns of SOAP's bases
_SEARCH = 1.25  # evaluations of a line search

Product = tuple[int, int, int, float]  # (rows, inner, columns) and how often


@dataclass(frozen=True)
class Shape:
    """Blocks (outputs, columns) of the layers of one network, and the samples of one step."""

    blocks: tuple[tuple[int, int], ...]
    samples: int

    @property
    def parameters(self) -> int:
        """Number of parameters of one network."""
        return sum(outputs * columns for outputs, columns in self.blocks)


@dataclass(frozen=True)
class Demand:
    """What one network asks for in one step, besides what all optimizers need.

    Attributes
    ----------
    held : numbers of the state
    touched : of the numbers that a step goes through, those not of the network, its samples, gradient and rates
    descents, forwards : evaluations with gradient and without
    jacobians : how many of the descents are Jacobians, which cost no more where there is a closed form
    updates : parameters times the share of Adam's passes over them
    products : matrix products
    cubes : operations of matrix decompositions, in units of those of large products
    passes : numbers written by simple operations
    launches : calls, whatever the number of slots
    around : time between the calls, in calls: views, results that need memory
    ticks : evaluations that a step takes on average; all else is of one
    reach : how many times the cache of a pack may be exceeded before fewer slots are faster: many calls want many slots
    most_steps : after which it is over
    """

    held: int
    touched: int
    descents: float = 1.0
    forwards: float = 0.0
    jacobians: float = 0.0
    updates: float = 0.0
    products: tuple[Product, ...] = ()
    cubes: float = 0.0
    passes: float = 0.0
    launches: float = 0.0
    around: float = 0.0
    ticks: float = 1.0
    reach: float = 1.0
    most_steps: float = float("inf")

    @property
    def flops(self) -> float:
        """Operations of the matrix products."""
        return sum(2 * rows * inner * columns * count for rows, inner, columns, count in self.products)


def _sgd(shape: Shape) -> Demand:
    size = shape.parameters
    return Demand(2 * size, 2 * size, updates=0.45 * size, launches=4)


def _adam(shape: Shape) -> Demand:
    size = shape.parameters
    return Demand(3 * size, 3 * size, updates=size, launches=7)


def _adamw(shape: Shape) -> Demand:
    size = shape.parameters
    return Demand(3 * size, 3 * size, updates=1.15 * size, launches=8)


def _muon(shape: Shape) -> Demand:
    inner = shape.blocks[1:-1]
    products: list[Product] = []
    for short, long in map(sorted, inner):
        products += [(short, long, short, 5), (short, short, short, 5), (short, short, long, 5)]
    mapped = sum(outputs * columns for outputs, columns in inner)
    outer = shape.parameters - mapped
    return Demand(
        held=3 * outer + mapped,
        touched=3 * outer + 6 * mapped,
        updates=outer + 0.5 * mapped,
        products=tuple(products),
        passes=5 * mapped,
        launches=7 * min(2, len(shape.blocks)) + 2 + 21 * len(inner) + sum(a > b for a, b in inner),
        around=80 + 30 * len(inner),
    )


def _soap(shape: Shape) -> Demand:
    products: list[Product] = []
    squares = cubes = 0
    for outputs, columns in shape.blocks:
        products += [(outputs, columns, outputs, 1), (columns, outputs, columns, 1)]
        products += [(outputs, outputs, columns, 2 + 1 / REFRESH), (outputs, columns, columns, 2 + 1 / REFRESH)]
        for side in (outputs, columns):
            products.append((side, side, side, 2 / REFRESH))
            squares, cubes = squares + side**2, cubes + side**3
    return Demand(
        held=4 * shape.parameters + 2 * squares,
        touched=4 * shape.parameters + 2 * squares,
        updates=shape.parameters,
        products=tuple(products),
        cubes=80 * cubes / REFRESH,  # the QR decomposition of a small matrix runs at a twentieth of the rate
        launches=7 + (6 + 50 / REFRESH) * len(shape.blocks),
        around=110,
    )


def _dense(shape: Shape, around: float) -> Demand:
    """Return the demand of a quasi-Newton method with a line search and an inverse Hessian."""
    size = shape.parameters
    return Demand(
        held=size**2 + 10 * size,
        touched=size**2 + 10 * size,
        products=((1, size, size, 1), (size, 3, size, 0.5)),
        passes=0.6 * size**2 + 100 * size,
        launches=36,
        around=around,
        ticks=_SEARCH,
        reach=8,
    )


def _lbfgs(shape: Shape) -> Demand:
    size = shape.parameters
    return Demand(
        held=(2 * MEMORY + 10) * size,
        touched=(2 * MEMORY + 10) * size,
        products=((2, size, MEMORY, 2.5),),
        cubes=50_000 * MEMORY,  # two solutions of triangular systems
        passes=(4 * MEMORY + 100) * size,
        launches=73,
        around=450,
        ticks=_SEARCH,
        reach=8,
    )


def _marquardt(shape: Shape) -> Demand:
    size, samples = shape.parameters, shape.samples
    short, long = sorted((size, samples))
    square = short**2
    return Demand(
        held=samples * size + 3 * square + 8 * size,
        touched=samples * size + 3 * square + 8 * size,
        forwards=6,
        jacobians=1,
        products=((short, long, short, 1), (2, size, samples, 3)),
        cubes=7 * 2 * short**3 / 3
        + 3e6,  # two Cholesky decompositions at a seventh of the rate, and what they begin with
        passes=4 * samples * size + 2 * square,
        launches=120,
        around=250,
        reach=3,
    )


def _projection(shape: Shape) -> Demand:
    """Return the demand of variable projection: Levenberg-Marquardt, and singular values of the features."""
    hidden, width = Shape(shape.blocks[:-1], shape.samples), shape.blocks[-1][1]
    base = _marquardt(hidden)
    jacobian = shape.samples * shape.parameters
    return replace(
        base,
        held=base.held + jacobian,
        touched=base.touched + jacobian,
        products=(*base.products, (hidden.parameters, shape.samples, width, 2)),
        cubes=base.cubes + 400 * width**2 * shape.samples,  # singular values at a twentieth of the rate
    )


def _least_squares(shape: Shape) -> Demand:
    width = shape.blocks[-1][1]
    size = shape.samples * width + width**2
    return Demand(
        held=2 * size,
        touched=2 * size,
        descents=0,
        forwards=3,
        cubes=20 * width**2 * shape.samples,
        launches=60,
        most_steps=2,
    )


_TABLE: Mapping[str, Callable[[Shape], Demand]] = {
    "sgd": _sgd,
    "adam": _adam,
    "adamw": _adamw,
    "muon": _muon,
    "soap": _soap,
    "lbfgs": _lbfgs,
    "bfgs": lambda shape: _dense(shape, 450),
    "ssbfgs": lambda shape: _dense(shape, 520),
    "ssbroyden": lambda shape: _dense(shape, 560),
    "levenberg_marquardt": _marquardt,
    "variable_projection": _projection,
    "least_squares": _least_squares,
}

NAMES: tuple[str, ...] = tuple(_TABLE)


def stages(optimizer: str, shape: Shape) -> Sequence[Demand]:
    """Return the demands of the optimizers of a chain ("adam+ssbroyden"), one after another; one of a single name.

    One that is not ours counts as Adam.
    """
    return [_TABLE.get(name.strip().replace("-", "_"), _adam)(shape) for name in optimizer.split("+")]
