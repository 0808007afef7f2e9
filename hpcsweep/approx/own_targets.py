"""What a user should know of a target of their own before it is used: its cost, its gradients, what blocks a proof."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpcsweep.approx import plugins
from hpcsweep.approx.forked import Unanswered, ask
from hpcsweep.approx.supnorm.approximations import ErrorFunction
from hpcsweep.approx.supnorm.obstacles import obstacle
from hpcsweep.approx.targets.examination import patience


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
    known = {"seconds": verdict.seconds, "gradients": verdict.gradients, "proof": proof}
    return {"name": given["name"], "dimension": dimension, **known}


def lines(known: Mapping[str, Any]) -> list[str]:
    """Return what is known of a target, for people."""
    return [
        f"{known['name']} in dimension {known['dimension']}: {known['seconds']:.2g} s a point",
        f"  gradients: {known['gradients'] or 'follow its values'}",
        f"  proofs: {known['proof'] or 'all of its operations are supported'}",
    ]


def _proof(given: Mapping[str, Any], dimension: int, folder: str | Path) -> str:
    """Return why nothing can be proved of a target."""
    target = plugins.unchecked(given, dimension, folder)
    functions = ErrorFunction(target, lambda points: points[:, 0] * 0.0, target.domain)
    problem = obstacle(functions)
    return f"none, {problem}" if problem else ""
