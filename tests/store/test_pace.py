"""The pace of a store: how long what is left will take, by what the present launch has finished."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import numpy as np
import pytest

from hpcsweep.approx.catalogue import Catalogue
from hpcsweep.store import status
from hpcsweep.store.files import Run
from hpcsweep.store.store import Store
from hpcsweep.study.expansion import expand
from hpcsweep.study.parsing import parse
from tests.conftest import TINY, record_of


def test_what_is_left_takes_as_long_as_what_is_finished_took_by_predicted_seconds(tmp_path: Path) -> None:
    """A launch 100 s ago, which has finished two of 18 cells, or 20 of predicted 180 seconds: 800 s are left."""
    study = parse(TINY, Catalogue())
    run = Run("host", "", 1, "cpu", "versions", time.time() - 100)
    with contextlib.closing(Store.open(tmp_path / "s.h5", study, expand(study, Catalogue()), run)) as store:
        store.predict(np.full(18, 10.0))
        assert status.summary(store.path)["eta_seconds"] is None
        store.put([3, 4], [record_of(store.cells.cell(row)) for row in (3, 4)])
        assert status.summary(store.path)["eta_seconds"] == pytest.approx(800, rel=0.2)
        store.predict(np.where(np.arange(18) < 5, 10.0, 1.0))  # the other cells are predicted to be short
        assert status.summary(store.path)["eta_seconds"] == pytest.approx(100 * 43 / 20, rel=0.2)
