"""The architecture, held: imports run one way, heavy imports stay within their walls, files stay short."""

from __future__ import annotations

import ast
from collections.abc import Collection
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "hpcsweep"

# Bottom first. A module may import what stands before it.
ORDER = (
    "version",
    "libraries",
    "errors",
    "texts",
    "bracket",
    "sampling",
    "config",
    "study.keys",
    "study.cells",
    "study.plan",
    "study.schema",
    "study.subsets",
    "study.parsing",
    "study.writing",
    "study.changing",
    "study.chains",
    "study.expansion",
    "store.write_errors",
    "store.layout",
    "store.links",
    "store.foreign",
    "store.checksums",
    "store.copying",
    "store.reading",
    "store.row_writer",
    "store.integrity",
    "store.rewriting",
    "store.lease",
    "store.keyed_rows",
    "store.journal",
    "store.remeasured",
    "store.weights",
    "store.weights_building",
    "store.weights_writer",
    "store.verifying",
    "store.opening",
    "store.merging",
    "store.proving",
    "store.shards",
    "store.pace",
    "store.status",
    "store.listing",
    "store.store",
    "approx.kernels",
    "approx.kernels.updates",
    "approx.machine",
    "approx.states",
    "approx.process_settings",
    "approx.isolation",
    "approx.forked",
    "approx.data_files",
    "approx.supnorm",
    "approx.supnorm.points",
    "approx.targets",
    "approx.plugins",
    "approx.models",
    "approx.networks",
    "approx.supnorm.dense",
    "approx.supnorm.certificate",
    "approx.supnorm.screening",
    "approx.supnorm.search",
    "approx.supnorm.approximations",
    "approx.supnorm.consistency",
    "approx.supnorm.functions",
    "approx.supnorm.files",
    "approx.supnorm.slice",
    "approx.supnorm.measurement",
    "approx.supnorm.tasks",
    "approx.supnorm.solution",
    "approx.supnorm.obstacles",
    "approx.supnorm.survey",
    "approx.supnorm.threshold",
    "approx.supnorm.measured",
    "approx.supnorm.outputs",
    "approx.supnorm.verification",
    "approx.training.operations",
    "approx.training.record",
    "approx.training.single.methods",
    "approx.training.single.last_layer",
    "approx.training.optimizers",
    "approx.training.settings",
    "approx.training.costs",
    "approx.training.streams",
    "approx.training.batched",
    "approx.training.finalize",
    "approx.training.single",
    "approx.training.loop",
    "approx.training.strategies",
    "approx.own_targets",
    "approx.catalogue",
    "approx.reference",
    "approx.training",
    "approx.adaptive_sampling",
    "approx.training_data",
    "approx.fitting",
    "cluster.launchers",
    "cluster.abort",
    "cluster.memory",
    "cluster.placement",
    "cluster.options",
    "cluster.checkpoints",
    "cluster.shared_memory",
    "cluster.devices",
    "cluster.pricing",
    "cluster.progress",
    "cluster.redraw",
    "cluster.tightening",
    "cluster.shares",
    "cluster.slurm",
    "cluster.stopping",
    "cluster.doctor",
    "cluster.scheduling",
    "cluster.worker",
    "cluster.workforce",
    "cluster.driver",
    "cluster.sweep",
    "cluster.launch",
    "cluster.trust",
    "cluster.replay",
    "cluster.verify",
    "cluster.arrays",
    "cluster.measurements",
    "cluster.measure",
    "cluster.remeasure",
    "findings.dataset",
    "findings.grids",
    "findings.export",
    "findings.powerlaw",
    "findings.published",
    "findings.series",
    "findings.stored_pictures",
    "findings.style",
    "findings.tables",
    "findings.theory",
    "findings.scaling",
    "findings.figures",
    "findings.report",
    "api",
    "commands.parameters",
    "commands.streams",
    "commands.doctoring",
    "commands.measuring",
    "commands.planning",
    "commands.referring",
    "commands.replaying",
    "commands.storing",
    "commands.verifying",
    "__main__",
)
WALLS = {
    "pydantic": ("study",),
    "pydantic_core": ("study",),
    "h5py": ("store", "cluster.doctor", "approx.data_files"),
    "numba": ("approx.kernels",),
    "llvmlite": ("approx.kernels",),
    "torch": ("approx",),
    "flint": ("approx.supnorm.verification",),
    "mpi4py": ("cluster",),
    "submitit": ("cluster",),
    "scipy": ("findings", "approx.models.classical"),
    "xarray": ("findings", "approx.data_files"),
    "pandas": ("findings", "approx.data_files"),
    "matplotlib": ("findings",),
    "jinja2": ("findings",),
}
MAY_READ = {
    "config": {"errors", "config"},
    "study": {"errors", "texts", "config", "study"},
    "store": {"errors", "texts", "bracket", "config", "study", "store"},
    "approx": {"libraries", "errors", "bracket", "sampling", "config", "approx"},
    "findings": {"errors", "texts", "bracket", "sampling", "config", "study", "store", "findings"},
}
# What `import hpcsweep` offers stands here.
PUBLIC = {
    "version",
    "libraries",
    "errors",
    "bracket",
    "approx.targets",
    "approx.models",
    "findings.dataset",
    "findings.grids",
    "api",
}
LARGEST = 4000  # lines of a room without rooms in it


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
    if name in ("", "study", "store", "approx", "cluster", "findings", "commands", "api"):
        assert own_rooms(path) <= (PUBLIC if name == "" else set())
        return
    here = room(name)
    assert here is not None, f"{name} has no place in ORDER: say where it stands"
    later = {other for other in own_rooms(path) if ORDER.index(other) > ORDER.index(here)}
    assert not later, f"{name} imports {later}, which stand above it"


def test_no_module_imports_itself_by_a_detour() -> None:
    """Imports for type checking count too."""
    names = {name_of(path): path for path in modules()}
    edges = {name: _imported_modules(path, names) - {name} for name, path in names.items()}
    while free := [name for name, others in edges.items() if not others & edges.keys()]:
        for name in free:
            del edges[name]
    assert not edges, f"a circle among {sorted(edges)}"


def _imported_modules(path: Path, names: Collection[str]) -> set[str]:
    """Names of the modules of ours that a file imports, or imports something from."""
    own = [name.removeprefix("hpcsweep.") for name in imports(path) if name.startswith("hpcsweep.")]
    return {name if name in names else name.rpartition(".")[0] for name in own}


def test_large_rooms_have_rooms_in_them() -> None:
    lines: dict[str, int] = {}
    for path in modules():
        parent = name_of(path) if path.name == "__init__.py" else name_of(path).rpartition(".")[0]
        lines[parent] = lines.get(parent, 0) + path.read_text().count("\n")
    assert max(lines.values()) <= LARGEST, {room: count for room, count in lines.items() if count > LARGEST}
    assert sum(path.parent == PACKAGE for path in modules()) <= 8


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
