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
Exit codes: 0 measured; with --below 0 proved, 1 refuted, 3 undecided; 1 measured,
but cells of FILE without weights are left out (they are listed); 2 the request is
invalid; 75 the command stopped early: run it again to continue.
"""


@click.command(epilog=MEASURE_EPILOG)
@click.argument("file", type=STORE, required=False)
@click.option(
    "--cell", "keys", multiple=True, help="Key of a cell of FILE, or its beginning; repeatable. Default: all."
)
@click.option("--network", help="Network: a file (.npz, .pt, .safetensors, .pt2), path.py:name or module:name.")
@click.option("--target", help="Target: its name, path.py:name or module:name.")
@click.option("--domain", help='Domain: "low,high" for each axis, separated by spaces; or one pair for all axes.')
@click.option("--dimension", "-d", type=click.IntRange(min=1), help="Number of inputs; overrides that of the network.")
@click.option("--activation", default="relu", show_default=True, help="Activation of a network in a file of weights.")
@click.option("--layers", help='Layers of a file of weights, if not all alike: "2 tanh 64 relu 64 1".')
@click.option("--points", "count", type=Count(), help="Points of each kind. The default depends on the dimension.")
@click.option("--kind", "points", multiple=True, help="Kind of points: sobol, inflated, grid, uniform; repeatable.")
@click.option("--uniform", type=Count(), help="Additional independent points. Default: 2^20; with --below 0")
@click.option("--certificate", help="Gap to prove (upper / lower - 1), such as 0.01; or auto or off. Default: auto")
@click.option("--boxes", type=Count(), help="Largest number of boxes in a proof. The default depends on the dimension.")
@click.option("--central", type=float, help="Also measure on the central part, this fraction of each side: 0.8.")
@click.option("--below", type=float, help="Stop once the error is proved to be at most this, or not.")
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
    below: float | None,
    **choices: Any,
) -> int:
    """Measure the sup-norm error of stored networks again, or of any network.

    With a store FILE, the brackets of its networks are tightened, and printed as they were and as they are. With
    --network and --target, no store is needed.
    Targets and models of your own that FILE names are executed only with --study or --trust-plugins: they are code.

    \b
      srun python -m hpcsweep measure results.h5 --points 2^36
      srun python -m hpcsweep measure results.h5 --points 2^36 --study study.toml
      python -m hpcsweep measure --network net.npz --activation tanh --target exp_cos --domain "-1,1"
      python -m hpcsweep measure --network net.pt --layers "2 tanh 64 tanh 64 1" --target mine.py:f --domain "-1,1"
      python -m hpcsweep measure --network mine.py:net --target mine.py:f --domain "0,1 -1,1" --below 0.01 --json
    """
    from hpcsweep.cluster import abort

    abort.listen()  # from here on, a failure ends all ranks
    from hpcsweep.cluster import measure, measurements, remeasure
    from hpcsweep.cluster.trust import Trust

    names = {name: choices.pop(name) for name in ("network", "target", "domain", "dimension", "activation", "layers")}
    section = measurements.chosen_section({name: value for name, value in choices.items() if value not in (None, ())})
    if file is not None and (names["network"] or names["target"]):
        raise click.UsageError("Give a store FILE, or --network and --target, not both.")
    if file is not None:
        if below is not None or names["layers"]:
            raise click.UsageError("--below and --layers are about a --network.")
        trust = Trust(study, trust_plugins)
        return remeasure.stored(file, section, keys, progress, folder, options, trust)
    if study is not None or trust_plugins:
        raise click.UsageError("--study and --trust-plugins are about the plugins of a store FILE.")
    if not names["network"] or not names["target"]:
        raise click.UsageError("Give a store FILE, or --network and --target.")
    code, results = measure.named(names, section, progress, folder or Path(), options, below)
    if results is not None:
        click.echo(json.dumps(_strict(results)) if as_json else "\n".join(map(visible, _lines(results))))
    return code


def _lines(results: dict[str, Any]) -> list[str]:
    """Return results for people, those of single outputs in a line each."""
    lines = []
    for name, value in results.items():
        if name != "outputs":
            lines.append(f"{name:12} {value}")
            continue
        for number, output in enumerate(value):
            said = ", ".join(f"{key} {output[key]}" for key in ("sup_lower", "sup_upper", "where", "certificate"))
            lines.append(f"  output {number:<3} {said}")
    return lines


def _strict(value: Any) -> Any:
    """Replace infinite values and NaN, which JSON cannot represent, by null."""
    if isinstance(value, dict):
        return {name: _strict(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_strict(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
