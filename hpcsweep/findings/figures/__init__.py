"""One function, one figure: from a dataset to a matplotlib `Figure`, which the caller saves or shows.

Only measured cells enter a figure; its footnote counts the others. The pictures of single networks come from
`hpcsweep.findings.figures.pictures`, `gallery` and `maps`.
"""

from __future__ import annotations

from hpcsweep.findings.figures.brackets import brackets, uniform_points
from hpcsweep.findings.figures.costs import costs, optimizer_race
from hpcsweep.findings.figures.curves import sup_against_samples, sup_against_weights
from hpcsweep.findings.figures.gallery import glitches
from hpcsweep.findings.figures.laws import scaling_laws
from hpcsweep.findings.figures.maps import error_maps
from hpcsweep.findings.figures.norms import replicates, sup_against_l2
from hpcsweep.findings.figures.pictures import picture, pictures
from hpcsweep.findings.figures.worst_points import worst_points

__all__ = [
    "brackets",
    "costs",
    "error_maps",
    "glitches",
    "optimizer_race",
    "picture",
    "pictures",
    "replicates",
    "scaling_laws",
    "sup_against_l2",
    "sup_against_samples",
    "sup_against_weights",
    "uniform_points",
    "worst_points",
]
