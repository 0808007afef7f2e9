"""A study: one TOML file, one question. Reading and validating it; `hpcsweep.study.cells` turns it into cells.

Everything that can be wrong in a study is found here, on the login node, before anything is trained. The names of
targets, models and optimizers come from a `Catalogue` that the caller hands in (``hpcsweep.approx.catalogue``), so
that this module needs neither torch nor MPI.
"""

from __future__ import annotations

import codecs
import math
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from hpcsweep.config import COMMON, DIRECT, ModelConfig, OptimizerConfig, TargetConfig
from hpcsweep.config.limits import LARGEST
from hpcsweep.errors import PluginError, StudyError, nearest, unknown
from hpcsweep.study.schema import (
    OTHER_AXES,
    Section,
    StudyFile,
    SupNormSection,
    training_section,
)
from hpcsweep.study.subsets import SubsetSection
from hpcsweep.texts import hidden, visible

LONGEST_TEXT = 60_000  # bytes: the store keeps the text as an HDF5 attribute, which ends at 64 KiB

MOST_CELLS = 10_000_000  # of one grid; planning takes about 15 s and 0.7 GiB for each million

S = TypeVar("S", bound=Section)


class Catalogue(Protocol):
    """What a study must be able to ask about the names in it. Each method raises `UserError` for a wrong name.

    `options` are those of optimizers, by their names, with their types. `optimizer` tells the parts of a chain: the
    name of each, and the fields beyond `COMMON` that it uses, with its own defaults, None where that of `[training]`
    holds; "steps" if it is a warm-up. `training` checks a method, `check_compatible` whether a model can be trained by
    an optimizer, `objective` whether the objective of a method suits target, model and samples. `sized` completes a
    model for a number of samples. `target_dimension` tells the smoothness and the domain of a target, and what it is
    (see `hpcsweep.study.cells.Facts`); it refuses one that cannot be used in this `precision`, or not be `searched`.
    """

    @property
    def options(self) -> Mapping[str, Any]: ...
    def target(self, given: Mapping[str, Any]) -> TargetConfig: ...
    def target_dimension(
        self, target: TargetConfig, dimension: int, precision: str = "float64", searched: bool = False
    ) -> tuple[float, tuple[tuple[float, float], ...], str]: ...
    def model(self, given: Mapping[str, Any]) -> ModelConfig: ...
    def sized(self, model: ModelConfig, dimension: int, samples: int) -> ModelConfig: ...
    def parameters(self, model: ModelConfig, dimension: int) -> int: ...
    def optimizer(self, name: str) -> list[dict[str, Any]]: ...
    def training(self, method: OptimizerConfig) -> None: ...
    def check_compatible(self, model: ModelConfig, dimension: int, optimizer: str) -> None: ...
    def objective(
        self, method: OptimizerConfig, target: TargetConfig, model: ModelConfig, dimension: int, samples: int
    ) -> None: ...


@dataclass(frozen=True)
class Study:
    """A validated study. `training` holds the common fields, `per_optimizer` what a table [training.NAME] changes."""

    title: str
    seed: int
    precision: str
    grids: tuple[dict[str, Sequence[Any]], ...]
    subsets: tuple[SubsetSection | None, ...]  # of each grid; None: all of its cells
    model: dict[str, Any]
    training: dict[str, Any]
    per_optimizer: dict[str, dict[str, Any]]
    sup_norm: SupNormSection
    weights: bool
    text: str
    folder: Path  # where plugin files named in the study are looked for

    @property
    def listed(self) -> int:
        """The number of cells of all grids, or of their subsets; equal ones count each time."""
        counts = (math.prod(map(len, grid.values())) for grid in self.grids)
        return sum(subset.count if subset else count for subset, count in zip(self.subsets, counts, strict=True))


def load(path: str | Path, catalogue: Catalogue) -> Study:
    """Read and validate a study file.

    Raises `StudyError` with the path of the key, the allowed names and the nearest match.
    """
    return parse(read_text(path), catalogue, Path(path).parent)


