"""What a target is where all networks of a study are measured: at points, and on the boxes that proofs begin with."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Any, final

from torch import Tensor

from hpcsweep.approx.supnorm.certificate.enclosure.affine import AffineForm

Pair = tuple[AffineForm, AffineForm]  # places and values, which nobody changes

_BOXES, _KEPT = 128, 32  # boxes of an evaluation that is remembered, at most, and how many are
_NUMBERS = 1 << 20  # of points and values


@final
class Forms:
    """What is remembered of one pure function on one domain."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[Any, ...], Pair] = OrderedDict()
        self._tiles: dict[tuple[Hashable, int, int], tuple[Tensor, Tensor]] = {}
        self._room, self._lock = _NUMBERS, Lock()

    def get(self, centers: Tensor, radii: Tensor, kind: int | None, make: Callable[[], Pair]) -> Pair:
        """Return what `make` gives on boxes (boxes, dimension), made or remembered; `kind`: see there."""
        if len(centers) > _BOXES:
            return make()
        key = kind, centers.shape, centers.numpy().tobytes(), radii.numpy().tobytes()
        with self._lock:
            if (known := self._known.get(key)) is not None:
                self._known.move_to_end(key)
                return known
        made = make()
        with self._lock:
            self._known[key] = made
            if len(self._known) > _KEPT:
                self._known.popitem(last=False)
        return made

    def tile(
        self, points: Hashable, start: int, count: int, make: Callable[[], tuple[Tensor, Tensor]]
    ) -> tuple[Tensor, Tensor]:
        """Return places (count, dimension) of a point set and values (count,), made or, as long as there is room, kept.

        Nobody changes them.
        """
        key = points, start, count
        if key not in self._tiles:
            places, values = make()
            if self._room < places.numel() + values.numel():
                return places, values
            self._room -= places.numel() + values.numel()
            self._tiles[key] = places, values
        return self._tiles[key]
