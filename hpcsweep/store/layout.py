"""The columns of a store: names, types, dimensions and meanings. `store` lays them out and fills them."""

from __future__ import annotations

from dataclasses import dataclass, field

import h5py
import numpy as np

FORMAT = "hpcsweep 1"
SAVED = ".checkpoints"  # after the name of a store: the folder of what packs on their way have saved
CHECKPOINTS = 64  # logarithmically spaced steps of the training history
SPARE_RUNS = 16  # rows for launches to come, at least, so that these change no layout
RASTER = 65  # points along each side of the stored raster of the error, for cells of dimension 2
SLICE = 257  # points of the stored one-dimensional slice through the worst point
ZOOM = 129  # points of the stored slice close to the worst point
MESSAGE_BYTES = 240

PENDING, RUNNING, DONE, DIVERGED, OUT_OF_BUDGET, FAILED = range(6)
COUNTERS = ("attempts", "kills")  # that stay with a cell while it is not finished
STATUS = ("pending", "running", "done", "diverged", "out of budget", "failed")
FINISHED = (DONE, DIVERGED, OUT_OF_BUDGET, FAILED)
OUTCOMES = {name: code for code, name in enumerate(STATUS) if code in FINISHED}


CERTIFICATES = ("off", "closed", "budget", "floor", "no rule")  # how a proof ended
QUANTILES = (0.5, 0.9, 0.99, 0.999)  # of |error|, stored


@dataclass(frozen=True)
class Column:
    """One dataset of the store: contiguous, preallocated, one row for each cell (or choice, or run)."""

    dtype: str
    about: str
    dimensions: tuple[str, ...] = ("cell",)
    fill: object = None
    attributes: dict[str, object] = field(default_factory=dict)


def _result(about: str, *further: str, unit: str = "") -> Column:
    """A float that is NaN until the cell is done."""
    attributes: dict[str, object] = {"units": unit} if unit else {}
    return Column("f8", about, ("cell", *further), np.nan, attributes)


def _count(about: str, *further: str) -> Column:
    """An integer that is -1 (read as missing) until the cell is done."""
    return Column("i8", about, ("cell", *further), -1, {"_FillValue": np.int64(-1)})


COORDINATES = {
    "key": Column("S32", "hash of the cell's resolved choices"),
    "target": Column("S", "label of the target function"),
    "dimension": Column("i4", "input dimension"),
    "model": Column("S", "label of the family of approximants"),
    "width": Column("i8", "widest hidden layer"),
    "depth": Column("i4", "hidden layers"),
    "parameters": Column("i8", "trainable parameters (weights and biases)"),
    "samples": Column("i8", "training samples"),
    "optimizer": Column("S", "label of the training method"),
    "replicate": Column("i8", "number of the repetition"),
    "target_id": Column("i4", "row of the target in choice_text"),
    "model_id": Column("i4", "row of the model in choice_text"),
    "optimizer_id": Column("i4", "row of the optimizer in choice_text"),
}

NAMED = tuple(name for name in COORDINATES if not name.endswith("_id"))  # the coordinates that people use

FACTS = {  # of the target of a cell; stores from before they were stored have none of them
    "smoothness": Column(
        "f8", "n: the target has bounded derivatives up to order n; inf smooth, 0 continuous, -1 jumps"
    ),
    "domain_low": Column("f8", "lower ends of the domain", ("cell", "axis")),
    "domain_high": Column("f8", "upper ends of the domain", ("cell", "axis")),
}

_MEANINGS = {
    "flag_values": np.arange(6, dtype="i1"),
    "flag_meanings": " ".join(s.replace(" ", "_") for s in STATUS),
}

_CERTIFICATE_MEANINGS = {
    "flag_values": np.arange(5, dtype="i1"),
    "flag_meanings": " ".join(c.replace(" ", "_") for c in CERTIFICATES),
    "_FillValue": np.int8(-1),
}

RESULTS = {
    "status": Column("i1", "what became of the cell", fill=PENDING, attributes=_MEANINGS),
    "attempts": Column("i4", "times that the cell was started", fill=0),
    "kills": Column("i4", "times that its process was killed while it ran, without any progress", fill=0),
    "sup_lower": _result("sup-norm error, lower bound: the largest |target - model| found"),
    "sup_upper": _result("sup-norm error, proved upper bound; inf where nothing is proved"),
    "solution_upper": _result(
        "sup-norm error of a solution of Poisson's equation, an upper bound proved from the residual and the boundary "
        "values alone; inf where nothing is proved"
    ),
    "sup_where": _result("where the lower bound is attained", "axis"),
    "certificate": Column(
        "i1",
        "off; closed: upper <= (1 + gap) lower was proved; budget, floor (of float64): the upper bound that was "
        "reached; no rule: an operation has no enclosure",
        fill=-1,
        attributes=_CERTIFICATE_MEANINGS,
    ),
    "boxes": _count("boxes of the proof"),
    "pieces": _count("linear pieces of a ReLU network in one dimension"),
    "sup_screened": _result("largest |target - model| at the screened points alone, before the search"),
    "sup_uniform": _result("largest |target - model| at the independent uniform points alone"),
    "uniform_volume": _result(
        "|target - model| > sup_uniform on at most this share of the domain, with 95 % confidence"
    ),
    "boundary": Column("i1", "whether sup_where lies on the boundary", fill=-1, attributes={"_FillValue": np.int8(-1)}),
    "sample_distance": _result("distance of sup_where to the nearest training sample"),
    "quantile_error": _result("quantiles of |target - model| over the domain", "quantile"),
    "l2_error": _result("root of the mean squared error over the domain"),
    "l1_error": _result("mean absolute error over the domain"),
    "central_share": _result("share of each side of the domain over whose central box central_* are taken"),
    "central_l2_error": _result("root of the mean squared error over the central box"),
    "central_sup_lower": _result("sup-norm error over the central box, lower bound"),
    "train_rmse": _result("root mean squared error over the training samples"),
    "averaged": _count("points over which means and quantiles are taken"),
    "points": _count("points at which the error was evaluated"),
    "nonfinite": _count("points at which the error was NaN or infinite"),
    "steps": _count("training steps taken"),
    "threads": _count("processor cores that worked on the training of the cell"),
    "train_seconds": _result("training time, the network's own or its share of its pack's", unit="s"),
    "eval_seconds": _result("measuring time", unit="s"),
    "predicted_seconds": _result("training and measuring time predicted when the cell was planned", unit="s"),
    "finished": _result("when the cell was finished (Unix time)", unit="s"),
    "message": Column(f"S{MESSAGE_BYTES}", "what went wrong, or is worth knowing", fill=b""),
    "history_loss": _result("training loss at the checkpoints", "checkpoint"),
    "history_step": _count("training step of the checkpoints", "checkpoint"),
    "checksum": Column("u8", "checksum of the row, see hpcsweep.store.checksums; 0 until the cell is done", fill=0),
}

