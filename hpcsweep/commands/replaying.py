"""The command `replay`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from hpcsweep.cluster.options import RunOptions
from hpcsweep.commands.parameters import STORE, Output, on_devices, on_plugins
from hpcsweep.texts import visible

REPLAY_EPILOG = """
\b
Exit codes: 0 all bits agree, 1 some differ, 2 the request is invalid.
"""


@click.command(epilog=REPLAY_EPILOG)
@click.argument("file", type=STORE)
@click.argument("key")
@click.option("-o", "--output", type=Output(dir_okay=False), help="Save the parameters: net.npy")
@on_plugins
@on_devices
def replay(
    file: Path,
    key: str,
    output: Path | None,
    folder: Path | None,
    study: Path | None,
    trust_plugins: bool,
    options: RunOptions,
) -> int:
    """Train and measure one cell of the store FILE again and compare the results bitwise with the stored ones.

    KEY is the cell's key or its beginning. FILE is not changed. Brackets that `measure FILE` has tightened differ.
    A target or model of your own is executed only with --study or --trust-plugins: the file that FILE names is code.

    \b
      python -m hpcsweep replay results.h5 3f9c
      python -m hpcsweep replay results.h5 3f9c --study study.toml
    """
    from hpcsweep.cluster.replay import replay as again
    from hpcsweep.cluster.trust import Trust

    replayed = again(file, key, folder, options, Trust(study, trust_plugins))
    click.echo(f"{replayed.key}: {visible(replayed.told)}")
    for quantity in replayed.quantities:
        mark = "the same" if quantity.same else "differs"
        click.echo(f"  {quantity.name:12} {_shown(quantity.stored):28} {_shown(quantity.replayed):28} {mark}")
    if replayed.message:
        click.echo(f"  {visible(replayed.message)}")
    if output is not None and replayed.parameters is not None:
        _save(output, replayed.parameters)
        click.echo(
            f"{output}: {len(replayed.parameters)} parameters, layer by layer, biases in the last column of each"
        )
    same = all(quantity.same for quantity in replayed.quantities)
    if not same:
        click.echo(f"The stored results were computed with {'; '.join(replayed.versions)}.")
    return 0 if same else 1


def _save(path: Path, parameters: Any) -> None:
    import numpy as np

    from hpcsweep.store import links, rewriting, write_errors

    saved = write_errors.explained(f"{path} cannot be written")
    with saved, rewriting.replacing(links.followed(path)) as temporary, temporary.open("wb") as file:
        np.save(file, parameters)


def _shown(value: Any) -> str:
    """Return a short text for a number, or for the beginning of a vector."""
    import numpy as np

    numbers = np.atleast_1d(value)
    texts = [f"{number:.6g}" for number in numbers[:2]]
    return ", ".join(texts) + (f", ... ({len(numbers)})" if len(numbers) > 2 else "")
