"""Faults of the disk: full, limited, read-only, gone."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from scripts.fault_matrix.processes import ended
from scripts.fault_matrix.row import Row
from scripts.fault_matrix.trial import TooLate, Trial

BALLAST = "ballast"


def _no_mounts() -> str:
    """Say why nothing can be mounted here."""
    with tempfile.TemporaryDirectory() as folder:
        tried = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], capture_output=True, text=True)
        if tried.returncode == 0:
            subprocess.run(["umount", folder], check=True)
            return ""
    return "needs root, who may mount a small disk"


def _mount(*words: object) -> None:
    subprocess.run(["mount", *map(str, words)], check=True)


def _no_read_only() -> str:
    return _no_mounts() if os.getuid() == 0 else ""


def _mounted(place: Path) -> bool:
    """Whether something is mounted at a place, a part of the same disk included."""
    return f" {place} " in Path("/proc/self/mounts").read_text()


def _fill(trial: Trial) -> None:
    """Write to the disk of the store until nothing goes any more."""
    with contextlib.suppress(OSError), (trial.store.parent / BALLAST).open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def _full(trial: Trial) -> str:
    """Fill a small disk at a random moment, from the first on."""
    _mount("-t", "tmpfs", "-o", "size=4m", "tmpfs", trial.store.parent)
    launch = trial.start()
    if trial.chance.random() < 0.75:
        trial.moment(launch)
    else:
        time.sleep(trial.chance.uniform(0.0, 4.0))
    _fill(trial)
    how = ended(launch)
    if how == "exit 0":
        raise TooLate
    return how


def _room(trial: Trial) -> None:
    """Make room on the small disk: in place of it, what lies on it."""
    (trial.store.parent / BALLAST).unlink(missing_ok=True)
    _unmount(trial)


def _unmount(trial: Trial) -> None:
    """Keep what lies on the mounted disk, without the disk."""
    place, kept = trial.store.parent, trial.folder / "kept"
    if _mounted(place):
        shutil.copytree(place, kept)
        subprocess.run(["umount", "--lazy", str(place)], check=True)
        shutil.rmtree(place)
        kept.rename(place)


def _limited(trial: Trial) -> str:
    """A random limit on the size of a file, hit by the store, its weights, or a checkpoint."""
    launch = trial.start(shell=f"ulimit -f {trial.chance.randint(1, 250)}")  # KiB
    how = ended(launch)
    if how == "exit 0":
        raise TooLate
    return how


def _read_only(trial: Trial) -> str:
    """Stop at a random moment, make the disk read-only, and run: that must be refused."""
    stopped = trial.start()
    trial.moment(stopped)
    for rank in stopped.ranks():
        rank.terminate()
    stopped.wait()
    _freeze(trial)
    return ended(trial.start())


def _turns_read_only(trial: Trial) -> str:
    """Let the disk turn read-only at a random moment of the run; files that are open still take what is written."""
    launch = trial.start()
    trial.moment(launch)
    _freeze(trial)
    return ended(launch)


def _freeze(trial: Trial) -> None:
    """Make the folder of the store read-only: root by a mount above it, others by permissions."""
    if os.getuid() == 0:
        _mount("--bind", trial.store.parent, trial.store.parent)
        _mount("-o", "remount,bind,ro", trial.store.parent)
    else:
        _permit(trial, 0o555, 0o444)


def _permit(trial: Trial, folder: int, files: int) -> None:
    for path in trial.store.parent.iterdir():
        if path.is_file():
            path.chmod(files)
    trial.store.parent.chmod(folder)


def _writable(trial: Trial) -> None:
    place = trial.store.parent
    if _mounted(place):
        subprocess.run(["umount", "--lazy", str(place)], check=True)
    elif place.exists():
        _permit(trial, 0o755, 0o644)


def _deleted(trial: Trial) -> str:
    """Delete the folder of the store at a random moment."""
    launch = trial.start(TROUBLE_SLOW="1")
    trial.moment(launch)
    _remove(trial.store.parent)
    return ended(launch)


def _remove(folder: Path) -> None:
    """Remove a folder in which somebody writes at the same time."""
    while folder.exists():
        try:
            shutil.rmtree(folder)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.ENOENT):
                raise


def _no_limit() -> str:
    return "" if shutil.which("bash") else "needs bash"


ROWS = [
    Row("full", "disk full while writing", _full, "space freed", _room, _no_mounts),
    Row(
        "limited", "file size limit (`ulimit -f`) while writing", _limited, "limit removed", obstacle=_no_limit, ranks=0
    ),
    Row("read-only", "a read-only store", _read_only, "made writable", _writable, _no_read_only),
    Row("turns-read-only", "a store that turns read-only", _turns_read_only, "made writable", _writable, _no_read_only),
    Row("deleted", "the store's folder deleted", _deleted, "none: the run starts anew", gone=True),
]
