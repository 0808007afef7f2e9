"""What prevents a proof, before anything is measured."""

from __future__ import annotations

import difflib

import torch

from hpcsweep.approx.supnorm.approximations import ErrorFunction
from hpcsweep.approx.supnorm.certificate.enclosure import NoEnclosure
from hpcsweep.approx.supnorm.certificate.enclosure.affine import RULES
from hpcsweep.approx.supnorm.tasks import Unenclosed, enclosed

_NAMED = 3  # operations that are offered instead


def obstacle(functions: ErrorFunction) -> str:
    """Return why nothing can be proved of target and approximant; empty if something can."""
    dimension = len(functions.domain)
    boxes = torch.zeros(2, dimension, dtype=torch.float64), torch.full((2, dimension), 1e-3, dtype=torch.float64)
    try:
        enclosed(functions).bounds(*boxes)
    except Unenclosed as problem:
        return str(problem)
    except NoEnclosure as missing:
        near = difflib.get_close_matches(missing.operation, RULES, n=_NAMED, cutoff=0.4)
        return str(missing) + (f"; the nearest that have one: {', '.join(near)}" if near else "")
    return ""
