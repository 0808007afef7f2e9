"""What the tests of the findings share; the stores themselves are made in `tests.findings.stores`."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from hpcsweep.findings import series
from hpcsweep.findings.dataset import read
from tests.findings.stores import SCALING, STUDY, Maker, Records, known, make, record


@pytest.fixture
def make_store(tmp_path: Path) -> Maker:
    """Make stores in the temporary folder: the first is results.h5, others have names of their own."""
    numbers = itertools.count()

    def make_next(text: str, records: Records = record, name: str | None = None) -> Path:
        return make(tmp_path / (name or f"results{next(numbers) or ''}.h5"), text, records)

    return make_next


@pytest.fixture(scope="session")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with 2 targets x 2 dimensions x 3 widths x 2 sample counts x 2 optimizers x 3 replicates, all done."""
    return make(tmp_path_factory.mktemp("full") / "results.h5", STUDY)


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> series.Table:
    """The cells of `SCALING` with errors that follow known laws."""
    return series.table(read(make(tmp_path_factory.mktemp("known") / "results.h5", SCALING, known)))