def read_text(path: str | Path) -> str:
    """Return the text of a study file, in UTF-8 with or without a byte order mark, whatever its lines end with.

    Raises `StudyError` if it cannot be read, or has another encoding.
    """
    try:
        with Path(path).open("rb") as file:
            octets = file.read(2 * LONGEST_TEXT)  # what is longer is refused in any case
    except OSError as error:
        raise StudyError(f"The study {path} cannot be read: {error.strerror}.") from error
    if octets.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in octets:
        raise StudyError(f"The study {path} is not in UTF-8 but in UTF-16 or UTF-32; save it in UTF-8.")
    try:
        text = octets.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = len((octets[: error.start] + b".").splitlines())
        raise StudyError(
            f"The study {path} is not in UTF-8: line {line} contains the byte 0x{octets[error.start]:02x}, as texts in "
            "Latin-1 or Windows-1252 do; save it in UTF-8."
        ) from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def parse(text: str, catalogue: Catalogue, folder: Path = Path(".")) -> Study:
    """Validate the text of a study; plugin files in it are relative to `folder`."""
    if len(text.encode(errors="surrogatepass")) > LONGEST_TEXT:
        raise StudyError(f"The study is longer than {LONGEST_TEXT} bytes; shorten its lists or use fewer grids.")
    tables = tables_of(text)
    _refuse_hidden(tables, "")
    file = section(StudyFile, tables, "")
    kind = training_section(catalogue.options)
    common, per_optimizer = _training(file.training, kind, catalogue)
    axes = (*OTHER_AXES, *kind.model_fields)
    subsets = tuple(_subset(grid.pop("subset", None), f"grid[{i}].subset") for i, grid in enumerate(file.grid))
    grids = tuple(
        _grid(grid, f"grid[{i}]", axes, subset) for i, (grid, subset) in enumerate(zip(file.grid, subsets, strict=True))
    )
    return Study(
        title=file.title,
        seed=file.seed,
        precision=file.precision,
        grids=grids,
        subsets=subsets,
        model=file.model.model_dump(),
        training=common,
        per_optimizer=per_optimizer,
        sup_norm=file.sup_norm,
        weights=file.store.weights,
        text=text,
        folder=Path(folder),
    )


def tables_of(text: str) -> dict[str, Any]:
    """Return the tables of the text of a study. Raises `StudyError` if it is not TOML."""
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise StudyError(f"The study is not valid TOML: {error}.") from error


def _refuse_hidden(value: object, path: str) -> None:
    """Raise `StudyError` for a text, or the name of a key, with characters that a terminal or a page would obey."""
    if isinstance(value, str) and (character := hidden(value)):
        raise StudyError(f"{path}: contains the hidden character {character}; names and texts are of one visible line.")
    entries: Iterable[tuple[object, object]] = value.items() if isinstance(value, dict) else ()
    for name, entry in enumerate(value) if isinstance(value, list) else entries:
        inner = f"{path}[{name}]" if isinstance(value, list) else f"{path}.{visible(str(name))}".removeprefix(".")
        _refuse_hidden(name, inner)
        _refuse_hidden(entry, inner)


