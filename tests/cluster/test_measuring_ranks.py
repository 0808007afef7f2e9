"""A measurement in many parts gives the same bits on 1, 2, 3 and 5 ranks, and loses no NaN in any of its parts."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.conftest import finished, mpiexec
from tests.forks import Forks

PARTS = 5
OWN = """
import torch
from hpcsweep.approx.supnorm import points

DOMAIN = ((-1.0, 1.0), (-1.0, 1.0))
TILES, TILE = 10, 4096


def target(x):
    return torch.sin(3 * x[:, 0]) * torch.cos(2 * x[:, 1])


def network(x):
    return target(x) + 0.1 * torch.exp(-40 * ((x - 0.3) ** 2).sum(dim=1))


def broken(part):
    index = torch.tensor([part * TILES * TILE // 5 + 17])
    place = points.make("sobol", 2, TILES * TILE, 0, DOMAIN).at(index)[0]

    def values(x):
        there = (x == place).all(dim=1)
        return torch.where(there, torch.nan, network(x))

    return values


broken0, broken1, broken2, broken3, broken4 = map(broken, range(5))
"""
SCRIPT = """
import json, sys
from pathlib import Path
from hpcsweep.approx.supnorm import files
from hpcsweep.approx.supnorm.measured import finalize
from hpcsweep.approx.supnorm.survey import Survey
from hpcsweep.approx.supnorm.measurement import planned
from hpcsweep.cluster import measurements
from hpcsweep.cluster.checkpoints import Saver
from hpcsweep.cluster.progress import display
from hpcsweep.cluster.workforce import assemble
from hpcsweep.study.schema import SupNormSection

measurements.PIECE = 2 * 4096  # many parts of what is small
folder = Path(".")
chosen = SupNormSection(points=["sobol"], count=10 * 4096, tile=4096, uniform=0, certificate=0.01)
with assemble() as workforce:
    for name in ["network", *(f"broken{part}" for part in range(5))] if workforce else []:
        approximation = files.files(f"own.py:{name}", "own.py:target", "-1,1", 2, "relu", folder)
        survey = Survey([approximation], planned(chosen.resolved(2), 2, 16))
        job = measurements.Measurements([survey], folder, Saver(folder / f"saved-{workforce.size}", (name,)))
        parts = len(survey.tasks(measurements._pieces(survey)))
        assert job.run(0, workforce, display("none", sys.stderr, "parts"))
        found = finalize(approximation, survey.measurement, survey.states[0], folder=folder)
        numbers = [found.lower, found.upper, *found.where, found.l1, found.l2]
        told = {"parts": parts, "nonfinite": found.nonfinite, "points": found.points, "certificate": found.certificate}
        print(json.dumps({"name": name, **told, "numbers": [number.hex() for number in numbers]}))
"""


@pytest.fixture(scope="module")
def found(forks: Forks, tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[dict[str, Any]]]:
    """What is found by ranks, for a network and for five that are NaN at one point, each in another part."""
    folder = tmp_path_factory.mktemp("ranks")
    (folder / "own.py").write_text(OWN)
    (folder / "script.py").write_text(SCRIPT)
    lines = {}
    for ranks in (1, 2, 3, 5):
        done = finished([*mpiexec(ranks), *forks.python, "script.py"], folder)
        assert done.returncode == 0, done.stderr
        lines[ranks] = [json.loads(one) for one in done.stdout.splitlines()]
    return lines


@pytest.mark.mpi
def test_any_number_of_ranks_finds_the_same_bits(found: dict[int, list[dict[str, Any]]]) -> None:
    healthy = found[1][0]
    assert healthy["parts"] == PARTS and healthy["nonfinite"] == 0 and healthy["certificate"] == "closed"
    assert float.fromhex(healthy["numbers"][0]) == pytest.approx(0.1, rel=1e-9)
    for ranks in (2, 3, 5):
        assert found[ranks] == found[1]


@pytest.mark.mpi
@pytest.mark.parametrize("part", range(PARTS))
def test_a_nan_in_each_part_in_turn_is_found(found: dict[int, list[dict[str, Any]]], part: int) -> None:
    broken = found[5][1 + part]
    assert broken["name"] == f"broken{part}" and broken["nonfinite"] >= 1
    assert broken["numbers"][:2] == ["nan", "inf"]
