"""What `import hpcsweep` offers: these names and no others, each imported when it is first used, each documented."""

from __future__ import annotations

import ast
import doctest
import inspect
import sys
from pathlib import Path

import pytest
import torch

import hpcsweep
from hpcsweep.api import measuring, studies
from tests.conftest import finished

NAMES = ["Bracket", "Model", "Study", "Target", "UserError", "measure", "network", "read", "run", "unstacked"]
ROOT = Path(__file__).parents[2]


def imported_by(code: str) -> set[str]:
    """Return the heavy packages that are imported after a line of code."""
    heavy = "{'torch', 'numba', 'mpi4py', 'submitit', 'h5py', 'pydantic', 'numpy', 'xarray', 'matplotlib'}"
    line = f"import sys, hpcsweep; {code}; print(*({heavy} & set(sys.modules)), 'end')"
    *names, end = finished([sys.executable, "-c", line], ROOT).stdout.split()
    assert end == "end"
    return set(names)


def test_the_public_names_are_these_and_python_lists_no_others() -> None:
    assert hpcsweep.__all__ == NAMES and dir(hpcsweep) == sorted([*NAMES, "__version__"])
    with pytest.raises(AttributeError, match="no attribute 'mesure'"):
        hpcsweep.mesure  # noqa: B018


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_is_documented_and_typed(name: str) -> None:
    thing = getattr(hpcsweep, name)
    members = [thing, *(member for key, member in vars(thing).items() if not key.startswith("_"))]
    for member in filter(inspect.isroutine, members):
        function = getattr(member, "__func__", member)
        assert inspect.getdoc(function), function
        parameters = inspect.signature(function).parameters.keys() - {"self", "cls"}
        assert {*parameters, "return"} <= function.__annotations__.keys(), function
    assert inspect.getdoc(thing)
    if inspect.isfunction(thing):
        assert all(word in inspect.getdoc(thing) for word in ("Returns\n---", "Raises\n---"))


def test_type_checkers_see_each_name_where_it_is_imported_from() -> None:
    tree = ast.parse(Path(hpcsweep.__file__).read_text())
    [block] = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {alias.name: node.module for node in block.body for alias in node.names}  # type: ignore[attr-defined]
    assert seen == hpcsweep._HOMES and sorted(seen) == NAMES


def test_a_plain_import_and_plain_names_import_nothing_heavy() -> None:
    assert imported_by("dir(hpcsweep), hpcsweep.Bracket, hpcsweep.UserError") == set()


def test_reading_needs_neither_torch_nor_mpi(finished_store: Path) -> None:
    found = imported_by(f"hpcsweep.unstacked(hpcsweep.read({str(finished_store)!r}).isel(cell=slice(16)))")
    assert {"xarray", "h5py"} <= found and not found & {"torch", "mpi4py", "numba", "matplotlib", "pydantic"}


def test_base_classes_of_plugins_need_neither_stores_nor_mpi() -> None:
    assert not imported_by("hpcsweep.Target, hpcsweep.Model") & {"mpi4py", "h5py", "xarray", "pydantic"}


@pytest.mark.parametrize("page", ["README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))])
def test_the_documents_use_public_names_only(page: str) -> None:
    text = (ROOT / page).read_text()
    assert "from hpcsweep." not in text and "import hpcsweep." not in text
    assert not [word for word in ("findings.dataset.read", "findings.grids", "approx.targets import") if word in text]


@pytest.mark.parametrize("module", [measuring, studies])
def test_the_examples_in_docstrings_are_true(module: object) -> None:
    torch.manual_seed(0)
    failed, tried = doctest.testmod(module)  # type: ignore[arg-type]
    assert tried >= 3 and not failed
