"""Classical approximants: fitted to samples at once, by a formula, where networks are trained.

The only rooms of `approx` that may import scipy, and only where a fit or a triangulation is made, since that takes half
a second.
"""

from __future__ import annotations

from hpcsweep.approx.models.classical.costs import bytes_of, equivalent_widths, operations
from hpcsweep.approx.models.classical.direct import Direct, Unsolvable
from hpcsweep.approx.models.classical.legendre import Legendre
from hpcsweep.approx.models.classical.simplex import Simplex
from hpcsweep.approx.models.classical.sizes import FAMILIES, FIELDS, count, is_direct, refuse, resolve, sized
from hpcsweep.approx.models.classical.spline import Spline

__all__ = [
    "FAMILIES",
    "FIELDS",
    "Direct",
    "Legendre",
    "Simplex",
    "Spline",
    "Unsolvable",
    "bytes_of",
    "count",
    "equivalent_widths",
    "is_direct",
    "operations",
    "refuse",
    "resolve",
    "sized",
]