CHOICES = {
    "choice_text": Column("S", "a resolved choice as canonical JSON", ("choice",)),
    "choice_label": Column("S", "how figures call it", ("choice",)),
    "choice_about": Column("S", "the formula of a target, in words of one line; empty for other choices", ("choice",)),
}

RUNS = {
    "run_host": Column("S64", "host of rank 0", ("run",)),
    "run_job": Column("S64", "Slurm job, if any", ("run",)),
    "run_ranks": Column("i4", "MPI ranks", ("run",)),
    "run_devices": Column("S1000", "devices of the ranks: names and, of GPUs, how their UUIDs begin", ("run",)),
    "run_versions": Column("S240", "versions of what computed", ("run",)),
    "run_started": Column("f8", "start (Unix time); NaN in rows for launches to come", ("run",), np.nan),
    "run_seconds": Column(
        "f8", "duration, of a killed run until it last began or finished a pack; NaN before that", ("run",)
    ),
    "run_stopped": Column("S120", "why the launch stopped early; empty if it did not, or was killed", ("run",), b""),
    "run_checksum": Column("u8", "checksum of the row", ("run",), 0),
}

FILE = {
    "lease": Column("i8", "number of the last lease under which the file was written", ("file",), 0),
    "digest": Column(
        "S32", "digest of all bytes of the file that never change, see hpcsweep.store.checksums", ("file",)
    ),
}

OF_CELLS = tuple(name for name, column in {**COORDINATES, **FACTS, **RESULTS}.items() if column.dimensions[0] == "cell")

WEIGHTS = {
    "key": COORDINATES["key"],
    "offset": Column("i8", "first parameter of the cell in `parameters`"),
    "count": Column("i8", "number of its parameters"),
    "kept": Column("i1", "0 nothing, 1 parameters, 2 slice too, 3 raster too", fill=0),
    "checksum": Column("u8", "checksum of key and parameters", fill=0),
    "picture_checksum": Column("u8", "checksum of slice, zoom and raster", fill=0),
    "parameters": Column("f8", "parameters of all cells, one after the other", ("parameter",)),
    "slice_x": Column("f8", "first coordinate along the slice through sup_where", ("cell", "slice")),
    "slice_target": Column("f8", "target along the slice", ("cell", "slice")),
    "slice_model": Column("f8", "trained model along the slice", ("cell", "slice")),
    "zoom_x": Column("f8", "first coordinate close to sup_where, all 0 where none was kept", ("cell", "zoom")),
    "zoom_target": Column("f8", "target there", ("cell", "zoom")),
    "zoom_model": Column("f8", "trained model there", ("cell", "zoom")),
    "raster": Column("i8", "row of the cell in raster_error, -1 for cells not of dimension 2"),
    "raster_error": Column(
        "f4",
        "target - trained model on a regular raster of the domain, its ends included",
        ("picture", "first", "second"),
    ),
    "digest": FILE["digest"],
}


def make(file: h5py.File, name: str, column: Column, shape: tuple[int, ...], text_bytes: int = 1) -> h5py.Dataset:
    """Create one preallocated contiguous dataset on its dimension scales.

    Columns with a fill value are filled at once; others are left as a hole in the file until rows are written.
    """
    kind = h5py.h5t.py_create(np.dtype(f"S{text_bytes}" if column.dtype == "S" else column.dtype), logical=True)
    settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    settings.set_layout(h5py.h5d.CONTIGUOUS)
    settings.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    settings.set_fill_time(h5py.h5d.FILL_TIME_NEVER if column.fill is None else h5py.h5d.FILL_TIME_ALLOC)
    if column.fill not in (None, b""):  # the default is zero bytes; h5py reads beyond the end of a text given here
        settings.set_fill_value(np.array(column.fill, dtype=column.dtype))
    h5py.h5d.create(file.id, name.encode(), kind, h5py.h5s.create_simple(shape), dcpl=settings)
    dataset = file[name]
    for axis, dimension in enumerate(column.dimensions):
        dataset.dims[axis].attach_scale(file[dimension])
    dataset.attrs["long_name"] = np.bytes_(column.about.encode())
    for attribute, value in column.attributes.items():
        dataset.attrs[attribute] = np.bytes_(value.encode()) if isinstance(value, str) else value
    return dataset


def make_dimension(file: h5py.File, name: str, size: int) -> None:
    """Create the dimension scale `name` with the coordinates 0 ... size - 1, or those that it has by nature."""
    file.create_dataset(name, data=np.array(QUANTILES) if name == "quantile" else np.arange(size, dtype=np.int64))
    file[name].make_scale(name)
