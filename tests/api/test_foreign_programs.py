"""Files of TorchScript and torch.export from somebody else: nothing in them is executed, and odd ones are refused."""

from __future__ import annotations

import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from hpcsweep.approx.supnorm.files import load_network
from hpcsweep.approx.supnorm.functions import adapted
from hpcsweep.errors import UserError
from tests.api.programs import POINTS, SQUARE, loaded, saved

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


class Shell:
    """Whoever unpickles this writes a file."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("written",)


def pickled(thing: object) -> bytes:
    file = io.BytesIO()
    torch.save(thing, file)
    return file.getvalue()


def with_state(content: bytes) -> bytes:
    class Restored(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.number = 1

        @torch.jit.export
        def __getstate__(self) -> tuple[int, bool]:
            return (self.number, self.training)

        @torch.jit.export
        def __setstate__(self, state: tuple[int, bool]) -> None:
            self.number = int(torch.from_file("written", shared=True, size=4).sum().item())
            self.training = state[1]

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    return saved(Restored(), "script")


def changed(changes: dict[str, Callable[[bytes], bytes]], content: bytes, **added: bytes) -> bytes:
    """Return an archive in which the entries that end with these names are changed."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as archive, zipfile.ZipFile(file, "w") as copy:
        root = archive.namelist()[0].partition("/")[0]
        for name in archive.namelist():
            change = next((change for end, change in changes.items() if name.endswith(end)), bytes)
            copy.writestr(name, change(archive.read(name)))
        for name, part in added.items():
            copy.writestr(f"{root}/data/{name.replace('__', '/')}", part)
    return file.getvalue()


def with_inputs(content: bytes) -> bytes:
    return changed({"sample_inputs/model.pt": lambda _: pickled(Shell())}, content)


def with_weights(content: bytes) -> bytes:
    configured = {"model_weights_config.json": lambda text: text.replace(b'"use_pickle": false', b'"use_pickle": true')}
    return changed(configured | {"weights/weight_0": lambda _: pickled(Shell())}, content)


