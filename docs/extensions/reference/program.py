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
    directives = "\n".join(map(_directive, hpcsweep.__all__))
    return f"```{{eval-rst}}\n{directives}```\n"


def _directive(name: str) -> str:
    thing = getattr(hpcsweep, name)
    if inspect.isfunction(thing):
        return f".. autofunction:: hpcsweep.{name}\n"
    if issubclass(thing, Exception):
        return f".. autoexception:: hpcsweep.{name}\n   :exclude-members: __init__, __new__\n"
    return f".. autoclass:: hpcsweep.{name}\n   :members:\n"
