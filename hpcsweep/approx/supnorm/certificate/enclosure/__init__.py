"""Rigorous enclosures of functions on many boxes at once: affine forms that run a user's own torch code."""

from __future__ import annotations

from hpcsweep.approx.supnorm.certificate.enclosure import arithmetic, conditions, elementary, shapes  # noqa: F401 - they fill RULES
from hpcsweep.approx.supnorm.certificate.enclosure.affine import AffineForm, NoEnclosure, boxes
from hpcsweep.approx.supnorm.certificate.enclosure.univariate.registry import relax

__all__ = ["AffineForm", "NoEnclosure", "boxes", "relax"]
