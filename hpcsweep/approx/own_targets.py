"""What a user should know of a target of their own before it is used: its cost, its gradients, what blocks a proof."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpcsweep.approx import plugins
from hpcsweep.approx.forked import Tell, Unanswered, ask
from hpcsweep.approx.supnorm.approximations import ErrorFunction
from hpcsweep.approx.supnorm.obstacles import obstacle
from hpcsweep.approx.targets.examination import patience


def unimportable(given: Mapping[str, Any], folder: str | Path = ".") -> str:
    """Return why the file of a target cannot be executed at all: it does not come to its end, or ends the process.

    Empty of any other, also if it raises: that is for whoever executes it.
    """

    def imported(tell: Tell) -> None:
        tell("while it is imported")
        with contextlib.suppress(Exception):
            plugins.complete(given, folder)

    try:
        ask(imported, patience())
    except Unanswered as problem:
        return f"it {problem}"
    return ""


def about(
    given: Mapping[str, Any], dimension: int, folder: str | Path = ".", precision: str = "float64"
) -> dict[str, Any] | None:
    """Return what is known of a user's target that keeps the rules, in plain values; None of one of ours.

    `seconds` a point; `gradients` and `proof`: what is wrong with them, empty if nothing is.
    """
    verdict = plugins.examined(given, dimension, folder, precision)
    if verdict is None or verdict.broken:
        return None
    try:
        proof = ask(lambda tell: _proof(given, dimension, folder), patience())
    except Unanswered as problem:
        proof = f"on boxes it {problem}"
    names = {"name": given["name"], "label": getattr(given, "label", "") or given["name"], "dimension": dimension}
    return {**names, "seconds": verdict.seconds, "gradients": verdict.gradients, "proof": proof}


def lines(known: Mapping[str, Any]) -> list[str]:
    """Return what is known of a target, for people."""
    return [
        f"{known['label']} in dimension {known['dimension']}: {known['seconds']:.2g} s a point",
        f"  gradients: {known['gradients'] or 'follow its values'}",
        f"  proofs: {known['proof'] or 'all of its operations are supported'}",
    ]


def _proof(given: Mapping[str, Any], dimension: int, folder: str | Path) -> str:
    """Return why nothing can be proved of a target."""
    target = plugins.unchecked(given, dimension, folder)
    functions = ErrorFunction(target, lambda points: points[:, 0] * 0.0, target.domain)
    problem = obstacle(functions)
    return f"none, {problem}" if problem else ""
