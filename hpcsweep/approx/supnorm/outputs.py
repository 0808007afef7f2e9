"""What was measured of functions with several outputs, and whether an error is below a threshold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from hpcsweep.approx.supnorm.measured import Measured
from hpcsweep.bracket import Bracket

_UNBOUNDED = "No upper bound: somewhere the error cannot be bounded on any box, as at a pole or where a root ends."


def with_remarks(measured: Measured, remarks: Sequence[str]) -> Measured:
    """Add remarks, and why there is no upper bound in spite of a proof, to the message of a measurement."""
    unbounded = math.isinf(measured.upper) and measured.certificate in ("floor", "budget") and not measured.message
    return replace(measured, message=" ".join(filter(None, [measured.message, _UNBOUNDED * unbounded, *remarks])))


@dataclass(frozen=True)
class MeasuredOutputs:
    """The errors of the outputs of one approximant, each measured by itself.

    Attributes
    ----------
    outputs: one for each output, in their order; after a refutation only those up to the one that was refuted.
    gap: that was to be proved, None for no proof.
    """

    outputs: tuple[Measured, ...]
    gap: float | None = None

    @property
    def bracket(self) -> Bracket:
        """The bracket of the largest error of all outputs."""
        worst = self.outputs[self.worst]
        return Bracket(worst.lower, max(output.upper for output in self.outputs), worst.where)

    @property
    def lower(self) -> float:
        """The lower bound of the largest error of all outputs."""
        return self.bracket.lower

    @property
    def upper(self) -> float:
        """The proved upper bound of all outputs, infinite where that of one is."""
        return self.bracket.upper

    @property
    def where(self) -> tuple[float, ...]:
        """The point at which the lower bound is attained."""
        return self.bracket.where

    @property
    def worst(self) -> int:
        """The output that has the largest lower bound; one whose error is NaN somewhere goes before all others."""
        lower = [output.lower for output in self.outputs]
        return max(range(len(lower)), key=lambda number: (math.isnan(lower[number]), lower[number]))

    @property
    def proved(self) -> bool:
        """Whether the largest lower bound is, see `Measured`."""
        return self.outputs[self.worst].proved

    @property
    def certificate(self) -> str:
        """How the proof of the largest error ended: "closed", or what the output with the largest upper bound says."""
        if self.gap is not None and self.upper <= (1.0 + self.gap) * self.lower:
            return "closed"
        return max(self.outputs, key=lambda output: output.upper).certificate

    @property
    def message(self) -> str:
        """What is worth knowing, by output."""
        said = ((number, output.message) for number, output in enumerate(self.outputs) if output.message)
        return " ".join(f"Output {number}: {message}" for number, message in said)


def refutes(lower: float, below: float) -> bool:
    """Return whether an error at a point is more than a threshold, and finite."""
    return below < lower < math.inf


@dataclass(frozen=True)
class Decision:
    """Whether an error is at most a threshold everywhere.

    Attributes
    ----------
    below: the threshold.
    measured: what was measured until that was known, or nothing more could be done.
    """

    below: float
    measured: Measured | MeasuredOutputs

    @property
    def verdict(self) -> str:
        """ "refuted" (at `measured.where` the error is larger), "proved" (upper <= below) or "undecided".

        An infinite error is an overflow of float64, which says nothing of its size.
        """
        if refutes(self.measured.lower, self.below):
            return "refuted"
        return "proved" if self.measured.upper <= self.below else "undecided"

    @property
    def proved(self) -> bool:
        """Whether the error is proved to be at most the threshold."""
        return self.verdict == "proved"

    @property
    def refuted(self) -> bool:
        """Whether a larger error was found at a point, `where`; `measured.proved` says whether it is proved there."""
        return self.verdict == "refuted"

    @property
    def where(self) -> tuple[float, ...]:
        """The point with the largest error that was found."""
        return self.measured.where