def with_constants(content: bytes) -> bytes:
    entry = {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": True, "tensor_meta": None}
    text = json.dumps({"config": {"constant": entry}}).encode()
    return changed({"constants_config.json": lambda _: text}, content, constants__opaque_obj_0=pickle.dumps(Shell()))


def with_sizes(content: bytes) -> bytes:
    code = b"__import__('os').mkdir('written')"
    return changed({"model.json": lambda text: text.replace(b"Symbol('s", code + b" or Symbol('s")}, content)


def with_imports(content: bytes) -> bytes:
    tree = json.dumps([1, {"type": "builtins.dict", "context": '{"__enum__": true, "fqn": "writes:A", "name": "B"}'}])

    def change(text: bytes) -> bytes:
        model = json.loads(text)
        model["graph_module"]["module_call_graph"][0]["signature"]["in_spec"] = tree
        return json.dumps(model).encode()

    return changed({"model.json": change}, content)


def with_nodes(content: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    def text(text: bytes) -> bytes:
        model = json.loads(text)
        change(model["graph_module"]["graph"]["nodes"][0])
        return json.dumps(model).encode()

    return changed({"model.json": text}, content)


LIBRARY = "torch._ops.ctypes.cdll./folder/library"  # which Python loads where it looks this name up


def with_operation(content: bytes) -> bytes:
    return with_nodes(content, lambda node: node.update(target=LIBRARY))


def with_argument(content: bytes) -> bytes:
    return with_nodes(content, lambda node: node["inputs"][0].update(arg={"as_operator": LIBRARY}))


def with_remark(content: bytes) -> bytes:
    return with_nodes(content, lambda node: node["metadata"].update(source_fn_stack=f"layer,{LIBRARY}"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (with_inputs, ""),  # left out
        (with_remark, ""),  # left out
        (with_operation, "contains target 'torch._ops.ctypes.*, which torch would execute"),
        (with_argument, "contains as_operator 'torch._ops.ctypes.*, which torch would execute"),
        (with_weights, "holds other Python objects than tensors, which are not loaded"),
        (with_constants, "contains path_name 'opaque_obj_0', which torch would execute"),
        (with_sizes, "contains expr_str .*mkdir.*, which torch would execute"),
        (with_imports, "contains in_spec .*, which torch would execute"),
        (with_state, "contains __setstate__, which torch would run while it reads the file"),
    ],
)
def test_nothing_in_a_program_is_executed_while_it_is_read(
    change: Callable[[bytes], bytes], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    Path("writes.py").write_text("import os\nos.mkdir('written')\n")
    content = change(saved(nn.Sequential(nn.Linear(2, 1)), "export"))
    if said:
        with pytest.raises(UserError, match=said):
            loaded(content)
    else:
        assert adapted(loaded(content), SQUARE)(POINTS).shape == (100,)
    assert not Path("written").exists()


class Sized(nn.Module):
    """A module of whose own methods one has the name of a method of tensors, and writes."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2

    @torch.jit.export
    def size(self, axis: int) -> int:
        return int(torch.from_file("written", shared=True, size=4).sum().item())


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("torch.sym_size(unchecked_cast(Tensor, self), 0)", "hands other objects .* to prim::unchecked_cast"),
        ("int((unchecked_cast(__torch__.tests.api.test_foreign_programs.Sized, x)).training)", "from another object"),
    ],
)
def test_methods_of_a_script_are_not_executed(
    code: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def change(source: bytes) -> bytes:
        assert b"torch.mul(x, 2)" in source
        return source.replace(b"torch.mul(x, 2)", f"torch.mul(x, {code})".encode())

    network = loaded(changed({"test_foreign_programs.py": change}, saved(Sized(), "script")))
    with pytest.raises(UserError, match=said):
        network(POINTS)
    assert not Path("written").exists()


@pytest.mark.parametrize("size", ["s12" * 200 + "x", "-oo" * 200 + "x", "Symbol('s1').__class__", "exec('')", "Add"])
def test_other_sizes_than_those_of_torch_are_refused_at_once(size: str) -> None:
    content = changed(
        {"model.json": lambda text: text.replace(b"Symbol('s", json.dumps(size)[1:-1].encode() + b" + Symbol('s")},
        saved(nn.Sequential(nn.Linear(2, 1)), "export"),
    )
    with pytest.raises(UserError, match=r"contains expr_str .*, which torch would execute"):
        loaded(content)


@pytest.mark.parametrize(
    ("end", "old", "new", "said"),
    [
        ("data/0", b"", b"", "data/0 has 0 bytes, not 8"),
        ("data.pkl", b"\x06K\x02t", b"\x06J\x02\x00\x00\x40t", "data/0 has 8 bytes, not 4294967304"),
    ],
)
def test_scripts_that_say_more_than_their_files_hold_are_refused(end: str, old: bytes, new: bytes, said: str) -> None:
    def change(content: bytes) -> bytes:
        assert old in content
        return content.replace(old, new, 1) if old else b""

    with pytest.raises(UserError, match=said):
        loaded(changed({end: change}, saved(nn.Linear(2, 1), "script")))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("name", ["net.pt2", "net.ts"])
def test_damaged_programs_are_refused_as_programs(name: str, share: float, tmp_path: Path) -> None:
    content = bytearray(saved(nn.Sequential(nn.Linear(2, 1)), "export" if name == "net.pt2" else "script"))
    place = int(share * len(content))
    (tmp_path / name).write_bytes(content[:place])
    with pytest.raises(UserError, match=f"{name} cannot be read as a program: ") as refused:
        load_network(name, "tanh", tmp_path)
    assert "\n" not in str(refused.value)
    content[place : place + 400] = bytes(400)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=f"{name} cannot be read as a program: "):
        load_network(name, "tanh", tmp_path)
