"""Targets by name: ours, a user's file, a user's module; and what is said when that fails."""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path

import pytest
import torch

from hpcsweep.approx import plugins
from hpcsweep.approx.targets import REGISTRY, Target
from hpcsweep.errors import PluginError

GOOD = """
from __future__ import annotations
import math
import torch
from dataclasses import dataclass
from hpcsweep.approx.targets import Target

@dataclass
class Note:
    text: str

class Bump(Target):
    parameters = {"sharpness": 10.0}
    side = (0.0, 1.0)
    smoothness = math.inf

    def __call__(self, points):
        return torch.exp(-self.chosen["sharpness"] * torch.square(points).sum(dim=1))

class Careful(Target):
    smoothness = 0

    def prepare(self):
        raise ArithmeticError("no such luck")

    def __call__(self, points):
        return points[:, 0]

class Unfinished(Target):
    smoothness = 0

def helper(points):
    return points
"""

# one class per rule of `check`, each breaking that rule alone
BROKEN = {
    "shape": ("return points", "must be (256,)"),
    "list": ("return points[:, 0].tolist()", "must be a tensor"),
    "dtype": ("return points[:, 0].float()", "torch.float64 into values of torch.float32"),
    "double": ("return points[:, 0].double()", "torch.float32 into values of torch.float64"),
    "nan": ("return torch.log(points[:, 0] + 0.5)", "not finite at ["),
    "rows": ("return points[:, 0] - points[:, 0].mean()", "depends on the other points"),
    "place": ("points.clamp_(-0.5, 0.5); return points[:, 0]", "changes the points"),
    "raises": ("raise KeyError('lost')", "raises KeyError: 'lost'"),
    "steep": ("return 3.0 * points[:, 0]", "Lipschitz constant 2 is below a difference quotient, 3"),
}
FACTS = {
    "side = (1.0, -1.0)": "low < high",
    "side = (0.0, math.inf)": "finite ends",
    "domain = ((0.0, 1.0),)": "has 1 axes, but its dimension is 2",
    "domain = 3.0": "one (low, high) pair",
    "smoothness = 0.5": "smoothness must be",
    "smoothness = math.nan": "smoothness must be",
    "smoothness = -1": "discontinuous",
    "lipschitz = -1.0": "Lipschitz constant must be",
    "domain = property(lambda self: 1 / 0)": "ZeroDivisionError",
}


def write(folder: Path, text: str, name: str = "mine.py") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def broken(fact: str = "", body: str = "return points[:, 0]") -> str:
    return f"""
import math, torch
from hpcsweep.approx.targets import Target

class Mine(Target):
    smoothness = 1
    lipschitz = 2.0
    {fact}

    def __call__(self, points):
        {body}
"""


def test_ours_by_name() -> None:
    made = plugins.target({"name": "logsin", "K": 10}, 1)
    assert type(made) is REGISTRY["logsin"] and made.chosen == {"K": 10.0}


def test_complete_adds_the_defaults_and_keeps_the_name_first(tmp_path: Path) -> None:
    assert list(plugins.complete({"K": 3, "name": "logsin"}).items()) == [("name", "logsin"), ("K", 3.0)]
    write(tmp_path, GOOD)
    expected = {"name": "mine.py:Bump", "sharpness": 10.0}
    complete = plugins.complete({"name": "mine.py:Bump"}, tmp_path)
    code = complete.code
    assert complete == {**expected, "code": code}
    assert plugins.complete({**expected, "code": code}, tmp_path)["code"] == code
    write(tmp_path, GOOD + "\n# edited\n")
    assert plugins.complete(expected, tmp_path)["code"] != code
    with pytest.raises(PluginError, match="has changed since the study was read"):
        plugins.target({**expected, "code": code}, 1, tmp_path)


def test_a_users_file_is_relative_to_the_folder(tmp_path: Path) -> None:
    (tmp_path / "deeper").mkdir()
    write(tmp_path / "deeper", GOOD)
    made = plugins.target({"name": "deeper/mine.py:Bump", "sharpness": 1}, 2, tmp_path)
    assert isinstance(made, Target) and made.domain == ((0.0, 1.0), (0.0, 1.0))
    assert float(made(torch.ones(1, 2))[0]) == pytest.approx(math.exp(-2.0), rel=1e-6)


def test_a_users_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, GOOD, "a_module_of_mine.py")
    monkeypatch.syspath_prepend(tmp_path)
    assert repr(plugins.target({"name": "a_module_of_mine:Bump"}, 3)) == "Bump(3, sharpness=10.0)"


