"""Taylor series of functions of one variable.

``expansion``  what a rule consists of, how errors are counted
``products``, ``sigmoids``, ``distributions``  the rules
"""

from __future__ import annotations

from collections.abc import Mapping

from hpcsweep.approx.supnorm.certificate.enclosure.taylor.series.distributions import DISTRIBUTIONS
from hpcsweep.approx.supnorm.certificate.enclosure.taylor.series.expansion import Expandable, Series
from hpcsweep.approx.supnorm.certificate.enclosure.taylor.series.products import PRODUCTS
from hpcsweep.approx.supnorm.certificate.enclosure.taylor.series.sigmoids import SIGMOIDS

__all__ = ["SERIES", "Expandable", "Series"]

SERIES: Mapping[str, Expandable] = {**PRODUCTS, **SIGMOIDS, **DISTRIBUTIONS}
