"""`hpcsweep.network`: a trained network of a store as a torch module."""

from __future__ import annotations

from pathlib import Path

from hpcsweep.api.studies import Study
from hpcsweep.approx import models, plugins
from hpcsweep.approx.networks import Network
from hpcsweep.cluster.trust import Trust
from hpcsweep.errors import StoreError
from hpcsweep.store import layout, verifying, weights
from hpcsweep.store.reading import opened, read_cells, row_of


def network(
    store: str | Path,
    key: str,
    folder: str | Path | None = None,
    *,
    study: Study | str | Path | None = None,
    trust_plugins: bool = False,
) -> Network:
    """Return a trained network of a store as a `torch.nn.Module`, in float64 and in evaluation mode.

    It takes points (points, dimension) of the target's domain, in the target's units, and returns values (points,):
    those of the stored network, of whatever model (multilayer perceptrons, residual networks, sums of stages, models of
    your own, direct fits). A network that was trained in float32 is evaluated in float64 with the parameters it has, as
    its error was measured.

    Parameters
    ----------
    store: the HDF5 file that `run` wrote; its parameters lie beside it, in FILE.weights.h5 (docs/store.md).
    key: the key of the cell, as `read(store)["key"]` lists them, or the beginning of it if no other key begins so.
    folder: what the paths of targets and models of your own are relative to; by default the folder of `study`, or the
        current one.
    study: the study of the store, or its file: targets and models of your own that it names are executed if their files
        have the content that they had when the network was trained. Without it none is: a store may come from anybody.
    trust_plugins: execute whatever targets and models the store names; their paths are shown on stderr in either case.

    Returns
    -------
    Network: a module with the attributes `key`, `target` (callable in the same way), `domain` ((low, high), ...), one
    pair per axis, and `vector`, the parameters (parameters,).

    Raises
    ------
    UserError: if the store cannot be read, or is damaged; if no key begins so, or several do (the message names them);
        if the store has no parameters of this cell; if the file of a target or model of your own is missing or has
        changed, or may not be executed.

    Examples
    --------
    >>> import torch, hpcsweep
    >>> net = hpcsweep.network("results.h5", "3f9c")  # doctest: +SKIP
    >>> net(torch.zeros(5, 2, dtype=torch.float64)).shape  # doctest: +SKIP
    torch.Size([5])
    """
    path = Path(store)
    verifying.require_cells(path)
    cells = read_cells(path)
    row = row_of(cells.columns["key"], key, path)
    cell = cells.cell(row)
    [vector] = weights.parameters(path, [cell.key])
    if vector is None:
        raise StoreError(_missing(path, row, cell.key))
    trust = Trust(study._parsed if isinstance(study, Study) else study, trust_plugins)
    folder = trust.folder(folder)
    trust.require(path, (cell.target, cell.model), folder)
    target = plugins.target(cell.target, cell.dimension, folder)
    return Network(cell.key, target, models.make(cell.model, cell.dimension, target.domain, folder), vector)


def _missing(path: Path, row: int, key: str) -> str:
    with opened(path) as file:
        status = layout.STATUS[file["status"][row]]
    if status in ("pending", "running", "failed"):
        return f"The cell {key} of {path} has no network: it is {status}."
    return f"{weights.path_of(path)} has no parameters of the cell {key}: they are kept unless [store] weights = false."
