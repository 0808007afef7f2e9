"""Directly fitted models of random samples, as they are run, and by their definitions in mpmath."""

from __future__ import annotations

import random
from collections.abc import Sequence

import mpmath as mp
import numpy as np
import torch

from hpcsweep.approx import models
from hpcsweep.approx.models.classical.legendre import Legendre
from hpcsweep.approx.models.classical.spline import Spline
from scripts.soundness.trees import Function

Domain = Sequence[tuple[float, float]]
_ORDERS = {1: 20, 2: 12, 3: 8}


def direct(generator: random.Random, domain: Domain) -> Function:
    """Return a fit to random values at random places: splines, or lines, in one dimension; polynomials up to three."""
    numbers, dimension = np.random.default_rng(generator.randrange(2**32)), len(domain)
    nodes, kind = (
        generator.randint(8, 30),
        generator.choice(("legendre", "spline", "simplex") if dimension == 1 else ("legendre",)),
    )
    choice = {
        "legendre": {"name": "legendre", "order": generator.randint(1, _ORDERS[dimension])},
        "spline": {"name": "spline", "degree": generator.choice((1, 3, 5)), "nodes": nodes},
        "simplex": {"name": "simplex", "nodes": nodes},
    }
    model = models.make(choice[kind], dimension, domain)
    low, high = np.array(domain).T
    places = low + (high - low) * numbers.uniform(
        size=(nodes if kind != "legendre" else 2 * model.parameters, dimension)
    )
    values = np.cos(numbers.normal(size=dimension) @ ((places - low) / (high - low)).T) + 0.1 * numbers.normal(
        size=len(places)
    )
    parameters = model.solve(places, values)
    if kind == "legendre":
        return Function(lambda x: model.apply(parameters, x), lambda *point: _polynomial(model, parameters, point))
    if kind == "spline":
        return Function(lambda x: model.apply(parameters, x), lambda x: _spline(model, parameters, x))
    return Function(lambda x: model.apply(parameters, x), lambda x: _lines(parameters, x))


def _polynomial(model: Legendre, parameters: torch.Tensor, point: Sequence[mp.mpf]) -> mp.mpf:
    """Return sum_nu c_nu prod_i P_nu_i(u_i), with the numbers that the recurrence has in float64."""
    scaled, factors = (parameters * model._scales).tolist(), []
    for value, middle, half in zip(point, model._middle.tolist(), model._half.tolist(), strict=True):
        unit = (value - middle) / half
        values = [mp.mpf(1), unit]
        for n in range(1, model._degree):
            values.append(mp.mpf((2 * n + 1) / (n + 1)) * unit * values[n] - mp.mpf(n / (n + 1)) * values[n - 1])
        factors.append(values)
    products = (mp.fprod(values[n] for values, n in zip(factors, row, strict=True)) for row in model.indices.tolist())
    return mp.fsum(coefficient * product for coefficient, product in zip(scaled, products, strict=True))


def _spline(model: Spline, parameters: torch.Tensor, x: mp.mpf) -> mp.mpf:
    """Return the value of a spline by de Boor's algorithm on the piece of x."""
    nodes, coefficients = parameters.split(model._nodes)
    knots, degree = model.knots(nodes).tolist(), model._degree
    at = min(max(sum(knot <= x for knot in knots) - 1, degree), model._nodes - 1)
    values = [mp.mpf(value) for value in coefficients[at - degree : at + 1].tolist()]
    for level in range(1, degree + 1):
        for j in range(degree, level - 1, -1):
            low, high = knots[j + at - degree], knots[j + 1 + at - level]
            share = (x - low) / (high - low)  # of two float64 numbers, as the model has it
            values[j] = (1 - share) * values[j - 1] + share * values[j]
    return values[degree]


def _lines(parameters: torch.Tensor, x: mp.mpf) -> mp.mpf:
    """Return the value on the line between the nodes beside x."""
    nodes, values = parameters.view(2, -1).tolist()
    x = min(max(x, mp.mpf(nodes[0])), mp.mpf(nodes[-1]))
    right = min(max(sum(node <= x for node in nodes), 1), len(nodes) - 1)
    share = (x - nodes[right - 1]) / (nodes[right] - nodes[right - 1])
    return (1 - share) * values[right - 1] + share * values[right]
