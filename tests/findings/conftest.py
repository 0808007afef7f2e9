"""What the tests of the findings share; the stores themselves are made in `tests.findings.stores`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.findings.stores import STUDY, Maker, Records, make, record


@pytest.fixture
def make_store(tmp_path: Path) -> Maker:
    """Make stores in the temporary folder."""

    def made(text: str, records: Records = record, name: str = "results.h5") -> Path:
        return make(tmp_path / name, text, records)

    return made


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with 2 targets x 2 dimensions x 3 widths x 2 sample counts x 2 optimizers x 3 replicates, all done."""
    return make(tmp_path_factory.mktemp("full") / "results.h5", STUDY)
