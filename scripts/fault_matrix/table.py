"""The page docs/faults.md: the fault matrix as Markdown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.fault_matrix.row import Repetition, Verdict
from scripts.fault_matrix.study import CELLS

HEAD = """# The fault matrix

This page was written by `scripts/faults --output docs/faults.md` (options `--quick`,
`--only NAME`, `--repeat N`, `--attacks FILE`).
Each repetition runs the same study of {cells} cells in small packs on {ranks} MPI ranks, injects the fault at a
random moment, inspects the store, removes the cause where necessary, and runs the same command until the study is
finished. The seed was {seed}, the system {system}.{kept}

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


KEPT = """ With `--only`, the other
rows stay as they are on the page, from earlier times and with other seeds."""
ATTACKS = """
## Attacks on the files

`{command}` attacked everything that writes a store, {date}, on {on}. All results in these small stores are
functions of the key of their cell, so that a wrong one shows. Power cuts assume that what `fsync` has confirmed is
on the disk, that a page of 4096 bytes is written as a whole or not at all, and that names change in the order of
the calls.

- **power**: a power cut at a random moment of the action. Of every file (store, weights, checkpoints, journals,
  measurements that were saved) the disk then holds what was there at the last `fsync`, and a random subset of the
  pages written since. **survived**: no row marked done was wrong, none that was done before was lost, no wrong
  checkpoint was taken for good, and the same command completed the action.
- **damage**: a flipped bit, a page of zeros or an end that is missing, in the store, the weights, a checkpoint or the
  journal of a measurement that was cut off. **noticed**: by `status --verify`, by a sentence when the file is read,
  or because the work of a checkpoint begins anew. **harmless**: all that can be read of the store, the weights, the
  pictures and the checkpoints is the same to the bit.
- **calls**: at each system call in its turn that writes, syncs, creates, renames, links, truncates or removes one of
  the files, the errors EIO and ENOSPC, or half of a write (none of at most 8 bytes, which no kill tears) and then
  SIGKILL (KILL); at each third write, half of the bytes (SHORT); at each twentieth call that opens, reads, examines or
  closes one of them, EIO (READ). "Every fourth": at every fourth of these calls. **survived**: the
  command ended with a sentence, was killed, or did all of its work; then as for power cuts.

| attack | on | tried | outcomes |
|---|---|---|---|
"""


LIMITS = """
## What is not covered

`run` and `measure` end with 0 only after rank 0 has counted all cells, with one exception: compiled code inside of a
plugin that calls C's `_exit(0)`, or the system call itself, ends its process with 0, and no process can notice its own
end. Then the launcher reports 0 too, for one rank as for two (MPICH). `os._exit`, C's `exit` and `quick_exit`,
`os.execv`, and C's `_exit` by way of `ctypes` are noticed. Nothing wrong is stored: the cells remain unfinished, and
the same command continues. Jobs that depend on a run (`afterok`) should therefore depend on
`python -m hpcsweep status FILE --check`, which reads the store and gives 0 only if all cells are done.

A second process for every rank could notice such an end. It would start the rank, pass signals on, and wait for a
verdict of the rank. We decided against it because Slurm and launchers of MPI send signals to all processes of a step
or of a group: each would reach a rank twice, and the second SIGINT ends a run at once, without saving its work. Ctrl-Z
would stop the second process alone. Process numbers that launchers and debuggers know would be those of processes that
do no work.

Checksums protect against accidents, not against an adversary.
"""


@dataclass(frozen=True)
class Page:
    """The page as it was, and the order in which its rows are to be."""

    order: Sequence[str]  # what the rows are called
    text: str

    @property
    def lines(self) -> dict[str, str]:
        """Its rows, by what they are called."""
        rows = [line for line in self.text.splitlines() if line.startswith("| ")]
        return {row.split(" | ")[0].removeprefix("| "): row for row in rows}

    @property
    def second(self) -> str:
        """Its second part, on attacks."""
        start = ATTACKS[: ATTACKS.index("\n\n")]
        return start + self.text.partition(start)[2].partition("\n## ")[0] if start in self.text else ""


def document(
    verdicts: list[Verdict],
    seed: int,
    system: str,
    ranks: int,
    in_flight: int,
    before: Page | None = None,
    more: str = "",
) -> str:
    """Return the page; `before`: as it was, whose other rows are kept; `more`: its second part, if that is new."""
    before = before or Page((), "")
    skipped = {verdict.row.what: _line(verdict) for verdict in verdicts if not verdict.repetitions}
    made = {verdict.row.what: _line(verdict) for verdict in verdicts if verdict.repetitions}
    lines = skipped | before.lines | made
    order = before.order or [verdict.row.what for verdict in verdicts]
    rows = [lines[what] for what in order if what in lines]
    kept = KEPT if before.lines.keys() & set(order) - made.keys() else ""
    head = HEAD.format(cells=CELLS, ranks=ranks, seed=seed, system=system, in_flight=in_flight, kept=kept)
    wrong = [
        f"- {verdict.row.what}: {one.wrong}" for verdict in verdicts for one in verdict.repetitions if one.wrong.strip()
    ]
    tail = ["", "Went wrong:", "", *wrong] if wrong else []
    return head + "\n".join([*rows, *tail]) + "\n" + (more or before.second) + LIMITS


def attacked(file: Path) -> str:
    """Return the second part of the page, from what `scripts/attack_store.py` has printed."""
    about, *groups = map(json.loads, file.read_text().splitlines())
    rows = [[group["attack"], group["on"], group["tried"], _outcomes(group["outcomes"])] for group in groups]
    return ATTACKS.format(**about) + "".join(f"| {' | '.join(map(str, row))} |\n" for row in rows)


def _outcomes(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {outcome}" for outcome, count in counts.items())


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
