"""What the code of a plugin depends on: its text, its helpers, its data; and helpers of one name in two studies."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
import torch

from hpcsweep.approx import plugins
from hpcsweep.errors import PluginChanged, PluginError

PLUGIN = """
import math, random
from pathlib import Path
from hpcsweep import Target
{top}

class Mine(Target):
    smoothness = math.inf
    {fact}

    def __call__(self, points):
        {body}
"""
NAME = "mine.py:Mine"


def lay_out(folder: Path, top: str = "", fact: str = "", body: str = "return points[:, 0]", **files: str) -> None:
    """Write a plugin and other files, whose names have ___ for a slash and end in .py without saying so."""
    folder.mkdir(exist_ok=True)
    (folder / "mine.py").write_text(PLUGIN.format(top=top, fact=fact, body=body))
    for name, text in files.items():
        path = folder / f"{name.replace('___', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def code(folder: Path) -> str:
    return plugins.complete({"name": NAME}, folder).code


def value(folder: Path) -> float:
    return float(plugins.target({"name": NAME}, 1, folder)(torch.ones(1, 1, dtype=torch.float64))[0])


def test_a_plugin_with_neither_helpers_nor_data_has_the_digest_of_its_text(tmp_path: Path) -> None:
    lay_out(tmp_path, random="1 / 0")  # a module of Python itself is no helper
    text = (tmp_path / "mine.py").read_bytes()
    assert code(tmp_path) == hashlib.blake2b(text, digest_size=8).hexdigest()


@pytest.mark.parametrize(
    ("top", "body", "files"),
    [
        ("import tool", "return tool.f(points[:, 0])", {"tool": "def f(x): return x"}),
        ("", "import tool; return tool.f(points[:, 0])", {"tool": "def f(x): return x"}),
        ("from . import tool", "return tool.f(points[:, 0])", {"tool": "def f(x): return x"}),
        ("from box.tool import f", "return f(points[:, 0])", {"box___tool": "def f(x): return x"}),
        (
            "from box import *",
            "return tool.f(points[:, 0])",
            {"box_____init__": "__all__ = ['tool']", "box___tool": "def f(x): return x"},
        ),
        (
            "import box.first as first",
            "return first.f(points[:, 0])",
            {"box_____init__": "", "box___first": "from .tool import f", "box___tool": "def f(x): return x"},
        ),
        (
            "import importlib",
            "return importlib.import_module('tool').f(points[:, 0])",
            {"tool": "def f(x): return x"},
        ),
    ],
)
def test_an_edited_helper_gives_another_code_and_the_new_values(
    tmp_path: Path, top: str, body: str, files: dict[str, str]
) -> None:
    lay_out(tmp_path, top, body=body, **files)
    before = code(tmp_path)
    assert value(tmp_path) == 1.0 and code(tmp_path) == before
    [tool] = tmp_path.rglob("tool.py")
    moment = tool.stat()
    tool.write_text("def f(x): return 2 * x")
    os.utime(tool, ns=(moment.st_atime_ns, moment.st_mtime_ns))
    assert code(tmp_path) != before and value(tmp_path) == 2.0
    with pytest.raises(PluginChanged, match=r"tool\.py, of the plugin"):
        plugins.complete({"name": NAME, "code": before}, tmp_path)


def test_two_studies_have_their_own_helpers_of_one_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tool.py").write_text("def f(x): return 9 * x")  # where Python itself would look first
    monkeypatch.syspath_prepend(tmp_path)
    __import__("tool")
    for folder, factor in (("a", 1), ("b", 2)):
        lay_out(
            tmp_path / folder,
            body="import tool; return tool.f(points[:, 0])",
            tool="from factor import FACTOR\ndef f(x): return FACTOR * x",
            factor=f"FACTOR = {factor}",
        )
    assert [value(tmp_path / folder) for folder in "abab"] == [1.0, 2.0, 1.0, 2.0]


def test_a_module_of_a_users_folder_is_read_like_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    lay_out(tmp_path, "import tool_of_mine", body="return tool_of_mine.f(points[:, 0])", tool_of_mine="f = abs")
    (tmp_path / "mine.py").rename(tmp_path / "a_module_of_ours.py")
    first = plugins.complete({"name": "a_module_of_ours:Mine"}).code
    (tmp_path / "tool_of_mine.py").write_text("f = float")
    assert plugins.complete({"name": "a_module_of_ours:Mine"}).code != first


READS = "return points[:, 0] * float((Path(__file__).parent / 'table.csv').read_text())"


@pytest.mark.parametrize("declared", ["class", "top", "annotated"])
def test_an_edited_data_file_gives_another_code(tmp_path: Path, declared: str) -> None:
    fact = {"class": 'files = ("table.csv",)', "annotated": 'files: tuple = ("./table.csv",)'}.get(declared, "")
    lay_out(tmp_path, 'files = ("table.csv",)' if declared == "top" else "", fact, READS)
    with pytest.raises(PluginError, match=r"table\.csv', which mine\.py declares in `files`, cannot be read: No such"):
        code(tmp_path)
    (tmp_path / "table.csv").write_text("1.0")
    before = code(tmp_path)
    assert value(tmp_path) == 1.0
    (tmp_path / "table.csv").write_text("2.0")
    assert code(tmp_path) != before and value(tmp_path) == 2.0
    (tmp_path / "table.csv").write_text("1.0")
    assert code(tmp_path) == before


def test_what_a_plugin_reads_when_it_is_imported_is_read_anew(tmp_path: Path) -> None:
    top = "files = ('table.csv',)\nVALUE = float((Path(__file__).parent / 'table.csv').read_text())"
    lay_out(tmp_path, top, body="return VALUE * points[:, 0]")
    for number in (1.0, 2.0, 1.0):
        (tmp_path / "table.csv").write_text(str(number))
        assert value(tmp_path) == number


def test_a_long_data_file_is_hashed_again_only_when_it_was_touched(tmp_path: Path) -> None:
    lay_out(tmp_path, fact='files = ("table.csv",)')
    table = tmp_path / "table.csv"
    table.write_bytes(bytes(3 * 2**20))
    before = code(tmp_path)
    with table.open("r+b") as file:  # one byte, at the end
        file.seek(-1, os.SEEK_END)
        file.write(b"x")
    assert code(tmp_path) != before


@pytest.mark.parametrize("name", ["/etc/hostname", "../table.csv", "a/../../table.csv", ".", "", "folder"])
def test_data_files_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    lay_out(tmp_path / "study", fact=f"files = ({name!r},)")
    (tmp_path / "table.csv").write_text("1.0")
    (tmp_path / "study" / "folder").mkdir()
    with pytest.raises(PluginError, match=r"symbolic link|tuple of names|not an ordinary file"):
        code(tmp_path / "study")


def test_a_link_to_a_data_file_counts_with_what_it_leads_to(tmp_path: Path) -> None:
    lay_out(tmp_path / "study", fact='files = ("table.csv",)', body=READS)
    (tmp_path / "elsewhere.csv").write_text("1.0")
    (tmp_path / "study" / "table.csv").symlink_to(tmp_path / "elsewhere.csv")
    before = code(tmp_path / "study")
    (tmp_path / "elsewhere.csv").write_text("2.0")
    assert code(tmp_path / "study") != before


@pytest.mark.parametrize(
    ("fact", "complaint"),
    [
        ('files = "table.csv"', "must be a tuple"),
        ('files = tuple(f"{name}.csv" for name in "ab")', "must be written out"),
        ("files = 3", "must be a tuple"),
        ("files = (3,)", "tuple of names"),
    ],
)
def test_data_files_that_cannot_be_read_in_the_text_are_refused(tmp_path: Path, fact: str, complaint: str) -> None:
    lay_out(tmp_path, fact=fact)
    with pytest.raises(PluginError, match=complaint):
        code(tmp_path)


def test_a_helper_that_no_text_names_is_refused_unless_it_is_declared(tmp_path: Path) -> None:
    body = "return __import__('to' + 'ol').f(points[:, 0])"
    lay_out(tmp_path, body=body, tool="def f(x): return x")
    with pytest.raises(PluginError, match=r"imports .*tool\.py in a way that its text does not show"):
        value(tmp_path)
    lay_out(tmp_path, fact='files = ("tool.py",)', body=body)
    assert value(tmp_path) == 1.0


def test_a_changed_plugin_is_not_executed(tmp_path: Path) -> None:
    lay_out(tmp_path)
    before = code(tmp_path)
    (tmp_path / "mine.py").write_text("from pathlib import Path\nPath(__file__).with_name('executed').touch()")
    with pytest.raises(PluginChanged, match=r"mine\.py, of the plugin"):
        plugins.target({"name": NAME, "code": before}, 1, tmp_path)
    (tmp_path / "mine.py").unlink()
    with pytest.raises(PluginChanged, match=r"there is no file .*mine\.py"):
        plugins.target({"name": NAME, "code": before}, 1, tmp_path)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("name", "back", "complaint"),
    [("mine.py", False, "has changed"), ("data.csv", False, "has changed"), ("data.csv", True, "written again")],
)
def test_an_edit_within_a_block_is_noticed_even_if_it_is_taken_back(
    tmp_path: Path, name: str, back: bool, complaint: str
) -> None:
    (tmp_path / "data.csv").write_text("1")
    lay_out(tmp_path, fact='files = ("data.csv",)')
    config = plugins.complete({"name": NAME}, tmp_path)
    text = (tmp_path / name).read_text()
    with pytest.raises(PluginChanged, match=complaint), plugins.unchanged((config,), tmp_path):
        (tmp_path / name).write_text(text + "# a comment")
        if back:
            (tmp_path / name).write_text(text)
        raise ValueError("which the edit explains")


def test_python_text_that_is_only_touched_is_as_it_was(tmp_path: Path) -> None:
    lay_out(tmp_path, body="import tool; return tool.f(points[:, 0])", tool="def f(x): return x")
    config = plugins.complete({"name": NAME}, tmp_path)
    with plugins.unchanged((config,), tmp_path):
        for name in ("mine.py", "tool.py"):
            text = (tmp_path / name).read_text()
            (tmp_path / name).unlink()
            (tmp_path / name).write_text(text)
