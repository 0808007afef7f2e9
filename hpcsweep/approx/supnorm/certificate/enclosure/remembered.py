"""What a target is on boxes that come again: those with which the proofs of all networks of a study begin."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, final

from torch import Tensor

from hpcsweep.approx.supnorm.certificate.enclosure.affine import AffineForm

Pair = tuple[AffineForm, AffineForm]  # places and values, which nobody changes

_BOXES, _KEPT = 128, 32  # boxes of an evaluation that is remembered, at most, and how many are


@final
class Forms:
    """What is remembered of one pure function on one domain."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[Any, ...], Pair] = OrderedDict()

    def get(self, centers: Tensor, radii: Tensor, kind: int | None, make: Callable[[], Pair]) -> Pair:
        """Return what `make` gives on boxes (boxes, dimension), made or remembered; `kind`: see there."""
        if len(centers) > _BOXES:
            return make()
        key = kind, centers.shape, centers.numpy().tobytes(), radii.numpy().tobytes()
        if key in self._known:
            self._known.move_to_end(key)
        else:
            self._known[key] = make()
            if len(self._known) > _KEPT:
                self._known.popitem(last=False)
        return self._known[key]
