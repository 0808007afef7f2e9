"""What the bits of a network do not depend on, with any method: company, order, threads, interruptions, processors."""

from __future__ import annotations

import hashlib
import pickle
from dataclasses import replace
from typing import Any

import pytest
import torch

from hpcsweep.approx.kernels.compiling import is_wide  # noqa: F401 - for the other process
from hpcsweep.approx.training import optimizers
from hpcsweep.approx.training.single import network_training, supervisor
from hpcsweep.config import OptimizerConfig
from tests.approx.packs import Cells, equal
from tests.forks import without_avx512

STEPS = {"levenberg_marquardt": 30, "variable_projection": 30, "least_squares": 1}
LAPACK = ("least_squares", "variable_projection")
CHAINS = ("adam+ssbroyden", "soap+lbfgs", "muon+levenberg_marquardt", "sgd+bfgs+adamw")


def settings(name: str, **other: Any) -> OptimizerConfig:
    return OptimizerConfig.of({"name": name, "steps": STEPS.get(name, 90), "learning_rate": 1e-2, **other})


@pytest.mark.parametrize("name", optimizers.NAMES)
@pytest.mark.parametrize(("hidden", "samples"), [([9], 30), ([6, 5], 150)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_neither_company_nor_order_nor_nan_beside_it(name: str, hidden: list[int], samples: int, dtype: Any) -> None:
    cells = Cells(hidden, 2, samples, 4)
    cells.parameters = cells.parameters.to(dtype)
    together = cells.train(settings(name))
    for cell in range(4):
        assert equal(together, cells.train(settings(name), [cell]), [cell])
    assert equal(together, cells.train(settings(name), [2, 0, 3, 1]), [2, 0, 3, 1])
    cells.values[1, 3], cells.parameters[2, 0] = torch.nan, torch.inf
    assert equal(together, cells.train(settings(name)), [0, 3], [0, 3])


@pytest.mark.parametrize("name", optimizers.NAMES)
def test_nor_threads(name: str) -> None:
    cells = Cells([6, 5], 2, 150, 5)
    torch.set_num_threads(2)
    two = cells.train(settings(name))
    assert torch.get_num_threads() == 2 and two.threads == 1
    torch.set_num_threads(1)
    assert equal(two, cells.train(settings(name)), range(5))


def resumed_anywhere(cells: Cells, chosen: OptimizerConfig, monkeypatch: pytest.MonkeyPatch, places: int) -> int:
    """Look after every evaluation; go on from several of the states; return how many states there were."""
    whole, states = cells.train(chosen), []
    monkeypatch.setattr(network_training, "_PAUSE", 0.0)
    looked = cells.train(chosen, checkpoint=lambda state: states.append(pickle.dumps(state)), checkpoint_seconds=0.0)
    everyone = range(len(cells.seeds))
    assert equal(whole, looked, everyone)
    for state in states[:: max(1, len(states) // places)]:
        assert equal(whole, cells.train(chosen, resume=pickle.loads(state)), everyone)
    return len(states)


FLAT = {"sgd": 7e-3, "bfgs": 2e-4, "levenberg_marquardt": 1e-6}  # tolerances of the gradient that are met
INTERRUPTED = [
    *((name, {"steps": 30} if "+" in name else {}, 9, 50) for name in (*optimizers.NAMES, *CHAINS)),
    *((name, {"steps": 400, "gradient_tolerance": least}, 60, 10) for name, least in FLAT.items()),
    *(
        (name, {"steps": 60, "batch": 16, "keep": keep, "loss_tolerance": 1e-9}, 5, 100)
        for name in ("sgd", "adam", "adamw", "muon", "soap", "adam+soap")
        for keep in ("best", "last")
    ),
]


@pytest.mark.parametrize(("name", "fields", "places", "least"), INTERRUPTED, ids=str)
def test_nor_interruptions_at_any_moment(
    name: str, fields: dict[str, Any], places: int, least: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells, chosen = Cells([7, 6], 1, 40, 2), settings(name, **fields)
    if "gradient_tolerance" in fields:
        assert cells.train(chosen).message[0].startswith("Within the gradient tolerance")
    assert resumed_anywhere(cells, chosen, monkeypatch, places) >= (1 if name == "least_squares" else least)


def test_nor_interruptions_after_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    cells, chosen = Cells([7, 6], 1, 40, 2), settings("adam", schedule="exponential", final_learning_rate=30.0)
    assert (cells.train(chosen).loss < cells.train(replace(chosen, keep="last")).loss).all()
    assert resumed_anywhere(cells, chosen, monkeypatch, 20) >= 50


@pytest.mark.parametrize("name", ["soap", "ssbroyden", "levenberg_marquardt"])
def test_nor_interruptions_of_two_at_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(2)
    monkeypatch.setattr(supervisor, "_ASKS", 1e-4)
    steps = 160 if name == "levenberg_marquardt" else 200
    assert resumed_anywhere(Cells([7, 6], 1, 40, 3), settings(name, steps=steps), monkeypatch, 3) >= 3


def test_an_interrupted_training_goes_on_where_it_was() -> None:
    cells, chosen = Cells([7, 6], 1, 40, 3), settings("adam", steps=30_000)
    whole, saved, asked = cells.train(chosen), [], []
    first = cells.train(chosen, stop=lambda: bool(asked.append(0)) or len(asked) > 3, checkpoint=saved.append)
    assert first.outcome[1:] == ["interrupted"] * 2
    assert equal(whole, cells.train(chosen, resume=pickle.loads(pickle.dumps(saved[-1]))), range(3))


def digests() -> dict[str, str]:
    """Return hashes of what the methods whose arithmetic is all ours come to, in both precisions."""
    found: dict[str, str] = {}
    for dtype in (torch.float64, torch.float32):
        for name in optimizers.NAMES:
            if name in LAPACK or (dtype is torch.float32 and name not in ("adam", "ssbroyden")):
                continue
            for hidden, samples, activation in (([9], 30, "tanh"), ([12, 17], 140, "silu")):
                cells = Cells(hidden, 2, samples, 1, activation)
                cells.parameters = cells.parameters.to(dtype)
                last = cells.train(settings(name, steps=60 if "marquardt" in name else 200, keep="last"))
                found[f"{name} {hidden} {dtype}"] = hashlib.sha256(last.parameters.numpy().tobytes()).hexdigest()
    return found


def test_nor_the_width_of_the_processors_vectors() -> None:
    assert without_avx512(__file__, "[is_wide(), digests()]") == str([False, digests()])
