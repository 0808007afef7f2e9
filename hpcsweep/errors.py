"""The mistakes that a user can make, by name. Each is one sentence that says what to do; exit code 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake of the user's, told in one sentence with the remedy."""


class StudyError(UserError):
    """The study file asks for something that does not exist or cannot be."""


class PluginError(UserError):
    """A target, model or optimizer named in the study cannot be had."""


class PluginChanged(PluginError):
    """A file of a plugin is not any more what it was when the study was read: what was computed since may be mixed.

    Attributes
    ----------
    plugin : where the message does not name the file, the plugin and the digest `code` of its files at that time: a
        process that has read them then can tell
    """

    def __init__(self, message: str, plugin: tuple[str, str] = ("", "")) -> None:
        """`message`: the sentence."""
        super().__init__(message)
        self.plugin = plugin


class StoreError(UserError):
    """The store cannot be opened, written, or belongs to something else."""


class StateError(UserError):
    """A file in which unfinished work was saved is damaged, or is something else."""


class LaunchError(UserError):
    """The programme was started in a way that cannot work."""


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the closest allowed name, or an empty string."""
    close = difflib.get_close_matches(str(name), [str(a) for a in allowed], n=1, cutoff=0.5)
    return f" Did you mean '{close[0]}'?" if close else ""


def unknown(where: str, name: object, allowed: Iterable[str]) -> str:
    """Return the sentence for an unknown name: where it stands, the allowed names, the nearest match."""
    names = sorted(allowed)
    return f"{where}: unknown name {name!r}.{nearest(str(name), names)} Allowed: {', '.join(names) or 'none'}."
