"""Ranks, their places and devices under a real Slurm: what `run` and `doctor` make of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hpcsweep.store import status
from tests.cluster.slurm.conftest import Slurm
from tests.cluster.test_devices import RECORDED

pytestmark = pytest.mark.slurm


@pytest.mark.parametrize(
    "flags", ["--nodelist=n[1-2] -N2 -n2 --gpus-per-task=1", "--partition=amd -n2 --gpus-per-node=8"]
)
def test_slurm_gpus_are_refused_where_torch_sees_none_and_cores_can_be_chosen(
    slurm: Slurm, tiny: Path, flags: str
) -> None:
    words = ("--mpi=pmi2", "python", "-m", "hpcsweep", "run", tiny, "-o", "s.h5")
    line = ("srun", *flags.split(), *words)
    refused = slurm.call(*line)
    assert refused.returncode == 2 and refused.stderr.count("though Slurm gave it 0") == 1, refused.stderr
    assert not (slurm.folder / "s.h5").exists()
    done = slurm.call(*line, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert status.summary(slurm.folder / "s.h5")["launch"]["devices"] == "2 x cpu, 1 thread(s)"


@pytest.mark.parametrize(
    "flags",
    [
        "--nodelist=n[1-2] -N2 -n2 --mpi=pmi2",
        "--nodelist=n1 -N1 -n2 --gpus-per-task=1",
        "--partition=amd -n2 --gpus-per-node=8",
    ],
)
def test_under_slurm_each_rank_is_placed_as_slurm_said(slurm: Slurm, flags: str) -> None:
    mpi = () if "pmi2" in flags else ("--mpi=pmi2",)
    line = ("python", "-m", "hpcsweep", "doctor", "-o", slurm.folder, "--json", "--limit", "60")
    done = slurm.call("srun", *flags.split(), *mpi, *line)
    told = json.loads(done.stdout)
    states = {one["about"]: one["state"] for one in told["findings"]}
    assert states["world"] == "good" and states["Slurm"] == "good", done.stdout
    assert done.returncode == (1 if "gpus" in flags else 0) and states["devices"] == (
        "bad" if "gpus" in flags else "good"
    )
    seats = [rank["seat"] for rank in told["ranks"]]
    assert [one["local"] for one in seats] == [int(task["SLURM_LOCALID"]) for task in RECORDED[flags]]
    assert [one["granted"] for one in seats] == [task.get("SLURM_STEP_GPUS", "") for task in RECORDED[flags]]


def test_the_wrong_mpi_is_found_under_slurm(slurm: Slurm) -> None:
    line = ("python", "-m", "hpcsweep", "doctor", "-o", slurm.folder, "--limit", "60")
    done = slurm.call("srun", "-n2", "--mpi=none", *line)
    assert done.returncode == 1 and done.stdout.count("✗ world") == 1, done.stdout + done.stderr
    assert "MPI sees a world of 1" in done.stdout and "--mpi=pmi2" in done.stdout
