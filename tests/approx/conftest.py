"""What the tests of this room share."""

from __future__ import annotations

import pytest

from tests.approx.packs import Cells


@pytest.fixture(autouse=True)
def _one_thread(one_thread: None) -> None:
    """Every test of this room has one thread."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Let the tests of a module that names WAYS, "alone" or "batched", train their cells in each of them."""
    if (ways := getattr(metafunc.module, "WAYS", ())) and "way" in metafunc.fixturenames:
        metafunc.parametrize("way", ways, indirect=True)


@pytest.fixture(autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How `Cells` train: alone, unless the module says otherwise."""
    chosen = getattr(request, "param", "alone")
    monkeypatch.setattr(Cells, "batched", chosen == "batched")
    return chosen
