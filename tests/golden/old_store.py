"""A small store of earlier code, kept as files beside this one: its study, how it was recorded, and what it tells.

It has cells in one and two dimensions, a chain, minibatches, two stages, an equation on a grid and at random points,
layer by layer training, samples that are added, direct fits, one that failed and one that diverged, some that are
pending and one whose run was killed. `record` made it by the commands of the time; it stands for the stores that users
have, so it is never made anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import torch

from hpcsweep import libraries  # noqa: F401 - before torch computes anything

HERE = Path(__file__).parent
STORE, WEIGHTS, TABLE = (HERE / name for name in ("old.h5", "old.weights.h5", "old.csv"))
ARITHMETIC = "1518cbf32b2dd864ae351af3e551d71a"  # see `arithmetic`, when the store was recorded

PLUGIN = '''"""A target of a user: fine by the rules, and not finite at one number of points."""

import torch
from hpcsweep.approx.targets import Target


class Odd(Target):
    smoothness = 0
    lipschitz = None

    def __call__(self, points):
        return points[:, 0] / (0 if len(points) == 31 else 1)
'''

STUDY = """title = "An old store"
seed = 11

[[grid]]
target = ["runge", "sine"]
dimension = [1]
width = [4]
depth = 1
samples = [20]
optimizer = ["adam+ssbroyden", { name = "adam", batch = 5, label = "minibatches" }]
replicate = REPLICATE

[[grid]]
target = ["exp_cos"]
dimension = [2]
width = [4]
depth = 2
samples = [{ per_parameter = 0.5 }]
optimizer = ["levenberg_marquardt", { name = "adam", layerwise = 10, label = "layer by layer" }]

[[grid]]
target = ["sine"]
dimension = [1]
width = [4]
depth = 1
stages = [2]
samples = [20]
optimizer = ["ssbroyden"]
replicate = REPLICATE

[[grid]]
target = ["sine_product"]
dimension = [2]
width = [4]
depth = 1
samples = [16]
optimizer = [
    {name = "bfgs", equation = "poisson", sampling = "grid", boundary = 16, boundary_weight = 10.0, label="on a grid"},
    {name = "bfgs", equation = "poisson", boundary = 16, boundary_weight = 10.0, label = "at random points"},
]

[[grid]]
target = ["runge"]
dimension = [1]
model = ["residual"]
width = [4]
samples = [20]
optimizer = [{ name = "lbfgs", resample = 2, label = "with more samples" }, "soap"]

[[grid]]
target = ["square"]
dimension = [1]
model = [{ name = "spline", degree = 3 }, "simplex"]
samples = [12]
optimizer = ["direct"]

[[grid]]
target = ["runge"]
dimension = [1]
activation = ["relu"]
width = [6]
depth = 1
samples = [20]
optimizer = [{ name = "sgd", learning_rate = 1e30, label = "diverges" }]

[[grid]]
target = ["mine.py:Odd"]
dimension = [1]
width = [4]
depth = 1
samples = [31]

[training]
steps = 40
learning_rate = 0.01

