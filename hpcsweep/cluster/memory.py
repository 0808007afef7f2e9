"""How much memory this process may use: what the machine has free, or less where a cgroup limits it."""

from __future__ import annotations

from pathlib import Path

import psutil


def available() -> int:
    """Return the bytes that this process and its neighbours on the node may use."""
    return min([psutil.virtual_memory().available, *cgroup_limits()])


def cgroup_limits(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> list[int]:
    """Return the limits, in bytes, of the cgroup of this process and of those around it; both versions of cgroups."""
    limits = []
    for line in own.read_text().splitlines() if own.exists() else []:
        _, controllers, inside = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        top, name = (root / "memory", "memory.limit_in_bytes") if controllers else (root, "memory.max")
        folder = top / inside.lstrip("/")
        for level in [folder, *folder.parents][: len(Path(inside.lstrip("/")).parts) + 1]:
            text = (level / name).read_text().strip() if (level / name).exists() else ""
            limits += [int(text)] if text.isdigit() else []
    return limits
