"""Taylor models in double-double: for errors that are small against the rounding errors of float64.

``model``  `Model`, which a user's own torch code runs on, and its norms
``arithmetic``  what it does in place of the rules of affine forms
``compositions``  products of models, and functions of them
``series``  Taylor coefficients of functions of one variable
``difference``  a target and an approximant together: upper bounds on boxes
"""

from __future__ import annotations

from hpcsweep.approx.supnorm.certificate.enclosure.precise import arithmetic  # noqa: F401 - it fills OWN
