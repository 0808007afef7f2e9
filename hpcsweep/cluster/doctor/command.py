"""The command `doctor`: what is wrong with this installation, in ten seconds, whatever hangs.

Every rank asks three processes of its own, each of which may hang: its devices, the output folder, and MPI, over which
rank 0 gathers all answers. Nothing heavy is imported here.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil

from hpcsweep.cluster import launchers, slurm
from hpcsweep.cluster.doctor.diagnosis import diagnose
from hpcsweep.cluster.doctor.evidence import HUNG, SLOW, Evidence, Finding, RankReport
from hpcsweep.cluster.doctor.inspection import Node, World
from hpcsweep.cluster.options import RunOptions

LOOKS = 20  # at a process that has not answered
HALF = 0.65  # of the time: for devices and folder; what is left, for gathering


def examine(folder: Path, seconds: float, options: RunOptions) -> tuple[list[Finding], list[dict[str, Any]]] | None:
    """Return the findings, and what each rank told, within so many seconds; None on other ranks than 0."""
    start = time.monotonic()
    torch, disk = _ask("hpcsweep.cluster.devices"), _ask("hpcsweep.cluster.doctor.inspection", "disk", str(folder))
    mpi = _ask("hpcsweep.cluster.doctor.inspection", "world")
    first = launchers.rank() == 0  # which speaks if MPI does not work, and asks Slurm
    asked = _ask_slurm() if first else []
    token = ""
    try:
        own: dict[str, Any] = {"place": asdict(Node.here()), "silent": {}}
        for name, process in (("seat", torch), ("disk", disk)):
            own[name], no_answer = _answer(process, start + HALF * seconds)
            own["silent"] |= {"torch" if name == "seat" else name: no_answer} if no_answer else {}
        token = (own["disk"] or {}).get("token", "")
        answer, no_answer = _answer(mpi, start + seconds - 0.5, json.dumps(own))
    finally:
        if token:
            with contextlib.suppress(OSError):
                Path(token).unlink()
    world = World(**answer) if answer else None
    if (world.rank if world else 0) > 0 or not (first or (world and world.size > 1)):
        return None
    everyone = list(world.everyone) if world else [own]
    settings, left = _slurm(asked, start + HALF * seconds)
    evidence = Evidence(
        ranks=[RankReport.from_answers(answers) for answers in everyone],
        world=world,
        no_answer=no_answer,
        environment=os.environ,
        slurm=settings,
        walltime=left,
        device=options.device,
        share=options.share_gpus,
    )
    return diagnose(evidence), everyone


def _ask(module: str, *arguments: str) -> subprocess.Popen[str]:
    """Start a probe. It inherits all open files: the process manager of MPI may be one of them."""
    return _start([sys.executable, "-m", module, *arguments])


def _start(line: list[str]) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(line, stdin=pipe, stdout=pipe, stderr=pipe, text=True, close_fds=False)


def _answer(process: subprocess.Popen[str], until: float, question: str = "") -> tuple[Any, str]:
    """Return the answer of a probe, or None and why there is none."""
    output, no_answer = _output(process, until, question)
    lines = [line for line in output.splitlines() if line.startswith("{")]
    return (json.loads(lines[-1]), "") if lines and not no_answer else (None, no_answer or "it said nothing")


def _output(process: subprocess.Popen[str], until: float, question: str = "") -> tuple[str, str]:
    """Return what a process has printed in the end, and what went wrong."""
    try:
        output, errors = process.communicate(question, max(0.1, until - time.monotonic()))
    except subprocess.TimeoutExpired:
        silence = _silence(process.pid)
        process.kill()  # and is not waited for: a process may hang beyond SIGKILL in its file system
        return "", silence
    last = errors.strip().rpartition("\n")[2]
    return output, (last or f"it ended with {process.returncode}") if process.returncode else ""


def _silence(probe: int) -> str:
    """Return why a process has not answered in time: it is at work, as it is where others keep it waiting, or hangs."""
    with contextlib.suppress(psutil.Error, OSError):
        process = psutil.Process(probe)
        for _ in range(LOOKS):
            if process.status() == psutil.STATUS_RUNNING:  # or it would, if it had a core
                return f"{SLOW} (load {os.getloadavg()[0]:.3g} on {os.cpu_count()} cores)"
            time.sleep(0.01)
    return HUNG


def _ask_slurm() -> list[subprocess.Popen[str]]:
    """Start asking Slurm how it is set and, where older ones do not tell, how long this job has; nothing where none."""
    if not shutil.which("scontrol"):
        return []
    job = os.environ.get("SLURM_JOB_ID", "")
    left = [] if not job or os.environ.get("SLURM_JOB_END_TIME") else [["squeue", "-h", "-j", job, "-o", "%L"]]
    return [_start(line) for line in (["scontrol", "show", "config"], *left)]


def _slurm(asked: list[subprocess.Popen[str]], until: float) -> tuple[dict[str, str], float]:
    """Return what Slurm is set to, and the seconds that this job has left."""
    outputs = [_output(process, until) for process in asked]
    end = os.environ.get("SLURM_JOB_END_TIME", "")
    left = float(end) - time.time() if end.isdigit() else math.inf
    if len(outputs) > 1:
        left = slurm.duration(outputs[1][0].strip())
    pairs = (line.split("=", 1) for line in (outputs[0][0] if outputs else "").splitlines() if "=" in line)
    settings = {name.strip(): value.strip() for name, value in pairs}
    if not settings and "SLURM_JOB_ID" in os.environ:
        reason = outputs[0][1] if outputs else "there is no scontrol here"
        settings = {"error": f"Slurm does not say how it is set: {reason}"}
    return settings, left
