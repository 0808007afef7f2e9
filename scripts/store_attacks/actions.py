"""Everything that writes a store: from which files it begins, what it does, and what has to come of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hpcsweep.store import verifying
from scripts.store_attacks import folder, model
from scripts.store_attacks.power import Files

STORE = "s.h5"
MEASURED = (0, 1, 2)  # later measurements that a cell may have had


@dataclass(frozen=True)
class Action:
    """Something that writes a store, in any folder that holds the files `before`."""

    name: str
    before: Files
    act: Callable[[Path], object]  # its argument: the path of the store
    expected: int  # cells that are done then
    finished: frozenset[str]  # cells that are done and right at the beginning


def all_of(place: Path, replicates: int = 1) -> list[Action]:
    """Return all actions; `place`: a folder to prepare them in, which is not there."""
    study, cells = model.study_of("10", replicates)
    larger = model.study_of("[10, 20]", replicates)
    begun, many, half = place / STORE, len(cells), len(cells) // 2
    listed: list[tuple[str, Callable[[], object], Callable[[Path], object], int]] = [
        ("create", lambda: None, lambda path: model.work(path, study, cells), many),
        ("resume", lambda: model.work(begun, study, cells, half), lambda path: model.work(path, study, cells), many),
        ("extend", lambda: model.work(begun, study, cells), lambda path: model.work(path, *larger), len(larger[1])),
        ("merge", lambda: model.shards(begun, study, cells), model.merged, many),
        ("measure", lambda: model.work(begun, study, cells), model.measure, many),
        (
            "repair",
            lambda: (model.work(begun, study, cells), _spoil(begun, cells.columns["key"][0])),
            lambda path: model.work(path, study, cells, repair=True),
            many,
        ),
    ]
    actions = []
    for name, prepare, act, expected in listed:
        folder.put(place, {})
        prepare()
        actions.append(Action(name, folder.content(place), act, expected, frozenset(right(begun))))
    return actions


def _spoil(path: Path, key: bytes) -> None:
    """Flip a bit in the message of a cell."""
    content = bytearray(path.read_bytes())
    content[content.index(b"of " + key) + 4] ^= 1
    path.write_bytes(content)


def right(path: Path) -> set[str]:
    """Return the keys of the cells that are finished and right; none where there is no store."""
    if not path.exists():
        return set()
    finished, mistakes = model.wrong(path, MEASURED)
    return set(finished) - set(mistakes) - set(verifying.verify(path).rows)


def outcome(action: Action, path: Path) -> str:
    """Return what the same command makes of what is left of an action that was cut off; what begins with ! must not be.

    Called in a process of its own.
    """
    if path.exists():
        finished, mistakes = model.wrong(path, MEASURED)
        if action.finished - set(finished):
            return "! finished rows lost"
        if set(mistakes) - set(verifying.look(path).rows):  # which every reader refuses, and the same command mends
            return "! wrong rows marked done"
    elif action.finished:
        return "! finished rows lost"
    if model.wrong_states(path):
        return "! wrong checkpoints taken for good"
    action.act(path)
    return _repeated(action, path)


def _repeated(action: Action, path: Path) -> str:
    """Return what the same command has made of what was left."""
    finished, mistakes = model.wrong(path, MEASURED)
    if mistakes or verifying.verify(path):
        return "! wrong rows marked done by the same command"
    if len(finished) != action.expected:
        return "! not all done by the same command"
    if len(set(finished.values())) > 1:
        return "! some cells measured twice"
    if model.without_pictures(path):
        return "! pictures lost"
    left = [
        file
        for file in path.parent.rglob("*")
        if file.name.startswith(".") or file.suffix in (".lease", ".journal", ".checkpoints")
    ]
    return "! files left behind" if left else "survived"