[sup_norm]
count = 2048
tile = 256
uniform = 1024
starts = 16
kinks = 64
boxes = 1024
"""
FULL = STUDY.replace("REPLICATE", "2")
WIDER = FULL.replace("width = [4]", "width = [4, 5]", 1)  # four cells more


def lay_out(folder: Path, text: str = FULL) -> Path:
    """Write the study and its plugin into a folder; return the study."""
    (folder / "mine.py").write_text(PLUGIN)
    study = folder / "study.toml"
    study.write_text(text)
    return study


def copied(folder: Path, name: str = "old.h5") -> Path:
    """Copy the store and its weights, as they were recorded, into a folder; return the store."""
    store = folder / name
    shutil.copy(STORE, store)
    shutil.copy(WEIGHTS, store.with_name(f"{store.stem}.weights.h5"))
    return store


def rows(store: Path) -> dict[str, dict[str, object]]:
    """Return all that a store holds of each cell, by its key and the name of the column, in plain values.

    Read by h5py alone: this must not change with the code that is tested. Numbers of choices are resolved to the texts
    of these choices, since the choices of a study that was extended are numbered anew.
    """
    with h5py.File(store, "r", locking=False) as file:
        cells, choices = len(file["key"]), file["choice_text"][:].tolist()
        columns = {name: file[name][:] for name in file if len(file[name]) == cells and name != "cell"}
        columns = {name: values for name, values in columns.items() if name not in _SCALES}
    for name in ("target_id", "model_id", "optimizer_id"):
        columns[name] = np.array([choices[number] for number in columns[name]])
    keys = [key.decode() for key in columns["key"]]
    return {key: {name: _plain(values[row]) for name, values in columns.items()} for row, key in enumerate(keys)}


_SCALES = ("checkpoint", "quantile", "axis", "choice", "run", "choice_text", "choice_label", "choice_about")


def kept(store: Path) -> dict[str, dict[str, bytes]]:
    """Return the bytes of what the weights of a store hold of each cell, by its key and the name of the column."""
    found: dict[str, dict[str, bytes]] = {}
    with h5py.File(store.with_name(f"{store.stem}.weights.h5"), "r", locking=False) as file:
        names = [f"{part}_{axis}" for part in ("slice", "zoom") for axis in ("x", "target", "model")]
        for row, key in enumerate(file["key"].asstr()[:]):
            start, count, picture = (int(file[name][row]) for name in ("offset", "count", "raster"))
            found[key] = {name: file[name][row].tobytes() for name in (*names, "kept")}
            found[key]["parameters"] = file["parameters"][start : start + count].tobytes()
            found[key]["raster"] = file["raster_error"][picture].tobytes() if picture >= 0 else b""
    return found


def arithmetic() -> str:
    """Return a digest of what torch, MKL and LAPACK make of fixed numbers here.

    Where it is that of another machine, their last bits are taken to be its last bits in studies too.
    """
    numbers = torch.linspace(-3.0, 3.0, 1024, dtype=torch.float64)
    matrix = torch.sin(torch.arange(4096, dtype=torch.float64)).view(64, 64)
    made = [function(numbers) for function in (torch.sin, torch.cos, torch.exp, torch.tanh, torch.erf)]
    made += [torch.log(numbers.abs()), numbers.exp().sum(), matrix @ matrix]
    made += [torch.linalg.lstsq(matrix[:, :8], matrix[:, 8:9], driver="gelsd").solution]
    return hashlib.blake2b(b"".join(part.numpy().tobytes() for part in made), digest_size=16).hexdigest()


def _plain(value: object) -> object:
    """Return texts as they are, and numbers by type and bytes, in which two NaN are equal."""
    return value if isinstance(value, bytes) else (str(np.asarray(value).dtype), np.asarray(value).tobytes())


def record() -> None:
    """Make the store: run the study with one replicate, lay it out with two, and leave one cell running."""
    if STORE.exists():
        sys.exit(f"{STORE} is recorded already, for good; give a new store another name.")
    folder = HERE / "recording"
    folder.mkdir()
    run = [sys.executable, "-m", "hpcsweep", "run", "study.toml", "-o", "old.h5", "--progress", "none"]
    environment = {**os.environ, "PYTHONPATH": str(HERE.parents[1]), "OMP_NUM_THREADS": "1"}
    lay_out(folder, STUDY.replace("REPLICATE", "1"))
    subprocess.run(run, cwd=folder, env=environment, check=False)  # one cell fails
    _extend(folder)
    with h5py.File(folder / "old.h5", "r+") as file:
        file["run_host"][0] = b"somewhere"
    subprocess.run(
        [sys.executable, "-m", "hpcsweep", "report", "old.h5", "--export", "old.csv"],
        cwd=folder,
        env=environment,
        check=True,
    )
    for path in (STORE, WEIGHTS, TABLE):
        shutil.move(folder / path.name, path)
    shutil.rmtree(folder)
    print(f"ARITHMETIC = {arithmetic()!r}")


def _extend(folder: Path) -> None:
    """Lay the store out for the whole study, and let a run be killed that has just begun the last pending cell."""
    from hpcsweep.approx.catalogue import Catalogue
    from hpcsweep.store.reading import Run
    from hpcsweep.store.store import Store
    from hpcsweep.study.expansion import expand
    from hpcsweep.study.parsing import load

    catalogue = Catalogue(folder)
    study = load(lay_out(folder), catalogue)
    run = Run("elsewhere", "4711", 2, "2 x cpu", "earlier versions", time.time())
    with contextlib.closing(Store.open(folder / "old.h5", study, expand(study, catalogue), run)) as store:
        store.start(store.pending()[-1:].tolist())
