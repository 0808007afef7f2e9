"""The job scripts: short, in order, and what they say to srun."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hpcsweep import libraries
from hpcsweep.approx.catalogue import Catalogue
from hpcsweep.cluster.arrays import submit
from hpcsweep.study.expansion import expand
from hpcsweep.study.parsing import load
from tests.conftest import finished

JOBS = Path(__file__).parents[1] / "jobs"
SCRIPTS = sorted(JOBS.glob("*.sbatch"))
STUDIES = sorted((JOBS / "studies").rglob("*.toml"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_is_short_commented_and_survives_a_rank_that_dies(script: Path) -> None:
    lines = script.read_text().splitlines()
    assert len(lines) <= 30 and lines[0] == "#!/bin/bash" and lines[1].startswith("# ")
    assert any(f"sbatch jobs/{script.name}" in line or f"jobs/{script.name} jobs/studies" in line for line in lines)
    starts = [line for line in lines if "srun" in line and not line.startswith("#")]
    assert starts and all("--kill-on-bad-exit=1" in line and "--mpi=" in line for line in starts)
    assert any(line.startswith("#SBATCH --signal=TERM@") for line in lines)
    assert subprocess.run(["bash", "-n", script]).returncode == 0


EXPORTS = {
    **{path.name: path.read_text() for path in (*SCRIPTS, JOBS.parent / "scripts" / "environment")},
    "submit": submit.EXPORTS,
}


@pytest.mark.parametrize("name", EXPORTS)
@pytest.mark.parametrize("told", [None, "AVX2"])
def test_a_job_computes_on_one_path_of_mkl_and_on_another_if_the_user_says_so(name: str, told: str | None) -> None:
    exports = [line for line in EXPORTS[name].splitlines() if line.startswith("export OMP_NUM_THREADS=1")]
    line = ["env", "-u", libraries.MKL_NAME, *([f"{libraries.MKL_NAME}={told}"] if told else []), "bash", "-euc"]
    done = finished([*line, "\n".join([*exports, f'echo "${libraries.MKL_NAME}" "$OPENBLAS_NUM_THREADS"'])], JOBS)
    assert done.stdout.split() == [told or libraries.MKL_VALUE, "1"], done.stderr


def test_the_example_in_python_is_short_and_starts() -> None:
    assert len((JOBS / "arrays.py").read_text().splitlines()) <= 60
    done = finished([sys.executable, JOBS / "arrays.py", "--help"], JOBS)
    assert done.returncode == 0 and "STUDIES" in done.stdout, done.stderr


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: f"{path.parent.stem}/{path.stem}")
def test_a_study_has_cells_says_what_is_to_be_found_and_has_a_full_form(path: Path) -> None:
    catalogue = Catalogue(path.parent)
    cells = expand(load(path, catalogue), catalogue)
    assert len(cells) > 0 and path.read_text().startswith("# ")
    if path.parent.stem == "full" or path.stem == "quickstart":
        return
    larger = expand(load(path.parent / "full" / path.name, catalogue), catalogue)
    work = [sum(cell.samples * cell.parameters for cell in table) for table in (cells, larger)]
    assert work[1] >= work[0] and set(larger.columns["dimension"]) >= set(cells.columns["dimension"])