def _training(
    table: Mapping[str, Any], kind: type[Section], catalogue: Catalogue
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Split `[training]` into its common fields and the fields that `[training.NAME]` sets explicitly."""
    own = {key: value for key, value in table.items() if key in kind.model_fields or not isinstance(value, dict)}
    common = section(kind, own, "training").model_dump()
    changes = {}
    for name in table.keys() - own.keys():
        try:
            parts = catalogue.optimizer(name)
        except PluginError:
            if nearest(name, kind.model_fields):  # a field that is misspelt, rather than a method
                raise StudyError(unknown("training", name, kind.model_fields)) from None
            raise
        if len(parts) > 1:
            names = " and ".join(f"[training.{part['name']}]" for part in parts)
            raise StudyError(f'training: a chain such as "{name}" has no table of its own; use {names}.')
        changes[name] = explicit(kind, table[name], f"training.{name}")
        for field in changes[name].keys() - fields_of(parts[0]):
            raise StudyError(unknown(f"training.{name}", field, fields_of(parts[0]) - {"name"}))
    return common, changes


def fields_of(part: Mapping[str, Any]) -> set[str]:
    """Return the fields that a part of a chain uses, as the catalogue tells of it, its `name` among them."""
    return {*part} if part["name"] == DIRECT else {*part, *COMMON}


def _subset(value: object, where: str) -> SubsetSection | None:
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise StudyError(f"{where}: must be a table such as {{ latin_hypercube = 200, seed = 1 }}, not {value!r}.")
    return section(SubsetSection, value, where)


def _grid(
    grid: Mapping[str, Any], where: str, axes: Sequence[str], subset: SubsetSection | None
) -> dict[str, Sequence[Any]]:
    """Check the names of a grid's axes and make every value a list."""
    for axis in grid:
        if axis not in axes:
            raise StudyError(unknown(where, axis, (*axes, "subset")))
    for axis in ("target", "dimension", "samples"):
        if axis not in grid:
            raise StudyError(f"{where}: the axis '{axis}' is missing; every grid needs target, dimension and samples.")
    if "hidden" in grid and ("width" in grid or "depth" in grid):
        raise StudyError(f"{where}: 'hidden' lists the hidden widths, so width and depth must be left out.")
    values: dict[str, Sequence[Any]] = {a: v if isinstance(v, list) else [v] for a, v in grid.items()}
    for axis, listed in values.items():
        if not listed:
            raise StudyError(f"{where}.{axis}: the list is empty; give at least one value.")
    if type(grid.get("replicate")) is int:
        values["replicate"] = range(integer(grid["replicate"], f"{where}.replicate", 1))
    if "hidden" in grid and not isinstance(values["hidden"][0], list):
        values["hidden"] = [grid["hidden"]]
    sizes = [len(listed) for listed in values.values()]
    count = math.prod(sizes) if subset is None else max(subset.count, *sizes)
    if count > MOST_CELLS:
        raise StudyError(f"{where}: asks for {count:,} cells, more than {MOST_CELLS:,}; make several studies.")
    return values


def integer(value: Any, where: str, least: int, most: int = LARGEST) -> int:
    """Return `value` if it is an integer between `least` and `most`, by default 2^53, as counts in a study must be."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        limit = f"2^{most.bit_length() - 1}"
        raise StudyError(f"{where}: must be an integer of at least {least} and at most {limit}, not {value!r}.")
    return value


def section(kind: type[S], table: Mapping[str, Any], where: str) -> S:
    """Validate one table; every complaint names the path of its key."""
    try:
        return kind.model_validate(dict(table))
    except ValidationError as error:
        # A misspelt key also makes another one missing: tell of the misspelt one.
        complaints = sorted(error.errors(include_url=False), key=lambda e: e["type"] != "extra_forbidden")
        raise StudyError(_sentence(complaints[0], kind, where)) from error


def explicit(kind: type[Section], table: object, where: str) -> dict[str, Any]:
    """Validate one table and return only the fields that it sets."""
    if not isinstance(table, Mapping):
        raise StudyError(f"{where}: must be a table such as {{ steps = 500 }}, not {table!r}.")
    return section(kind, table, where).model_dump(exclude_unset=True)


def _sentence(error: ErrorDetails, kind: type[Section], where: str) -> str:
    """Say one pydantic complaint in a sentence with the key's path."""
    location = [str(part) for part in error["loc"]]
    path = ".".join([*filter(None, [where]), *location])
    if error["type"] == "extra_forbidden":
        holder: Any = kind
        for part in location[:-1]:
            holder = holder.model_fields[part].annotation
        return unknown(path.rpartition(".")[0] or "study", location[-1], holder.model_fields)
    if error["type"] == "literal_error":
        return unknown(path, error["input"], re.findall(r"'([^']*)'", error["ctx"]["expected"]))
    if error["type"] == "missing":
        return f"{path}: is missing; every study must contain it."
    shown = "" if isinstance(error["input"], dict) else f", not {error['input']!r}"
    return f"{path}: {error['msg'].removeprefix('Value error, ').replace('Input should', 'must')}{shown}."
