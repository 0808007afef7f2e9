"""What started this process, as its environment tells: a launcher of MPI, Slurm, or nobody. Imports nothing heavy."""

from __future__ import annotations

import os
from collections.abc import Mapping

# What launchers of MPI leave in the environment of a rank; what some say of the number of ranks; a rank's own number.
LAUNCHED = ("PMI_SIZE", "PMIX_RANK", "OMPI_COMM_WORLD_SIZE", "MPI_LOCALNRANKS", "HYDI_CONTROL_FD")
SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE")
RANKS = ("PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK", "SLURM_PROCID")


def tasks(environment: Mapping[str, str] = os.environ) -> int:
    """Return how many tasks Slurm has started in this step; 1 outside of one."""
    number = environment.get("SLURM_STEP_NUM_TASKS", "1") if "SLURM_STEP_ID" in environment else "1"
    return int(number) if number.isdigit() else 1


def ranks(environment: Mapping[str, str] = os.environ) -> int:
    """Return how many ranks the launcher says that there are, Slurm or mpiexec; 1 where nobody says."""
    sizes = [environment[name] for name in SIZES if environment.get(name, "").isdigit()]
    return max([tasks(environment), *map(int, sizes)])


def rank(environment: Mapping[str, str] = os.environ) -> int:
    """Return the number of this process as its launcher counts; 0 where nobody says."""
    return next((int(environment[name]) for name in RANKS if environment.get(name, "").isdigit()), 0)


def launched(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether a launcher started this process, so that MPI is to be asked."""
    return tasks(environment) > 1 or any(name in environment for name in LAUNCHED)


def launcher(environment: Mapping[str, str] = os.environ) -> str:
    """Return who started this process, by what it left in the environment."""
    step = "SLURM_STEP_ID" in environment and "HYDI_CONTROL_FD" not in environment
    if "OMPI_COMM_WORLD_SIZE" in environment:
        return "srun (PMIx)" if step and "PRTE_LAUNCHED" not in environment else "mpiexec of Open MPI"
    if "PMIX_RANK" in environment:
        return "srun (PMIx)" if step else "mpiexec of Open MPI"
    if "PMI_SIZE" in environment:
        return "srun (PMI-2)" if step else "mpiexec of MPICH (Hydra)"
    return "srun without MPI" if step else "no launcher"
