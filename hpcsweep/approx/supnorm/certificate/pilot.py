"""Whether full relaxation pays: tried on a few boxes, decided by numbers of multiplications and never by the clock."""

from __future__ import annotations

import numpy as np
import torch

from hpcsweep.approx.supnorm.certificate.branching import Boxes
from hpcsweep.approx.supnorm.certificate.enclosure.difference import Difference


def full_relaxation_pays(quick: Difference, full: Difference, boxes: Boxes, level: float) -> bool:
    """Return whether fully relaxed bounds, tighter and dearer, are expected to close the boxes at less cost.

    What a bound adds to the error falls with the square of the radius. Where it is r times smaller the boxes can be
    r^(-1/2) times wider, and r^(d/2) times fewer.
    """
    ratio = float(np.median(_excess(full, boxes, level) / _excess(quick, boxes, level)))
    return ratio ** (boxes.low.shape[1] / 2) * full.cost() < quick.cost()


def _excess(difference: Difference, boxes: Boxes, level: float) -> np.ndarray:
    """Return by how much the bounds lie above the errors at the centers, (open sides,); at least a rounding."""
    low, high = torch.from_numpy(boxes.low), torch.from_numpy(boxes.high)
    everything = slice(0, len(boxes))
    centers = (low + high) / 2
    error = difference.signed(centers)
    above, below = difference.upper_bounds(centers, (high - low) / 2, everything, everything)
    excess = torch.stack([above.center - error, below.center + error], 1).clamp(min=1e-300)  # (boxes, 2)
    return excess.numpy()[boxes.bounds > level]
