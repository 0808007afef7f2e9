"""States of unfinished work as data: what was written is read to the bit, or refused; nothing is executed."""

from __future__ import annotations

import hashlib
import json
import math
import os
import pickle
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hpcsweep.approx import states
from hpcsweep.bracket import Bracket
from hpcsweep.errors import StateError

MADE: list[Any] = []


@dataclass(frozen=True)
class Half:
    """Something with parts, of which one counts how often it is made."""

    values: torch.Tensor
    notes: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        MADE.append(self)


VALUES: dict[str, Any] = {
    "plain": [None, True, 3, -(2**80), 0.1, -0.0, math.inf, "text ü\n\0", b"\x00\xff"],
    "nested": {"a": (1, [2, (3,)], {}), 4: {(5, 6): []}},
    "arrays": [np.arange(6.0).reshape(2, 3)[:, ::-1], np.float32(0.1), np.int64(-7), np.zeros((0, 3)), np.array(2.5)],
    "texts": np.array([b"key", b""], "S8"),
    "tensors": [
        torch.rand(2, 3, dtype=torch.float64).T,
        torch.tensor(True),
        torch.empty(0, 2),
        torch.ones(3).bfloat16(),
    ],
    "object": (Half(torch.ones(2), [1, (2,)]), Bracket(0.5, 1.0, (0.25,))),
}


def same(first: Any, second: Any) -> bool:
    """Whether two states are equal in kind and in every bit."""
    if type(first) is not type(second):
        return False
    if isinstance(first, torch.Tensor):
        return first.dtype == second.dtype and first.shape == second.shape and torch.equal(first, second)
    if isinstance(first, np.ndarray | np.generic):
        return first.dtype == second.dtype and first.shape == second.shape and first.tobytes() == second.tobytes()
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    if isinstance(first, dict):
        return list(first) == list(second) and all(same(first[key], second[key]) for key in first)
    if isinstance(first, Half):
        return same(first.values, second.values) and same(first.notes, second.notes)
    return repr(first) == repr(second)


@pytest.mark.parametrize("name", VALUES)
def test_what_is_read_is_what_was_written(name: str, tmp_path: Path) -> None:
    made = len(MADE)
    states.write(tmp_path / "state", VALUES[name], (Half, Bracket))
    assert same(states.read(tmp_path / "state", (Half, Bracket)), VALUES[name])
    assert len(MADE) == made, "nothing of a class is executed"


def test_nan_stays_nan(tmp_path: Path) -> None:
    states.write(tmp_path / "state", [math.nan, torch.tensor([math.nan])])
    first, second = states.read(tmp_path / "state")
    assert math.isnan(first) and bool(second.isnan())


@pytest.mark.parametrize(
    "value",
    [object(), {1, 2}, np.array([object()]), Half(torch.ones(1)), print],
    ids=["object", "set", "objects", "class", "function"],
)
def test_anything_else_is_refused_when_it_is_written(value: Any, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="a state cannot hold"):
        states.write(tmp_path / "state", [value], (Bracket,))


def test_every_flipped_bit_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "state"
    state = [VALUES["arrays"], VALUES["nested"], VALUES["object"][1], np.arange(9000, dtype=np.uint8)]
    states.write(path, state, (Bracket,))
    content = path.read_bytes()
    shorter = 8 * content.index(b"(9000,)") + 8 + 3  # one bit that makes (1000,) of it
    for place in [shorter, *random.Random(1).sample(range(8 * len(content)), 800)]:
        damaged = bytearray(content)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises(StateError):
            states.read(path, (Bracket,))


@pytest.mark.parametrize("length", [0, 1, 100, -1])
def test_a_file_that_was_cut_is_refused(length: int, tmp_path: Path) -> None:
    states.write(tmp_path / "state", VALUES["plain"])
    content = (tmp_path / "state").read_bytes()
    (tmp_path / "state").write_bytes(content[:length])
    with pytest.raises(StateError, match="is damaged, or holds something else"):
        states.read(tmp_path / "state")
    with pytest.raises(FileNotFoundError):
        states.read(tmp_path / "none")


class Bomb:
    """A pickle that makes a folder when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def plant(path: Path, content: bytes) -> None:
    """Write a file whose digest is right."""
    path.write_bytes(hashlib.blake2b(content, digest_size=32).digest() + content)


def test_planted_files_execute_nothing(tmp_path: Path) -> None:
    path, mark = tmp_path / "state", tmp_path / "mark"
    plant(path, pickle.dumps(Bomb(mark)))
    with pytest.raises(StateError):
        states.read(path)
    path.unlink()
    with path.open("wb") as file:
        np.savez(file, tree=np.array([Bomb(mark)], dtype=object))
    plant(path, path.read_bytes())
    with pytest.raises(StateError):
        states.read(path)
    trees = [
        {"object": ["os.mkdir", {"path": str(mark)}]},
        {"object": ["hpcsweep.bracket.Bracket", {"__class__": 1}]},
        {"object": ["hpcsweep.bracket.Bracket", {"lower": 1.0}]},
        {"tensor": [0, "torch.load", [1], "cpu"]},
        {"tuple": 5},
        {"a": 1, "b": 2},
        {"_array": 0},
        {"array": 99},
        [{"dict": [[[], 1]]}],
    ]
    for tree in trees:
        with path.open("wb") as file:
            text = np.frombuffer(json.dumps(tree).encode(), np.uint8)
            np.savez(file, tree=text, **{"0": np.zeros(8, np.uint8)})
        plant(path, path.read_bytes())
        with pytest.raises(StateError):
            states.read(path, (Bracket,))
    with path.open("wb") as file:
        np.savez(file, tree=np.frombuffer(b"[1]", np.uint8))
    plant(path, path.read_bytes())
    assert states.read(path) == [1] and not mark.exists()
