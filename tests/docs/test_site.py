"""The documentation: it builds without a warning and needs no network, its links, commands and keys exist."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest

from hpcsweep.__main__ import commands
from hpcsweep.study import schema
from tests.conftest import finished

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
SECTIONS = (schema.StudyFile, schema.ModelSection, schema.TrainingSection, schema.SupNormSection, schema.StoreSection)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, as scripts/docs builds it."""
    pytest.importorskip("sphinx", reason="the extra docs is not installed")
    folder = tmp_path_factory.mktemp("site")
    line = [sys.executable, "-m", "sphinx", "-b", "html", "--fail-on-warning", "--keep-going", "--quiet"]
    done = finished([*line, "-d", folder / "read", ROOT / "docs", folder / "html"], ROOT)
    assert done.returncode == 0, done.stderr
    return folder / "html"


def test_no_page_loads_anything_from_the_network(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 25
    loaded = re.compile(r"<(?:script|link|img|iframe|source)\b[^>]*?\b(?:src|href)=\"((?:https?:)?//[^\"]+)", re.DOTALL)
    assert not [(page.name, address) for page in pages for address in loaded.findall(page.read_text())]
    styles = [path for path in site.rglob("*.css") if re.search(r"url\(['\"]?(https?:)?//", path.read_text())]
    assert not styles


def test_the_reference_has_every_key_column_target_and_command(site: Path) -> None:
    from hpcsweep.approx.targets import REGISTRY
    from hpcsweep.store import layout

    shown = {path.stem: re.sub(r"<[^>]+>", " ", path.read_text()) for path in (site / "reference").glob("*.html")}
    for page, names in {
        "study": [*schema.GRID, *(name for section in SECTIONS for name in section.model_fields)],
        "columns": [*layout.COORDINATES, *layout.RESULTS, *layout.RUNS, *layout.WEIGHTS],
        "targets": REGISTRY,
        "commands": commands.commands,
    }.items():
        assert not [name for name in names if not re.search(rf"\b{name}\b", shown[page])], page
    assert "decay of the mean of its square, and of the covariances" in " ".join(shown["study"].split())


def test_every_key_of_a_study_has_a_meaning() -> None:
    assert not [name for section in SECTIONS for name, field in section.model_fields.items() if not field.description]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_links_of_a_page_lead_to_files(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#\s]+)", page.read_text())
    assert not [link for link in links if not (page.parent / link).exists()]


def commands_of(text: str) -> list[list[str]]:
    """Return the words after `python -m hpcsweep` of the commands in the shell blocks of a page."""
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    called = [re.search(r"-m hpcsweep (\w.*)$", line) for line in lines]
    return [shlex.split(found[1], comments=True) for found in called if found]


def test_the_pages_show_commands_and_options_that_exist() -> None:
    shown = [words for page in PAGES for words in commands_of(page.read_text())]
    assert {words[0] for words in shown} >= {"plan", "run", "status", "report", "measure", "submit"}
    for name, *words in shown:
        assert name in commands.commands, name
        known = {option for parameter in commands.commands[name].params for option in parameter.opts}
        used = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
        assert used <= known, (name, used - known)
