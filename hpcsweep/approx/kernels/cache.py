"""Where compiled code is kept: a folder of its own for every state of our source and every version of numba.

numba looks at the file of a function, not at those that it imports, so that the folder is named after all of them. It
lies beside this file or, where nobody may write there, in the user's cache. On each machine one process compiles while
the others wait for what it leaves: ranks of one node that compiled the same at once would each take as long.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import os
import shutil
import stat
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, TypeVar

import llvmlite
import numba
from llvmlite import binding
from numba import core

T = TypeVar("T")
config: Any = core.config  # whose attributes numba sets when it is imported, unseen by type checkers
VARIABLE = "HPCSWEEP_CACHE_DIR"
_PATIENCE = 120  # seconds


@functools.cache
def version() -> str:
    """Return a digest of what compiled code depends on, but for the processor, which numba looks at."""
    digest = hashlib.blake2b(f"{numba.__version__} {llvmlite.__version__}".encode(), digest_size=8)
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


@functools.cache
def folder() -> Path:
    """Return the folder; create it if necessary."""
    beside = Path(__file__).parent / "__pycache__"
    for parent in _places(beside):
        with contextlib.suppress(OSError):
            path = parent / f"kernels-{version()}-{_processor()}"
            if not path.exists() and parent == beside:
                _sweep(parent)
            path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=path):  # root may be refused by a file system though not by permissions
                pass
            return path
    raise OSError(f"No folder for compiled code can be written; choose one with {VARIABLE}.")


def _sweep(parent: Path) -> None:
    """Remove what other versions of our source have left beside it."""
    for old in parent.glob("kernels-*"):
        if not old.name.startswith(f"kernels-{version()}"):
            shutil.rmtree(old, ignore_errors=True)


def _places(beside: Path) -> Iterator[Path]:
    """Give the folders that may be used, the best ones first."""
    named = os.environ.get(VARIABLE)
    if named:
        yield Path(named)
        return
    yield beside
    with contextlib.suppress(RuntimeError):  # some containers give a user no home
        caches = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
        with contextlib.suppress(OSError):
            caches.mkdir(parents=True, exist_ok=True)
            yield _own(caches / "hpcsweep")
    with contextlib.suppress(OSError):
        yield _own(Path(tempfile.gettempdir()) / f"hpcsweep-{os.getuid()}")


def _own(path: Path) -> Path:
    """Return a folder that is this user's alone, made if need be: what lies there is run. OSError if it is not."""
    path.mkdir(mode=0o700, exist_ok=True)
    status = path.lstat()
    if status.st_uid != os.getuid() or stat.S_ISLNK(status.st_mode):
        raise PermissionError(path)
    if status.st_mode & 0o022:
        path.chmod(0o700)
    return path


def kept(make: Callable[[], T]) -> T:
    """Return what `make` returns, a function of numba that is kept in our folder."""
    before = config.CACHE_DIR
    config.CACHE_DIR = str(folder())
    try:
        return make()
    finally:
        config.CACHE_DIR = before


@functools.cache
def _processor() -> str:
    """Return a digest of the processor that is compiled for."""
    name = config.CPU_NAME or binding.get_host_cpu_name()
    features = binding.get_host_cpu_features().flatten() if config.CPU_FEATURES is None else config.CPU_FEATURES
    return hashlib.blake2b(f"{name} {features}".encode(), digest_size=8).hexdigest()


@contextlib.contextmanager
def locked(what: str) -> Iterator[None]:
    """Wait until no other process of this user compiles on this machine, and keep the others waiting.

    But not for what has been compiled already, which only has to be read. Warns where it is kept elsewhere than beside
    the package: one process of a machine does.
    """
    done = folder() / f"{what}.done"
    if done.exists():
        yield
        return
    beside = Path(__file__).parent / "__pycache__"
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # without a lock each process compiles for itself: slower, no less right
            _wait(stack.enter_context(_lock_file()))
        if not done.exists() and VARIABLE not in os.environ and folder().parent != beside:
            where = f"{folder().parent} ({VARIABLE} names another)"
            warnings.warn(f"{beside} cannot be written to: compiled code is kept in {where}.", stacklevel=3)
        yield
        with contextlib.suppress(OSError):
            done.touch()


def _lock_file() -> IO[str]:
    """Open the file that is locked; OSError if it is somebody else's."""
    path = Path(tempfile.gettempdir()) / f"hpcsweep-{os.getuid()}-{version()}.lock"
    file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600), "w")
    if os.fstat(file.fileno()).st_uid != os.getuid():
        file.close()
        raise PermissionError(path)
    return file


def _wait(file: IO[str]) -> None:
    """Lock a file; give up after two minutes, which no compilation takes."""
    for _ in range(_PATIENCE * 10):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(0.1)
