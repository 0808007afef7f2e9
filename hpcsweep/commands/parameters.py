"""Types of command-line arguments."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from hpcsweep.cluster import launchers
from hpcsweep.cluster.options import RunOptions

STUDY = click.Path(exists=True, dir_okay=False, path_type=Path)
STORE = click.Path(exists=True, dir_okay=False, path_type=Path)
STYLES = click.Choice(["auto", "bar", "lines", "none"])


def on_devices(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a computing command that select devices; it receives a `RunOptions` as `options`."""

    @click.option(
        "--device",
        type=click.Choice(["auto", "gpu", "cpu"]),
        default="auto",
        show_default=True,
        envvar="HPCSWEEP_DEVICE",
        help="auto: a GPU for each rank that sees one, CPU cores otherwise.",
    )
    @click.option(
        "--share-gpus",
        is_flag=True,
        envvar="HPCSWEEP_SHARE_GPUS",
        help="Let ranks share GPUs if there are more ranks than GPUs.",
    )
    @functools.wraps(command)
    def computing(*arguments: Any, device: Any, share_gpus: bool, **named: Any) -> Any:
        options = dataclasses.replace(RunOptions.read(), device=device, share_gpus=share_gpus)
        return command(*arguments, options=options, **named)

    return computing


def on_study(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the argument STUDY and the options that change values in it; the command receives a `Changed` as `study`."""

    @click.argument("study", type=STUDY)
    @click.option(
        "--set",
        "changes",
        type=Change(),
        multiple=True,
        help="Replace a value of STUDY by the path of its key; repeatable: training.steps=100, 'grid.0.width=[8, 16]'.",
    )
    @functools.wraps(command)
    def reading(*arguments: Any, study: Path, changes: tuple[Any, ...], **named: Any) -> Any:
        from hpcsweep.study.changing import Changed

        source = Changed(study, changes)
        if launchers.rank() == 0 and (warning := source.warning()):
            click.echo(warning, err=True)
        return command(*arguments, study=source, **named)

    return reading


def on_plugins(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a command that may execute the plugins of a store: `folder`, `study` and `trust_plugins`."""
    for option in (
        click.option(
            "--trust-plugins", is_flag=True, help="Execute the plugins that FILE names; their paths are shown."
        ),
        click.option(
            "--study", type=STUDY, help="The study of FILE: execute the plugins that it names, if they are unchanged."
        ),
        click.option(
            "--folder",
            type=click.Path(file_okay=False, path_type=Path),
            help="Folder of plugin files. Default: that of --study, or the current one",
        ),
    ):
        command = option(command)
    return command


class Output(click.Path):
    """The path of what is to be written."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(path_type=Path, **settings)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path. A shell leaves `--output=~/s.h5` as it is, for which a folder called ~ would be made."""
        if str(value) == "~" or str(value).startswith("~/"):
            self.fail(
                f"{value!r} would be a folder called ~; write {param.opts[0] if param else '-o'} ~/...", param, ctx
            )
        path = Path(value)
        if self.file_okay and not self.dir_okay:
            if path.is_dir():
                self.fail(f"{value} is a folder; choose a file in it, such as {path / 'results.h5'}.", param, ctx)
            if not path.parent.exists() and not path.parent.parent.exists():
                self.fail(
                    f"neither {path.parent} nor {path.parent.parent} is there; make the folder first.", param, ctx
                )
        return super().convert(value, param, ctx)


class Change(click.ParamType):
    """A value of a study by the path of its key: training.steps=100."""

    name = "key=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the names on the path and the value. Raises `StudyError` for a text that has none."""
        from hpcsweep.study import changing

        return changing.parsed(value) if isinstance(value, str) else value


class Duration(click.ParamType):
    """A duration in seconds, or written as 90m, 2h, 1d or [hours:]minutes:seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the duration in seconds."""
        text, units = str(value).strip(), {"s": 1, "m": 60, "h": 3600, "d": 86400}
        try:
            if ":" in text:
                return float(sum(int(part) * 60**place for place, part in enumerate(reversed(text.split(":")))))
            return float(text[:-1]) * units[text[-1]] if text[-1:] in units else float(text)
        except ValueError:
            self.fail(f"{value!r} is not a duration; write 90m, 2h, 5400 or 1:30:00.", param, ctx)


class Smoothness(click.ParamType):
    """The smoothness n of a target: bounded derivatives up to order n; inf smooth, 0 continuous, -1 discontinuous."""

    name = "target=n"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, float]:
        """Return the target and n."""
        target, _, order = str(value).rpartition("=")
        try:
            if target:
                return target, _order(order)
        except ValueError:
            pass
        self.fail(f"{value!r} is not a smoothness; write exp_cos=inf or norm=0.", param, ctx)


def _order(text: str) -> float:
    number = float(text)
    if not (number == math.inf or (number >= -1 and number == int(number))):
        raise ValueError(text)
    return number


class Count(click.ParamType):
    """An integer, also written as 2^36 or 1e9."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the integer."""
        base, power, exponent = str(value).replace("**", "^").partition("^")
        try:
            number = int(base) ** int(exponent) if power else float(base)
        except (ValueError, OverflowError):
            number = math.nan
        if not (number >= 0 and number == int(number)):
            self.fail(f"{value!r} is not an integer; write 1000000, 1e6 or 2^20.", param, ctx)
        return int(number)
