"""The command `doctor`: finds what is wrong, says what to do, and ends in time whatever hangs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from hpcsweep.cluster.doctor import command, inspection
from hpcsweep.cluster.doctor.diagnosis import diagnose
from hpcsweep.cluster.doctor.evidence import HUNG, SLOW, Evidence, Finding, RankReport
from hpcsweep.cluster.doctor.inspection import Disk, Node, World
from hpcsweep.cluster.placement import Gpu, Seat
from tests.conftest import Run

GIB = 2**30
NODE = Node("n1", [0, 1, 2, 3], "1", 64 * GIB, True, 4096, 4096, 8 * GIB, 0, ["/dev/nvidiactl"])
DISK = Disk("/scratch", "h5py 3", "", "", "", "", "", 0.01, 0.0, 100 * GIB)
SEATS = [
    Seat("n1", frozenset(range(4)), 1, i, (Gpu(f"GPU-{i}", "H200"),), "CUDA 12.8", str(i), "", True) for i in (0, 1)
]
STEP = {"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "2", "PMI_SIZE": "2", "PMI_RANK": "0", "SLURM_JOB_ID": "7"}
GOOD = Evidence(
    ranks=[RankReport(NODE, DISK, one, "torch 2") for one in SEATS],
    world=World(0, 2, "MPICH Version: 5", 0.001, (), (True, True)),
    no_answer="",
    environment=STEP,
    slurm={"SLURM_VERSION": "22.05", "MaxArraySize": "1001"},
    walltime=3600.0,
)


def changed(part: str, **changes: object) -> Evidence:
    """The good evidence, with another node, disk or seat of rank 1."""
    rank = GOOD.ranks[1]
    return replace(GOOD, ranks=[GOOD.ranks[0], replace(rank, **{part: replace(getattr(rank, part), **changes)})])


def silent(part: str, reason: str) -> Evidence:
    """The good evidence, where a probe of rank 1 did not answer."""
    missing = {"torch": {"seat": None, "torch": ""}, "disk": {"disk": None}}[part]
    return replace(GOOD, ranks=[GOOD.ranks[0], replace(GOOD.ranks[1], **missing, silent={part: reason})])


WRONG = {  # case -> line, state, and words that help
    "wrong --mpi": (replace(GOOD, world=World(0, 1, "MPICH", 0.0)), "world", "bad", "--mpi=pmi2"),
    "no MPI": (replace(GOOD, world=None, no_answer="no libmpi.so"), "world", "bad", "no libmpi.so"),
    "another MPI": (replace(GOOD, world=World(0, 2, "Open MPI v5", 0.0)), "MPI", "doubtful", "MPI4PY_MPIABI"),
    "one GPU for two": (changed("seat", gpus=SEATS[0].gpus), "devices", "bad", "--gpus-per-task=1"),
    "no GPU seen": (changed("seat", gpus=()), "devices", "bad", "nvidia-smi"),
    "too many threads": (changed("seat", threads=16), "devices", "bad", "--cpus-per-task=16"),
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
        silent("torch", "no answer in time"),
        "devices",
        "doubtful",
        "1 rank(s) got no answer, first 1 on n1",
    ),
    "slow torch": (silent("torch", f"{SLOW} (load 10 on 2 cores)"), "devices", "doubtful", "slow, not a fault"),
    "slow folder": (silent("disk", f"{SLOW} (load 10 on 2 cores)"), "folder", "doubtful", "--limit 60"),
    "slow MPI": (
        replace(GOOD, world=None, no_answer=f"{SLOW} (load 10 on 2 cores)", environment={}),
        "world",
        "doubtful",
        "slow, not a fault",
    ),
    "no torch": (silent("torch", "No module named 'torch'"), "devices", "bad", "installation of torch"),
    "silent folder": (silent("disk", "no answer in time"), "folder", "bad", "hangs"),
    "read-only": (changed("disk", write="Read-only file system"), "folder", "bad", "-o"),
    "no HDF5": (changed("disk", hdf5="OSError: x"), "folder", "bad", "HDF5 fails"),
    "no links": (changed("disk", link="PermissionError: x"), "folder", "bad", "os.link fails"),
    "no locks": (changed("disk", lock="OSError: x"), "folder", "doubtful", "HDF5_USE_FILE_LOCKING"),
    "slow disk": (changed("disk", sync=3.0), "folder", "doubtful", "slow"),
    "full disk": (changed("disk", free=10), "space", "bad", "remove"),
    "little disk": (changed("disk", free=GIB // 2), "space", "doubtful", "plan"),
    "own disk": (replace(GOOD, world=replace(GOOD.world, seen=(True, False))), "folder", "bad", "all nodes share"),
    "few cores": (
        replace(GOOD, ranks=[replace(one, node=replace(NODE, cores=[0])) for one in GOOD.ranks]),
        "cores",
        "doubtful",
        "--ntasks-per-node=1",
    ),
    "BLAS threads": (changed("node", threads_told=""), "cores", "doubtful", "OMP_NUM_THREADS=1"),
    "little memory": (changed("node", memory=GIB), "memory", "doubtful", "--mem"),
    "clocks": (replace(GOOD, world=replace(GOOD.world, skew=5.0)), "clocks", "doubtful", "5 s"),
    "bad clock": (changed("disk", skew=-100.0), "clocks", "bad", "NTP"),
    "few files": (changed("node", files=256), "limits", "doubtful", "ulimit"),
    "little shm": (changed("node", shm=2**26), "/dev/shm", "doubtful", "--shm-size"),
    "left in shm": (changed("node", shm_left=2**30), "/dev/shm", "doubtful", "mpich_shm_"),
    "short walltime": (replace(GOOD, walltime=60.0), "Slurm", "doubtful", "--time"),
    "silent Slurm": (replace(GOOD, slurm={"error": "no answer in time"}), "Slurm", "doubtful", "no answer"),
}


def test_a_good_case_has_nothing_but_ticks() -> None:
    findings = diagnose(GOOD)
    assert {finding.state for finding in findings} == {"good"}, [finding.line() for finding in findings]
    assert findings[2].about == "devices" and "2 x H200 (GPU-0, GPU-1)" in findings[2].seen
    assert "60 min left" in findings[-1].seen


@pytest.mark.parametrize("name", WRONG)
def test_each_trouble_is_found_alone_with_its_remedy(name: str) -> None:
    evidence, about, state, words = WRONG[name]
    wrong = [finding for finding in diagnose(evidence) if finding.state != "good"]
    lines = {finding.line(): (finding.about, finding.state) for finding in wrong}
    assert (about, state) in lines.values(), list(lines)
    assert words in " ".join(finding.line() for finding in wrong if finding.about == about)
    also = {"CPU build": {"devices"}}.get(name, set())  # Slurm gave GPUs, which is an error by itself
    assert {finding.about for finding in wrong} == {about} | also


def test_what_is_asked_for_decides_about_devices() -> None:
    shared = replace(changed("seat", gpus=SEATS[0].gpus), share=True)
    assert "2 rank(s) share one" in diagnose(shared)[2].seen and diagnose(shared)[2].state == "good"
    assert diagnose(replace(changed("seat", gpus=()), device="cpu"))[2].seen == "2 x cores"


def test_products_that_depend_on_addresses_have_a_remedy_unless_it_was_taken() -> None:
    def remedy(torch: str) -> str:
        evidence = replace(GOOD, ranks=[replace(rank, torch=torch, moved=("plain",)) for rank in GOOD.ranks])
        return next(finding.remedy for finding in diagnose(evidence) if finding.about == "products")

    assert "export MKL_CBWR=AUTO,STRICT" in remedy("torch 2, MKL_CBWR=AUTO")
    assert "does not help" in remedy("torch 2, MKL_CBWR=AUTO,STRICT")


def test_a_line_has_its_sign_and_its_remedy() -> None:
    assert Finding("world", "good", "seen").line() == "✓ world     seen"
    assert Finding("world", "bad", "seen", "do").line() == "✗ world     seen\n            → do"


def test_the_folder_is_tried_and_left_as_it_was(tmp_path: Path) -> None:
    disk = inspection.disk(tmp_path / "not" / "there")
    assert disk.folder == str(tmp_path)
    assert not any((disk.write, disk.hdf5, disk.replace, disk.link, disk.lock))
    assert disk.free > 0 and abs(disk.skew) < 2
    assert [str(path) for path in tmp_path.iterdir()] == [disk.token]


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


def test_tasks_that_mpi_does_not_see_are_wrong_and_the_first_says_so(hpcsweep: Run, tmp_path: Path) -> None:
    """In a folder where nothing can be written, which is wrong too."""
    step = {"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "2"}
    first = hpcsweep("doctor", "-o", "/proc/results", "--limit", 60, **step, SLURM_PROCID="0")
    assert first.returncode == 1 and "✗ world" in first.stdout and "srun --mpi=list" in first.stdout
    assert "✗ folder    nothing can be written in /proc" in first.stdout
    second = hpcsweep("doctor", "-o", tmp_path, "--limit", 60, **step, SLURM_PROCID="1")
    assert second.returncode == 0 and second.stdout == ""


def test_a_probe_that_is_at_work_is_slow_and_one_that_waits_hangs() -> None:
    for code, said in (("while True: pass", SLOW), ("import time; time.sleep(100)", HUNG)):
        probe = subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert said in command._output(probe, time.monotonic() + 3)[1]
        probe.wait()


@pytest.mark.parametrize(
    "lines", [{"torch": "! devices", "h5py": "✗ folder"}, {"mpi4py": "! world"}], ids=lambda lines: "+".join(lines)
)
def test_it_ends_in_time_whatever_hangs(hpcsweep: Run, tmp_path: Path, lines: dict[str, str]) -> None:
    """A package that never finishes its import stands for a dead file system or a driver that hangs."""
    for module in lines:
        (tmp_path / "path" / module).mkdir(parents=True)
        (tmp_path / "path" / module / "__init__.py").write_text("import time\ntime.sleep(100)\n")
    path, start = os.pathsep.join([str(tmp_path / "path"), str(Path(__file__).parents[2])]), time.monotonic()
    done = hpcsweep("doctor", "-o", tmp_path, "--limit", 9, PYTHONPATH=path)
    assert time.monotonic() - start < 40, "ten seconds, and more for a busy machine; what hangs takes 100"
    hanging = [line for line in done.stdout.splitlines() if "no answer in time" in line]
    # A busy machine may keep others from answering too.
    assert set(lines.values()) <= {line[:9].strip() for line in hanging}, done.stdout + done.stderr
