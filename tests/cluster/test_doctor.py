"""The command `doctor`: finds what is wrong, says what to do, and ends in time whatever hangs."""

from __future__ import annotations

import json
import os
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest

from hpcsweep.cluster.abort import launcher
from hpcsweep.cluster.doctor import probes
from hpcsweep.cluster.doctor.case import Case, Finding, Rank
from hpcsweep.cluster.doctor.diagnosis import diagnose
from hpcsweep.cluster.doctor.probes import Disk, Place, World
from hpcsweep.cluster.placement import Gpu, Seat
from tests.conftest import Run, command, environment

GIB = 2**30
PLACE = Place("n1", [0, 1, 2, 3], "1", 64 * GIB, True, 4096, 4096, 8 * GIB, 0, ["/dev/nvidiactl"])
DISK = Disk("/scratch", "h5py 3", "", "", "", "", "", 0.01, 0.0, 100 * GIB)
SEATS = [
    Seat("n1", frozenset(range(4)), 1, i, (Gpu(f"GPU-{i}", "H200"),), "CUDA 12.8", str(i), "", True) for i in (0, 1)
]
STEP = {"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "2", "PMI_SIZE": "2", "PMI_RANK": "0", "SLURM_JOB_ID": "7"}
GOOD = Case(
    ranks=[Rank(PLACE, DISK, one, "torch 2") for one in SEATS],
    world=World(0, 2, "MPICH Version: 5", 0.001, (), (True, True)),
    no_answer="",
    environment=STEP,
    slurm={"SLURM_VERSION": "22.05", "MaxArraySize": "1001"},
    walltime=3600.0,
)


def placed(**changes: object) -> Case:
    """The good case, with another place of rank 1."""
    return replace(GOOD, ranks=[GOOD.ranks[0], replace(GOOD.ranks[1], place=replace(PLACE, **changes))])


def stored(**changes: object) -> Case:
    """The good case, with another folder of rank 1."""
    return replace(GOOD, ranks=[GOOD.ranks[0], replace(GOOD.ranks[1], disk=replace(DISK, **changes))])


def seated(**changes: object) -> Case:
    """The good case, with another seat of rank 1."""
    return replace(GOOD, ranks=[GOOD.ranks[0], replace(GOOD.ranks[1], seat=replace(SEATS[1], **changes))])


WRONG = {  # case -> line, state, and words that help
    "wrong --mpi": (replace(GOOD, world=World(0, 1, "MPICH", 0.0)), "world", "bad", "--mpi=pmi2"),
    "no MPI": (replace(GOOD, world=None, no_answer="no libmpi.so"), "world", "bad", "no libmpi.so"),
    "another MPI": (replace(GOOD, world=World(0, 2, "Open MPI v5", 0.0)), "MPI", "doubtful", "MPI4PY_MPIABI"),
    "one GPU for two": (seated(gpus=SEATS[0].gpus), "devices", "bad", "--gpus-per-task=1"),
    "no GPU seen": (seated(gpus=()), "devices", "bad", "nvidia-smi"),
    "too many threads": (seated(threads=16), "devices", "bad", "--cpus-per-task=16"),
    "CPU build": (
        replace(GOOD, ranks=[replace(r, seat=replace(SEATS[0], gpus=(), build="cpu")) for r in GOOD.ranks]),
        "torch",
        "doubtful",
        "pytorch.org",
    ),
    "mixed torch": (
        replace(GOOD, ranks=[GOOD.ranks[0], replace(GOOD.ranks[1], torch="torch 1")]),
        "torch",
        "doubtful",
        "--constraint",
    ),
    "addresses": (
        replace(GOOD, ranks=[GOOD.ranks[0], replace(GOOD.ranks[1], moved=("plain", "batched"))]),
        "products",
        "doubtful",
        "plain and batched products depend on the addresses of matrices, on 1 rank(s), first 1 on n1",
    ),
    "silent torch": (
        replace(GOOD, ranks=[GOOD.ranks[0], Rank(PLACE, DISK, None, "", {"torch": "no answer in time"})]),
        "devices",
        "doubtful",
        "1 rank(s) got no answer, first 1 on n1",
    ),
    "no torch": (
        replace(GOOD, ranks=[GOOD.ranks[0], Rank(PLACE, DISK, None, "", {"torch": "No module named 'torch'"})]),
        "devices",
        "bad",
        "installation of torch",
    ),
    "silent folder": (
        replace(GOOD, ranks=[GOOD.ranks[0], Rank(PLACE, None, SEATS[1], "torch 2", {"disk": "no answer in time"})]),
        "folder",
        "bad",
        "hangs",
    ),
    "read-only": (stored(write="Read-only file system"), "folder", "bad", "-o"),
    "no HDF5": (stored(hdf5="OSError: x"), "folder", "bad", "HDF5 fails"),
    "no links": (stored(link="PermissionError: x"), "folder", "bad", "os.link fails"),
    "no locks": (stored(lock="OSError: x"), "folder", "doubtful", "HDF5_USE_FILE_LOCKING"),
    "slow disk": (stored(sync=3.0), "folder", "doubtful", "slow"),
    "full disk": (stored(free=10), "space", "bad", "remove"),
    "little disk": (stored(free=GIB // 2), "space", "doubtful", "plan"),
    "own disk": (
        replace(GOOD, world=replace(GOOD.world, seen=(True, False))),
        "folder",
        "bad",
        "all nodes share",
    ),
    "few cores": (
        replace(GOOD, ranks=[replace(one, place=replace(PLACE, cores=[0])) for one in GOOD.ranks]),
        "cores",
        "doubtful",
        "--ntasks-per-node=1",
    ),
    "BLAS threads": (placed(threads_told=""), "cores", "doubtful", "OMP_NUM_THREADS=1"),
    "little memory": (placed(memory=GIB), "memory", "doubtful", "--mem"),
    "clocks": (replace(GOOD, world=replace(GOOD.world, skew=5.0)), "clocks", "doubtful", "5 s"),
    "bad clock": (stored(skew=-100.0), "clocks", "bad", "NTP"),
    "few files": (placed(files=256), "limits", "doubtful", "ulimit"),
    "little shm": (placed(shm=2**26), "/dev/shm", "doubtful", "--shm-size"),
    "left in shm": (placed(shm_left=2**30), "/dev/shm", "doubtful", "mpich_shm_"),
    "short walltime": (replace(GOOD, walltime=60.0), "Slurm", "doubtful", "--time"),
    "silent Slurm": (replace(GOOD, slurm={"error": "no answer in time"}), "Slurm", "doubtful", "no answer"),
}


def test_a_good_case_has_nothing_but_ticks() -> None:
    found = diagnose(GOOD)
    assert {one.state for one in found} == {"good"}, [one.line() for one in found]
    assert [one.about for one in found if one.about == "devices"] and "2 x H200 (GPU-0, GPU-1)" in found[2].seen
    assert "60 min left" in found[-1].seen


@pytest.mark.parametrize("name", WRONG)
def test_each_trouble_is_found_alone_with_its_remedy(name: str) -> None:
    case, about, state, words = WRONG[name]
    wrong = [one for one in diagnose(case) if one.state != "good"]
    assert (about, state) in [(one.about, one.state) for one in wrong], [one.line() for one in wrong]
    assert words in " ".join(one.line() for one in wrong if one.about == about)
    also = {"CPU build": {"devices"}}.get(name, set())  # Slurm gave GPUs, which is an error by itself
    assert {one.about for one in wrong} == {about} | also


def test_what_is_asked_for_decides_about_devices() -> None:
    shared = replace(seated(gpus=SEATS[0].gpus), share=True)
    assert "2 rank(s) share one" in diagnose(shared)[2].seen and diagnose(shared)[2].state == "good"
    assert diagnose(replace(seated(gpus=()), device="cpu"))[2].seen == "2 x cores"


def test_products_that_depend_on_addresses_have_a_remedy_unless_it_was_taken() -> None:
    def remedy(torch: str) -> str:
        case = replace(GOOD, ranks=[replace(rank, torch=torch, moved=("plain",)) for rank in GOOD.ranks])
        return next(one.remedy for one in diagnose(case) if one.about == "products")

    assert "export MKL_CBWR=AUTO,STRICT" in remedy("torch 2, MKL_CBWR=AUTO")
    assert "does not help" in remedy("torch 2, MKL_CBWR=AUTO,STRICT")


@pytest.mark.parametrize(
    ("told", "name"),
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
def test_the_launcher_is_known_by_what_it_leaves(told: dict[str, str], name: str) -> None:
    assert launcher(told) == name


def test_a_line_has_its_sign_and_its_remedy() -> None:
    assert Finding("world", "good", "seen").line() == "✓ world     seen"
    assert Finding("world", "bad", "seen", "do").line() == "✗ world     seen\n            → do"


def test_the_folder_is_tried_and_left_as_it_was(tmp_path: Path) -> None:
    found = probes.disk(tmp_path / "not" / "there")
    assert found.folder == str(tmp_path)
    assert not any((found.write, found.hdf5, found.replace, found.link, found.lock))
    assert found.free > 0 and abs(found.skew) < 2
    assert [str(path) for path in tmp_path.iterdir()] == [found.token]


def test_alone_everything_is_told_in_lines(hpcsweep: Run, tmp_path: Path) -> None:
    done = hpcsweep("doctor", "-o", tmp_path, "--limit", "60")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line for line in done.stdout.splitlines() if "→" not in line]
    assert all(line[0] in "✓!" for line in lines) and len(lines) >= 10
    assert "✓ products  the same bits" in done.stdout
    assert "✓ world     one process" in done.stdout and not list(tmp_path.iterdir())


@pytest.mark.mpi
def test_ranks_are_gathered_and_one_speaks(hpcsweep: Run, tmp_path: Path) -> None:
    done = hpcsweep("doctor", "-o", tmp_path, "--json", "--limit", "60", ranks=2)
    told = json.loads(done.stdout)
    assert told["ok"] and done.returncode == 0 and len(told["ranks"]) == 2
    assert "2 rank(s) on 1 host(s), started by mpiexec of MPICH" in told["findings"][0]["seen"]
    assert told["ranks"][0]["disk"]["token"] != told["ranks"][1]["disk"]["token"]
    assert not list(tmp_path.iterdir())


def run(tmp_path: Path, *arguments: object, **variables: str) -> tuple[subprocess.CompletedProcess[str], float]:
    """Run the doctor with some environment; return how it ended and after how many seconds."""
    start = time.monotonic()
    done = subprocess.run(
        command("doctor", "-o", tmp_path, *arguments),
        env={**environment(), **variables},
        capture_output=True,
        text=True,
        timeout=90,
    )
    return done, time.monotonic() - start


def test_tasks_that_mpi_does_not_see_are_wrong_and_the_first_says_so(tmp_path: Path) -> None:
    step = {"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "2"}
    first, _ = run(tmp_path, "--limit", "60", **step, SLURM_PROCID="0")
    assert first.returncode == 1 and "✗ world" in first.stdout and "srun --mpi=list" in first.stdout
    second, _ = run(tmp_path, "--limit", "60", **step, SLURM_PROCID="1")
    assert second.returncode == 0 and second.stdout == ""


def test_a_folder_where_nothing_can_be_written_is_wrong(tmp_path: Path) -> None:
    done, _ = run(tmp_path, "-o", "/proc/results", "--limit", "60")
    assert done.returncode == 1 and "✗ folder    nothing can be written in /proc" in done.stdout


@pytest.mark.parametrize("module", ["torch", "mpi4py", "h5py"])
def test_it_ends_in_time_whatever_hangs(tmp_path: Path, module: str) -> None:
    """A package that never finishes its import stands for a dead file system or a driver that hangs."""
    (tmp_path / "path" / module).mkdir(parents=True)
    (tmp_path / "path" / module / "__init__.py").write_text("import time\ntime.sleep(100)\n")
    path = os.pathsep.join([str(tmp_path / "path"), str(Path(__file__).parents[2])])
    done, took = run(tmp_path, "--limit", "9", PYTHONPATH=path)
    assert took < 40, "ten seconds, and more for a busy machine; what hangs takes 100"
    expected = {"torch": "! devices", "mpi4py": "! world", "h5py": "✗ folder"}[module]
    assert expected in done.stdout and "no answer in time" in done.stdout, done.stdout + done.stderr
