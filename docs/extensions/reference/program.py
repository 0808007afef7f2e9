"""The command line and the Python interface."""

from __future__ import annotations

import inspect

import click

import hpcsweep
from hpcsweep.__main__ import commands as program
from reference.markdown import table


def exit_codes() -> str:
    """Return the exit codes of each command, as the command itself tells them."""
    rows = []
    for name, command in sorted(program.commands.items()):
        text = " ".join((command.epilog or "").replace("\b", "").split()).removeprefix("Exit codes: ")
        rows.append([f"`{name}`", text or "0; 2 the request is invalid."])
    return table(["command", "exit codes"], rows)


def commands() -> str:
    """Return the help of all commands."""
    texts = []
    for name, command in [("", program), *sorted(program.commands.items())]:
        full = f"python -m hpcsweep {name}".strip()
        context = click.Context(command, info_name=full, max_content_width=100, terminal_width=100)
        texts.append(f"## `{name or 'hpcsweep'}`\n\n```text\n{command.get_help(context)}\n```\n")
    return "\n".join(texts)


def interface() -> str:
    """Return the directives that document all public names."""
    directives = []
    for name in hpcsweep.__all__:
        thing = getattr(hpcsweep, name)
        directive = (
            "autofunction"
            if inspect.isfunction(thing)
            else "autoexception"
            if issubclass(thing, Exception)
            else "autoclass"
        )
        members = "" if directive == "autofunction" or issubclass(thing, Exception) else "\n   :members:"
        directives.append(f".. {directive}:: hpcsweep.{name}{members}\n")
    return "```{eval-rst}\n" + "\n".join(directives) + "```\n"
