"""The task that bounds the error of a network by its equation alone; see `certificate.solution`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import final

from hpcsweep.approx.supnorm.approximations import Approximation
from hpcsweep.approx.supnorm.certificate.enclosure import NoEnclosure
from hpcsweep.approx.supnorm.certificate.solution import upper_bound
from hpcsweep.approx.supnorm.measurement import Measurement
from hpcsweep.approx.supnorm.tasks import MeasurementTask, on_boxes
from hpcsweep.config import Config

MOST = {1: 2**13, 2: 2**13, 3: 2**11}  # boxes of each supremum, by dimension: half a minute or so
_FURTHER = 2**10  # in more dimensions


@final
@dataclass(frozen=True)
class SolutionProof(MeasurementTask):
    """A bound of the error of a network that solves Poisson's equation, from what the equation says."""

    approximation: Approximation
    measurement: Measurement

    def run(self, folder: Path, device: str) -> float:
        """Prove it, on the CPU; infinite where an operation has no rule or the network no layers that are known."""
        functions = self.approximation.error_function(folder, "cpu")
        if len(functions.terms) != 1:
            return math.inf
        boxes = min(MOST.get(len(functions.domain), _FURTHER), self.measurement.boxes)
        solution = partial(on_boxes, functions.target)
        try:
            upper = upper_bound(solution, functions.terms[0], functions.domain, boxes)
        except NoEnclosure:
            return math.inf
        return upper if upper < math.inf else math.inf  # NaN too

    @property
    def plugins(self) -> tuple[Config, ...]:
        """Those of its approximation."""
        return self.approximation.plugins
