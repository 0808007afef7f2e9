"""What started a process, as its environment tells; and what Slurm says of its jobs."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest

from hpcsweep.cluster import launchers, slurm


def test_what_launchers_tell() -> None:
    step = {"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "8"}
    assert launchers.tasks(step) == launchers.ranks(step) == 8 and launchers.launched(step)
    assert launchers.tasks({"SLURM_STEP_NUM_TASKS": "8"}) == 1  # a batch script
    assert launchers.ranks({"PMI_SIZE": "4"}) == 4 and launchers.launched({"PMI_SIZE": "1"})
    assert launchers.ranks({}) == 1 and not launchers.launched({}) and not launchers.launched({"SLURM_JOB_ID": "7"})


@pytest.mark.parametrize(
    ("variables", "name"),
    [
        ({}, "no launcher"),
        ({"PMI_SIZE": "2", "HYDI_CONTROL_FD": "7"}, "mpiexec of MPICH (Hydra)"),
        ({"PMI_SIZE": "2", "HYDI_CONTROL_FD": "7", "SLURM_STEP_ID": "0"}, "mpiexec of MPICH (Hydra)"),
        ({"PMI_SIZE": "2", "SLURM_STEP_ID": "0"}, "srun (PMI-2)"),
        ({"PMIX_RANK": "0", "SLURM_STEP_ID": "0"}, "srun (PMIx)"),
        ({"PMIX_RANK": "0", "OMPI_COMM_WORLD_SIZE": "2"}, "mpiexec of Open MPI"),
        ({"SLURM_STEP_ID": "0"}, "srun without MPI"),
    ],
)
def test_the_launcher_is_known_by_what_it_leaves(variables: dict[str, str], name: str) -> None:
    assert launchers.launcher(variables) == name


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30", 30), ("10:00", 600), ("1:00:05", 3605), ("2-03:00:00", 183600), ("UNLIMITED", math.inf), ("", math.inf)],
)
def test_the_time_that_slurm_leaves(text: str, seconds: float) -> None:
    assert slurm.duration(text) == seconds


def test_the_walltime_is_that_of_the_environment() -> None:
    end = int(time.time()) + 1000
    assert slurm.walltime({"SLURM_JOB_END_TIME": str(end), "SLURM_JOB_ID": "3"}) == end
    assert slurm.walltime({}) == math.inf


def test_a_walltime_that_is_over_is_ignored_with_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    assert slurm.walltime({"SLURM_JOB_END_TIME": "1700000000", "SLURM_JOB_ID": "3"}) == np.inf
    assert "SLURM_JOB_END_TIME=1700000000 of job 3 is over already, and is ignored" in capsys.readouterr().err


def test_outside_slurm_nothing_is_requeued() -> None:
    assert "not a Slurm job" in slurm.requeue({})


def test_an_allocation_leaves_no_trace_in_what_is_submitted_from_it() -> None:
    inside = {
        "SLURM_NTASKS": "8",
        "SLURM_MEM_PER_CPU": "1",
        "SBATCH_PARTITION": "x",
        "PMI_RANK": "3",
        "OMPI_UNIVERSE": "1",
    }
    outside = {"SLURM_CONF": "/x", "HOME": "/y", "HPCSWEEP_DEVICE": "cpu", "CUDA_HOME": "/z", "SBATCH_ACCOUNT": "mine"}
    assert slurm.clean({**inside, **outside}) == outside
