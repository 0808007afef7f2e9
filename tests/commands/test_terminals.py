"""Texts are read and shown as people's editors and terminals have them."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import h5py
import numpy as np
import pytest

import hpcsweep
from hpcsweep.approx.catalogue import Catalogue
from hpcsweep.errors import StudyError, UserError
from hpcsweep.findings.report import page, report
from hpcsweep.store import layout, status
from hpcsweep.study.parsing import load, parse
from hpcsweep.texts import hidden, pasteable, visible
from tests.conftest import TINY, command, environment, fill, finished

SNOW = TINY.replace('"tiny"', '"Größe ☃"')
ENCODINGS = [
    {"PYTHONIOENCODING": "latin-1"},
    {"PYTHONIOENCODING": "cp1252"},
    {"PYTHONIOENCODING": "ascii"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
]
HOSTILE = ["a\x1b[31m", "a\nb", "a\rb", "\u202eevil", "\x9b1m", "x\u2028y", "\udcff"]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("terminals")
    (folder / "snow.toml").write_text(SNOW, encoding="utf-8")
    return fill(folder / "s.h5", SNOW)


@pytest.mark.parametrize("variables", ENCODINGS, ids=lambda variables: "-".join(variables.values()))
def test_a_terminal_that_lacks_characters_gets_escapes(store: Path, variables: dict[str, str]) -> None:
    line = [*command("run", "snow.toml", "-o", "s.h5")]  # all is done: it prints the summary
    done = subprocess.run(line, cwd=store.parent, env={**environment(), **variables}, capture_output=True, timeout=240)
    assert done.returncode == 0 and b"Traceback" not in done.stderr and rb"\u2603" in done.stdout, done.stderr
    line = [*command("status", "s.h5")]  # what click prints, too
    done = subprocess.run(line, cwd=store.parent, env={**environment(), **variables}, capture_output=True, timeout=240)
    assert rb"\u2603" in done.stdout and "☃".encode() not in done.stdout, done.stdout


@pytest.mark.parametrize("text", [*HOSTILE, "a b", "it's\n", "back\\slash\n"])
def test_a_path_can_be_pasted_into_a_shell(text: str) -> None:
    assert not hidden(pasteable(text))
    echoed = subprocess.run(["bash", "-c", f"printf %s {pasteable(text)}"], capture_output=True, timeout=60)
    assert os.fsdecode(echoed.stdout) == text


def _shell(text: str, folder: Path) -> tuple[str, str]:
    """Return stdout and stderr of a command in bash, in which `H` is hpcsweep."""
    script = f'H() {{ {shlex.join(command())} "$@"; }}\n{text}'
    done = finished(["bash", "-c", script], folder)
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr
    return done.stdout, done.stderr


def test_a_reader_that_has_gone_is_no_failure_and_stops_nothing(store: Path) -> None:
    told, _ = _shell("H status s.h5 | true; echo ${PIPESTATUS[0]}", store.parent)
    assert told.strip() == "0"
    _shell("{ H run snow.toml -o new.h5 2>&1; echo $? > code; } | true", store.parent)
    assert (store.parent / "code").read_text().strip() == "0"
    assert status.summary(store.parent / "new.h5")["done"] == 18


@pytest.mark.parametrize(("line", "code"), [("status s.h5", "2"), ("run snow.toml -o s.h5", "0")])
def test_a_full_disk_under_the_output_is_a_sentence(store: Path, line: str, code: str) -> None:
    told, error = _shell(f"H {line} > /dev/full; echo $?", store.parent)
    assert told.strip() == code and "the output cannot be written: No space left on device." in error


def test_closed_streams_do_not_give_their_numbers_to_the_store(store: Path) -> None:
    told, _ = _shell("H run snow.toml -o closed.h5 >&- 2>&- <&-; echo $?", store.parent)
    assert told.strip() == "0" and status.summary(store.parent / "closed.h5")["done"] == 18


def test_a_tilde_that_the_shell_has_left_is_told(store: Path) -> None:
    _, error = _shell("H run snow.toml --output=~/s.h5", store.parent)
    assert "a folder called ~" in error and not (store.parent / "~").exists()


@pytest.mark.parametrize("path", ["x" * 300 + ".h5", "s.h5/below.h5"])
def test_paths_that_cannot_be_are_a_sentence(store: Path, path: str) -> None:
    assert _shell(f"H status {path}; H report {path}", store.parent)[1].count("\n") == 2


@pytest.mark.parametrize("text", HOSTILE)
def test_hidden_characters_are_refused_in_studies(tmp_path: Path, text: str) -> None:
    grid = {"target": [{"name": "sine", "label": text}], "dimension": 1, "samples": 20}
    for tables in ({"title": text, "grid": [grid]}, {"title": "t", "grid": [grid]}, {"title": "t", text: 1}):
        with pytest.raises(StudyError, match="hidden character U") as caught:
            hpcsweep.Study.from_dict(tables)
        assert not hidden(str(caught.value))


@pytest.mark.parametrize("text", ["é ☃", "עברית", "日本語", "$x^2$", "<b>", "=1+1", "👩‍🔬"])
def test_all_other_characters_are_taken(tmp_path: Path, text: str) -> None:
    assert parse(TINY.replace('"tiny"', f'"{text}"'), Catalogue(tmp_path)).title == text == visible(text)


def test_texts_that_a_store_has_nevertheless_are_shown_with_escapes(tmp_path: Path) -> None:
    store = fill(tmp_path / "s.h5", TINY)
    with h5py.File(store, "r+") as file:
        file.attrs["title"] = "red\x1b[31m\nfailed: none"
        del file["digest"]
    [title, *_] = status.lines(status.summary(store))
    assert title == r"red\x1b[31m\nfailed: none"
    report.write(store, tmp_path / "report")
    html = (tmp_path / "report" / "index.html").read_text()
    assert "\x1b" not in html and r"red\x1b[31m" in html
    assert page.templates.from_string("{{ text }}").render(text="\u202e<i>\n") == "\\u202e&lt;i&gt;\n"


def test_a_message_that_cannot_be_encoded_is_stored(tmp_path: Path) -> None:
    from hpcsweep.store.store import Record, Store
    from tests.conftest import open_store

    store = open_store(tmp_path / "s.h5", TINY)
    assert isinstance(store, Store)
    store.start([0])
    store.put([0], [Record("failed", {"message": "no file caf\udce9"})])
    store.close()
    [failure] = status.summary(tmp_path / "s.h5")["failures"]
    assert failure["message"] == r"no file caf\udce9" and layout.FAILED in np.asarray(store.status)


@pytest.mark.parametrize(
    ("encode", "told"),
    [
        (lambda text: b"\xef\xbb\xbf" + text.encode(), ""),
        (lambda text: text.replace("\n", "\r\n").encode(), ""),
        (lambda text: text.replace("\n", "\r").encode(), ""),
        (lambda text: text.encode("utf-16"), "UTF-16"),
        (lambda text: text.encode("utf-16-le"), "UTF-16"),
        (lambda text: text.encode("latin-1"), "line 2 contains the byte 0xf6"),
    ],
    ids=["mark", "crlf", "cr", "utf-16", "utf-16-le", "latin-1"],
)
def test_a_study_is_read_as_editors_save_it(tmp_path: Path, encode: object, told: str) -> None:
    path, text = tmp_path / "s.toml", TINY.replace('"tiny"', '"Größe"')
    path.write_bytes(encode(text))  # type: ignore[operator]
    if told:
        with pytest.raises(UserError, match=told):
            load(path, Catalogue(tmp_path))
    else:
        assert load(path, Catalogue(tmp_path)).text == text


def test_a_study_without_end_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="UTF-16"):
        load("/dev/zero", Catalogue(tmp_path))
