"""What torch's libraries are told: chosen before torch computes, never against the user, and recorded."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import torch

from hpcsweep import libraries
from hpcsweep.approx import machine
from hpcsweep.store import layout
from hpcsweep.store.reading import read_runs
from tests.conftest import Run, environment, finished

ROOT = Path(__file__).parents[1]


def said(code: str, **variables: str) -> str:
    """What a process prints that begins with these variables and no other choice of a path."""
    line = ["env", "-u", libraries.MKL_NAME, *(f"{name}={value}" for name, value in variables.items())]
    done = finished([*line, sys.executable, "-c", code], ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


TOLD = "import os, hpcsweep; print(os.environ['MKL_CBWR'], hpcsweep.libraries.mkl_told())"


def test_the_package_chooses_the_path_and_the_users_choice_stays() -> None:
    assert said(TOLD) == "AUTO,STRICT MKL_CBWR=AUTO,STRICT"
    assert said(TOLD, MKL_CBWR="AVX2") == "AVX2 MKL_CBWR=AVX2"


@pytest.mark.parametrize("told", [None, "ACTIVE"])
def test_the_threads_of_torch_wait_without_using_their_cores_unless_told_otherwise(told: str | None) -> None:
    """As OpenMP itself says, when torch loads it."""
    line = ["env", "-u", "OMP_WAIT_POLICY", *([f"OMP_WAIT_POLICY={told}"] if told else [])]
    shown = finished([*line, sys.executable, "-c", "import hpcsweep, torch"], ROOT, OMP_DISPLAY_ENV="true")
    policies = re.findall(r"OMP_WAIT_POLICY\s*=\s*'(\w+)'", shown.stderr)
    assert policies and set(policies) == {told or "PASSIVE"}


def test_a_choice_that_may_come_too_late_is_recorded_as_such() -> None:
    late = "import sys; sys.modules['torch'] = None; "
    assert said(late + TOLD) == "AUTO,STRICT MKL_CBWR=AUTO,STRICT set after torch was imported"
    assert said(late + TOLD, MKL_CBWR="AUTO,STRICT") == "AUTO,STRICT MKL_CBWR=AUTO,STRICT"


def test_a_script_that_imports_torch_imports_the_package_before() -> None:
    texts = [path.read_text() for path in (ROOT / "scripts").glob("*.py")]
    orders = [re.findall(r"^import (hpcsweep|torch)\b", text, re.MULTILINE) for text in texts if "import torch" in text]
    assert len(orders) >= 6 and all(order == ["hpcsweep", "torch"] for order in orders)


def test_the_tests_themselves_and_what_they_start_have_the_path() -> None:
    assert not libraries.MKL_LATE and environment()[libraries.MKL_NAME] == libraries.MKL_CHOSEN


def test_every_launch_records_the_path(hpcsweep: Run, tiny: Path, tmp_path: Path) -> None:
    assert hpcsweep("run", tiny, "-o", "s.h5").returncode == 0
    versions = read_runs(tmp_path / "s.h5")[-1].versions
    told = libraries.mkl_told() if torch.backends.mkl.is_available() else "no MKL"
    assert told in versions and "h5py" in versions and len(versions) < int(layout.RUNS["run_versions"].dtype[1:])


def test_the_bits_of_a_product_do_not_depend_on_where_its_matrices_lie() -> None:
    """On a processor where MKL's paths round differently this fails without the choice."""
    assert machine.moved_products() == ()
    assert said("from hpcsweep.approx import machine; print(machine.moved_products())") == "()"


@pytest.mark.parametrize("operand", [0, 1, 2])
@pytest.mark.parametrize(("axes", "kind"), [(2, "plain"), (3, "batched")])
def test_a_product_that_rounds_by_an_address_is_found(
    monkeypatch: pytest.MonkeyPatch, operand: int, axes: int, kind: str
) -> None:
    right = torch.matmul

    def moody(left: torch.Tensor, other: torch.Tensor, *, out: torch.Tensor) -> None:
        right(left, other, out=out)
        if left.ndim == axes and (left, other, out)[operand].data_ptr() % 64 == 40:
            out[..., -1, -1] *= 1 + 2**-52

    monkeypatch.setattr(torch, "matmul", moody)
    assert machine.moved_products() == (kind,)
