"""A slice of `scripts/check_soundness.py`, which finds nothing, but does where roundings are not counted."""

from __future__ import annotations

import json

import pytest

from hpcsweep.approx.supnorm.certificate.enclosure import rounding
from scripts import check_soundness

FEW = ["--count", "10", "--seed", "41"]


def figures(capsys: pytest.CaptureFixture) -> tuple[dict[str, float], list[str]]:
    captured = capsys.readouterr()
    lines = [json.loads(line) for line in captured.out.splitlines()]
    return {line["name"]: line["value"] for line in lines}, captured.err.splitlines()


def test_nothing_false_is_proved_of_some_networks_and_trees(capsys: pytest.CaptureFixture) -> None:
    assert check_soundness.main(FEW) == 0
    found, false = figures(capsys)
    assert (found["networks"], found["trees"], found["violations"], false) == (10, 10, 0, [])
    assert found["closed"] >= 10 and found["false bounds tried"] >= 20


def test_without_rounding_terms_false_bounds_are_named_and_repeatable(capsys: pytest.CaptureFixture) -> None:
    with rounding.ignored():
        assert check_soundness.main(FEW) == 1
        found, false = figures(capsys)
        assert found["violations"] == len(false) > 10
        trial = false[0].split('"')[1]
        assert check_soundness.main(["--seed", "41", "--only", trial]) == 1
    assert figures(capsys)[1] == [line for line in false if f'"{trial}"' in line]
