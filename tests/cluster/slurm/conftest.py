"""A real Slurm for the tests marked `slurm`: the sandbox that runs, or one of their own, or a reason to skip."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import environment

SANDBOX = Path(__file__).parents[3] / "scripts" / "slurm_sandbox"
# MPICH over UCX announces its address in requests whose length varies from start to start, up to 1,084 bytes; Slurm's
# pmi2 reads at most 1,023 of one, and then the ranks die or wait for ever. See docs/cluster.md.
SHORT_ADDRESSES = {"MPIR_CVAR_CH4_NETMOD": "ofi"}
# What a program can learn about its place and devices; nothing that differs from run to run or by release of Slurm.
FACTS = (
    r"CUDA_VISIBLE_DEVICES|ROCR_VISIBLE_DEVICES|PMI_RANK|PMI_SIZE|SLURMD_NODENAME|SLURM_(PROCID|LOCALID|NODEID|NTASKS"
    r"|CPUS_ON_NODE|CPUS_PER_TASK|GPUS_ON_NODE|NTASKS_PER_NODE|STEP_GPUS|STEP_NUM_NODES|STEP_NUM_TASKS"
    r"|STEP_TASKS_PER_NODE)"
)
SHOW = (
    "import json, os, re, sys\n"
    "print(json.dumps({name: os.environ[name] for name in sorted(os.environ) if re.fullmatch(sys.argv[1], name)}))\n"
)


@dataclass(frozen=True)
class Slurm:
    """The command line of a running Slurm, in a folder."""

    folder: Path
    environment: dict[str, str]

    def start(self, *line: object) -> subprocess.Popen[str]:
        """Start srun, sbatch, ... as a user types it."""
        pipe = subprocess.PIPE
        words = list(map(str, line))
        return subprocess.Popen(words, cwd=self.folder, env=self.environment, stdout=pipe, stderr=pipe, text=True)

    def call(self, *line: object) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        process = self.start(*line)
        try:
            output, errors = process.communicate(timeout=150)
        finally:
            process.kill()
        return subprocess.CompletedProcess(process.args, process.returncode, output, errors)

    def submit(self, *line: object) -> str:
        """Submit a batch job and return its number; its output is in NUMBER.log."""
        done = self.call("sbatch", "--parsable", "--output=%j.log", *line)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def job(self, number: str) -> dict[str, str]:
        """Return what Slurm knows of a job."""
        words = self.call("scontrol", "--oneliner", "show", "job", number).stdout.split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def wait(self, number: str, seconds: float = 120.0) -> tuple[str, int]:
        """Wait for the end of a job; return how it ended (COMPLETED, FAILED, TIMEOUT, ...) and its exit code."""
        limit = time.monotonic() + seconds
        while (found := self.job(number))["JobState"] in ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING"):
            assert time.monotonic() < limit, f"job {number} goes on: {found}\n{self.log(number)}"
            time.sleep(0.2)
        return found["JobState"], int(found["ExitCode"].partition(":")[0])

    def log(self, number: str) -> str:
        """Return what a batch job has written so far."""
        path = self.folder / f"{number}.log"
        return path.read_text() if path.exists() else ""

    def environments(self, *flags: str) -> list[dict[str, str]]:
        """Return, for each task of a step with these flags, what it can learn about its place and its devices."""
        for path in self.folder.glob("task-*.json"):
            path.unlink()
        done = self.call("srun", "--output=task-%t.json", *flags, sys.executable, "-c", SHOW, FACTS)
        assert done.returncode == 0, done.stderr
        seen = [json.loads(path.read_text()) for path in self.folder.glob("task-*.json")]
        return sorted(seen, key=lambda one: int(one["SLURM_PROCID"]))


@contextlib.contextmanager
def _claimed(sandbox: str) -> Iterator[None]:
    """Have a sandbox, told by its configuration, for oneself."""
    name = Path(sandbox.strip().rpartition("=")[2]).parent.name
    with (Path(tempfile.gettempdir()) / f"{name}.lock").open("a") as claim:
        fcntl.flock(claim, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def sandbox() -> Iterator[str]:
    """The configuration of a running sandbox; one that we started is stopped at the end."""
    found = subprocess.run([SANDBOX, "status"], capture_output=True, text=True)
    if found.returncode == 2:
        pytest.skip(f"no Slurm to test with: {found.stderr.strip()}")
    started = subprocess.run([SANDBOX, "start"], capture_output=True, text=True, timeout=90)
    assert started.returncode == 0, started.stderr
    shown = subprocess.run([SANDBOX, "env"], capture_output=True, text=True, check=True).stdout
    yield shown.strip().partition("=")[2]
    if found.returncode:
        with _claimed(shown):  # another session may be using it by now
            subprocess.run([SANDBOX, "stop"], check=True, timeout=60)


@pytest.fixture
def slurm(sandbox: str, tmp_path: Path) -> Iterator[Slurm]:
    """Slurm, in the temporary folder, for one test at a time; what a test leaves running is cancelled."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    given = Slurm(tmp_path, {**environment(), **SHORT_ADDRESSES, "SLURM_CONF": sandbox, "PATH": path})
    with _claimed(sandbox):
        yield given
        left = given.call("squeue", "--noheader", "--format=%i").stdout.split()
        if left:
            given.call("scancel", *left)
