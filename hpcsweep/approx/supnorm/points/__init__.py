"""Index -> coordinates: point sets that are pure functions of the index and never exist as a whole.

``sets``        Sobol, grid, uniform; ``inflation`` of any of them beyond the domain
``rows``        the places of data, which exist
``pointset``    what they have in common
``directions``, ``counter``  the numbers behind them
"""

from __future__ import annotations

from hpcsweep.approx.supnorm.points.pointset import Domain, PointSet
from hpcsweep.approx.supnorm.points.rows import Rows
from hpcsweep.approx.supnorm.points.sets import MAXIMAL_COUNT, Grid, Sobol, Uniform, make

__all__ = ["MAXIMAL_COUNT", "Domain", "Grid", "PointSet", "Rows", "Sobol", "Uniform", "make"]
