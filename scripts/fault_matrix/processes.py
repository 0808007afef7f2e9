"""Faults of processes: ranks and launchers that are killed, stopped, or run out of time or memory."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Callable

import psutil

from scripts.fault_matrix.row import Row
from scripts.fault_matrix.study import SAMPLES
from scripts.fault_matrix.trial import Launch, TooLate, Trial, launcher


def _needs_mpi() -> str:
    return "" if shutil.which(launcher(1)[0]) else "no mpiexec: pip install 'hpcsweep[mpi]', or the site's MPI"


def ended(launch: Launch) -> str:
    """Wait for the end of a run; say how it ended."""
    return f"exit {launch.wait()}"


def _worker(trial: Trial, launch: Launch) -> list[psutil.Process]:
    driver = trial.driver(launch)
    return [rank for rank in launch.ranks() if rank != driver]


def _driver(trial: Trial, launch: Launch) -> list[psutil.Process]:
    return [driver] if (driver := trial.driver(launch)) else []


def _mpiexec(trial: Trial, launch: Launch) -> list[psutil.Process]:
    return [psutil.Process(launch.process.pid)]


def _everything(trial: Trial, launch: Launch) -> list[psutil.Process]:
    return launch.family()


def _any_rank(trial: Trial, launch: Launch) -> list[psutil.Process]:
    ranks = launch.ranks()
    return [trial.chance.choice(sorted(ranks, key=lambda rank: rank.pid))] if ranks else []


Choice = Callable[[Trial, Launch], list[psutil.Process]]


def _sends(number: signal.Signals, choose: Choice) -> Callable[[Trial], str]:
    def strike(trial: Trial) -> str:
        launch = trial.start()
        trial.moment(launch)
        try:
            victims = choose(trial, launch)
            for victim in victims:
                victim.send_signal(number)
        except psutil.NoSuchProcess as error:
            raise TooLate from error
        how = ended(launch)
        if not victims or how == "exit 0":
            raise TooLate
        return how

    return strike


def _while_it_starts(trial: Trial) -> str:
    """Kill everything at any moment from the first on, also while the store is laid out."""
    launch, begun = trial.start(), time.monotonic()
    while not trial.store.exists() and launch.process.poll() is None:
        time.sleep(0.05)
    started = time.monotonic() - begun  # seconds until the store is there
    if trial.chance.random() < 0.5:  # kill this run as soon as its store is there, and the next one as it begins
        launch.kill()
        launch = trial.start()
    time.sleep(trial.chance.uniform(0.0, 1.2 * started))
    for member in launch.family():
        member.send_signal(signal.SIGKILL)
    return ended(launch)


def _pauses(trial: Trial) -> str:
    """Stop a rank for some seconds."""
    launch = trial.start()
    trial.moment(launch)
    for rank in _any_rank(trial, launch):
        rank.suspend()
        time.sleep(trial.chance.uniform(1.0, 5.0))
        rank.resume()
    return ended(launch)


def _stands_still(trial: Trial) -> str:
    """Stop a worker rank for ever, and tell the others to stop."""
    launch = trial.start(SLURM_JOB_END_TIME=str(int(time.time()) + 90))  # which shortens how long it is waited for
    trial.moment(launch)
    stopped = _worker(trial, launch)
    for rank in stopped:
        rank.suspend()
    if driver := trial.driver(launch):
        driver.send_signal(signal.SIGTERM)
    return ended(launch)


def _walltime(trial: Trial) -> str:
    """As Slurm tells it: the moment at which the job will be killed. The run has to be over before."""
    end = time.time() + trial.chance.uniform(28.0, 36.0)
    launch = trial.start(SLURM_JOB_END_TIME=str(int(end)), TROUBLE_SLOW="5")
    how = ended(launch)
    if how == "exit 0":
        raise TooLate
    return how + (" in time" if time.time() < end + 2 else " LATE")


def _address_space(trial: Trial) -> str:
    """A cell that wants 3 GiB on ranks that have less, by a random margin."""
    limit = trial.chance.randint(3 << 19, 7 << 19)  # KiB; a rank alone takes a third of the least
    count = trial.chance.choice(SAMPLES)
    launch = trial.start(shell=f"ulimit -v {limit}", TROUBLE=f"hogs {count}")
    return ended(launch)


ROWS = [
    Row("worker", "SIGKILL of a worker rank", _sends(signal.SIGKILL, _worker), obstacle=_needs_mpi),
    Row("rank0", "SIGKILL of rank 0", _sends(signal.SIGKILL, _driver)),
    Row("mpiexec", "SIGKILL of mpiexec", _sends(signal.SIGKILL, _mpiexec), obstacle=_needs_mpi),
    Row("everything", "SIGKILL of all processes at once", _sends(signal.SIGKILL, _everything)),
    Row("starting", "SIGKILL of all processes, possibly while the run starts", _while_it_starts),
    Row("sigterm", "SIGTERM to one rank", _sends(signal.SIGTERM, _any_rank)),
    Row("sigterm-mpiexec", "SIGTERM to mpiexec", _sends(signal.SIGTERM, _mpiexec), obstacle=_needs_mpi),
    Row("sighup", "SIGHUP to one rank", _sends(signal.SIGHUP, _any_rank)),
    Row("pauses", "SIGSTOP of one rank for 1 to 5 seconds", _pauses),
    Row("stands-still", "SIGSTOP of a worker rank for ever, SIGTERM to rank 0", _stands_still, obstacle=_needs_mpi),
    Row("walltime", "end of the walltime, announced by Slurm", _walltime),
    Row(
        "memory",
        "memory limit (`ulimit -v`) lower than a cell needs",
        _address_space,
        "more memory, `--retry-failed`",
        retry=True,
    ),
]
