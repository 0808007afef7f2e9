"""Rigorous enclosures of functions on many boxes at once.

``affine``  affine forms, which run a user's own torch code by rules: ``arithmetic``, ``shapes``, ``conditions``,
            ``elementary`` (functions of one variable under torch's names), ``powers``, ``products``, ``sums``,
            ``steps``, ``modules`` (of torch.nn); ``axes`` and ``moves`` (transposed, reshaped, stacked)
``double_double``  the same code at points, with twice the digits and bounds of the errors
``univariate``  how functions of one variable are enclosed, gelu and tanh among them
``taylor``  Taylor models: forms with more terms, to which the same rules apply
``layers``  networks by their layers, with the lines of ``activation_lines`` about their activations
``jets``    values with gradients and Laplacians, by the ``derivatives`` of functions of one variable
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
from hpcsweep.approx.supnorm.certificate.enclosure.double_double import (  # noqa: F401 - they fill OWN
    sigmoids as _sigmoids,
)
from hpcsweep.approx.supnorm.certificate.enclosure.double_double import steps as _steps  # noqa: F401
from hpcsweep.approx.supnorm.certificate.enclosure.double_double.number import DoubleDouble, exact
from hpcsweep.approx.supnorm.certificate.enclosure.univariate.registry import relax

__all__ = ["AffineForm", "DoubleDouble", "NoEnclosure", "boxes", "exact", "relax"]