def test_a_file_is_run_once_until_it_changes(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    first = plugins.find("mine.py:Bump", tmp_path)
    assert plugins.find("mine.py:Bump", tmp_path) is first
    moment = path.stat()
    write(tmp_path, GOOD.replace("10.0", "20.0"))
    # the same size and time: only the content tells
    os.utime(path, ns=(moment.st_atime_ns, moment.st_mtime_ns))
    assert plugins.find("mine.py:Bump", tmp_path).parameters == {"sharpness": 20.0}


def test_files_of_one_name_in_two_folders_are_two(tmp_path: Path) -> None:
    for folder, default in (("a", "1.0"), ("b", "2.0")):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder, GOOD.replace("10.0", default))
    kinds = [plugins.find("mine.py:Bump", tmp_path / folder) for folder in "ab"]
    assert [kind.parameters["sharpness"] for kind in kinds] == [1.0, 2.0]
    assert kinds[0].__module__ != kinds[1].__module__


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("logsine", "unknown name 'logsine'. Did you mean 'logsin'?"),
        ("mine.py", "'path/file.py:Class'"),
        ("other.py:Bump", "there is no file"),
        ("no_such_module_here:Bump", "No module named 'no_such_module_here'"),
        ("mine.py:Bumb", "no class 'Bumb'. Did you mean 'Bump'? Allowed: Bump, Careful."),
        ("mine.py:helper", "'helper' is not a subclass of Target"),
        ("mine.py:Note", "'Note' is not a subclass of Target"),
        ("mine.py:Target", "'Target' is not a subclass of Target"),
        ("math:sin", "must define a class derived from"),
        ("mine.py:Unfinished", "cannot be made: TypeError"),
        ("mine.py:Careful", "cannot be made: ArithmeticError: no such luck"),
    ],
)
def test_names_that_cannot_be_had(tmp_path: Path, name: str, complaint: str) -> None:
    write(tmp_path, GOOD)
    with pytest.raises(PluginError) as caught:
        plugins.target({"name": name}, 1, tmp_path)
    assert complaint in str(caught.value)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("import no_such_library_here", "ModuleNotFoundError: No module named 'no_such_library_here'"),
        ("def (", "SyntaxError"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("raise SystemExit(3)", "SystemExit: 3"),
    ],
)
def test_a_file_that_fails_is_told_with_its_own_message(tmp_path: Path, text: str, complaint: str) -> None:
    write(tmp_path, text)
    with pytest.raises(PluginError, match=r"mine\.py' cannot be imported") as caught:
        plugins.target({"name": "mine.py:Bump"}, 1, tmp_path)
    assert complaint in str(caught.value)
    # the failed attempt leaves nothing behind
    files = [getattr(module, "__file__", "") for module in sys.modules.values()]
    assert str(tmp_path / "mine.py") not in files
    write(tmp_path, GOOD)
    assert plugins.target({"name": "mine.py:Bump"}, 1, tmp_path).dimension == 1


@pytest.mark.parametrize("choice", [{}, {"K": 1}, {"name": 3}])
def test_a_choice_without_a_name(choice: dict[str, object]) -> None:
    with pytest.raises(PluginError, match="by its name"):
        plugins.target(choice, 1)


def test_an_unknown_parameter_is_refused(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    with pytest.raises(PluginError, match=r"unknown name 'sharpnes'\. Did you mean 'sharpness'"):
        plugins.target({"name": "mine.py:Bump", "sharpnes": 1}, 1, tmp_path)
    with pytest.raises(PluginError, match="unknown name 'dimension'"):
        plugins.target({"name": "mine.py:Bump", "dimension": 1}, 1, tmp_path)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [(broken(body=body), complaint) for body, complaint in BROKEN.values()]
    + [(broken(fact), complaint) for fact, complaint in FACTS.items()]
    + [(broken().replace("smoothness = 1", ""), "smoothness must be -1, 0, 1, 2, ... or math.inf, not None")],
)
def test_what_breaks_a_rule_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    write(tmp_path, text)
    with pytest.raises(PluginError, match="breaks the rules") as caught:
        plugins.target({"name": "mine.py:Mine"}, 2, tmp_path, "float32")
    assert complaint in str(caught.value)
    write(tmp_path, broken())
    assert plugins.target({"name": "mine.py:Mine"}, 2, tmp_path).lipschitz == 2.0


def test_a_target_that_can_be_made_here_alone_is_not_taken_for_one_that_was_checked(tmp_path: Path) -> None:
    only_here = f"    def prepare(self):\n        import os\n        assert os.getpid() == {os.getpid()}\n"
    (tmp_path / "here.py").write_text(
        f"from hpcsweep import Target\nclass Here(Target):\n    smoothness = 1\n{only_here}"
        "    def __call__(self, points):\n        return points[:, 0]\n"
    )
    with pytest.raises(PluginError, match=r"cannot be made in another process, where it is checked: .*AssertionError"):
        plugins.target({"name": "here.py:Here"}, 1, tmp_path)
