"""Rigorous enclosures of functions on many boxes at once.

``affine``  affine forms, which run a user's own torch code by rules: ``arithmetic``, ``shapes``, ``conditions``,
            ``elementary`` (functions of one variable under torch's names), ``powers``, ``products``, ``sums``,
            ``steps``, ``modules`` (of torch.nn); ``axes`` and ``moves`` (transposed, reshaped, stacked)
``univariate``  how functions of one variable are enclosed, gelu and tanh among them
``layers``  networks by their layers, with the lines of ``activation_lines`` about their activations
``difference``  a target and a network together; ``rounding``: what float64 may lose
"""

from __future__ import annotations

from hpcsweep.approx.supnorm.certificate.enclosure import (  # noqa: F401 - they fill RULES
    arithmetic,
    conditions,
    elementary,
    modules,
    moves,
    powers,
    products,
    shapes,
    steps,
    sums,
)
from hpcsweep.approx.supnorm.certificate.enclosure.affine import AffineForm, NoEnclosure, boxes
from hpcsweep.approx.supnorm.certificate.enclosure.univariate.registry import relax

__all__ = ["AffineForm", "NoEnclosure", "boxes", "relax"]
