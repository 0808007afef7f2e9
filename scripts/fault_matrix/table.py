"""The page docs/faults.md: the fault matrix as Markdown."""

from __future__ import annotations

from scripts.fault_matrix.row import Repetition, Verdict
from scripts.fault_matrix.study import CELLS

HEAD = """# The fault matrix

This page was written by `scripts/faults --output docs/faults.md` (options `--quick`, `--only NAME`, `--repeat N`).
Each repetition runs the same study of {cells} cells in small packs on {ranks} MPI ranks, injects the fault at a
random moment, inspects the store, removes the cause where necessary, and runs the same command until the study is
finished. The seed was {seed}, the system {system}.

- **how the run ended**: the exit code of the command or, for Slurm jobs, the state and exit code that Slurm reports.
- **readable**: in how many repetitions the store could be opened after the fault. **right**: in how many of them
  every cell marked done equalled that of an undisturbed run in every bit of its results and its weights.
- **lost**: the number of cells that were marked done at some moment but not at a later one. **again**: the number of
  cells in progress when the fault occurred (smallest to largest over the repetitions); these continued from their
  checkpoints or started again. Every rank may have one pack in training and one whose results are being written,
  here {in_flight} cells in all; any further cells count as lost.
- **completes**: in how many repetitions the same command finished the study with a store that equalled the
  undisturbed one in every bit. If several launches were needed, their largest number is in parentheses. **remedy**:
  what was done before the command was run again.

| fault | repetitions | how the run ended | readable | right | lost | again | completes | remedy |
|---|---|---|---|---|---|---|---|---|
"""


def document(verdicts: list[Verdict], seed: int, system: str, ranks: int, in_flight: int) -> str:
    """Return the page."""
    head = HEAD.format(cells=CELLS, ranks=ranks, seed=seed, system=system, in_flight=in_flight)
    wrong = [
        f"- {verdict.row.what}: {one.wrong}" for verdict in verdicts for one in verdict.repetitions if one.wrong.strip()
    ]
    tail = ["", "Went wrong:", "", *wrong] if wrong else []
    return head + "\n".join([*map(_line, verdicts), *tail]) + "\n"


def _line(verdict: Verdict) -> str:
    row, found = verdict.row, verdict.repetitions
    if not found:
        return f"| {row.what} | 0 | skipped: {verdict.skipped or 'interrupted'} | | | | | | |"
    many = len(found)
    again = f"{min(one.again for one in found)} to {max(one.again for one in found)}"
    lost = sum(one.lost for one in found)
    whole = sum(one.launches > 0 and not one.wrong for one in found)
    launches = max(one.launches for one in found)
    cells = [
        row.what,
        many,
        verdict.ends,
        _share(found, "readable"),
        _share(found, "right"),
        lost,
        again,
        f"{whole}/{many}" + (f" ({launches})" if launches > 1 else ""),
        row.remedy or "none",
    ]
    return f"| {' | '.join(map(str, cells))} |"


def _share(found: list[Repetition], name: str) -> str:
    return f"{sum(getattr(one, name) for one in found)}/{len(found)}"
