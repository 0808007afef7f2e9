"""The studies of jobs/ have the keys, seeds and random streams that they had when they were recorded."""

from __future__ import annotations

import pytest

from tests.golden.fingerprints import fingerprint, recorded, studies

RECORDED, STUDIES = recorded(), studies()


def test_all_studies_are_recorded() -> None:
    assert STUDIES.keys() == RECORDED.keys(), "after a study was added or removed: python -m tests.golden.record keys"


@pytest.mark.parametrize("name", sorted(RECORDED.keys() & STUDIES.keys()))
def test_a_study_expands_to_what_was_recorded(name: str) -> None:
    found, before = fingerprint(STUDIES[name]), RECORDED[name]
    moved = {
        part: (before.get(part), found.get(part)) for part in before | found if before.get(part) != found.get(part)
    }
    told = "; ".join(f"{part} (recorded {was}, now {now})" for part, (was, now) in moved.items())
    assert not moved, f"jobs/studies/{name}.toml no longer expands to what was recorded. Moved: {told}"
