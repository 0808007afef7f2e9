"""One trial: a run in a folder of its own that a fault befalls, and what is left of it, beside an undisturbed run."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from hpcsweep.cluster import pricing
from hpcsweep.cluster.launch import read
from hpcsweep.errors import StoreError
from hpcsweep.store import layout
from hpcsweep.store.lease import lease_path
from hpcsweep.study import plan
from scripts.fault_matrix.stored import begun, by_key, keys_with, weights_by_key
from scripts.fault_matrix.study import PLUGIN, STUDY

SPAN = 3.0  # seconds within which a fault strikes a run that trains
PATIENCE = 150.0  # seconds after which a run hangs
LAUNCHES = 8  # of the same command until a study must be finished


class Hangs(Exception):
    """A run that does not end."""


class TooLate(Exception):
    """The run was over before the fault could strike: the repetition is to be done again."""


def launcher(ranks: int) -> list[str]:
    """The command that starts so many ranks; nothing for none."""
    beside = Path(sys.executable).with_name("mpiexec")
    return [str(beside) if beside.exists() else str(shutil.which("mpiexec")), "-n", str(ranks)] if ranks else []


class Launch:
    """A run that was started, with all its processes; what it said is in `log`."""

    def __init__(self, line: Sequence[str], environment: Mapping[str, str], folder: Path, log: Path) -> None:
        self.log = log
        with log.open("w") as file:
            self.process = subprocess.Popen(
                line, cwd=folder, env=dict(environment), stdout=file, stderr=file, start_new_session=True
            )
        self._known: dict[int, psutil.Process] = {self.process.pid: psutil.Process(self.process.pid)}

    def family(self) -> list[psutil.Process]:
        """All its processes that live, those of a launcher that died included."""
        for member in list(self._known.values()):
            with contextlib.suppress(psutil.NoSuchProcess):
                self._known |= {child.pid: child for child in member.children(recursive=True)}
        return [member for member in self._known.values() if _lives(member)]

    def ranks(self) -> list[psutil.Process]:
        """Its ranks (or rank)."""
        found = []
        for member in self.family():
            with contextlib.suppress(psutil.NoSuchProcess):
                if "hpcsweep" in member.cmdline() and "python" in member.name():
                    found.append(member)
        return found

    def wait(self, seconds: float = PATIENCE) -> int:
        """Wait until it has ended, with all its processes; return its exit code. Raises `Hangs` after killing it."""
        limit = time.monotonic() + seconds
        while self.process.poll() is None or self.family():
            if time.monotonic() > limit:
                self.kill()
                raise Hangs(f"had to be killed after {seconds:.0f} s")
            time.sleep(0.05)
        return self.process.returncode

    def kill(self) -> None:
        """Kill all its processes."""
        for member in self.family():
            with contextlib.suppress(psutil.NoSuchProcess):
                member.send_signal(signal.SIGKILL)
        self.process.wait()

    def said(self) -> str:
        """Return what it said."""
        return self.log.read_text(errors="replace")


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class Trial:
    """A folder with the study, and everything that may be done to it. `chance` draws the moments."""

    def __init__(self, folder: Path, chance: random.Random, ranks: int) -> None:
        self.folder, self.chance, self.ranks = folder, chance, ranks
        self.store = folder / "run" / "s.h5"
        self.launches: list[Launch] = []
        self.seen: set[str] = set()  # cells that were marked done at any time
        self.vanished: set[str] = set()  # of these, those that were not any more at a later one
        self.noted: tuple[int, int] | None = None  # cells done, cells in flight, where the end of `strike` is too late
        (folder / "run").mkdir(parents=True)
        (folder / "study.toml").write_text(STUDY)
        self.mend()

    def mend(self) -> None:
        """Write the files of the plugin, as they were."""
        (self.folder / "troubled.py").write_text(PLUGIN)
        (self.folder / "table.csv").write_text("3.0\n")

    def command(self, *flags: str) -> list[str]:
        """The command of every run."""
        line = [sys.executable, "-m", "hpcsweep", "run", str(self.folder / "study.toml"), "-o", str(self.store)]
        return [*line, "--progress", "lines", *flags]

    def start(self, *flags: str, shell: str = "", **environment: str) -> Launch:
        """Start a run; `shell` is what each rank does before, such as ``ulimit -v 4000000``."""
        line = self.command(*flags)
        line = ["bash", "-c", f'{shell}; exec "$@"', "rank", *line] if shell else line
        return self.launch([*launcher(self.ranks), *line], **environment)

    def launch(self, line: Sequence[str], **environment: str) -> Launch:
        """Start any command."""
        log = self.folder / f"log-{len(self.launches)}"
        variables = {**plain(), "TROUBLE_SLOW": "0.2", **environment}  # more moments for a fault, at no cost
        launch = Launch(line, variables, self.folder, log)
        self.launches.append(launch)
        return launch

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """In the block, see which cells are marked done, at any time."""
        over = threading.Event()
        watcher = threading.Thread(target=self._watch, args=(over,), daemon=True)
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()

    def _watch(self, over: threading.Event) -> None:
        while not over.wait(0.1):
            with contextlib.suppress(StoreError, OSError, KeyError):  # not there yet, or deleted
                now = keys_with(self.store, layout.DONE)
                self.vanished |= self.seen - now
                self.seen |= now

    def status(self, *status: int) -> set[str]:
        """The cells with one of these statuses; none while there is no store."""
        with contextlib.suppress(StoreError, OSError, KeyError):
            return keys_with(self.store, *status)
        return set()

    def begun(self) -> set[str]:
        """The cells that were started and are not finished."""
        with contextlib.suppress(StoreError, OSError, KeyError):
            return begun(self.store)
        return set()

    def note(self) -> None:
        """Take note of what is left at this moment."""
        self.noted = len(self.status(layout.DONE)), len(self.begun())

    def until_live(self, launch: Launch) -> None:
        """Wait until a run has laid out its store and trains, or has ended."""
        limit = time.monotonic() + PATIENCE
        while time.monotonic() < limit and launch.process.poll() is None:
            if self.status(layout.RUNNING):
                launch.family()
                return
            time.sleep(0.05)

    def moment(self, launch: Launch, span: float = SPAN) -> None:
        """Wait until a random moment while a run trains."""
        self.until_live(launch)
        time.sleep(self.chance.uniform(0.0, span))
        launch.family()
        if launch.process.poll() is not None:
            raise TooLate

    def driver(self, launch: Launch) -> psutil.Process | None:
        """Rank 0: the one that holds the lease."""
        with contextlib.suppress(OSError, ValueError):
            holder = json.loads(lease_path(self.store).read_text())["process"]
            return next((rank for rank in launch.ranks() if rank.pid == holder), None)
        return None

    def complete(self, retry: bool) -> int:
        """Run again, in a world that is mended, until the study is finished; return how many launches that took."""
        for number in range(1, LAUNCHES + 1):
            launch = self.start(*(["--retry-failed"] if retry else []), TROUBLE_SLOW="0")
            code = launch.wait()
            if code == 0:
                return number
            retry = False
            if code == 2 or "Traceback" in launch.said():
                raise RuntimeError(launch.said().strip().splitlines()[-1])
        raise RuntimeError(f"not finished after {LAUNCHES} launches")

    def close(self) -> None:
        """Leave no process behind."""
        for launch in self.launches:
            launch.kill()


@dataclass(frozen=True)
class Reference:
    """What every cell has to be, to the bit: results and weights by key."""

    values: dict[str, bytes]
    weights: dict[str, bytes]
    in_flight: int = sys.maxsize  # cells that may be on their way at a time

    @staticmethod
    def of(store: Path, in_flight: int = sys.maxsize) -> Reference:
        """Take a store for the truth."""
        return Reference(by_key(store), weights_by_key(store), in_flight)

    def wrong(self, store: Path) -> int:
        """Count the cells marked done that differ from ours in any bit, of results or of weights."""
        values, kept = by_key(store), weights_by_key(store)
        done = keys_with(store, layout.DONE)
        return sum((values[key], kept[key]) != (self.values.get(key), self.weights.get(key)) for key in done)

    def whole(self, store: Path) -> bool:
        """Whether a store has all that we have, to the bit."""
        return by_key(store) == self.values and weights_by_key(store) == self.weights


def undisturbed(folder: Path, ranks: int) -> Reference:
    """Run the study in a folder with nothing in its way."""
    trial = Trial(folder, random.Random(0), ranks)
    if code := trial.start().wait():
        raise RuntimeError(f"The undisturbed run ends with {code}:\n{trial.launches[0].said()}")
    study, cells = read(folder / "study.toml")
    packs = plan.make(cells, np.arange(len(cells)), pricing.Pricer(study), max(ranks, 1))
    largest = max(len(pack.rows) for pack in packs)
    return Reference.of(trial.store, 2 * max(ranks, 1) * largest)  # trained on every rank; and others being written


def plain() -> dict[str, str]:
    """The environment of a plain launch: one thread, frequent checkpoints, no traces of another launcher."""
    left = ("PMI", "OMPI", "MPI_", "SLURM_JOB", "SLURM_STEP", "HYD", "TROUBLE")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(left)}
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**kept, **threads, "PATH": path, "HPCSWEEP_CHECKPOINT_SECONDS": "0.3", "PYTHONUNBUFFERED": "1"}
