"""The architecture, held: imports run one way, heavy imports stay within their walls, files stay short."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "hpcsweep"

# Bottom first. A module may import what stands before it.
ORDER = (
    "libraries",
    "errors",
    "sections",
    "study",
    "cells",
    "collocation",
    "methods",
    "grid",
    "bracket",
    "plan",
    "layout",
    "inplace",
    "patient",
    "lease",
    "rewrite",
    "weights",
    "store",
    "tighten",
    "shards",
    "slurm",
    "status",
    "approx.machine",
    "approx.kernels",
    "approx.targets",
    "approx.plugins",
    "approx.models",
    "approx.training",
    "approx.fit",
    "approx.meter",
    "approx.adaptive",
    "approx.catalogue",
    "measuring",
    "cluster.guard",
    "cluster.memory",
    "cluster.stopping",
    "cluster.seats",
    "cluster.devices",
    "cluster.pricing",
    "cluster.progress",
    "cluster.workforce",
    "cluster.checkpoints",
    "cluster.worker",
    "cluster.driver",
    "cluster.leftovers",
    "cluster.shares",
    "cluster.launch",
    "cluster.element",
    "cluster.local",
    "cluster.submit",
    "cluster.redraw",
    "cluster.remeasure",
    "cluster.replay",
    "cluster.probes",
    "cluster.case",
    "cluster.diagnosis",
    "cluster.doctor",
    "findings.dataset",
    "findings.grids",
    "findings.export",
    "findings.published",
    "findings.series",
    "findings.powerlaw",
    "findings.theory",
    "findings.scaling",
    "findings.sheet",
    "findings.kept",
    "findings.pictures",
    "findings.gallery",
    "findings.maps",
    "findings.figures",
    "findings.tables",
    "findings.answers",
    "findings.setup",
    "findings.plates",
    "findings.look",
    "findings.page",
    "findings.chapters",
    "findings.summary",
    "findings.report",
    "commands.parameters",
    "commands.measuring",
    "commands.planning",
    "commands.replaying",
    "commands.storing",
    "commands.doctoring",
    "__main__",
)
WALLS = {
    "numba": ("approx.kernels",),
    "llvmlite": ("approx.kernels",),
    "torch": ("approx",),
    "mpi4py": ("cluster",),
    "submitit": ("cluster",),
    "scipy": ("findings", "approx.models.classical"),
    "xarray": ("findings",),
    "matplotlib": ("findings",),
}
MAY_READ = {
    "approx": {"libraries", "errors", "bracket", "collocation", "approx"},
    "findings": {
        *("errors", "bracket", "cells", "collocation", "layout", "rewrite", "store", "weights", "shards", "findings"),
    },
}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> list[str]:
    """Full names of everything imported anywhere in a file."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide where they lead"
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def room(name: str) -> str | None:
    """The entry of ORDER that a module belongs to."""
    candidates = [entry for entry in ORDER if name == entry or name.startswith(entry + ".")]
    return max(candidates, key=len, default=None)


def own_rooms(path: Path) -> set[str]:
    """The rooms that a file of ours imports."""
    own = [name.removeprefix("hpcsweep.") for name in imports(path) if name.startswith("hpcsweep.")]
    return {found for name in own if (found := room(name)) is not None}


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_imports_run_one_way(path: Path) -> None:
    name = name_of(path)
    if name in ("", "approx", "cluster", "findings", "commands"):  # no code of their own but for what users import
        assert own_rooms(path) <= ({"libraries", "measuring"} if name == "" else set())
        return
    here = room(name)
    assert here is not None, f"{name} has no place in ORDER: say where it stands"
    later = {other for other in own_rooms(path) if ORDER.index(other) > ORDER.index(here)}
    assert not later, f"{name} imports {later}, which stand above it"


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_walls(path: Path) -> None:
    for imported in imports(path):
        rooms = WALLS.get(imported.split(".")[0], ("",))
        here = any(not room or f"{name_of(path)}.".startswith(f"{room}.") for room in rooms)
        assert here, f"{name_of(path)} imports {imported}, which belongs into {' or '.join(rooms)}"


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_the_mathematics_and_the_findings_know_no_cluster(path: Path) -> None:
    folder = name_of(path).split(".")[0]
    if folder in MAY_READ:
        assert {other.split(".")[0] for other in own_rooms(path)} <= MAY_READ[folder]


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_files_and_functions_are_short(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= 300
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            documented = ast.get_docstring(node) is not None
            start = node.body[0].end_lineno + 1 if documented and len(node.body) > 1 else node.lineno
            assert node.end_lineno - start < 40, f"{name_of(path)}.{node.name}"


LIGHT = ["--help", "run --help", "status {store}", "report {store} -o {folder}", "merge {store} {shard}"]


@pytest.mark.parametrize("arguments", LIGHT)
def test_reading_needs_neither_torch_nor_mpi(arguments: str, finished_store: Path, tmp_path: Path) -> None:
    filled = arguments.format(
        store=finished_store, folder=tmp_path / "report", shard=finished_store.with_name("copy.h5")
    )
    code = (
        "import sys, runpy\n"
        f"sys.argv = ['hpcsweep', *{filled.split()!r}]\n"
        "try:\n    runpy.run_module('hpcsweep', run_name='__main__')\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
        "heavy = {'torch', 'mpi4py', 'submitit'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_help_imports_next_to_nothing() -> None:
    """The reason for `--help` in well under half a second, told by what is imported rather than by a clock."""
    code = (
        "import sys\nimport hpcsweep.__main__\n"
        "heavy = {'numpy', 'h5py', 'pydantic', 'rich', 'torch', 'mpi4py', 'scipy', 'xarray', 'matplotlib', 'psutil'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
