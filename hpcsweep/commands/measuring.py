"""The command `measure`."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import click

from hpcsweep.cluster.options import RunOptions
from hpcsweep.commands.parameters import STORE, STYLES, Count, on_devices, on_plugins
from hpcsweep.texts import visible

MEASURE_EPILOG = """
\b
Exit codes: 0 measured; 1 measured, but cells of FILE without weights are left out
(they are listed); 2 the request is invalid; 75 the command stopped early: run it
again to continue.
"""


@click.command(epilog=MEASURE_EPILOG)
@click.argument("file", type=STORE, required=False)
@click.option("--cell", "keys", multiple=True, help="Key of a cell of FILE; repeatable. Default: all cells.")
@click.option("--network", help="Network: weights.npz (W0, b0, W1, b1, ...), path.py:name or module:name.")
@click.option("--target", help="Target: its name, path.py:name or module:name.")
@click.option("--domain", help='Domain: "low,high" for each axis, separated by spaces; or one pair for all axes.')
@click.option("--dimension", "-d", type=click.IntRange(min=1), help="Number of inputs; overrides that of the network.")
@click.option("--activation", default="relu", show_default=True, help="Activation of a network in an .npz file.")
@click.option("--points", "count", type=Count(), help="Points of each kind. The default depends on the dimension.")
@click.option("--kind", "points", multiple=True, help="Kind of points: sobol, inflated, grid, uniform; repeatable.")
@click.option("--uniform", type=Count(), help="Additional independent points. Default: 2^20")
@click.option("--certificate", help="Gap to prove (upper / lower - 1), such as 0.01; or auto or off. Default: auto")
@click.option("--boxes", type=Count(), help="Largest number of boxes in a proof. The default depends on the dimension.")
@click.option("--central", type=float, help="Also measure on the central part, this fraction of each side: 0.8.")
@click.option("--seed", type=int, help="Seed of the points. Default: 0")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object (with --network).")
@click.option("--progress", type=STYLES, default="auto", show_default=True, help="auto: a bar on a terminal, or lines.")
@on_plugins
@on_devices
def measure(
    file: Path | None,
    keys: tuple[str, ...],
    as_json: bool,
    progress: Any,
    folder: Path | None,
    study: Path | None,
    trust_plugins: bool,
    options: RunOptions,
    **choices: Any,
) -> int:
    """Measure the sup-norm error of stored networks again, or of any network.

    With a store FILE, the brackets of its networks are tightened. With --network and --target, no store is needed.
    Targets and models of your own that FILE names are executed only with --study or --trust-plugins: they are code.

    \b
      srun python -m hpcsweep measure results.h5 --points 2^36
      srun python -m hpcsweep measure results.h5 --points 2^36 --study study.toml
      python -m hpcsweep measure --network net.npz --activation tanh --target exp_cos --domain "-1,1"
      python -m hpcsweep measure --network mine.py:net --target mine.py:f --domain "0,1 -1,1" --json
    """
    from hpcsweep.cluster import abort

    abort.listen()  # from here on, a failure ends all ranks
    from hpcsweep.cluster import remeasure
    from hpcsweep.cluster.trust import Trust

    names = {name: choices.pop(name) for name in ("network", "target", "domain", "dimension", "activation")}
    section = remeasure.chosen_section({name: value for name, value in choices.items() if value not in (None, ())})
    if file is not None and (names["network"] or names["target"]):
        raise click.UsageError("Give a store FILE, or --network and --target, not both.")
    if file is not None:
        trust = Trust(study, trust_plugins)
        return remeasure.stored(file, section, keys, progress, folder, options, trust)
    if study is not None or trust_plugins:
        raise click.UsageError("--study and --trust-plugins are about the plugins of a store FILE.")
    if not names["network"] or not names["target"]:
        raise click.UsageError("Give a store FILE, or --network and --target.")
    code, results = remeasure.named(names, section, progress, folder or Path(), options)
    if results is not None:
        lines = [visible(f"{name:12} {value}") for name, value in results.items()]
        click.echo(json.dumps(_strict(results)) if as_json else "\n".join(lines))
    return code


def _strict(results: dict[str, Any]) -> dict[str, Any]:
    """Replace infinite values and NaN, which JSON cannot represent, by null."""
    lost = {name for name, value in results.items() if isinstance(value, float) and not math.isfinite(value)}
    return {name: None if name in lost else value for name, value in results.items()}
