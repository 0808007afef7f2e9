"""`hpcsweep.Study`: a validated study, from a file or from a dictionary, with its cells and its price."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

from hpcsweep.approx import machine
from hpcsweep.approx.catalogue import Catalogue
from hpcsweep.cluster import devices, launch
from hpcsweep.cluster.options import RunOptions
from hpcsweep.config import Cell
from hpcsweep.errors import StudyError
from hpcsweep.study import changing, parsing
from hpcsweep.study.expansion import expand
from hpcsweep.study.writing import text_of


@final
class Study:
    """A study that is known to be valid: made by `load`, `from_dict` or `with_changes`, and never changed.

    The keys, types and defaults are those of a study file; the documentation lists them (docs/reference/study.md).

    Attributes
    ----------
    title : as the study says
    text : the study as TOML, as it is kept in the store
    folder : what the paths of targets and models of your own are relative to
    """

    def __init__(self, parsed: parsing.Study) -> None:
        """Use `load` or `from_dict` instead: `parsed` is what they make."""
        self._parsed = parsed
        self._cells = expand(parsed, Catalogue(parsed.folder))

    @classmethod
    def load(cls, path: str | Path) -> Study:
        """Read a study file (TOML); files of targets and models of your own are relative to its folder.

        Raises
        ------
        UserError: if the file cannot be read, or for the first mistake in it: one sentence with the path of the key,
            the allowed names and the nearest match.
        """
        return cls(parsing.load(path, Catalogue(Path(path).parent)))

    @classmethod
    def from_dict(cls, tables: Mapping[str, Any], folder: str | Path = ".") -> Study:
        """Make a study of the tables of a study file: {"title": ..., "grid": [{...}], "training": {...}, ...}.

        Cells have the same keys as from a file that says the same.

        Parameters
        ----------
        tables: nested dictionaries and lists; tuples, ranges and NumPy arrays count as lists.
        folder: what the paths of targets and models of your own are relative to.

        Raises
        ------
        UserError: for the first mistake, as `load`; None, and other values that TOML does not have, are mistakes.

        Examples
        --------
        >>> import hpcsweep
        >>> grid = {"target": ["sine"], "dimension": [1], "width": [4, 8], "samples": [20], "replicate": 3}
        >>> len(hpcsweep.Study.from_dict({"title": "Small", "grid": [grid]}).cells())
        6
        """
        return cls(parsing.parse(text_of(tables), Catalogue(folder), Path(folder)))

    def with_changes(self, changes: Mapping[str, Any]) -> Study:
        """Return another study in which some values are replaced.

        Parameters
        ----------
        changes: new values by the path of their key, such as {"training.steps": 100, "grid.0.width": [8]}; a number in
            a path counts the grids from 0. A table that is missing is made; the value None removes a key.

        Raises
        ------
        UserError: for a path that leads nowhere, and for whatever is not valid after all changes.
        """
        replaced = [(tuple(str(path).split(".")), copy.deepcopy(value)) for path, value in changes.items()]
        return Study(parsing.parse(changing.changed(self.text, replaced), Catalogue(self.folder), self.folder))

    @property
    def title(self) -> str:
        """The title."""
        return self._parsed.title

    @property
    def text(self) -> str:
        """The study as TOML."""
        return self._parsed.text

    @property
    def folder(self) -> Path:
        """What the paths of plugins are relative to."""
        return self._parsed.folder

    def cells(self) -> list[Cell]:
        """Return the cells, one for each network and repetition, in the order of the grids; duplicates count once.

        Each has `key` (32 hexadecimal digits), its configurations, the read-only mappings `target`, `model` and
        `optimizer`, such as `cell.optimizer["steps"]`, and the numbers `dimension`, `samples`, `parameters` (trainable
        ones) and `replicate`.
        """
        return list(self._cells)

    def plan(self, ranks: int = 1) -> dict[str, Any]:
        """Return what the study costs on so many MPI ranks of devices like the one here; nothing is run.

        Returns
        -------
        dict, as `python -m hpcsweep plan --json` prints it: counts `cells`, `repeated` (listed again, and left out),
        `packs`, `parameters` (trainable, of all networks) and `ranks`; `flops` of training and measuring;
        `memory_bytes` of the largest pack and `store_bytes`; `seconds` by the clock on all ranks, `rank_seconds` of all
        ranks together and `longest_pack_seconds`; the texts
        `title` and `device`. Seconds are predicted from a probe of 0.3 s, so they vary from call to call.

        Raises
        ------
        UserError: if `ranks` is less than 1, or a cell fits into no memory.
        """
        if not isinstance(ranks, int) or ranks < 1:
            raise StudyError(f"plan: ranks must be an integer of at least 1, not {ranks!r}.")
        # The probe sets threads and device; those of the caller come back.
        with machine.threads(RunOptions.read().threads), devices.unbound():
            return launch.price(self._parsed, ranks)

    def __repr__(self) -> str:
        """Say the title and the number of cells."""
        return f"Study({self.title!r}, {len(self._cells)} cells)"
