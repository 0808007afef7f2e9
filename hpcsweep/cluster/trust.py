"""Whose code is executed: a store may come from anybody, and the plugins that it names are files like any other.

A study that the user names may execute its plugins. A store may not: its plugins are executed only if such a study
names them too, with the same content, or if the user trusts them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from hpcsweep.approx import plugins
from hpcsweep.cluster import launch
from hpcsweep.config import Config
from hpcsweep.errors import PluginError


@dataclass(frozen=True)
class Trust:
    """What the user says of the plugins that a store names.

    Attributes
    ----------
    study : the study to which they belong: those are executed that it names, whose files have the same digest
    everything : execute all of them
    """

    study: launch.Source | None = None
    everything: bool = False

    def folder(self, given: str | Path | None) -> Path:
        """Return what the paths of plugins are relative to: as `given`, or that of the study, or the present folder.

        Raises PluginError if there are a folder and a study.
        """
        if self.study is None:
            return Path("." if given is None else given)
        if given is not None:
            raise PluginError("Give either a study or a folder: plugins of a study lie in the folder of that study.")
        return Path(self.study).parent if isinstance(self.study, str | Path) else self.study.folder

    def require(self, store: Path, configs: Iterable[Config], folder: Path) -> None:
        """Say which files are executed for these configurations, which the `store` names; nothing is until then.

        Raises PluginError if one of them may not be executed.
        """
        named = dict.fromkeys((config.name, config.get("code")) for config in configs if ":" in config.name)
        known = self._known() if named and not self.everything else set()
        places = {plugin: plugins.where(plugin[0], folder) for plugin in named}
        if missing := [place for place in places.values() if isinstance(place, Path) and not place.is_file()]:
            raise PluginError(
                f"There is no file {str(missing[0])!r}, a plugin that {str(store)!r} names; name the folder to "
                "which its path is relative by --folder, or the study by --study (in Python folder= or study=)."
            )
        files = {plugin: str(place) for plugin, place in places.items()}
        foreign = dict.fromkeys(file for plugin, file in files.items() if not self.everything and plugin not in known)
        if foreign:
            listed = ", ".join(map(repr, foreign))
            given = self.study is not None
            problem = "which this study does not name, or not with this content" if given else "which is a plugin"
            remedy = "" if given else "name the study that it belongs to by --study (in Python study=), or "
            raise PluginError(
                f"{str(store)!r} asks to execute {listed}, {problem}; {remedy}if you trust it, allow it by "
                "--trust-plugins (in Python trust_plugins=True)."
            )
        for file in dict.fromkeys(files.values()):
            print(f"hpcsweep: executing {file!r}, a plugin that {str(store)!r} names", file=sys.stderr, flush=True)

    def _known(self) -> set[tuple[str, str | None]]:
        """Return the plugins of the study and their digests."""
        if self.study is None:
            return set()
        _, cells = launch.read(self.study)
        return {(config.name, config.get("code")) for config in cells.configs}
